# SPDX-License-Identifier: GPL-2.0-only
"""From a capture file to IPv4 packets, with frame numbers as Wireshark counts them.

Files are read by Scapy's raw readers (pcap and pcapng, also compressed); nothing is
dissected here. A frame is looked into only as far as its IPv4 header.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapReader

from mip_agents.protocol.errors import InputError

_ETHERTYPE_IPV4 = b"\x08\x00"
_ETHERTYPES_VLAN = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")
_DAMAGE = (Scapy_Exception, ValueError, OSError, struct.error, zlib.error)
"""What Scapy lets through of a damaged file; Scapy 2.7 more of it than later ones."""
_MICROSECONDS = 1_000_000


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


def read_frames(path: str | Path) -> Iterator[Frame]:
    """Give the IPv4 packets of a capture, in order.

    Frames with anything else are counted and passed over, and so are link types that
    carry no IPv4.
    :raises CaptureError: the file is missing, not readable or no capture, or, after all
        the frames before, it ends in the middle of one.
    """
    try:
        reader: Any = RawPcapReader(str(path))
    except (*_DAMAGE, EOFError) as error:
        raise CaptureError(f"{path}: {_reason(error)}") from None
    with reader:
        number = 0
        while True:
            try:
                data, meta = reader._read_packet()
            except EOFError:
                return
            except _DAMAGE as error:
                raise CaptureError(
                    f"{path}: frame {number + 1}: {_reason(error)}"
                ) from None
            number += 1
            if len(data) < getattr(meta, "caplen", 0):
                raise CaptureError(f"{path}: frame {number}: the file ends in it")
            link_type = getattr(meta, "linktype", None)
            start = ipv4_offset(
                reader.linktype if link_type is None else link_type, data
            )
            if start is not None:
                yield Frame(number, _timestamp(reader, meta), data[start:])


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "no capture file"


def _timestamp(reader: Any, meta: Any) -> float:
    if hasattr(meta, "sec"):
        divisor = 1000 if getattr(reader, "nano", False) else 1
        seconds: float = meta.sec + meta.usec / divisor / _MICROSECONDS
        return seconds
    if meta.tshigh is None:
        return 0.0  # a simple packet block of pcapng has no time
    ticks: int = (meta.tshigh << 32) + meta.tslow
    return float(ticks / int(meta.tsresol))


def ipv4_offset(link_type: int, frame: bytes) -> int | None:
    """Return where the IPv4 header starts, None where there is none.

    Known link types: Ethernet with VLAN tags, raw IP, Linux cooked v1 and v2, BSD
    loopback.
    """
    start: int | None = None
    if link_type == 1:
        start = 14
        while frame[start - 2 : start] in _ETHERTYPES_VLAN:
            start += 4
        if frame[start - 2 : start] != _ETHERTYPE_IPV4:
            return None
    elif link_type in (12, 14, 101, 228):
        start = 0
    elif link_type == 113:
        start = 16 if frame[14:16] == _ETHERTYPE_IPV4 else None
    elif link_type == 276:
        start = 20 if frame[0:2] == _ETHERTYPE_IPV4 else None
    elif link_type in (0, 108):
        start = 4 if 2 in (frame[0:1] + frame[3:4]) else None
    if start is None or len(frame) < start + 20 or frame[start] >> 4 != 4:
        return None
    return start
