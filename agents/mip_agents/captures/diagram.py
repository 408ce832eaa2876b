# SPDX-License-Identifier: GPL-2.0-only
"""A sequence as a picture: a line for each node, an arrow for each step.

Time goes down: on the left are the seconds since the first packet, on the right the
frames to look up. Arrows keep their order, not their distance; a pause is said in
words.
"""

from __future__ import annotations

from collections.abc import Sequence as Row
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from mip_agents.captures.check import judge_files
from mip_agents.captures.findings import Severity
from mip_agents.captures.observation import Kind
from mip_agents.captures.participants import Lifeline
from mip_agents.captures.sequence import Mark, Sequence, Step, follow
from mip_agents.captures.svg import Drawing, Point, text_width, wrapped
from mip_agents.captures.wording import Verdict
from scapy_mip.keyring import KeyRing

_PAPER, _INK, _PALE, _RULE = "#ffffff", "#1f2328", "#656d76", "#c9d1d9"
_BLUE, _GREEN, _RED, _AMBER = "#0b5cad", "#1a7f37", "#b42318", "#8a5a00"
_TUNNEL = "#7a4fc0"
_COLOURS = {
    Kind.REQUEST: _BLUE,
    Kind.REPLY: _GREEN,
    Kind.MESSAGE: _AMBER,
    Kind.ADVERTISEMENT: _PALE,
    Kind.SOLICITATION: _PALE,
    Kind.TUNNEL: _TUNNEL,
}
_VERDICTS = {Verdict.NONE: _PALE, Verdict.GOOD: _GREEN, Verdict.BAD: _RED}
_SEVERITIES = {Severity.ERROR: _RED, Severity.WARNING: _AMBER}

