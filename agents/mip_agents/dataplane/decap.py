# SPDX-License-Identifier: GPL-2.0-only
"""Taking packets out of tunnels, by `struct`; the counterpart of `outer.py`. No I/O.

Whether a packet belongs to a tunnel is another question, which `ways.py` answers. Here
nothing raises, however broken a packet is: what is not well formed comes back as a
`Drop`, the reason under which the data plane counts it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from mip_agents.dataplane.outer import (
    ETHERTYPE_IPV4,
    GRE_HEADER,
    GRE_KEY,
    IPV4_HEADER,
    MINIMAL_HEADER,
    SOURCE_PRESENT,
    UDP,
    UDP_HEADERS,
    Drop,
    check_inner,
    checksum,
)
from scapy_mip.const import Encapsulation, MessageType

_FRAGMENT_MASK: Final = 0x3FFF  # more fragments, and the offset
_GRE_CHECKSUM: Final = 0x8000
_GRE_KEY: Final = 0x2000
_GRE_REFUSED: Final = 0x5C00  # bits 1-5 (TUN-07) without that of the key (RFC 2890)
_GRE_VERSION: Final = 0x0007

_FIRST = Struct("!BxHxxHxB")
"""Of an IPv4 header: version and length, total length, fragment, protocol."""
_GRE_IN_IP: Final = int(Encapsulation.GRE)  # a number is compared faster
_IP_IN_IP: Final = int(Encapsulation.IPIP)
_new = tuple.__new__  # takes half as long as the constructor of a named tuple
_GRE = Struct("!HH")
_UDP = Struct("!HHBB")
"""A UDP header behind the ports, and the beginning of Tunnel Data."""
_U16 = Struct("!H")


class Decapsulated(NamedTuple):
    """What came out of a tunnel packet."""

    source: bytes
    """Of the outer header."""
    destination: bytes
    """Of the outer header."""
    encapsulation: int
    """IP protocol number: 4, 47 or 55."""
    inner: bytes
    """The inner packet without trailing octets; its first 20 are there."""
    key: int | None = None
    """Of a GRE header that has one."""
    ports: bytes = b""
    """Source and destination port, four bytes, where it came in a UDP datagram."""


def decapsulate(packet: bytes, *, verify: bool = True) -> Decapsulated | Drop:
    """Take the inner packet out of `packet`, an IPv4 packet of protocol 4, 17, 47, 55.

    `verify` checks the IPv4 header checksums. A packet from a raw socket does not need
    it: the kernel has checked the outer header, and checks the inner when it gets it.
    The checksums of UDP and GRE, where there are some (TUN-07), and of the minimal
    forwarding header are always verified.
    """
    size = len(packet)
    if size < IPV4_HEADER:
        return Drop.TRUNCATED
    first, total, fragment, protocol = _FIRST.unpack_from(packet)
    if first >> 4 != 4:
        return Drop.NOT_IPV4
    header = start = (first & 15) * 4
    if header < IPV4_HEADER or total < header:
        return Drop.BAD_LENGTH
    if total > size:
        return Drop.TRUNCATED
    if fragment & _FRAGMENT_MASK:
        return Drop.FRAGMENT
    if verify and checksum(packet[:header]):
        return Drop.BAD_CHECKSUM
    ports = b""
    key = None
    if protocol == UDP:
        content = _tunnel_data(packet, header, total)
        if isinstance(content, Drop):
            return content
        start, total, protocol = content
        ports = packet[header : header + 4]
    if protocol == _GRE_IN_IP:
        payload = _after_gre(packet, start, total)
        if isinstance(payload, Drop):
            return payload
        start, key = payload
        inner = packet[start:total]
    elif protocol == _IP_IN_IP:
        inner = packet[start:total]
    elif protocol == Encapsulation.MINIMAL:
        restored = _restore(packet, header, start, total)
        if isinstance(restored, Drop):
            return restored
        return Decapsulated(
            packet[12:16], packet[16:20], protocol, restored, None, ports
        )
    else:
        return Drop.UNKNOWN_PROTOCOL
    problem = check_inner(inner)
    if problem is not None:
        return problem
    length = (inner[2] << 8) | inner[3]
    if length != len(inner):
        inner = inner[:length]
    if verify and checksum(inner[: (inner[0] & 15) * 4]):
        return Drop.BAD_CHECKSUM
    values = packet[12:16], packet[16:20], protocol, inner, key, ports
    return _new(Decapsulated, values)


def _tunnel_data(packet: bytes, start: int, end: int) -> tuple[int, int, int] | Drop:
    """Return where the content of Tunnel Data begins and ends, and its protocol.

    RFC 3519 section 3.3; the reserved field is ignored.
    """
    if end - start < UDP_HEADERS:
        return Drop.TRUNCATED
    length, check, kind, protocol = _UDP.unpack_from(packet, start + 4)
    if kind != MessageType.TUNNEL_DATA:
        return Drop.NOT_TUNNEL_DATA
    if length < UDP_HEADERS:
        return Drop.BAD_LENGTH
    if start + length > end:
        return Drop.TRUNCATED
    end = start + length
    if check:
        pseudo = packet[12:20] + bytes((0, UDP)) + packet[start + 4 : start + 6]
        # Between interfaces of one machine the kernel leaves the sum to a network card
        # that never comes: there stands that of the pseudo header, not complemented.
        unfinished = check == 0xFFFF - checksum(pseudo)
        if not unfinished and checksum(pseudo + packet[start:end]):
            return Drop.UDP_CHECKSUM
    return start + UDP_HEADERS, end, protocol


def _after_gre(packet: bytes, start: int, end: int) -> tuple[int, int | None] | Drop:
    """Return where the payload of a GRE header begins, and its key.

    RFC 2784 section 2, RFC 2890 section 2.
    """
    if end - start < GRE_HEADER:
        return Drop.TRUNCATED
    flags, protocol = _GRE.unpack_from(packet, start)
    if flags & _GRE_VERSION:
        return Drop.GRE_VERSION
    if flags & _GRE_REFUSED:  # routing, sequence number (TUN-07)
        return Drop.GRE_FLAGS
    if protocol != ETHERTYPE_IPV4:
        return Drop.GRE_PROTOCOL
    after = start + GRE_HEADER
    if flags & _GRE_CHECKSUM:
        after += 4
    if flags & _GRE_KEY:
        after += GRE_KEY
    if after > end:
        return Drop.TRUNCATED
    if flags & _GRE_CHECKSUM and checksum(packet[start:end]):
        return Drop.GRE_CHECKSUM
    if flags & _GRE_KEY:
        return after, int.from_bytes(packet[after - GRE_KEY : after], "big")
    return after, None


def _restore(packet: bytes, header: int, start: int, end: int) -> bytes | Drop:
    """Undo minimal encapsulation, whose header is at `start`. RFC 2004 section 3.

    Reserved bits are ignored. Options and TTL are those of the packet as it came.

    :param header: octets of the IPv4 header; behind it may be a Tunnel Data message
    """
    if packet[8] == 0:
        return Drop.TTL_ZERO
    if end - start < MINIMAL_HEADER - 4:
        return Drop.TRUNCATED
    if packet[start + 1] & SOURCE_PRESENT:
        after = start + MINIMAL_HEADER
        if after > end:
            return Drop.TRUNCATED
        source = packet[start + 8 : after]
    else:
        after = start + MINIMAL_HEADER - 4
        source = packet[12:16]
    if checksum(packet[start:after]):
        return Drop.MINIMAL_CHECKSUM
    length = _U16.pack(header + end - after)
    head = packet[:2] + length + packet[4:9] + packet[start : start + 1]
    ends = source + packet[start + 4 : start + 8] + packet[IPV4_HEADER:header]
    return head + _U16.pack(checksum(head + ends)) + ends + packet[after:end]
