# SPDX-License-Identifier: GPL-2.0-only
"""Raw sockets that receive tunnel packets, and the ICMP errors about ours."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.port import widen_buffers

_IP_RECVERR = 11
_MSG_ERRQUEUE = 0x2000
_SO_EE_ORIGIN_ICMP = 2


def open_receiver(
    protocol: int, prepare: Callable[[socket.socket], None] | None = None
) -> socket.socket:
    """Open a socket that gets all packets of one IP protocol, reassembled.

    :param prepare: is called before the first packet can arrive
    :raises OSError: where raw sockets are not permitted
    """
    sock = socket.socket(
        socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
    )
    if prepare is not None:
        prepare(sock)
    widen_buffers(sock)
    sock.setsockopt(socket.SOL_IP, _IP_RECVERR, 1)
    return sock


def read_errors(sock: socket.socket, drops: DropCounters, begin: bytes = b"") -> bool:
    """Empty the error queue, where ICMP errors about our tunnel packets arrive.

    Tell whether a router has reported a smaller path MTU (TUN-04).
    :param begin: how our packets begin behind the IP header, where the protocol is not
        that of tunnels alone
    """
    shrunk = False
    with contextlib.suppress(OSError):
        while True:
            data, ancillary, _, _ = sock.recvmsg(len(begin), 512, _MSG_ERRQUEUE)
            if data != begin:
                continue
            for _level, _type, report in ancillary:
                number, origin, kind, code = struct.unpack_from("=IBBB", report)
                if origin == _SO_EE_ORIGIN_ICMP:
                    drops.count(f"icmp_{kind}_{code}")
                    shrunk |= number == errno.EMSGSIZE
    return shrunk
