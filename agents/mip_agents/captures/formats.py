# SPDX-License-Identifier: GPL-2.0-only
"""The file formats pcap and pcapng, read front to back from any stream.

Scapy's own reader takes a pcapng file that breaks off for one that is complete, and
costs twice as much.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Protocol

Record = tuple[int, float, bytes]
"""Link type, seconds since 1970, and what was captured of a frame."""

_LARGEST = 1 << 24
"""Bytes of a frame or block; a length above it is damage."""
_LATEST = 1 << 33
"""Seconds since 1970, in the year 2242; a time beyond it is damage, and would be too
much for calendars and timers."""
_LINK_TYPE_BITS = 0xFFFF
"""The bits above say what is at the end of frames."""
_PCAP_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_SECTION_MAGIC = _SECTION.to_bytes(4, "big")
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14


class Stream(Protocol):
    """What can be read from: `read` returns less than asked for at the end alone."""

    def read(self, size: int, /) -> bytes:
        """Return that many bytes."""


class FormatError(Exception):
    """The bytes are no capture, or stop in the middle; the text says it."""


def read_records(stream: Stream) -> Iterator[Record]:
    """Give the frames of a capture as they come in.

    :raises FormatError: where it breaks off, after all before.
    """
    magic = stream.read(4)
    if magic in _PCAP_MAGIC:
        return _read_pcap(stream, *_PCAP_MAGIC[magic])
    if magic == _SECTION_MAGIC:
        return _PcapNg(stream).records()
    raise FormatError("no pcap or pcapng file" if magic else "no data")


def _read_pcap(stream: Stream, order: str, unit: float) -> Iterator[Record]:
    read = stream.read
    header = read(20)
    if len(header) < 20:
        raise FormatError("the file ends in its header")
    link_type = struct.unpack(f"{order}16xI", header)[0] & _LINK_TYPE_BITS
    unpack = struct.Struct(f"{order}IIIxxxx").unpack
    while len(header := read(16)) == 16:
        seconds, fraction, size = unpack(header)
        if size > _LARGEST:
            raise FormatError(f"a length of {size} bytes: the file is damaged")
        data = read(size)
        if len(data) < size:
            raise FormatError("the file ends in it")
        yield link_type, seconds + fraction * unit, data
    if header:
        raise FormatError("the file ends in it")


class _PcapNg:
    """A pcapng stream whose first four bytes have been read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def records(self) -> Iterator[Record]:
        """Give the frames of all sections."""
        self._section()
        readers: dict[int, Callable[[bytes], Record]] = {
            _PACKET: self._packet,
            _OLD_PACKET: self._old_packet,
            _SIMPLE_PACKET: self._simple_packet,
        }
        while start := self._stream.read(4):
            if start == _SECTION_MAGIC:
                self._section()
                continue
            body = self._block(start)
            (kind,) = self._unpack("I", start)
            try:
                if kind == _INTERFACE:
                    self._interfaces.append(_Interface(self._order, body))
                elif kind in readers:
                    yield readers[kind](body)
            except struct.error:
                raise FormatError("a block is too short: the file is damaged") from None

    def _unpack(self, layout: str, data: bytes) -> tuple[int, ...]:
        return struct.unpack_from(self._order + layout, data)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise FormatError("the file ends in it")
        return data

    def _section(self) -> None:
        """Read a section header: byte order and interfaces begin anew."""
        size = self._take(4)
        order = _BYTE_ORDERS.get(self._take(4))
        if order is None:
            raise FormatError("a section without its magic: the file is damaged")
        self._order = order
        self._interfaces = []
        self._rest(self._unpack("I", size)[0], 12)

    def _block(self, start: bytes) -> bytes:
        if len(start) < 4:
            raise FormatError("the file ends in it")
        return self._rest(self._unpack("I", self._take(4))[0], 8)

    def _rest(self, size: int, read: int) -> bytes:
        """Return the body of a block of which some bytes have been read."""
        if size > _LARGEST or size < read + 4 or size % 4:
            raise FormatError(f"a block of {size} bytes: the file is damaged")
        return self._take(size - read)[:-4]

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise FormatError(f"of interface {number}, which the file does not have")
        return self._interfaces[number]

    def _packet(self, body: bytes) -> Record:
        number, high, low, size = self._unpack("IIII", body)
        return self._record(number, high, low, body[20 : 20 + size], size)

    def _old_packet(self, body: bytes) -> Record:
        number, high, low, size = self._unpack("HxxIII", body)
        return self._record(number, high, low, body[20 : 20 + size], size)

    def _record(
        self, number: int, high: int, low: int, data: bytes, size: int
    ) -> Record:
        if len(data) < size:
            raise FormatError("longer than its block: the file is damaged")
        interface = self._interface(number)
        moment = (high << 32 | low) / interface.ticks + interface.offset
        if not 0 <= moment < _LATEST:
            raise FormatError(f"at second {moment:g}: the file is damaged")
        return interface.link_type, moment, data

    def _simple_packet(self, body: bytes) -> Record:
        """Read a block that has no time, of the first interface."""
        interface = self._interface(0)
        (size,) = self._unpack("I", body)
        size = min(size, interface.snap_length or size)
        if len(body) - 4 < size:
            raise FormatError("longer than its block: the file is damaged")
        return interface.link_type, 0.0, body[4 : 4 + size]


class _Interface:
    """An interface description block."""

    def __init__(self, order: str, body: bytes) -> None:
        self.link_type: int
        self.snap_length: int
        self.link_type, self.snap_length = struct.unpack_from(f"{order}HxxI", body)
        self.ticks = 1_000_000
        """Of the clock in a second."""
        self.offset = 0
        """Seconds to add."""
        at = 8
        while at + 4 <= len(body):
            option, size = struct.unpack_from(f"{order}HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if option == _OPTION_RESOLUTION and value:
                base = 2 if value[0] & 0x80 else 10
                self.ticks = int(base ** (value[0] & 0x7F))
            elif option == _OPTION_OFFSET and len(value) == 8:
                (self.offset,) = struct.unpack(f"{order}q", value)
            at += 4 + size + -size % 4
