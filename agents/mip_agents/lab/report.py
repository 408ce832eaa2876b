# SPDX-License-Identifier: GPL-2.0-only
"""What the demonstration found, told to people and to programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mip_agents.lab.ledger import Loss, ProbeLedger, StreamLedger


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    time: float
    """CLOCK_MONOTONIC."""
    who: str
    """`link`, `traffic`, or the agent: `ha`, `mn`, `fa-visited-a`."""
    event: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One move and what it cost."""

    origin: str
    target: str
    start: float
    """CLOCK_MONOTONIC."""
    loss: Loss
    silence: float
    """Longest time, in seconds, without an arriving byte of the TCP stream."""
    tcp: str
    """`up`, or why it broke."""


@dataclass(slots=True)
class Results:
    """Everything that was seen, filled as the story goes."""

    encapsulation: str
    folder: Path
    how: str
    """How the sandbox was made."""
    scenario: str = ""
    """What was played, in words."""
    longest_gap: float = 1.0
    """Seconds without traffic that a handover may cost at most."""
    probe_interval: float = 0.010
    """Seconds between the datagrams of the probe."""
    start: float = 0.0
    """CLOCK_MONOTONIC of the beginning; all times are told from here."""
    end: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    handovers: list[Handover] = field(default_factory=list)
    probe: ProbeLedger = field(default_factory=ProbeLedger)
    streams: dict[str, StreamLedger] = field(default_factory=dict)
    """By namespace of the end."""
    unreached: list[str] = field(default_factory=list)
    """Boxes that asked the mobile node for an echo in vain."""
    captures: dict[str, int | None] = field(default_factory=dict)
    """Packets by file name; None while the capture goes on."""
    exit_codes: dict[str, int] = field(default_factory=dict)
    """Of the agents, after SIGTERM."""
    dropped: int = 0
    """Frames that the captures missed."""

    def whole(self) -> Loss:
        """Return what the probe saw from its first packet to the end."""
        return self.probe.window(
            min(self.probe.sent.values(), default=self.start), self.end
        )

    def tcp(self) -> str:
        """Return `up`, or why the TCP stream broke."""
        broken = [ledger.broken for ledger in self.streams.values() if ledger.broken]
        return broken[0] if broken else "up"

    def failure(self) -> str | None:
        """Return in one line why the demonstration failed, or None."""
        if self.tcp() != "up":
            return f"the TCP stream broke: {self.tcp()}"
        if self.unreached:
            return f"{self.unreached[0]} did not reach the mobile node"
        for handover in self.handovers:
            if handover.loss.gap >= self.longest_gap:
                return (
                    f"{handover.origin} -> {handover.target}: "
                    f"{handover.loss.gap * 1000:.0f} ms without traffic"
                )
        for name, code in self.exit_codes.items():
            if code != 0:
                return f"{name} ended with exit code {code} on SIGTERM"
        totals = [(s.sent_bytes, s.received_bytes) for s in self.streams.values()]
        if len(totals) == 2 and totals[0] != totals[1][::-1]:
            return f"the TCP stream lost bytes (sent, received): {totals}"
        return None

    def summary(self) -> dict[str, Any]:
        """Return the results for programs; times in seconds from the beginning."""
        whole = self.whole()
        return {
            "scenario": self.scenario,
            "encapsulation": self.encapsulation,
            "sandbox": self.how,
            "folder": str(self.folder),
            "failure": self.failure(),
            "tcp": self.tcp(),
            "tcp_bytes": {
                name: {"sent": ledger.sent_bytes, "received": ledger.received_bytes}
                for name, ledger in self.streams.items()
            },
            "probe": {**asdict(whole), "duplicates": self.probe.duplicates},
            "handovers": [
                {
                    "from": handover.origin,
                    "to": handover.target,
                    "time": round(handover.start - self.start, 3),
                    "lost_out": handover.loss.lost_out,
                    "lost_back": handover.loss.lost_back,
                    "longest_gap_ms": round(handover.loss.gap * 1000),
                    "tcp_silence_ms": round(handover.silence * 1000),
                    "tcp": handover.tcp,
                }
                for handover in self.handovers
            ],
            "timeline": [
                {**asdict(entry), "time": round(entry.time - self.start, 3)}
                for entry in sorted(self.entries, key=lambda entry: entry.time)
            ],
            "captures": self.captures,
            "agents": self.exit_codes,
        }


class Printer:
    """Says things as they happen, and tables at the end."""

    def __init__(self, to_stderr: bool = False) -> None:
        self._stream = sys.stderr if to_stderr else sys.stdout

    def say(self, text: str) -> None:
        """Print a line at once."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def tables(self, results: Results) -> None:
        """Print the timeline, the handovers and the captures."""
        start = results.start
        self._table(
            "Timeline",
            [("s", "right"), ("who", "left"), ("event", "left"), ("what", "left")],
            [
                (f"{entry.time - start:.2f}", entry.who, entry.event, entry.detail)
                for entry in sorted(results.entries, key=lambda entry: entry.time)
            ],
        )
        self._table(
            "Handovers",
            [
                ("from -> to", "left"),
                ("lost out", "right"),
                ("lost back", "right"),
                ("longest gap", "right"),
                ("TCP silent", "right"),
                ("TCP", "left"),
            ],
            [
                (
                    f"{handover.origin} -> {handover.target}",
                    str(handover.loss.lost_out),
                    str(handover.loss.lost_back),
                    f"{handover.loss.gap * 1000:.0f} ms",
                    f"{handover.silence * 1000:.0f} ms",
                    handover.tcp,
                )
                for handover in results.handovers
            ],
        )
        whole = results.whole()
        self.say(
            f"Probes: {whole.sent} sent, {whole.lost_out} lost on the way out, "
            f"{whole.lost_back} on the way back."
        )
        self.say(f"Captures in {results.folder}:")
        for name, packets in results.captures.items():
            count = "still growing" if packets is None else f"{packets} packets"
            self.say(f"  {name:20} {count}")

    def _table(
        self,
        title: str,
        columns: Sequence[tuple[str, Any]],
        rows: Sequence[Sequence[str]],
    ) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
        )
        for heading, justify in columns:
            # Only the last column may be folded.
            last = heading == columns[-1][0]
            table.add_column(
                heading, justify=justify, overflow="fold", no_wrap=not last
            )
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        buffer = io.StringIO()
        terminal = self._stream.isatty()
        Console(
            file=buffer,
            width=min(100, Console().width) if terminal else 80,
            force_terminal=terminal,
        ).print(table)
        lines = [line.rstrip() for line in buffer.getvalue().splitlines()]
        self.say("\n".join(filter(None, lines)) + "\n")


def write_summary(results: Results) -> str:
    """Write `summary.json` into the folder, and return its text."""
    text = json.dumps(results.summary(), indent=2)
    (results.folder / "summary.json").write_text(text + "\n")
    return text
