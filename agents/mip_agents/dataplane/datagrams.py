# SPDX-License-Identifier: GPL-2.0-only
"""IPv4 packets with ICMP or UDP in them, checked and made by `struct`. No I/O.

What reads packets from a link gets them before the kernel has checked anything.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import Final, NamedTuple

from mip_agents.dataplane.outer import (
    IPV4_HEADER,
    UDP,
    UDP_HEADER,
    check_inner,
    checksum,
)

ICMP: Final = 1
"""IP protocol number."""
_DONT_FRAGMENT = 0x4000
_HEADER = Struct("!BBHHHBBH4s4s")
_UDP = Struct("!HHHH")
_U16 = Struct("!H")


class Datagram(NamedTuple):
    """What an IPv4 packet carries, and from whom to whom."""

    source: str
    destination: str
    ttl: int
    protocol: int
    data: bytes
    """All behind the IPv4 header, without the padding of a frame."""


class UdpDatagram(NamedTuple):
    """Ports and payload of a UDP datagram."""

    source_port: int
    destination_port: int
    data: bytes


def open_datagram(packet: bytes) -> Datagram | None:
    """Return what a packet carries; None if its IPv4 header is broken."""
    header = (packet[0] & 15) * 4 if packet else 0
    if check_inner(packet) is not None or checksum(packet[:header]):
        return None
    total = (packet[2] << 8) | packet[3]
    return Datagram(
        source=socket.inet_ntoa(packet[12:16]),
        destination=socket.inet_ntoa(packet[16:20]),
        ttl=packet[8],
        protocol=packet[9],
        data=packet[header:total],
    )


def open_udp(datagram: Datagram, *, verify: bool = True) -> UdpDatagram | None:
    """Return the UDP datagram in a packet; None if its length or checksum is wrong.

    A checksum of zero is none, which is accepted (COM-06).

    :param verify: False where the sender left the checksum to a network card that it
        never came to: another interface of this machine.
    """
    segment = datagram.data
    if len(segment) < UDP_HEADER:
        return None
    source_port, destination_port, length, stated = _UDP.unpack_from(segment)
    if not UDP_HEADER <= length <= len(segment):
        return None
    segment = segment[:length]
    if verify and stated:
        addresses = datagram.source, datagram.destination
        if checksum(_pseudo_header(*addresses, length) + segment):
            return None
    return UdpDatagram(source_port, destination_port, segment[UDP_HEADER:])


def make_udp(source: str, destination: str, ttl: int, udp: UdpDatagram) -> bytes:
    """Return an IPv4 packet with a UDP datagram; its checksum is never zero (COM-06).

    :raises OSError: an address is none.
    """
    length = UDP_HEADER + len(udp.data)
    ports = udp.source_port, udp.destination_port
    blank = _UDP.pack(*ports, length, 0) + udp.data
    total = checksum(_pseudo_header(source, destination, length) + blank)
    segment = _UDP.pack(*ports, length, total or 0xFFFF) + udp.data
    return _make(Datagram(source, destination, ttl, UDP, segment))


def make_icmp(source: str, destination: str, ttl: int, message: bytes) -> bytes:
    """Return an IPv4 packet with an ICMP message, which has its checksum already.

    :raises OSError: an address is none.
    """
    return _make(Datagram(source, destination, ttl, ICMP, message))


def _make(datagram: Datagram) -> bytes:
    source, destination, ttl, protocol, data = datagram
    head = _HEADER.pack(
        0x40 | IPV4_HEADER // 4,
        0,
        IPV4_HEADER + len(data),
        0,
        _DONT_FRAGMENT,
        ttl,
        protocol,
        0,
        socket.inet_aton(source),
        socket.inet_aton(destination),
    )
    return head[:10] + _U16.pack(checksum(head)) + head[12:] + data


def _pseudo_header(source: str, destination: str, length: int) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    return addresses + bytes((0, UDP)) + _U16.pack(length)
