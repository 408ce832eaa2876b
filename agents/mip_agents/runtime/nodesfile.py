# SPDX-License-Identifier: GPL-2.0-only
"""Files of served nodes as lines of comma-separated values, for many nodes.

The first line names the columns, which are the keys of `[[mobile_node]]` in any order;
a value that is left empty is as if its key was left out, and lists have spaces between
their parts. Empty lines and lines that begin with `#` say nothing.

    home_address,spi,algorithm,key_hex,replay
    10.1.1.10,256,hmac-md5,31323334353637383132333435363738,timestamp
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from mip_agents.runtime.explain import nearest

Row = dict[str, Any]

_LISTS = {"address_pool", "quirks"}
"""Columns with lists in them."""


class NodesFileError(ValueError):
    """The lines are no table; the text says what is wrong, `line` where."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


def read_rows(text: str, known: list[str]) -> tuple[list[Row], list[int]]:
    """Return each row as the table that it stands for, and the line of each.

    :param known: the columns that there can be.
    :raises NodesFileError: it has no such columns, or a row has more.
    """
    lines = _lines(text)
    number, header = next(lines, (1, ""))
    names = [name.strip() for name in header.split(",")]
    _check_header(number, names, known)
    rows: list[Row] = []
    numbers: list[int] = []
    for number, line in lines:
        values = line.split(",") if '"' not in line else _quoted(number, line)
        if len(values) > len(names):
            text = f"has more values than columns; allowed: {len(names)}"
            raise NodesFileError(number, text)
        row: Row = {
            name: value.strip()
            for name, value in zip(names, values, strict=False)
            if value.strip()
        }
        spi = row.get("spi", "")
        if spi.isascii() and spi.isdigit() and len(spi) < 20:
            row["spi"] = int(spi)
        for name in _LISTS & row.keys():
            row[name] = row[name].split()
        rows.append(row)
        numbers.append(number)
    return rows, numbers


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _quoted(number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        text = "quotes do not match; allowed: a value in quotes, with inner ones twice"
        raise NodesFileError(number, text) from None


def _check_header(number: int, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            near = nearest(name, known)
            # A file without header has a key here, which must not be repeated.
            hint = f"did you mean {near}?" if near else f"allowed: {', '.join(known)}"
            text = f"the first line names a column that there is not; {hint}"
            raise NodesFileError(number, text)
    if len(set(names)) != len(names):
        raise NodesFileError(number, "names a column twice; allowed: each once")
