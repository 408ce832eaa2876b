# SPDX-License-Identifier: GPL-2.0-only
"""Packet sockets for IPv4 that goes to more than one host of a link.

The kernel filters for them, so that the process wakes up for what it passes on and for
nothing else; never for what this host sends.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Final

from mip_agents.dataplane.forwarding import with_udp_checksum
from mip_agents.dataplane.igmp import IGMP
from mip_agents.dataplane.outer import check_inner
from mip_agents.dataplane.socketfilter import (
    ACCEPT,
    AND,
    JUMP_EQUAL,
    LOAD_OCTET,
    LOAD_WORD,
    PACKET_TYPE,
    REFUSE,
    Instruction,
    attach,
)

_ETH_P_IP = 0x0800
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_PACKET_BROADCAST, _PACKET_MULTICAST = 1, 2
_CHECKSUM_NOT_READY = 1 << 3
_AUXDATA_SIZE = 20
_MAX_PACKET = 65535

_PROTOCOL, _DESTINATION = 9, 16  # places in an IPv4 header
_MULTICAST: Final = 0xE0000000
_MULTICAST_MASK: Final = 0xF0000000


class LinkSocket:
    """Hears an interface; as long as it is not told for what, it hears nothing."""

    def __init__(self, ifindex: int) -> None:
        """Open it. :raises OSError: the interface is not there, or no permission."""
        self._name = socket.if_indextoname(ifindex)
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0
        )
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            attach(self._socket, [REFUSE])
            self._socket.bind((self._name, _ETH_P_IP))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are packets."""
        return self._socket.fileno()

    def hear(self, destinations: Iterable[bytes]) -> None:
        """Hear what is sent to these addresses, if it is to many on the link layer too.

        A host does not take a broadcast that was sent to it alone (RFC 1122 section
        3.3.6).
        """
        program: list[Instruction] = [
            (LOAD_OCTET, 0, 0, PACKET_TYPE),
            (JUMP_EQUAL, 2, 0, _PACKET_BROADCAST),
            (JUMP_EQUAL, 1, 0, _PACKET_MULTICAST),
            REFUSE,
            (LOAD_WORD, 0, 0, _DESTINATION),
        ]
        attach(self._socket, [*program, *_one_of(destinations), REFUSE])

    def hear_groups(self, broadcasts: Iterable[bytes]) -> None:
        """Hear all IGMP, all that is sent to any group, and to these addresses."""
        program: list[Instruction] = [
            (LOAD_OCTET, 0, 0, _PROTOCOL),
            (JUMP_EQUAL, 0, 1, IGMP),
            ACCEPT,
            (LOAD_WORD, 0, 0, _DESTINATION),
            *_one_of(broadcasts),
            (AND, 0, 0, _MULTICAST_MASK),
            (JUMP_EQUAL, 0, 1, _MULTICAST),
            ACCEPT,
        ]
        attach(self._socket, [*program, REFUSE])

    def read(self) -> bytes:
        """Return one packet. :raises BlockingIOError: where there is none."""
        packet, extras, _, _ = self._socket.recvmsg(
            _MAX_PACKET, socket.CMSG_SPACE(_AUXDATA_SIZE)
        )
        for level, kind, data in extras:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                (status,) = struct.unpack_from("=I", data)
                if status & _CHECKSUM_NOT_READY and check_inner(packet) is None:
                    return with_udp_checksum(packet)
        return packet

    def send(self, packet: bytes) -> None:
        """Send a packet to its group, or to all hosts of the link.

        :raises OSError: where the link does not take it.
        """
        link = group_address(packet[_DESTINATION : _DESTINATION + 4])
        self._socket.sendto(packet, (self._name, _ETH_P_IP, 0, 0, link))

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()


def group_address(destination: bytes) -> bytes:
    """Return the Ethernet address of a multicast or broadcast IPv4 address."""
    if 0xE0 <= destination[0] < 0xF0:  # RFC 1112 section 6.4
        return b"\x01\x00\x5e" + bytes((destination[1] & 0x7F,)) + destination[2:]
    return b"\xff" * 6


def _one_of(addresses: Iterable[bytes]) -> list[Instruction]:
    """Return what accepts a packet if the word that was loaded is an address."""
    program: list[Instruction] = []
    for address in sorted(addresses):
        program += [(JUMP_EQUAL, 0, 1, int.from_bytes(address, "big")), ACCEPT]
    return program


class GroupMember:
    """Keeps this host in a multicast group on a link, so that switches deliver it."""

    def __init__(self, group: bytes, ifindex: int) -> None:
        """Join. :raises OSError: where the kernel refuses."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # A socket of its own: the kernel limits the groups of one socket.
            self._socket.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_ADD_MEMBERSHIP,
                group + bytes(4) + struct.pack("=i", ifindex),
            )
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Leave."""
        self._socket.close()
