# SPDX-License-Identifier: GPL-2.0-only
"""What a benchmark consists of: two sides that do the same, or a figure and its limit.

Each kind of trial knows how it is measured; a case adds the name and the goal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from mip_agents.bench import measure
from mip_agents.bench.measure import Comparison

Unit = Literal["us", "ms", "MiB", "B"]
"""Of the figures: CPU time of a call, time, resident memory, bytes."""

PROCESS_ROUNDS = 5
"""Rounds of what runs in its own process: it takes seconds and varies little."""


class NotInstalledError(Exception):
    """The rival of a case is not on this machine; the text names it."""


class Trial(Protocol):
    """What a case prepares."""

    def agree(self) -> bool:
        """Return whether both sides give the same, so that equal work is compared."""

    def measure(self, rounds: int, slice_ns: int) -> Comparison:
        """Measure both sides."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Two functions that do the same work in this thread."""

    ours: Callable[[], object]
    rival: Callable[[], object]
    agree: Callable[[], bool]

    def measure(self, rounds: int, slice_ns: int) -> Comparison:
        """Compare the CPU time of a call."""
        return measure.compare(self.ours, self.rival, rounds=rounds, slice_ns=slice_ns)


@dataclass(frozen=True, slots=True)
class Gauges:
    """Two functions that return a figure each, in the unit of the case."""

    ours: Callable[[], float]
    rival: Callable[[], float]
    agree: Callable[[], bool]

    def measure(self, rounds: int, slice_ns: int) -> Comparison:  # noqa: ARG002
        """Compare the figures; a few rounds do."""
        return measure.compare_figures(
            self.ours, self.rival, rounds=min(rounds, PROCESS_ROUNDS)
        )


@dataclass(frozen=True, slots=True)
class Limited:
    """A figure of ours that must not be above a limit, in the unit of the case."""

    ours: Callable[[], float]
    limit: float
    agree: Callable[[], bool]

    def measure(self, rounds: int, slice_ns: int) -> Comparison:  # noqa: ARG002
        """Return the worst of a few rounds, without a ratio."""
        worst = max(self.ours() for _round in range(min(rounds, PROCESS_ROUNDS)))
        return Comparison(worst, self.limit, None)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the benchmarks."""

    name: str
    what: str
    rival: str
    goal: float
    """How many times less than the rival's figure ours is meant to be; 1 for a limit,
    which must not be passed."""
    prepare: Callable[[], Trial]
    """:raises NotInstalledError: the rival is not there."""
    unit: Unit = "us"
