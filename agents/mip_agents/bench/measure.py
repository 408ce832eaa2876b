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
    """What two sides cost, measured in the same rounds."""

    ours: float
    """Median over the rounds; for calls the CPU time of one, microseconds."""
    rival: float
    ratio: float | None
    """Median over the rounds of rival / ours: how many times less ours is. None where
    the rival is a limit."""


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
    return _medians(
        [cost / 1000 for cost in costs[ours]], [cost / 1000 for cost in costs[rival]]
    )


def compare_figures(
    ours: Callable[[], float], rival: Callable[[], float], *, rounds: int, seed: int = 0
) -> Comparison:
    """Compare the figures that two functions return, such as CPU time of a process.

    :param rounds: each calls both, in changing order.
    :param seed: of the order within the rounds.
    """
    order = random.Random(seed)
    found: dict[Callable[[], float], list[float]] = {ours: [], rival: []}
    for _round in range(rounds):
        for function in order.sample([ours, rival], 2):
            found[function].append(function())
    return _medians(found[ours], found[rival])


def _medians(ours: list[float], rival: list[float]) -> Comparison:
    """Pair the figures by round."""
    return Comparison(
        ours=statistics.median(ours),
        rival=statistics.median(rival),
        ratio=statistics.median(
            more / less for less, more in zip(ours, rival, strict=True)
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