_TITLE, _TEXT, _SMALL = 13, 12, 11
_LINE = 15
_EDGE = 16
_CLOCK_WIDTH = 74
_LEAST_SPAN = 190
_LEAST_FINDING = 500
_LOOP = 34
_PAUSE_S = 1.0
_TALL = 900


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where things are from left to right."""

    columns: dict[Lifeline, float]
    frames: float
    width: float
    has_one_capture: bool


def diagram(paths: Row[str | Path], keys: KeyRing | None = None) -> str:
    """Return a picture of captures as SVG text, with what `mip check` finds in them.

    :param paths: one capture, or several of one run, whose clocks are taken for one
    :param keys: to judge authenticators with
    :raises mip_agents.captures.reader.CaptureError: a file is no capture.
    """
    return draw(follow(judge_files(paths, keys)))


def draw(sequence: Sequence) -> str:
    """Return a sequence as SVG text."""
    drawing = Drawing()
    title = _title(sequence)
    if not sequence.steps:
        text = "no Mobile IP packet"
        drawing.text((_EDGE, 28), text, _TEXT, _PALE)
        return drawing.as_svg(text_width(text, _TEXT) + 2 * _EDGE, 44, title, _PAPER)
    grid = _lay_out(sequence)
    begun = datetime.fromtimestamp(sequence.steps[0].start, UTC)
    drawing.text((_EDGE, 24), title, _TITLE, _INK, bold=True)
    when = f"seconds since {begun:%Y-%m-%d %H:%M:%S.%f} UTC"
    drawing.text((_EDGE, 42), when, _SMALL, _PALE)
    top = 58.0
    bottom = top + _head_height(sequence)
    steps = Drawing()
    end = bottom + 12
    before = sequence.steps[0].start
    for step in sequence.steps:
        pause = step.start - before
        if pause >= _PAUSE_S:
            end = _pause(steps, grid, end, pause)
        clock = f"{step.start - sequence.steps[0].start:.3f}"
        end = _arrow(steps, grid, step, clock, end)
        before = max(before, step.end)
    for lifeline, x in grid.columns.items():
        drawing.line((x, bottom), (x, end), _RULE, 1.2, "5 4")
        _head(drawing, lifeline, x, top)
    if end > _TALL:
        for lifeline, x in grid.columns.items():
            _head(drawing, lifeline, x, end)
        end += _head_height(sequence)
    if sequence.left_out:
        end += 20
        text = f"and {sequence.left_out} more that are not drawn"
        steps.text((_EDGE, end), text, _TEXT, _INK)
    drawing.add(steps)
    return drawing.as_svg(grid.width, end + _EDGE, title, _PAPER)


def _title(sequence: Sequence) -> str:
    if not sequence.captures:  # there was no packet to name one
        return "Mobile IP"
    return f"Mobile IP in {', '.join(sequence.captures)}"


def _lay_out(sequence: Sequence) -> _Grid:
    """Give each lifeline a place: as near to the next as the texts between allow."""
    lifelines = sequence.lifelines
    place = {lifeline: number for number, lifeline in enumerate(lifelines)}
    spans = [
        max(_LEAST_SPAN, (_head_width(left) + _head_width(right)) / 2 + 24)
        for left, right in pairwise(lifelines)
    ]
    spans.append(0)  # to the right of the last one
    for step in sorted(sequence.steps, key=lambda one: _reach(one, place)[1]):
        start, count = _reach(step, place)
        missing = _step_width(step) + 36 - sum(spans[start : start + count])
        if missing > 0:
            for number in range(start, start + count):
                spans[number] += missing / count
    x = x_first = _EDGE + _CLOCK_WIDTH + max(24, _head_width(lifelines[0]) / 2)
    columns = {}
    for lifeline, span in zip(lifelines, spans, strict=True):
        columns[lifeline] = x
        x += span
    right = columns[lifelines[-1]] + max(_head_width(lifelines[-1]) / 2, spans[-1])
    alone = len(sequence.captures) == 1
    widest = max(
        text_width(line, _SMALL)
        for step in sequence.steps
        for line in _frames(step, alone)
    )
    heading = text_width(_title(sequence), _TITLE)
    frames = right + 20
    if any(step.marks for step in sequence.steps):
        frames = max(frames, x_first + _LEAST_FINDING)
    width = max(frames + widest + _EDGE, heading + 2 * _EDGE)
    return _Grid(columns, frames, width, alone)


def _reach(step: Step, place: dict[Lifeline, int]) -> tuple[int, int]:
    """Return the first span that a step goes over, and how many."""
    here = place[step.source]
    if step.target is None:
        return (here - 1 if _goes_left(step, here) else here), 1
    there = place[step.target]
    return min(here, there), max(1, abs(here - there))


def _goes_left(step: Step, here: int) -> bool:
    """Whether what goes to all is drawn to the left: from agents to mobile nodes."""
    return step.source.role != "MN" and here > 0


def _step_width(step: Step) -> float:
    return max(
        text_width(step.title, _TEXT) * 1.06,  # bold
        *(text_width(line, _SMALL) for line in step.details),
        0,
    ) + (_LOOP if step.source is step.target else 0)


def _head_width(lifeline: Lifeline) -> float:
    return max(text_width(label, _TEXT) for label in _labels(lifeline)) * 1.06 + 20


def _head_height(sequence: Sequence) -> float:
    return max(len(_labels(one)) for one in sequence.lifelines) * _LINE + 12


def _labels(lifeline: Lifeline) -> list[str]:
    """Return what stands above a lifeline, in at most four lines."""
    labels = lifeline.labels
    return labels if len(labels) <= 4 else [*labels[:3], f"and {len(labels) - 3} more"]


def _head(drawing: Drawing, lifeline: Lifeline, x: float, top: float) -> None:
    labels = _labels(lifeline)
    width = _head_width(lifeline)
    drawing.box(
        (x - width / 2, top), (width, len(labels) * _LINE + 8), "#f0f4f8", _RULE, 4
    )
    for number, label in enumerate(labels):
        at = (x, top + 16 + number * _LINE)
        drawing.text(at, label, _TEXT, _INK, "middle", bold=number == 0)


def _pause(drawing: Drawing, grid: _Grid, y: float, pause: float) -> float:
    """Say that nothing happens for a while; return where it goes on."""
    first = min(grid.columns.values())
    last = max(grid.columns.values())
    drawing.line((first, y + 12), (last, y + 12), _RULE, 1, "1 5")
    drawing.text((_EDGE, y + 16), f"{pause:.1f} s later", _SMALL, _PALE)
    return y + 28


def _arrow(drawing: Drawing, grid: _Grid, step: Step, clock: str, top: float) -> float:
    """Draw a step from `top` on; return where it ends."""
    colour = _RED if step.is_denied else _COLOURS[step.kind]
    start = grid.columns[step.source]
    end = _target(grid, step)
    left, right = min(start, end), max(start, end)
    y = top + 14
    where: Point = ((left + right) / 2, y)
    anchor = "middle"
    if step.source is step.target:
        where, anchor = (start + _LOOP + 8, y), "start"
    _write(drawing, where, anchor, step.title, _TEXT, _INK, bold=True)
    for line in step.details:
        y += _LINE - 1
        judged = step.verdict is not Verdict.NONE and line is step.details[-1]
        ink = _VERDICTS[step.verdict] if judged else _PALE
        _write(drawing, (where[0], y), anchor, line, _SMALL, ink)
    y += 8
    if step.source is step.target:
        _loop(drawing, start, y, colour)
    else:
        _shaft(drawing, step, (start, y), (end, y), colour)
    clocks = [clock]
    if step.count > 1 and step.end - step.start >= 0.001:
        clocks.append(f"for {step.end - step.start:.3f}")
    _beside(drawing, _EDGE + _CLOCK_WIDTH - 14, y, clocks, "end")
    frames = _frames(step, grid.has_one_capture)
    _beside(drawing, grid.frames, y, frames, "start")
    y += max(4, (max(len(clocks), len(frames)) - 1) * 7)
    return _marks(drawing, grid, step.marks, left + 10, y) + 10


def _target(grid: _Grid, step: Step) -> float:
    """Return where an arrow ends; one to all ends short of the next lifeline."""
    start = grid.columns[step.source]
    if step.target is not None:
        return grid.columns[step.target]
    places = list(grid.columns.values())
    here = places.index(start)
    if _goes_left(step, here):
        return places[here - 1] + 12
    if here + 1 < len(places):
        return places[here + 1] - 12
    return grid.frames - 20


def _shaft(drawing: Drawing, step: Step, start: Point, end: Point, colour: str) -> None:
    ahead = 1 if end[0] > start[0] else -1
    (x, y), size = end, 9
    if step.kind is Kind.TUNNEL:
        drawing.line(start, (x - ahead * size, y), "#d9ccf2", 7)
    dashes = "6 4" if step.target is None else None
    drawing.line(start, (x - ahead * size, y), colour, 1.8, dashes)
    back = x - ahead * size
    drawing.polygon([(x, y), (back, y - 4.5), (back, y + 4.5)], colour)


def _loop(drawing: Drawing, x: float, y: float, colour: str) -> None:
    drawing.curve(f"M{x:g},{y - 12:g} h{_LOOP} v12 h-{_LOOP - 9}", colour, 1.8)
    drawing.polygon([(x, y), (x + 9, y - 4.5), (x + 9, y + 4.5)], colour)


def _marks(
    drawing: Drawing, grid: _Grid, marks: list[Mark], x: float, y: float
) -> float:
    """Write findings under their arrow; return where they end."""
    first, last = min(grid.columns.values()) + 10, grid.frames - 20
    labels = [
        mark.rule.id + (f" \u00d7{mark.count}" if mark.count > 1 else "")
        for mark in marks
    ]
    texts = [f"{mark.text} ({mark.rule.source})" for mark in marks]
    badge = max((text_width(label, _SMALL) + 10 for label in labels), default=0)
    widest = max((text_width(text, _SMALL) for text in texts), default=0)
    # Further to the left than the arrow where the texts have no room.
    x = max(first, min(x, last - badge - 7 - widest))
    for mark, label, text in zip(marks, labels, texts, strict=True):
        colour = _SEVERITIES[mark.rule.severity]
        lines = wrapped(text, _SMALL, last - x - badge - 6)
        drawing.box((x, y + 2), (badge, 16), colour, radius=3)
        middle = (x + badge / 2, y + 14)
        drawing.text(middle, label, _SMALL, _PAPER, "middle", bold=True)
        for number, line in enumerate(lines):
            at = (x + badge + 6, y + 14 + number * (_LINE - 1))
            _write(drawing, at, "start", line, _SMALL, colour)
        y += 18 + (len(lines) - 1) * (_LINE - 1)
    return y


def _frames(step: Step, alone: bool) -> list[str]:
    """Say where a step is in the captures, or in the only one."""
    said = []
    for name, (first, last) in step.frames.items():
        number = f"{first}" if first == last else f"{first} to {last}"
        said.append(f"frame {number}" if alone else f"{name} {number}")
    return said


def _beside(
    drawing: Drawing, x: float, y: float, lines: list[str], anchor: str
) -> None:
    """Write lines whose middle is at the height of an arrow."""
    top = y + 4 - (len(lines) - 1) * 7
    for number, line in enumerate(lines):
        drawing.text((x, top + number * 14), line, _SMALL, _PALE, anchor)


def _write(
    drawing: Drawing,
    at: Point,
    anchor: str,
    text: str,
    size: float,
    colour: str,
    bold: bool = False,
) -> None:
    """Write a line over the lifelines that it crosses."""
    width = text_width(text, size) * (1.06 if bold else 1)
    left = at[0] - (width / 2 if anchor == "middle" else 0)
    drawing.box((left - 2, at[1] - size + 1), (width + 4, size + 3), _PAPER)
    drawing.text(at, text, size, colour, anchor, bold)
