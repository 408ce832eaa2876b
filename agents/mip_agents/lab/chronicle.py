# SPDX-License-Identifier: GPL-2.0-only
"""What happens in the laboratory, written down and told as it happens."""

from __future__ import annotations

import time
from typing import Any

from mip_agents.lab.report import Entry, Handover, Printer, Results
from mip_agents.lab.timeline import describe


class Chronicle:
    """Fills the results and tells people."""

    def __init__(self, results: Results, printer: Printer) -> None:
        self.results = results
        self._printer = printer
        # Agents tell the wall clock's time, flows the monotonic clock's.
        self._epoch = time.time() - time.monotonic()
        self._moves: list[tuple[str, str, float]] = []

    def move(self, origin: str, target: str) -> None:
        """Begin a row of the table of handovers."""
        self._moves.append((origin, target, time.monotonic()))
        self.happened("mn", "moves", f"{origin} -> {target}")

    def happened(self, who: str, event: str, detail: str = "") -> None:
        """Note what happens now."""
        self.note(Entry(time.monotonic(), who, event, detail))

    def heard(self, who: str, event: dict[str, Any]) -> None:
        """Take an event of an agent."""
        described = describe(event)
        if described is None:
            return
        when = event.get("time")
        stamp = when - self._epoch if isinstance(when, float) else time.monotonic()
        self.note(Entry(stamp, who, *described))

    def note(self, entry: Entry) -> None:
        """Note one line of the timeline."""
        self.results.entries.append(entry)
        since = entry.time - self.results.start
        text = f"{since:6.2f} s  {entry.who:13}{entry.event}"
        if entry.detail:
            text += f": {entry.detail}"
        self._printer.say(text if len(text) <= 80 else text[:77] + "...")

    def judge(self) -> None:
        """Work out what each move cost, when all that was sent is accounted for."""
        results = self.results
        ends = [start for _, _, start in self._moves[1:]] + [results.end]
        for (origin, target, start), end in zip(self._moves, ends, strict=True):
            results.handovers.append(
                Handover(
                    origin=origin,
                    target=target,
                    start=start,
                    loss=results.probe.window(start, end),
                    silence=max(
                        ledger.silence(start, end)
                        for ledger in results.streams.values()
                    ),
                    tcp=results.tcp(),
                )
            )
