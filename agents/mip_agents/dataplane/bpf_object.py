# SPDX-License-Identifier: GPL-2.0-only
"""Maps and programs in an object that clang made for BPF, without libbpf.

An object is an ELF file. Each of its executable sections is one program; the section
`maps` has five 32-bit numbers for each map, under its symbol; the relocations say
which instructions name which map.
"""

from __future__ import annotations

import sys
from pathlib import Path
from struct import Struct, error
from typing import Final, NamedTuple

_IDENT: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_MACHINE_BPF: Final = 247
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")
_RELOCATION = Struct("<QQ")
_MAP = Struct("<5I")

_TYPE_SYMBOLS, _TYPE_RELOCATIONS = 2, 9
_FLAG_EXECUTABLE = 0x4
_RELOCATION_MAP = 1  # R_BPF_64_64


class MapDefinition(NamedTuple):
    """What a map is to be; sizes in octets."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class Program(NamedTuple):
    """Instructions, in which the descriptors of maps are to be filled in."""

    instructions: bytes
    maps: tuple[tuple[int, str], ...]
    """Offset of an instruction, and the map that it loads."""


class BpfObject(NamedTuple):
    """What is in a file."""

    maps: dict[str, MapDefinition]
    programs: dict[str, Program]
    """By the names of their sections."""
    license: bytes


class _Section(NamedTuple):
    name: str
    kind: int
    flags: int
    data: bytes
    info: int
    """Of relocations: the number of the section that they are for."""


def read_object(path: Path) -> BpfObject:
    """Read a file.

    :raises OSError: from the disk
    :raises ValueError: it is not such an object, or not for this machine
    """
    data = path.read_bytes()
    if sys.byteorder != "little":
        raise ValueError(f"{path}: for little-endian machines only")
    try:
        return _read(data)
    except (error, IndexError, KeyError, UnicodeDecodeError) as broken:
        raise ValueError(f"{path}: not a BPF object: {broken}") from broken


def _read(data: bytes) -> BpfObject:
    ident, _, machine, *_, entry_size, count, names = _HEADER.unpack_from(data)
    if not ident.startswith(_IDENT) or machine != _MACHINE_BPF:
        raise KeyError("wrong header")
    start = Struct("<Q").unpack_from(data, 40)[0]
    headers = [
        _SECTION.unpack_from(data, start + number * entry_size)
        for number in range(count)
    ]
    strings = _content(data, headers[names])
    sections = [
        _Section(
            _text(strings, head[0]), head[1], head[2], _content(data, head), head[7]
        )
        for head in headers
    ]
    by_name = {section.name: number for number, section in enumerate(sections)}
    symbols = _symbols(data, headers, sections)
    maps = by_name["maps"]
    definitions = {
        name: MapDefinition(*_MAP.unpack_from(sections[maps].data, value))
        for name, number, value in symbols
        if number == maps and name
    }
    relocations: dict[int, list[tuple[int, str]]] = {}
    for section in sections:
        if section.kind == _TYPE_RELOCATIONS:
            relocations[section.info] = [
                _relocation(entry, symbols)
                for entry in _RELOCATION.iter_unpack(section.data)
            ]
    programs = {
        section.name: Program(section.data, tuple(relocations.get(number, ())))
        for number, section in enumerate(sections)
        if section.flags & _FLAG_EXECUTABLE and section.data
    }
    return BpfObject(definitions, programs, sections[by_name["license"]].data)


def _content(data: bytes, head: tuple[int, ...]) -> bytes:
    offset, size = head[4], head[5]
    return data[offset : offset + size]


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(0, at)].decode("ascii")


def _symbols(
    data: bytes, headers: list[tuple[int, ...]], sections: list[_Section]
) -> list[tuple[str, int, int]]:
    """Return name, section and value of each symbol."""
    for head, section in zip(headers, sections, strict=True):
        if section.kind == _TYPE_SYMBOLS:
            strings = _content(data, headers[head[6]])
            return [
                (_text(strings, name), number, value)
                for name, _, _, number, value, _ in _SYMBOL.iter_unpack(section.data)
            ]
    raise KeyError("no symbols")


def _relocation(
    entry: tuple[int, int], symbols: list[tuple[str, int, int]]
) -> tuple[int, str]:
    offset, info = entry
    if info & 0xFFFFFFFF != _RELOCATION_MAP:
        raise KeyError(f"relocation of type {info & 0xFFFFFFFF}")
    return offset, symbols[info >> 32][0]
