# SPDX-License-Identifier: GPL-2.0-only
"""Who told whom what, from one capture or from several of one run.

The same packet on several links is one step, and a message that a foreign agent relays
is a step for each part of its way. Between messages, advertisements, solicitations and
tunnelled packets from one node to another are folded into one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mip_agents.captures.findings import Finding, Rule
from mip_agents.captures.observation import Kind, Observation
from mip_agents.captures.participants import Lifeline, Participants
from mip_agents.captures.reader import STANDARD_INPUT
from mip_agents.captures.wording import Verdict, describe, name_step
from mip_agents.protocol.reply_checks import ACCEPTING

MOST_PACKETS = 100_000
"""Packets of one file that are looked at; the rest is left out."""
MOST_STEPS = 300
"""Steps that are drawn; the rest is left out."""

_MESSAGES = (Kind.REQUEST, Kind.REPLY, Kind.MESSAGE)


@dataclass(slots=True)
class Mark:
    """A finding at a step."""

    rule: Rule
    text: str
    count: int = 1


@dataclass(slots=True)
class Step:
    """One arrow: a message, or packets that are folded."""

    kind: Kind
    start: float
    """Seconds since 1970; of the first packet, where some are folded."""
    end: float
    source: Lifeline
    target: Lifeline | None
    """None: to all on the link."""
    count: int
    title: str
    details: list[str]
    verdict: Verdict
    is_denied: bool
    frames: dict[str, tuple[int, int]]
    """First and last frame, by the name of the capture."""
    marks: list[Mark]


@dataclass(frozen=True, slots=True)
class Sequence:
    """What a diagram shows."""

    captures: list[str]
    lifelines: list[Lifeline]
    """From mobile nodes on the left to home agents on the right."""
    steps: list[Step]
    left_out: int
    """Steps and packets beyond what is drawn."""


@dataclass(slots=True)
class _Packet:
    """One packet, on all links on which it was seen."""

    seen: Observation
    frames: dict[str, int] = field(default_factory=dict)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def add(self, seen: Observation, findings: Iterable[Finding]) -> None:
        self.frames.setdefault(seen.file, seen.frame)
        for finding in findings:
            self.findings.setdefault((finding.rule.id, finding.text), finding)


def follow(judged: Iterable[tuple[Observation, list[Finding]]]) -> Sequence:
    """Make a sequence of what `judge_files` gives.

    The clocks of several captures are taken for one.
    """
    sightings: list[tuple[Observation, list[Finding]]] = []
    taken: Counter[str] = Counter()
    left_out = 0
    for seen, findings in judged:
        taken[seen.file] += 1
        if taken[seen.file] <= MOST_PACKETS:
            sightings.append((seen, findings))
        else:
            left_out += 1
    sightings.sort(key=lambda one: one[0].time)
    packets = _join(sightings)
    participants = Participants(packet.seen for packet in packets)
    names = _short_names(taken)
    steps = [
        _step(group, participants, names) for group in _fold(packets, participants)
    ]
    left_out += max(0, len(steps) - MOST_STEPS)
    del steps[MOST_STEPS:]
    used = [one for step in steps for one in (step.source, step.target) if one]
    return Sequence(list(names.values()), participants.ordered(used), steps, left_out)


def _short_names(files: Iterable[str]) -> dict[str, str]:
    """Name files as short as they stay apart."""
    stems = {file: _stem(file) for file in files}
    counts = Counter(stems.values())
    return {file: stem if counts[stem] == 1 else file for file, stem in stems.items()}


def _stem(file: str) -> str:
    return "standard input" if file == STANDARD_INPUT else Path(file).stem


def _join(sightings: list[tuple[Observation, list[Finding]]]) -> list[_Packet]:
    """Make one of the sightings of a packet on several links.

    A packet that a link has seen twice was sent twice.
    """
    packets: list[_Packet] = []
    known: dict[tuple[object, ...], list[_Packet]] = {}
    times: Counter[tuple[object, ...]] = Counter()
    for seen, findings in sightings:
        carried = seen.data or seen.body
        what = (seen.ip.source, seen.ip.destination, seen.source_port, hash(carried))
        same = known.setdefault(what, [])
        number = times[seen.file, what]
        times[seen.file, what] += 1
        if number == len(same):
            same.append(_Packet(seen))
            packets.append(same[number])
        same[number].add(seen, findings)
    return packets


def _fold(
    packets: list[_Packet], participants: Participants
) -> Iterator[list[_Packet]]:
    """Put together what is between two messages and alike, in order of beginning."""
    open_groups: dict[tuple[object, ...], list[_Packet]] = {}
    for packet in packets:
        seen = packet.seen
        if seen.kind in _MESSAGES:
            yield from open_groups.values()
            open_groups.clear()
            yield [packet]
            continue
        source, target = participants.ends(seen)
        alike = (seen.kind, seen.ip.protocol, id(source), id(target))
        open_groups.setdefault(alike, []).append(packet)
    yield from open_groups.values()


def _step(
    group: list[_Packet], participants: Participants, names: dict[str, str]
) -> Step:
    first, last = group[0].seen, group[-1].seen
    source, target = participants.ends(first)
    details, verdict = describe([packet.seen for packet in group])
    return Step(
        kind=first.kind,
        start=first.time,
        end=last.time,
        source=source,
        target=target,
        count=len(group),
        title=name_step(first, len(group)),
        details=details,
        verdict=verdict,
        is_denied=first.kind is Kind.REPLY and first.packet.code not in ACCEPTING,
        frames=_frames(group, names),
        marks=_marks(group),
    )


def _frames(group: list[_Packet], names: dict[str, str]) -> dict[str, tuple[int, int]]:
    frames: dict[str, tuple[int, int]] = {}
    for packet in group:
        for file, frame in packet.frames.items():
            name = names[file]
            frames[name] = (frames.get(name, (frame, frame))[0], frame)
    return frames


def _marks(group: list[_Packet]) -> list[Mark]:
    """Give the findings of a group: each once, with how often it was made."""
    marks: dict[tuple[str, str], Mark] = {}
    for packet in group:
        for finding in packet.findings.values():
            # Of folded packets, texts with their own numbers would be a list.
            key = (finding.rule.id, finding.text if len(group) == 1 else "")
            if key in marks:
                marks[key].count += 1
            else:
                marks[key] = Mark(finding.rule, finding.text)
    return list(marks.values())
