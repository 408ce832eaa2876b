# SPDX-License-Identifier: GPL-2.0-only
"""`mip decode`: what a capture says."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import inet_ntoa
from typing import Annotated, Any

import typer
from scapy.layers.inet import IP

from mip_agents.captures.decode import decode_frame
from mip_agents.captures.keys import load_keys
from mip_agents.captures.lines import Usual, icmp_error, summary, usual
from mip_agents.captures.reader import Capture, Frame
from scapy_mip.keyring import KeyRing

_LARGE = 16 << 20
"""Bytes of a file whose reading takes long enough to be watched."""
_FRAMES_PER_STEP = 512
_LINES_PER_WRITE = 512
"""Writing to a pipe line by line would cost as much as finding out what to write."""


def decode(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="pcap or pcapng; - is standard input."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines, one object per packet.")
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="KEYS.toml", help="Keys to judge authenticators with."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every field of every message.")
    ] = False,
) -> None:
    """Decode captures: one line for each Mobile IP packet.

    A line has the number of the frame, as in Wireshark, seconds since the first frame,
    who sends to whom, and what. Packets from standard input are shown as they come.

    Example: mip decode --keys keys.toml registration.pcap

    Example: tcpdump -i any -U -w - udp port 434 | mip decode -
    """
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    ring = load_keys(keys) if keys else None
    totals = Totals()
    for path in files:
        where = f"{path.name}:" if len(files) > 1 else ""
        with Capture(path) as capture, _watched(capture) as frames:
            try:
                if as_json:
                    _write_json(str(path), frames, ring, flush=capture.is_stream)
                else:
                    printer = Printer(capture, where, ring, verbose, totals)
                    printer.write(frames)
            except KeyboardInterrupt:
                if not capture.is_stream:
                    raise  # but this is how one ends a live capture
    if not as_json:
        print(totals.line(judged=ring is not None), file=sys.stderr)


@dataclass
class Totals:
    """What was counted."""

    messages: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    problems: int = 0

    def count(self, record: dict[str, Any]) -> None:
        """Count a decoded packet."""
        self.messages[record["message"]] += 1
        if record["message"] == "registration_reply" and "code" in record["fields"]:
            self.codes[record["fields"]["code"]] += 1
        self.problems += len(record["problems"])
        for extension in record["extensions"]:
            if "verdict" in extension:
                self.verdicts[extension["verdict"]] += 1

    def count_usual(self, found: Usual) -> None:
        """Count a packet that needed no decoding."""
        self.messages[found.message] += 1
        if found.code is not None:
            self.codes[found.code] += 1

    def line(self, *, judged: bool) -> str:
        """Say it in one line."""
        kinds = [f"{count} {name}" for name, count in self.messages.items()]
        parts = [", ".join(kinds) or "no Mobile IP packet"]
        if self.codes:
            codes = [f"{count}x code {code}" for code, count in self.codes.items()]
            parts.append("replies: " + ", ".join(codes))
        if judged:
            verdicts = ("valid", "invalid", "no-key")
            counts = [f"{self.verdicts[verdict]} {verdict}" for verdict in verdicts]
            parts.append("authenticators: " + ", ".join(counts))
        if self.problems:
            parts.append(f"{self.problems} problems")
        return "; ".join(parts)


@dataclass
class Printer:
    """Writes the lines of one capture for people."""

    capture: Capture
    where: str
    """In front of each line, where there are several files."""
    ring: KeyRing | None
    verbose: bool
    totals: Totals

    def write(self, frames: Iterable[Frame]) -> None:
        """Write a line for each Mobile IP packet; many at once, but none late."""
        plain = self.ring is None and not self.verbose
        batch = 1 if self.capture.is_stream else _LINES_PER_WRITE
        lines: list[str] = []
        try:
            for frame in frames:
                found = usual(frame.packet) if plain else None
                if found is None:
                    lines.append(self._decoded(frame))
                else:
                    self.totals.count_usual(found)
                    lines.append(f"{self._moment(frame)} {found.text}\n")
                if len(lines) >= batch:
                    _write(lines)
        finally:
            _write(lines)

    def _moment(self, frame: Frame) -> str:
        since = frame.time - (self.capture.began or 0.0)
        return f"{self.where}{frame.number:>5} {since:>9.3f}"

    def _decoded(self, frame: Frame) -> str:
        found = decode_frame(frame, self.ring)
        if found is None:
            return self._error(frame)
        record, packet = found
        self.totals.count(record)
        ends = f"{record['src']} > {record['dst']}"
        text = f"{self._moment(frame)} {ends}  {summary(record)}\n"
        for problem in record["problems"]:
            text += f"       ! {problem['rule']} {problem['text']}\n"
        if self.verbose:
            tree: Any = packet or IP(frame.packet)  # what has no message is a tunnel
            text += f"{tree.show(dump=True)}\n"
        return text

    def _error(self, frame: Frame) -> str:
        text = icmp_error(frame.packet)
        if text is None:
            return ""
        self.totals.messages["icmp_error"] += 1
        source, destination = frame.packet[12:16], frame.packet[16:20]
        ends = f"{inet_ntoa(source)} > {inet_ntoa(destination)}"
        return f"{self._moment(frame)} {ends}  {text}\n"


def _write(lines: list[str]) -> None:
    sys.stdout.write("".join(lines))
    sys.stdout.flush()
    lines.clear()


def _write_json(
    file: str, frames: Iterable[Frame], ring: KeyRing | None, *, flush: bool
) -> None:
    for frame in frames:
        found = decode_frame(frame, ring)
        if found is not None:
            print(json.dumps({"file": file, **found[0]}), flush=flush)


@contextmanager
def _watched(capture: Capture) -> Iterator[Iterable[Frame]]:
    """Show how far it is in a large file, where somebody looks.

    Nobody needs it where lines run over the same terminal.
    """
    shown = sys.stderr.isatty() and not sys.stdout.isatty()
    if not shown or capture.is_stream or capture.size < _LARGE:
        yield capture
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # the lines go where they were sent
    ) as progress:
        task = progress.add_task("decoding", total=capture.size)

        def watched() -> Iterator[Frame]:
            for count, frame in enumerate(capture):
                if count % _FRAMES_PER_STEP == 0:
                    progress.update(task, completed=capture.position())
                yield frame

        yield watched()
