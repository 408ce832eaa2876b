# SPDX-License-Identifier: GPL-2.0-only
"""Adds up what the flows report: packets lost each way, and the longest gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What the probe saw in a window of time."""

    sent: int
    lost_out: int
    """Sent by the correspondent, never seen by the mobile node."""
    lost_back: int
    """Echoed by the mobile node, never seen by the correspondent."""
    gap_out: float
    """Longest time, in seconds, without an arrival at the mobile node."""
    gap_back: float
    """Longest time, in seconds, without an arrival at the correspondent."""

    @property
    def gap(self) -> float:
        """The longer of both."""
        return max(self.gap_out, self.gap_back)


def longest_gap(arrivals: list[float], start: float, end: float) -> float:
    """Return the longest time between arrivals that ends between `start` and `end`.

    A gap may begin before the window; one that is still open counts up to `end`.
    :param arrivals: sorted times in seconds.
    """
    first, last = bisect_left(arrivals, start), bisect_right(arrivals, end)
    before = arrivals[first - 1] if first else start
    points = [before, *arrivals[first:last], end]
    return max(late - early for early, late in pairwise(points))


@dataclass(slots=True)
class ProbeLedger:
    """Accounts of the probe: time of each number at the three points of its way."""

    sent: dict[int, float] = field(default_factory=dict)
    echoed: dict[int, float] = field(default_factory=dict)
    returned: dict[int, float] = field(default_factory=dict)
    duplicates: int = 0
    """Arrivals of a number that had arrived, at either end."""

    def feed(self, record: Mapping[str, Any]) -> None:
        """Take one report of `send_probe` or `echo_probe`."""
        for number, time in record.get("sent", ()):
            self.sent[number] = time
        for key, column in (("echoed", self.echoed), ("returned", self.returned)):
            for number, time in record.get(key, ()):
                if number in column:
                    self.duplicates += 1
                else:
                    column[number] = time

    def window(self, start: float, end: float) -> Loss:
        """Judge the probes sent from `start` until before `end`."""
        numbers = [n for n, time in self.sent.items() if start <= time < end]
        arrived = [number for number in numbers if number in self.echoed]
        return Loss(
            sent=len(numbers),
            lost_out=len(numbers) - len(arrived),
            lost_back=sum(number not in self.returned for number in arrived),
            gap_out=longest_gap(sorted(self.echoed.values()), start, end),
            gap_back=longest_gap(sorted(self.returned.values()), start, end),
        )

    def round_trips(self) -> list[tuple[float, float | None]]:
        """Return time sent and round trip of each probe (None: lost), in order."""
        return [
            (time, self.returned[n] - time if n in self.returned else None)
            for n, time in sorted(self.sent.items())
        ]


@dataclass(slots=True)
class StreamLedger:
    """Accounts of one end of the TCP stream."""

    arrivals: list[float] = field(default_factory=list)
    broken: str | None = None
    """Why the stream ended before its time, in words; None while it is up."""
    sent_bytes: int | None = None
    received_bytes: int | None = None

    def feed(self, record: Mapping[str, Any]) -> None:
        """Take one report of `open_stream` or `serve_stream`."""
        self.arrivals.extend(record.get("arrivals", ()))
        self.broken = self.broken or record.get("broken")
        self.sent_bytes = record.get("sent_bytes", self.sent_bytes)
        self.received_bytes = record.get("received_bytes", self.received_bytes)

    def silence(self, start: float, end: float) -> float:
        """Return the longest time without an arriving byte, in seconds."""
        return longest_gap(self.arrivals, start, end)
