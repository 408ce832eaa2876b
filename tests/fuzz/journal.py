# SPDX-License-Identifier: GPL-2.0-only
"""Rows of a journal that something has spoilt, and a home agent that restores them."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from fuzz.choices import Choices
from fuzz.home_agent import named_nodes
from fuzz.session import Session
from mip_agents.protocol.effects import BindingRecord, IdentificationRecord
from mip_agents.protocol.events import Restored
from mip_agents.runtime import tables
from support.agents import HA, HOME, KEY, A, B, home_agent, interfaces
from support.scenario import instant

_ROWS_MAX = 4
_ADDRESSES = (HOME, HA, A, B, "10.1.1.11", "0.0.0.0", "255.255.255.255")
_TIMES = tuple(f"{instant(moment).ntp:016x}" for moment in (600, 1, 0, 1e6))
_NAMES = ("mn@example.org", "other@example.org", "@example.org", HOME)
_USUAL: dict[str, Sequence[Any]] = {
    "home_address": _ADDRESSES,
    "care_of_address": (A, B, *_ADDRESSES),
    "home_agent": (HA, *_ADDRESSES),
    "flags": (0x22, 0, 0xFF),
    "lifetime": (600, 65535, 1),
    "expires": _TIMES,
    "identification": (*_TIMES, "f" * 16, "0" * 16),
    "spi": (KEY.spi, 300, 0, 0xFFFFFFFF),
    "source": (A, *_ADDRESSES),
    "send_key": (None, 7),
    "receive_key": (None, 8),
    "newest": (1, 0),
    "ends": (None, 600.0, 0.0, 1e6),
    "node": (HOME, *_NAMES),
    "nonce": (7, 0),
    "nai": _NAMES,
    "granted": _TIMES,
}
_ODD = (
    None,
    -1,
    1 << 62,
    0.5,
    math.inf,
    -math.inf,
    "",
    "x",
    b"\xff",
    "10.1.1",
    "F" * 16,
    "\ud800",
    True,
)


def journal_rows(data: bytes) -> None:
    """Restore from up to four rows of each table; bad ones are refused by column."""
    choices = Choices(data)
    named = choices.pick((False, True))
    engine = home_agent(**({"named_nodes": named_nodes()} if named else {}))
    newest: list[IdentificationRecord | None] = []

    def binding(row: Sequence[Any]) -> BindingRecord:
        with contextlib.suppress(ValueError):
            newest.append(tables.newest(row))
        return tables.binding(row)

    bindings = _records(choices, "binding", binding)
    known = _records(choices, "identification", tables.identification)
    restored = Restored(
        tuple(bindings),
        (*known, *[one for one in newest if one is not None]),
        tuple(_records(choices, "nonce", tables.nonce)),
        tuple(_records(choices, "lease", tables.lease)),
    )
    session = Session(engine, (KEY,), "home_agent")
    session.feed(restored)
    session.feed(interfaces(eth9="10.1.1.20/24"))
    for _wait in range(4):
        session.settle_all()
        for entry in json.loads(json.dumps(engine.bindings(session.now))):
            remaining = entry["remaining"]
            assert remaining is None or 0 <= remaining <= entry["lifetime"]
        session.wait(choices)


def _records(
    choices: Choices, table: str, make: Callable[[Sequence[Any]], Any]
) -> list[Any]:
    """Return what the rows of a table say that can be."""
    columns = tables.TABLES[table]
    records = []
    for _row in range(choices.number() % (_ROWS_MAX + 1)):
        row = [choices.pick(_USUAL[column]) for column in columns]
        if choices.pick((False, True)):
            row[choices.number() % len(row)] = choices.pick(_ODD)
        try:
            records.append(make(row))
        except ValueError as error:
            assert str(error).split()[0] in columns
    return records
