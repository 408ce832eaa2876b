# SPDX-License-Identifier: GPL-2.0-only
"""ICMP errors about our tunnel packets: counted, minded, told to the sender inside."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Container
from typing import Final

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.decap import Decapsulated
from mip_agents.dataplane.icmprelay import TOO_BIG, answer, quoted
from mip_agents.dataplane.outer import room_for
from mip_agents.dataplane.rawsockets import open_sender
from mip_agents.protocol.tunnel import Tunnel

_MSG_ERRQUEUE = 0x2000
_ORIGIN_ICMP = 2
_ERROR = struct.Struct("=IBBBxI")
"""struct sock_extended_err up to ee_info: errno, origin, type, code, the MTU."""
QUOTATION: Final = 600
"""Octets of what an ICMP error quotes that are looked at."""


class IcmpErrors:
    """Takes what routers complain of, from `rawsockets.open_receiver` or elsewhere."""

    def __init__(
        self,
        drops: DropCounters,
        find: Callable[[Decapsulated], Tunnel | None],
        on_path_change: Callable[[], None],
        tell: Callable[[Tunnel, bytes], None] | None = None,
    ) -> None:
        """Prepare to answer.

        :param find: returns the tunnel that a packet of ours went into
        :param on_path_change: is called when a path MTU has become smaller (TUN-04)
        :param tell: hands a complaint to the sender of what went into a tunnel, from
            our end of it; None: routing decides how it gets there
        :raises OSError: where raw sockets are not permitted
        """
        self._drops = drops
        self._find = find
        self._on_path_change = on_path_change
        self._tell = tell
        self._socket = open_sender()

    def close(self) -> None:
        """Answer no more."""
        self._socket.close()

    def read(self, sock: socket.socket, ports: Container[int] | None = None) -> None:
        """Empty the error queue of `sock`.

        :param ports: of a UDP socket: only what came from these is ours
        """
        with contextlib.suppress(OSError):
            while True:
                packet, ancillary, _, _ = sock.recvmsg(QUOTATION, 512, _MSG_ERRQUEUE)
                if ports is not None and _source_port(packet) not in ports:
                    continue
                for _level, _type, data in ancillary:
                    _, origin, kind, code, mtu = _ERROR.unpack_from(data)
                    if origin == _ORIGIN_ICMP:
                        self.take(kind, code, mtu, packet)

    def take(self, kind: int, code: int, mtu: int, packet: bytes) -> None:
        """Take one error about `packet`, the outer header first."""
        self._drops.count(f"icmp_{kind}_{code}")
        self._relay(kind, code, mtu, packet)
        if (kind, code) == TOO_BIG:
            self._on_path_change()

    def _relay(self, kind: int, code: int, mtu: int, packet: bytes) -> None:
        """Tell the sender of what is in `packet` that it did not get through (TUN-03).

        Only what we sent into a tunnel that we have counts: anyone can send us errors.
        """
        sent = quoted(packet)
        tunnel = self._find(sent) if sent else None
        if sent is None or tunnel is None:
            return
        if socket.inet_ntoa(sent.destination) not in tunnel.peers:
            return
        room = max(room_for(form) for _, form in tunnel.forms())
        source = socket.inet_aton(tunnel.local if self._tell else "0.0.0.0")
        complaint = answer(kind, code, mtu - room, sent.inner, source)
        if complaint is None:
            return
        if self._tell is not None:
            self._tell(tunnel, complaint)
            return
        try:
            address = socket.inet_ntoa(complaint[16:20])
            self._socket.sendto(complaint, (address, 0))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "error").lower()
            self._drops.count(f"relay_{name}")


def _source_port(packet: bytes) -> int:
    """Return the source port of a UDP datagram, or what there is of it."""
    start = (packet[0] & 15) * 4 if packet else 0
    return int.from_bytes(packet[start : start + 2], "big")
