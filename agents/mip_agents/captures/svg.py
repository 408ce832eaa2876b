# SPDX-License-Identifier: GPL-2.0-only
"""A picture as SVG text, as far as diagrams need it.

Looks are attributes of each element, not a style sheet: code hosts strip those. The
drawing has a background of its own, so that it reads the same on light and on dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

FONTS = "Helvetica, Arial, 'DejaVu Sans', sans-serif"

_NARROW, _WIDE = set("iljtf.,:;'|!()[]/ -"), set("mwMW@%—")
Point = tuple[float, float]


def text_width(text: str, size: float) -> float:
    """Estimate how wide a text will be, in pixels; with most fonts it is less."""
    ems = sum(
        0.38
        if character in _NARROW
        else 0.95
        if character in _WIDE
        else 0.7
        if character.isupper()
        else 0.62
        for character in text
    )
    return ems * size


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Break a text at spaces into lines that fit; a longer word stays whole."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


class Drawing:
    """Collects elements; coordinates are pixels from the upper left corner."""

    def __init__(self) -> None:
        self._elements: list[str] = []

    def line(
        self,
        start: Point,
        end: Point,
        colour: str,
        width: float = 1,
        dashes: str | None = None,
    ) -> None:
        """Draw a straight line."""
        self._add(
            "line",
            x1=start[0],
            y1=start[1],
            x2=end[0],
            y2=end[1],
            stroke=colour,
            stroke_width=width,
            stroke_dasharray=dashes,
        )

    def curve(self, path: str, colour: str, width: float = 1) -> None:
        """Draw along a path, in SVG's own words for it."""
        self._add("path", d=path, fill="none", stroke=colour, stroke_width=width)

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        """Fill a polygon."""
        self._add(
            "polygon", points=" ".join(f"{x:g},{y:g}" for x, y in points), fill=colour
        )

    def box(
        self,
        corner: Point,
        size: Point,
        fill: str,
        border: str | None = None,
        radius: float = 0,
    ) -> None:
        """Draw a rectangle by its upper left corner."""
        self._add(
            "rect",
            x=corner[0],
            y=corner[1],
            width=size[0],
            height=size[1],
            rx=radius or None,
            fill=fill,
            stroke=border,
        )

    def text(
        self,
        at: Point,
        text: str,
        size: float,
        colour: str,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Write one line; `at` is its base line's start, middle or end."""
        self._add(
            "text",
            text,
            x=at[0],
            y=at[1],
            font_size=size,
            fill=colour,
            text_anchor=anchor if anchor != "start" else None,
            font_weight="bold" if bold else None,
        )

    def add(self, other: Drawing) -> None:
        """Put another drawing on top of this one."""
        self._elements.extend(other._elements)

    def as_svg(self, width: float, height: float, title: str, fill: str) -> str:
        """Return the whole picture, on a background of one colour."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
            f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
            f'font-family="{FONTS}" role="img">'
        )
        ground = f'<rect width="{width:g}" height="{height:g}" rx="6" fill="{fill}"/>'
        named = f"<title>{_plain(title)}</title>"
        return "\n".join([head, named, ground, *self._elements, "</svg>"]) + "\n"

    def _add(
        self, element: str, content: str | None = None, **given: float | str | None
    ) -> None:
        attributes = "".join(
            f" {name.replace('_', '-')}={_attribute(value)}"
            for name, value in given.items()
            if value is not None
        )
        closed = "/>" if content is None else f">{_plain(content)}</{element}>"
        self._elements.append(f"<{element}{attributes}{closed}")


def _attribute(value: float | str) -> str:
    return quoteattr(value if isinstance(value, str) else f"{round(value, 1):g}")


def _plain(text: str) -> str:
    """Escape a text, and show what XML has no way to hold."""
    return escape("".join(_allowed(text)))


def _allowed(text: str) -> Iterator[str]:
    for character in text:
        is_good = character >= " " and not 0xD800 <= ord(character) <= 0xDFFF
        yield character if is_good and character not in "\ufffe\uffff" else "\ufffd"
