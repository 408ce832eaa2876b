# SPDX-License-Identifier: GPL-2.0-only
"""The sockets through which tunnel packets come and go, and who gets Tunnel Data.

Control messages and Tunnel Data (RFC 3519) share a UDP port and differ in their first
octet. A filter in the kernel parts them: the control socket of an agent refuses Tunnel
Data, and a raw socket of the data plane takes nothing else, so that neither wakes up
for what is the other's.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from mip_agents.dataplane.outer import UDP_HEADER
from mip_agents.dataplane.pathmtu import bind
from mip_agents.dataplane.port import widen_buffers
from mip_agents.dataplane.socketfilter import (
    ACCEPT,
    JUMP_EQUAL,
    JUMP_GREATER,
    LOAD_OCTET,
    LOAD_SIZE,
    LOAD_X_HEADER,
    LOAD_X_OCTET,
    LOAD_X_PAIR,
    REFUSE,
    attach,
)
from scapy_mip.const import MessageType

IP_HDRINCL: Final = 3
_IP_RECVERR = 11
_IP_FREEBIND = 15


def open_receiver(protocol: int) -> socket.socket:
    """Open a socket that gets all packets of an IP protocol, reassembled.

    In its error queue are the ICMP errors about them, with what they quote.

    :raises OSError: where raw sockets are not permitted.
    """
    sock = socket.socket(
        socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
    )
    widen_buffers(sock)
    sock.setsockopt(socket.SOL_IP, _IP_RECVERR, 1)
    # Nothing is sent here: this has quotations begin with the outer header.
    sock.setsockopt(socket.SOL_IP, IP_HDRINCL, 1)
    return sock


def open_sender(
    interface: str | None = None, local: str | None = None, *, early: bool = False
) -> socket.socket:
    """Open a socket that sends packets with the IPv4 header they come with.

    :param early: before `local` is an address of ours
    :raises OSError: the address or the interface is not there, or no permission.
    """
    sock = socket.socket(
        socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW
    )
    try:
        widen_buffers(sock)
        if early:
            sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        if local is not None:
            bind(sock, interface, local)
    except OSError:
        sock.close()
        raise
    return sock


def take_tunnel_data(sock: socket.socket, ports: Iterable[int]) -> None:
    """Let a raw socket have the Tunnel Data to our `ports`, and nothing else."""
    program = [
        (LOAD_X_HEADER, 0, 0, 0),
        (LOAD_X_OCTET, 0, 0, UDP_HEADER),
        (JUMP_EQUAL, 1, 0, MessageType.TUNNEL_DATA),
        REFUSE,
        (LOAD_X_PAIR, 0, 0, 2),
    ]
    for port in sorted(ports):
        program += [(JUMP_EQUAL, 0, 1, port), ACCEPT]
    attach(sock, [*program, REFUSE])


def refuse_tunnel_data(sock: socket.socket) -> None:
    """Keep Tunnel Data off a UDP socket: it is for the data plane."""
    program = [
        (LOAD_SIZE, 0, 0, 0),  # an empty datagram has no first octet
        (JUMP_GREATER, 0, 3, UDP_HEADER),
        (LOAD_OCTET, 0, 0, UDP_HEADER),
        (JUMP_EQUAL, 0, 1, MessageType.TUNNEL_DATA),
        REFUSE,
        ACCEPT,
    ]
    attach(sock, program)
