# SPDX-License-Identifier: GPL-2.0-only
"""Values of a message without its packet, from the same `fields_desc`.

Who answers thousands of messages a second wants to know what stands in them, and makes
a packet only of what is rare. A reader or writer is compiled once for the fields that
someone names; `tests/wire/test_values.py` holds both against the packets. Of several
equal ones make one and keep it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from scapy.packet import Packet

from scapy_mip import _fastpath
from scapy_mip._fastpath import FastMeta

DOTTED: list[str] = _fastpath.SPELLING["dotted"]
"""Octets as text with a dot behind; see `OCTETS`."""
OCTETS: list[str] = _fastpath.SPELLING["octets"]
"""Octets as text: an address of three dotted ones and this costs a third of what
`inet_ntoa` takes."""

Reader = Callable[..., tuple[Any, ...]]
"""Called with bytes and, for an extension, with where it starts."""
Writer = Callable[..., bytes]
"""Called with the values."""
Place = tuple[type[Packet], int, int]
"""The class of an extension, where it starts and where it ends."""


def field_reader(cls: FastMeta, *names: str) -> Reader:
    """Return what reads fields of a layer from bytes, in the order of their names.

    Numbers and flags are given as integers, addresses as text, and for the extensions
    of a message a list of `Place`.

    >>> from scapy_mip.all import MIPRRQ
    >>> read = field_reader(MIPRRQ, "lifetime", "home_address")
    >>> read(bytes(MIPRRQ(lifetime=600, home_address="10.1.1.10")))
    (600, '10.1.1.10')

    The reader raises `struct.error` where the fixed fields find too few bytes. It looks
    at no type: the first byte of a message, or the class of an extension, tells that.

    :raises ValueError: a name is neither a fixed field nor that of the extensions.
    """
    fields: list[Any] = cls.fields_desc
    fixed, tail = _fastpath.split_tail(fields)
    walk = getattr(tail, "walk", None)
    _check(cls, names, fixed if walk is None else fields)
    units = None if cls.compiled() is None else _fastpath.units_of(fixed)
    if units is None:
        return plain_reader(cls, *names)
    layout = ""
    readings = []
    for number, unit in enumerate(units):
        if any(field.name in names for _number, field in unit.fields):
            readings.append(_fastpath.read_unit(unit, f"u{number}"))
            layout += unit.read_code
        else:
            layout += f"{struct.calcsize('!' + unit.code)}x"
    fixed_part = struct.Struct("!" + layout)
    targets = "".join(f"{reading.target}, " for reading in readings)
    lines = [
        "def read(data, start=0):",
        f"    {targets or '()'} = unpack(data, start)",
        *(line for reading in readings for line in reading.lines),
    ]
    values = {
        name: value for reading in readings for name, value in reading.values.items()
    }
    scope = {"unpack": fixed_part.unpack_from, **_fastpath.SPELLING}
    if walk is not None and tail.name in names:
        lines += _WALK.format(size=fixed_part.size).splitlines()
        scope |= {"least": walk.least, "classes": walk.classes, "place": walk.place}
        values[tail.name] = "places"
    lines.append(f"    return {', '.join(values[name] for name in names)},")
    made: Reader = _made("read", lines, scope)
    return made


_WALK = """\
    places = []
    at = start + {size}
    stop = len(data)
    last = stop - 1
    while at < last:
        kind = data[at]
        end = at + 2 + data[at + 1]
        if at + least[kind] <= end <= stop:
            places.append((classes[kind], at, end))
        else:
            cls, end = place(data, at, stop)
            places.append((cls, at, end))
        at = end
    if at == last:
        places.append((place(data, at, stop)[0], at, stop))
"""
"""Where the extensions are; in front of the last byte, each has a length or is odd."""


def plain_reader(cls: Any, *names: str) -> Reader:
    """Return what reads the same from the packet that the bytes give."""

    def read(data: bytes, start: int = 0) -> tuple[Any, ...]:
        packet: Any = cls(data[start:])
        if not isinstance(packet, cls):
            raise struct.error(f"too short for {cls.__name__}")
        return tuple([_plain(packet, name, start) for name in names])

    return read


def _plain(packet: Any, name: str, start: int) -> Any:
    value = packet.getfieldval(name)
    if not isinstance(value, list):
        return value if isinstance(value, str) else int(value)
    places = []
    at = start + packet.fixed_size
    for extension in value:
        end = at + len(extension.original)
        places.append((type(extension), at, end))
        at = end
    return places


def field_writer(cls: FastMeta, *names: str) -> Writer:
    """Return what writes the fixed fields of a layer: these, and the others' defaults.

    >>> from scapy_mip.all import MIPRRP
    >>> write = field_writer(MIPRRP, "lifetime", "home_address")
    >>> write(600, "10.1.1.10").hex()
    '030002580a01010a000000000000000000000000'

    The writer raises `struct.error`, `TypeError` or `OSError` on values that are no
    numbers of the right size and, for addresses, no text.

    :raises ValueError: a name is no fixed field.
    """
    fields: list[Any] = cls.fields_desc
    fixed, _tail = _fastpath.split_tail(fields)
    _check(cls, names, fixed)
    units = None if cls.compiled() is None else _fastpath.units_of(fixed)
    if units is None:
        return plain_writer(cls, *names)

    def given(field: Any) -> str:
        return field.name if field.name in names else repr(_fastpath.default_of(field))

    packed = _fastpath.packed_units(units, given)
    lines = [
        f"def write({', '.join(names)}):",
        f"    return pack({', '.join(packed)})",
    ]
    layout = struct.Struct("!" + "".join(unit.code for unit in units))
    scope = {"pack": layout.pack, **_fastpath.SPELLING}
    made: Writer = _made("write", lines, scope)
    return made


def plain_writer(cls: Any, *names: str) -> Writer:
    """Return what writes the same by building a packet."""

    def write(*values: Any) -> bytes:
        return bytes(cls(**dict(zip(names, values, strict=True))))

    return write


def _check(cls: FastMeta, names: tuple[str, ...], fields: list[Any]) -> None:
    known = {field.name for field in fields}
    for name in names:
        if name not in known:
            raise ValueError(f"{cls.__name__} has no fixed field {name}")


def _made(name: str, lines: list[str], scope: dict[str, Any]) -> Any:
    exec(compile("\n".join(lines) + "\n", f"<compiled {name}>", "exec"), scope)
    return scope[name]
