# SPDX-License-Identifier: GPL-2.0-only
"""Capture files written byte by byte, whatever is in them."""

from __future__ import annotations

import struct
from collections.abc import Iterable


def header(link_type: int = 101, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)


def record(frame: bytes, second: int = 0, fraction: int = 0, order: str = "<") -> bytes:
    size = len(frame)
    return struct.pack(f"{order}IIII", second, fraction, size, size) + frame


def pcap(frames: Iterable[bytes], link_type: int = 101) -> bytes:
    """Return a file in which frame N comes in second N."""
    records = [record(frame, number) for number, frame in enumerate(frames)]
    return header(link_type) + b"".join(records)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    body = struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)
    return block(0x0A0D0D0A, body, order)


def interface(link_type: int, order: str = "<", **options: bytes) -> bytes:
    body = struct.pack(f"{order}HHI", link_type, 0, 65535)
    for name, number in (("resolution", 9), ("offset", 14)):
        if name in options:
            value = options[name]
            body += struct.pack(f"{order}HH", number, len(value))
            body += value + bytes(-len(value) % 4)
    return block(1, body + bytes(4), order)


def packet(frame: bytes, ticks: int = 0, number: int = 0, order: str = "<") -> bytes:
    size = len(frame)
    high, low = divmod(ticks, 1 << 32)
    body = struct.pack(f"{order}IIIII", number, high, low, size, size) + frame
    return block(6, body, order)
