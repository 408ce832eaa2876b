# SPDX-License-Identifier: GPL-2.0-only
"""A history for others: as Python to paste into a test file, and as a capture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from mip_agents.simulation.capture import write_capture
from mip_agents.simulation.network import Packet
from mip_agents.simulation.script import Player, Script
from mip_agents.simulation.shell import SimulationError

_LINE = 88
_INDENT = "    "


def as_test(script: Script) -> str:
    """Return a module with a test that plays a history again."""
    found: dict[str, set[str]] = {}
    for one in (Player, *_classes(script)):
        found.setdefault(one.__module__, set()).add(one.__name__)
    imports = "".join(
        f"from {module} import {_listed(sorted(names))}\n"
        for module, names in sorted(found.items())
    )
    return (
        f"{imports}\nSCRIPT = {_written(script, '')}\n\n\n"
        f"def test_history_of_seed_{script.seed}():\n    Player(SCRIPT).play()\n"
    )


def record(script: Script, path: Path) -> str | None:
    """Play a history, and write what was sent in it as a pcapng file.

    :return: why it fails, if it does; its last packets are those before that.
    :raises OSError: the file cannot be written.
    """
    packets: list[Packet] = []
    player = Player(script)
    player.world.internet.record = packets.append
    error = None
    try:
        player.play()
    except SimulationError as failure:
        error = str(failure)
    write_capture(path, packets)
    return error


def _listed(names: list[str]) -> str:
    line = ", ".join(names)
    if len(line) < _LINE // 2:
        return line
    return "(\n" + "".join(f"{_INDENT}{name},\n" for name in names) + ")"


def _classes(value: Any) -> Iterator[type]:
    if isinstance(value, tuple):
        for one in value:
            yield from _classes(one)
    elif is_dataclass(value):
        yield type(value)
        for _, one in _told(value):
            yield from _classes(one)


def _told(value: Any) -> list[tuple[str, Any]]:
    """Return the fields of a value that are not what they would be by themselves."""
    return [
        (field.name, getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) != _default(field)
    ]


def _default(field: Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is MISSING else made()


def _written(value: Any, indent: str) -> str:
    """Write a value as Python, on several lines where one does not hold it."""
    if isinstance(value, tuple):
        opening, closing = "(", ")"
        parts = [_written(one, indent + _INDENT) for one in value]
    elif is_dataclass(value):
        opening, closing = f"{type(value).__name__}(", ")"
        parts = [
            f"{name}={_written(one, indent + _INDENT)}" for name, one in _told(value)
        ]
    else:
        return repr(value)
    last = "," if len(parts) == 1 and isinstance(value, tuple) else ""
    line = opening + ", ".join(parts) + last + closing
    if len(indent) + len(line) < _LINE * 3 // 4 and "\n" not in line:
        return line
    inner = "".join(f"{indent}{_INDENT}{part},\n" for part in parts)
    return f"{opening}\n{inner}{indent}{closing}"
