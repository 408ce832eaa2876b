# SPDX-License-Identifier: GPL-2.0-only
"""A packet socket for what an agent and its neighbours on a link say to each other.

That is router discovery and, where it is asked for, UDP on the agent's port: with the
link-layer address that it came from, and to link-layer addresses that need no ARP.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Final, NamedTuple

from mip_agents.dataplane.datagrams import ICMP
from mip_agents.dataplane.linksocket import group_address
from mip_agents.dataplane.outer import UDP, UDP_HEADER
from mip_agents.dataplane.socketfilter import (
    ACCEPT,
    AND,
    JUMP_EQUAL,
    JUMP_GREATER,
    LOAD_OCTET,
    LOAD_PAIR,
    LOAD_X_HEADER,
    LOAD_X_OCTET,
    LOAD_X_PAIR,
    PACKET_TYPE,
    REFUSE,
    Instruction,
    attach,
)
from scapy_mip.const import ICMPType, MessageType

LARGEST: Final = 2048
"""Octets of a packet that is read: those of a control message are far fewer."""

_ETH_P_IP = 0x0800
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_CHECKSUM_NOT_READY = 1 << 3
_AUXDATA_SPACE = socket.CMSG_SPACE(20)
_PACKET_MULTICAST = 2  # and, below it, broadcast and what is to this host alone
_FRAGMENT_BITS = 0x3FFF
_FRAGMENT, _PROTOCOL = 6, 9  # places in an IPv4 header
_GROUP_BIT = 1


class Frame(NamedTuple):
    """An IPv4 packet of a link."""

    packet: bytes
    link_address: str
    """Where it came from; empty on a link without such addresses."""
    checksum_ready: bool
    """False: it is of this machine, and nobody filled in its UDP checksum."""


class LinkPort:
    """The socket on one interface. It hears nothing that this host sends."""

    def __init__(self, name: str, udp_port: int | None = None) -> None:
        """Open it.

        :param udp_port: hear UDP to this port, too.
        :raises OSError: the interface is not there, or no permission.
        """
        self.name = name
        self.index = socket.if_nametoindex(name)
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0
        )
        try:
            self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            attach(self._socket, _program(udp_port))
            self._socket.bind((name, _ETH_P_IP))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are packets."""
        return self._socket.fileno()

    def read(self) -> Frame | None:
        """Return one packet; None for one that nobody can have sent in good faith.

        :raises BlockingIOError: there is none.
        :raises OSError: the interface is down or gone.
        """
        packet, extras, flags, sender = self._socket.recvmsg(LARGEST, _AUXDATA_SPACE)
        address: bytes = sender[4]
        if flags & socket.MSG_TRUNC or (address and address[0] & _GROUP_BIT):
            return None
        ready = True
        for level, kind, data in extras:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                (status,) = struct.unpack_from("=I", data)
                ready = not status & _CHECKSUM_NOT_READY
        return Frame(packet, address.hex(":"), ready)

    def send(self, packet: bytes, link_address: str | None) -> None:
        """Send an IPv4 packet.

        :param link_address: whom to; None: all hosts that the IPv4 address is of.
        :raises OSError: the link does not take it.
        """
        if link_address is None:
            address = group_address(packet[16:20])
        else:
            address = bytes.fromhex(link_address.replace(":", ""))
        where = (self.name, _ETH_P_IP, 0, 0, address)
        try:
            self._socket.sendto(packet, where)
        except OSError as error:
            # That the link was down before is told once, in the place of sending.
            if error.errno != errno.ENETDOWN:
                raise
            self._socket.sendto(packet, where)

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()


def _program(udp_port: int | None) -> list[Instruction]:
    """Return a filter for discovery and control messages that are whole packets.

    Tunnel Data is for the data plane, as on every other socket (RFC 3519).
    """
    program: list[Instruction] = [
        (LOAD_OCTET, 0, 0, PACKET_TYPE),
        (JUMP_GREATER, 0, 1, _PACKET_MULTICAST),
        REFUSE,
        (LOAD_PAIR, 0, 0, _FRAGMENT),
        (AND, 0, 0, _FRAGMENT_BITS),
        (JUMP_EQUAL, 1, 0, 0),
        REFUSE,
        (LOAD_X_HEADER, 0, 0, 0),
        (LOAD_OCTET, 0, 0, _PROTOCOL),
        (JUMP_EQUAL, 0, 5, ICMP),
        (LOAD_X_OCTET, 0, 0, 0),
        (JUMP_EQUAL, 1, 0, ICMPType.AGENT_ADVERTISEMENT),
        (JUMP_EQUAL, 0, 1, ICMPType.AGENT_SOLICITATION),
        ACCEPT,
        REFUSE,
    ]
    if udp_port is not None:
        program += [
            (JUMP_EQUAL, 1, 0, UDP),
            REFUSE,
            (LOAD_X_PAIR, 0, 0, 2),
            (JUMP_EQUAL, 1, 0, udp_port),
            REFUSE,
            (LOAD_X_OCTET, 0, 0, UDP_HEADER),
            (JUMP_EQUAL, 1, 0, MessageType.TUNNEL_DATA),
            ACCEPT,
        ]
    return [*program, REFUSE]
