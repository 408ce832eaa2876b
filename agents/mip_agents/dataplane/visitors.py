# SPDX-License-Identifier: GPL-2.0-only
"""Which visitor of a foreign agent a packet is for, and whether it may go there.

The counterpart of `ways.py`, where a home address alone does not tell: private ones of
several home networks may meet at one foreign agent. Out of a tunnel, home agent and
home address together name the visitor; on the way into one, the link that it is on and
its home address do. No I/O.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

from mip_agents.dataplane.decap import Decapsulated
from mip_agents.dataplane.ways import Way, deviation
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import Encapsulation

_Pair = tuple[bytes, bytes]
"""Home agent and home address."""


class Visitors:
    """The ways of all visitors."""

    def __init__(self) -> None:
        self._ways: dict[str, Way] = {}
        """By the key of the tunnel, the latest last."""
        self._by_agent: dict[_Pair, Way] = {}
        self._homes: Counter[bytes] = Counter()
        """Home addresses, with the number of visitors that have them."""
        self._by_link: dict[tuple[int, bytes], Way] = {}
        """By home address and link: a visited one, or the port that belongs to it."""

    def put(self, way: Way) -> Way | None:
        """Let packets go `way` from now on; return the way that it replaces.

        The new one goes on with the counters of the old.
        """
        key = way.tunnel.key
        old = self._ways.pop(key, None)
        self._ways[key] = way
        if old is not None:
            way.counters = old.counters
            self._unlist(old)
        home = socket.inet_aton(way.tunnel.home_address)
        self._homes[home] += 1
        for link in (way.port.ifindex, way.link):
            self._by_link[link, home] = way
        for pair in _pairs(way.tunnel):
            self._by_agent[pair] = way
        return old

    def get(self, key: str) -> Way | None:
        """Return the way of a tunnel."""
        return self._ways.get(key)

    def drop(self, key: str) -> Way | None:
        """Take a way out of use and return it."""
        old = self._ways.pop(key, None)
        if old is not None:
            self._unlist(old)
        return old

    def clear(self) -> None:
        """Take all out of use."""
        self._ways.clear()
        self._homes.clear()
        self._by_agent.clear()
        self._by_link.clear()

    def _unlist(self, old: Way) -> None:
        """Find a way no more that is not in use any more."""
        home = socket.inet_aton(old.tunnel.home_address)
        self._homes[home] -= 1
        if not self._homes[home]:
            del self._homes[home]
        for link in (old.port.ifindex, old.link):
            del self._by_link[link, home]
        for pair in _pairs(old.tunnel):
            if self._by_agent.get(pair) is old:
                del self._by_agent[pair]
                # A node that has moved to another link of ours may be on both lists.
                for way in self._ways.values() if home in self._homes else ():
                    if pair in _pairs(way.tunnel):
                        self._by_agent[pair] = way

    def into(self, inner: bytes, link: int) -> Way | None:
        """Return the way that a packet is to go which came from a link or its port."""
        return self._by_link.get((link, inner[12:16]))

    def of(self, sent: Decapsulated) -> Way | None:
        """Return the way that a packet went which we sent."""
        return self._by_agent.get((sent.destination, sent.inner[12:16]))

    def judge(self, packet: Decapsulated) -> Way | str:
        """Let through what a visitor's own home agent sent to it (FA-30, RT-08)."""
        home = packet.inner[16:20]
        way = self._by_agent.get((packet.source, home))
        if way is None:
            known = home in self._homes
            return "forward_wrong_outer_source" if known else "forward_no_visitor"
        problem = deviation(way, packet)
        return way if problem is None else f"forward_{problem}"

    def sender(self, packet: Decapsulated, link: int) -> Way | None:
        """Return the way of the visitor whose packet to us came from a visited link."""
        return self._by_link.get((link, packet.source))


def redelivery_problem(way: Way, packet: Decapsulated) -> str | None:
    """Say why a packet that a visitor has encapsulated for us cannot go on (RT-09)."""
    tunnel = way.tunnel
    if tunnel.visitor is None or not tunnel.visitor.encapsulating or not tunnel.reverse:
        return "delivery_not_negotiated"
    if packet.ports or packet.encapsulation not in (
        Encapsulation.IPIP,
        tunnel.encapsulation,
    ):
        return "delivery_wrong_encapsulation"
    if packet.inner[12:16] != packet.source:
        return "delivery_wrong_inner_source"
    return None


def _pairs(tunnel: Tunnel) -> Iterator[_Pair]:
    home = socket.inet_aton(tunnel.home_address)
    return ((socket.inet_aton(peer), home) for peer in tunnel.peers)
