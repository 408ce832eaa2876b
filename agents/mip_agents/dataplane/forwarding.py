# SPDX-License-Identifier: GPL-2.0-only
"""What a router does to a packet between two links, by `struct`. No I/O.

The kernel does it for what it routes. It routes no broadcasts, and no multicasts
without a routing daemon, so that those which a home agent passes on come by here.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from mip_agents.dataplane.outer import (
    IPV4_HEADER,
    UDP,
    UDP_HEADER,
    Drop,
    check_inner,
    checksum,
    is_fragment,
)

_COPIED: Final = 0x80
"""Of the type of an option: it is in every fragment (RFC 791 section 3.1)."""
_END, _NO_OPERATION = 0, 1
_MORE: Final = 0x2000
_OFFSET: Final = 0x1FFF
_DONT_FRAGMENT: Final = 0x40

_U16 = Struct("!H")


def next_hop(packet: bytes) -> bytes | Drop:
    """Return a packet as it goes on: one hop less to live, no octets behind it."""
    problem = check_inner(packet)
    if problem is not None:
        return problem
    header = (packet[0] & 15) * 4
    if checksum(packet[:header]):
        return Drop.BAD_CHECKSUM
    if packet[8] == 1:
        return Drop.TTL_ZERO
    length = (packet[2] << 8) | packet[3]
    head = packet[:8] + bytes((packet[8] - 1, packet[9], 0, 0)) + packet[12:header]
    return _summed(head) + packet[header:length]


def fragments(packet: bytes, size: int) -> Iterator[bytes]:
    """Yield a whole packet in pieces of up to `size` octets (RFC 791 section 3.2).

    None come of a larger one that must not be fragmented. A multicast or broadcast is
    no reason for an ICMP error (RFC 1122 section 3.2.2).
    """
    if len(packet) <= size:
        yield packet
        return
    if packet[6] & _DONT_FRAGMENT:
        return
    header = (packet[0] & 15) * 4
    (word,) = _U16.unpack_from(packet, 6)
    head, at = packet[:header], header
    while at < len(packet):
        room = max((size - len(head)) & ~7, 8)
        data = packet[at : at + room]
        last = at + len(data) == len(packet)
        flags = (word & ~_OFFSET) | (0 if last else _MORE)
        flags |= ((word & _OFFSET) + (at - header) // 8) & _OFFSET
        yield (
            _summed(
                head[:2]
                + _U16.pack(len(head) + len(data))
                + head[4:6]
                + _U16.pack(flags)
                + head[8:10]
                + b"\0\0"
                + head[12:]
            )
            + data
        )
        if at == header:
            kept = _copied(packet[IPV4_HEADER:header])
            first = bytes((0x40 | (IPV4_HEADER + len(kept)) // 4,))
            head = first + packet[1:IPV4_HEADER] + kept
        at += room


def with_udp_checksum(packet: bytes) -> bytes:
    """Return a well-formed packet with the UDP checksum that its sender left open.

    Between interfaces of one machine the kernel leaves it to a network card that never
    comes, and says so to who reads the packet.
    """
    start = (packet[0] & 15) * 4
    end = (packet[2] << 8) | packet[3]
    if packet[9] != UDP or is_fragment(packet) or end - start < UDP_HEADER:
        return packet
    before, after = packet[: start + 6], packet[start + 8 : end]
    segment = packet[start : start + 6] + b"\0\0" + after
    pseudo = packet[12:20] + bytes((0, UDP)) + _U16.pack(end - start)
    return before + _U16.pack(checksum(pseudo + segment) or 0xFFFF) + after


def _summed(head: bytes) -> bytes:
    """Fill in the checksum of a header that has zeros there."""
    return head[:10] + _U16.pack(checksum(head)) + head[12:]


def _copied(options: bytes) -> bytes:
    """Return the options that every fragment has, padded to full words."""
    kept = b""
    at = 0
    while at < len(options) and options[at] != _END:
        size = 1
        if options[at] != _NO_OPERATION:
            size = options[at + 1] if at + 1 < len(options) else 0
            if size < 2:
                break  # broken: what is behind it cannot be told apart
            if options[at] & _COPIED:
                kept += options[at : at + size]
        at += size
    return kept.ljust(-(-len(kept) // 4) * 4, b"\0")
