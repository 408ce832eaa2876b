# SPDX-License-Identifier: GPL-2.0-only
"""Side by side measurement that a busy neighbour does not spoil.

Wall clock is of no use on shared cores. Here each variant runs in short slices timed by
the CPU clock of the thread, in rounds whose order is shuffled, and what counts is the
median of the ratios within the rounds: what disturbs a round disturbs both sides of it.
Garbage collection stays on, as it is in use.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SLICE_NS = 2_000_000
"""CPU time of a slice: long against the clock, short against the scheduler."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two functions cost, measured in the same rounds."""

    ours_us: float
    """Median CPU time of one call, microseconds."""
    rival_us: float
    ratio: float
    """Median over the rounds of rival / ours: how many times faster ours is."""


def compare(
    ours: Callable[[], object],
    rival: Callable[[], object],
    *,
    rounds: int,
    slice_ns: int = SLICE_NS,
    seed: int = 0,
) -> Comparison:
    """Measure two functions against each other.

    :param rounds: each runs one slice of each function; more give steadier medians.
    :param slice_ns: CPU time to spend on a slice; 0 for a single call.
    :param seed: of the order within the rounds.
    """
    order = random.Random(seed)
    with one_core():
        contest = [
            (ours, calls_for(ours, slice_ns)),
            (rival, calls_for(rival, slice_ns)),
        ]
        costs: dict[Callable[[], object], list[float]] = {ours: [], rival: []}
        for _round in range(rounds):
            for function, calls in order.sample(contest, 2):
                costs[function].append(cpu_ns(function, calls) / calls)
    return Comparison(
        ours_us=statistics.median(costs[ours]) / 1000,
        rival_us=statistics.median(costs[rival]) / 1000,
        ratio=statistics.median(
            slow / fast for fast, slow in zip(costs[ours], costs[rival], strict=True)
        ),
    )


def cpu_ns(function: Callable[[], object], calls: int) -> int:
    """Return the CPU time that this thread spends on that many calls, at least 1."""
    repeated = itertools.repeat(None, calls)
    start = time.thread_time_ns()
    for _call in repeated:
        function()
    return max(time.thread_time_ns() - start, 1)


def calls_for(function: Callable[[], object], slice_ns: int) -> int:
    """Return how many calls fill a slice, after warming up."""
    function()
    calls = 1
    while (spent := cpu_ns(function, calls)) < slice_ns // 4:
        calls *= 2
    return max(calls * slice_ns // spent, 1)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread on one core until the end, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
