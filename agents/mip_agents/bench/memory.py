# SPDX-License-Identifier: GPL-2.0-only
"""What messages leave behind, and how long the collector stops an agent."""

from __future__ import annotations

import gc
import itertools
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mip_agents.bench import samples
from mip_agents.bench.case import Case, Limited
from mip_agents.protocol.bindings import Binding
from scapy_mip.base import MIP

BINDINGS = 100_000
_MANY = 5000
"""Messages to dissect: what is made once is less than a byte for each of them."""


@contextmanager
def no_collector() -> Iterator[None]:
    """Switch the garbage collector off until the end."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def growth() -> Limited:
    """Prepare `growth`: bytes that a message leaves behind without a collector."""
    messages = samples.requests(samples.five_extensions)

    def left(dissect: Callable[[bytes], object]) -> float:
        for data in messages:
            dissect(data)
        tracemalloc.start()
        try:
            with no_collector():
                before = tracemalloc.get_traced_memory()[0]
                for data in itertools.islice(itertools.cycle(messages), _MANY):
                    dissect(data)
                grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        return grown // _MANY

    kept: list[object] = []

    def agree() -> bool:
        seen = left(lambda data: kept.append(MIP(data))) > 0
        kept.clear()
        return seen

    return Limited(lambda: left(MIP), 0, agree)


def pause() -> Limited:
    """Prepare `pause`: the longest stop with many bindings, restored at start-up.

    An agent freezes what it has then, as here; what is collected is the traffic after.
    """
    messages = samples.requests(samples.one_extension)

    def longest() -> float:
        table = {
            f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}": (
                Binding("10.1.2.50", "10.1.2.50", 0, 600, 1e6 + number, number, 256),
            )
            for number in range(BINDINGS)
        }
        stops: list[int] = []

        def note(phase: str, _info: dict[str, int]) -> None:
            now = time.thread_time_ns()
            stops.append(-now if phase == "start" else stops.pop() + now)

        gc.collect()
        gc.freeze()
        gc.callbacks.append(note)
        try:
            kept = [MIP(data) for data in itertools.islice(messages, 1000)]
            gc.collect()
        finally:
            gc.callbacks.remove(note)
            gc.unfreeze()
        return max(stops) / 1e6 if table and kept else 0.0

    return Limited(longest, 2, lambda: longest() > 0)


CASES = (
    Case(
        name="growth",
        what="growth without a GC",
        rival="at most",
        goal=1,
        prepare=growth,
        unit="B",
    ),
    Case(
        name="pause",
        what="longest GC pause",
        rival="at most",
        goal=1,
        prepare=pause,
        unit="ms",
    ),
)
