# SPDX-License-Identifier: GPL-2.0-only
"""From a capture to IPv4 packets, with frame numbers as Wireshark counts them.

Nothing is dissected here: a frame is looked into only as far as its IPv4 header. One
frame is held at a time, and given as soon as it has come in, so that captures of any
size do, and pipes.
"""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from mip_agents.captures.formats import FormatError, Stream, read_records
from mip_agents.protocol.errors import InputError

STANDARD_INPUT = "-"
"""The name that stands for it."""

_GZIP_MAGIC = b"\x1f\x8b"
_ETHERTYPE_IPV4 = b"\x08\x00"
_ETHERTYPES_VLAN = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_ETHERNET = 1
_PLAIN_IPV4 = _ETHERTYPE_IPV4 + b"\x45"
_VLAN_TAG_BYTES = 4
_ETHERTYPE_AT = {1: 12, 113: 14, 276: 0}
"""Ethernet, Linux cooked capture, and its second version."""
_HEADER_BYTES = {1: 14, 113: 16, 276: 20}
_RAW = frozenset((12, 14, 101, 228))
_LOOPBACK = frozenset((0, 108))
"""BSD: the address family in front, in the byte order of the host, or the network's."""
_FAMILY_INET = (b"\x02\x00\x00\x00", b"\x00\x00\x00\x02")


class CaptureError(InputError):
    """A file cannot be read as a capture; the text names it and says why."""


class Frame(NamedTuple):
    """One captured frame that holds an IPv4 packet."""

    number: int
    """From 1, counting every frame of the file."""
    time: float
    """Seconds since 1970."""
    packet: bytes
    """From the first byte of the IPv4 header to the end of what was captured."""


class Capture:
    """The IPv4 packets of a capture (pcap or pcapng, also compressed), in order.

    Frames with anything else are counted and passed over, and so are link types that
    carry no IPv4.

    :param path: `-` is standard input, which is read as it comes.
    :raises CaptureError: the file is missing, not readable or no capture, or, while
        iterating, after all the frames before, it ends in the middle of one.
    """

    began: float | None = None
    """When the first frame was captured; None before it is read."""

    def __init__(self, path: str | Path) -> None:
        self.is_stream = str(path) == STANDARD_INPUT
        """Whether more may still be on its way."""
        self._name = "standard input" if self.is_stream else str(path)
        try:
            self._file: BinaryIO = (
                sys.stdin.buffer if self.is_stream else Path(path).open("rb")  # noqa: SIM115  # closed by close()
            )
            self.size = os.fstat(self._file.fileno()).st_size
            """Bytes of the file; of no meaning for a stream."""
            self._records = read_records(self._unpacked())
        except (OSError, FormatError, EOFError, zlib.error) as error:
            self.close()
            raise CaptureError(f"{self._name}: {_reason(error)}") from None

    def _unpacked(self) -> Stream:
        start: bytes = self._file.peek(2)[:2]  # type: ignore[attr-defined]
        return gzip.GzipFile(fileobj=self._file) if start == _GZIP_MAGIC else self._file

    def close(self) -> None:
        """Close the file; leave standard input as it is."""
        if not self.is_stream and hasattr(self, "_file"):
            self._file.close()

    def position(self) -> int:
        """Return how many bytes of the file have been read."""
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        try:
            for link_type, time, data in self._records:
                number += 1
                if self.began is None:
                    self.began = time
                start = ipv4_offset(link_type, data)
                if start is not None:
                    yield Frame(number, time, data[start:])
        except (FormatError, OSError, EOFError, zlib.error) as error:
            raise CaptureError(
                f"{self._name}: frame {number + 1}: {_reason(error)}"
            ) from None


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Give the IPv4 packets of a capture, and close it: see `Capture`."""
    with Capture(path) as capture:
        yield from capture


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "no capture file"


def ipv4_offset(link_type: int, frame: bytes) -> int | None:
    """Return where the IPv4 header starts, None where there is none.

    Known link types: Ethernet and Linux cooked v1 and v2, also with VLAN tags; raw IP;
    BSD loopback.
    """
    if link_type == _ETHERNET and frame[12:15] == _PLAIN_IPV4 and len(frame) >= 34:
        return 14  # nearly every frame
    if link_type in _ETHERTYPE_AT:
        at, start = _ETHERTYPE_AT[link_type], _HEADER_BYTES[link_type]
        ethertype = frame[at : at + 2]
        while ethertype in _ETHERTYPES_VLAN:
            start += _VLAN_TAG_BYTES
            ethertype = frame[start - 2 : start]
        if ethertype != _ETHERTYPE_IPV4:
            return None
    elif link_type in _RAW:
        start = 0
    elif link_type in _LOOPBACK and frame[:4] in _FAMILY_INET:
        start = 4
    else:
        return None
    return start if len(frame) >= start + 20 and frame[start] >> 4 == 4 else None
