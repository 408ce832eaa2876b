# SPDX-License-Identifier: GPL-2.0-only
"""The way of the packets at a foreign agent, where it differs from other agents'.

What visitors send in a tunnel to us (RFC 3024 section 5.2) goes on into their own
tunnel, and the kernel does not see it in between. So we do what a router does to it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.decap import Decapsulated, decapsulate
from mip_agents.dataplane.forwarding import fragments, next_hop
from mip_agents.dataplane.icmprelay import answer
from mip_agents.dataplane.outer import Drop
from mip_agents.dataplane.packets import BATCH, PacketPath
from mip_agents.dataplane.visitors import Visitors, redelivery_problem
from mip_agents.dataplane.ways import Way
from mip_agents.protocol.tunnel import Tunnel

_IP_PKTINFO: Final = 8
_ARRIVAL = Struct("=i")
"""Beginning of struct in_pktinfo: the interface."""
_TOO_BIG: Final = (3, 4)
"""ICMP type and code: fragmentation needed."""
_GROUPS: Final = 0xE0
"""First octet of multicast addresses; those above are broadcast or none."""


class VisitorPath(PacketPath):
    """Moves packets between the ports of visited links and raw sockets."""

    def __init__(
        self, *, drops: DropCounters, on_path_change: Callable[[], None]
    ) -> None:
        """See `PacketPath`."""
        self._visitors = Visitors()
        super().__init__(
            self._visitors,
            drops=drops,
            on_path_change=on_path_change,
            tell=self._tell,
        )
        for sock in self._receivers:
            sock.setsockopt(socket.SOL_IP, _IP_PKTINFO, 1)

    def _from_tunnels(self, sock: socket.socket) -> None:
        """See `PacketPath`; here the interface of arrival matters."""
        try:
            for _ in range(BATCH):
                packet, ancillary, _, _ = sock.recvmsg(65535, 64)
                self._take(packet, _arrival(ancillary))
        except OSError:  # no more packets, or an ICMP error, which is reported once
            self._read_errors(sock)

    def _take(self, packet: bytes, link: int) -> None:
        result = decapsulate(packet, verify=False)
        if isinstance(result, Drop):
            self.drops.count(result)
            return
        way = self._visitors.sender(result, link)
        if way is None:
            self._hand_over(result)
        else:
            self._redeliver(way, result)

    def _redeliver(self, way: Way, packet: Decapsulated) -> None:
        """Pass on what a visitor has encapsulated for us (RT-09, RT-11)."""
        problem = redelivery_problem(way, packet)
        if problem is not None:
            self.drops.count(problem)
            return
        inner: bytes | Drop = packet.inner
        # What is for many is for the home link, as if the visitor were there: reports
        # of groups, for one, would not survive a router (RT-11).
        if packet.inner[16] < _GROUPS:
            inner = next_hop(packet.inner)
        if isinstance(inner, Drop):
            self.drops.count(inner)
            return
        pieces = list(fragments(inner, way.mtu))
        if not pieces:
            self.drops.count("delivery_emsgsize")
            complaint = answer(*_TOO_BIG, way.mtu, packet.inner, way.local)
            if complaint is not None:
                self._tell(way.tunnel, complaint)
        for piece in pieces:
            self._send(way, piece)

    def _tell(self, tunnel: Tunnel, complaint: bytes) -> None:
        """Hand a visitor an ICMP error about what went into its tunnel."""
        way = self.get(tunnel.key)
        if way is not None:
            self._write(way.port, complaint)


def _arrival(ancillary: list[Any]) -> int:
    """Return the interface by which a packet has come; 0 if it is not known."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_IP, _IP_PKTINFO):
            (index,) = _ARRIVAL.unpack_from(data)
            return int(index)
    return 0
