# SPDX-License-Identifier: GPL-2.0-only
"""Which tunnel a packet belongs to, and whether it may come out of it (RT-07, MN-39).

Everything that a packet needs hangs at one entry of one dictionary, so that replacing a
tunnel is one assignment between two packets. No I/O.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Final, NamedTuple

from mip_agents.dataplane.api import Counters
from mip_agents.dataplane.decap import Decapsulated
from mip_agents.dataplane.outer import Encapsulator, is_fragment, port_bytes
from mip_agents.dataplane.port import Port
from mip_agents.protocol.tunnel import Role, Tunnel
from scapy_mip.const import Encapsulation

LIMITED: Final = b"\xff" * 4
"""The limited broadcast address."""


class Sender(NamedTuple):
    """One of the other ends, and how packets get there."""

    encapsulator: Encapsulator
    socket: socket.socket
    address: tuple[str, int]
    name: bytes
    """The address as the kernel reads it, see `mmsg.pack_name`."""


@dataclass(slots=True, kw_only=True)
class Way:
    """One tunnel as the packets use it; addresses in four bytes."""

    tunnel: Tunnel
    local: bytes
    addresses: frozenset[bytes]
    """Of the other ends."""
    peers: dict[bytes, tuple[int, int | None]]
    """IP protocol number and GRE key of what each of them sends (HA-44), by address
    and, where it comes in UDP, ports."""
    senders: tuple[Sender, ...]
    port: Port
    """Where what comes out of the tunnel is handed over."""
    link: int = 0
    """Foreign agent: index of the visited link's interface."""
    mtu: int = 0xFFFF
    """Foreign agent: size of the largest packet that fits into the tunnel."""
    counters: Counters = field(default_factory=Counters)


def make_way(tunnel: Tunnel, senders: tuple[Sender, ...], port: Port) -> Way:
    """Return the way of `tunnel`."""
    peers: dict[bytes, tuple[int, int | None]] = {}
    for peer, form in tunnel.forms():
        ports = form.ports[::-1] if form.ports else None
        end = socket.inet_aton(peer) + port_bytes(ports)
        peers[end] = int(form.encapsulation), form.receive_key
    return Way(
        tunnel=tunnel,
        local=socket.inet_aton(tunnel.local),
        addresses=frozenset(map(socket.inet_aton, tunnel.peers)),
        peers=peers,
        senders=senders,
        port=port,
    )


def subnet_broadcast(network: IPv4Network | None) -> bytes | None:
    """Return the broadcast address of a network; None if it has none (RFC 3021)."""
    if network is None or network.prefixlen > 30:
        return None
    return network.broadcast_address.packed


class Ways:
    """The tunnels of one role, by home address."""

    def __init__(self, role: Role, home_network: IPv4Network | None) -> None:
        self._home_agent = role is Role.HOME_AGENT
        self._ways: dict[bytes, Way] = {}
        self.judge = self._judge_reverse if self._home_agent else self._judge_forward
        """Return the way that a packet came, or the reason to drop it."""
        self._broadcasts = {LIMITED, subnet_broadcast(home_network) or LIMITED}

    def put(self, way: Way) -> Way | None:
        """Let packets go `way` from now on; return the way that it replaces.

        The new one goes on with the counters of the old.
        """
        key = socket.inet_aton(way.tunnel.home_address)
        old = self._ways.get(key)
        if old is not None:
            way.counters = old.counters
        self._ways[key] = way
        return old

    def get(self, home_address: str) -> Way | None:
        """Return the way of a home address."""
        return self._ways.get(socket.inet_aton(home_address))

    def drop(self, home_address: str) -> Way | None:
        """Take a way out of use and return it."""
        return self._ways.pop(socket.inet_aton(home_address), None)

    def clear(self) -> None:
        """Take all out of use."""
        self._ways.clear()

    def into(self, inner: bytes, link: int) -> Way | None:  # noqa: ARG002  # one port
        """Return the way that a packet of the kernel is to go."""
        return self._ways.get(inner[16:20] if self._home_agent else inner[12:16])

    def of(self, sent: Decapsulated) -> Way | None:
        """Return the way that a packet went which we sent."""
        return self.into(sent.inner, 0)

    def _judge_reverse(self, packet: Decapsulated) -> Way | str:
        """Home agent: let in what a registered mobile node sent (RT-07)."""
        way = self._ways.get(packet.inner[12:16])
        if way is None:
            return "reverse_no_binding"
        if packet.source not in way.addresses:
            return "reverse_wrong_outer_source"
        if packet.destination != way.local:
            return "reverse_wrong_outer_destination"
        problem = deviation(way, packet)
        if problem is not None:
            return f"reverse_{problem}"
        if not way.tunnel.reverse:
            return "reverse_not_negotiated"
        return way

    def _judge_forward(self, packet: Decapsulated) -> Way | str:
        """Mobile node: let in what its home agent sent to its home address.

        The outer destination may be an earlier care-of address: packets that were under
        way during a handover are as good as the others.
        """
        destination = packet.inner[16:20]
        way = self._ways.get(destination)
        if way is None:
            group = 0xE0 <= destination[0] < 0xF0 or destination in self._broadcasts
            if not group:
                return "forward_no_tunnel"
            for home, candidate in self._ways.items():
                if packet.source in candidate.addresses:
                    if packet.destination == home and _is_nest(packet):
                        return candidate
                    way = candidate
        if way is None or packet.source not in way.addresses:
            return "forward_wrong_outer_source"
        problem = deviation(way, packet)
        return way if problem is None else f"forward_{problem}"


def _is_nest(packet: Decapsulated) -> bool:
    """Tell whether a packet came in what is put around copies of what is for many.

    A home agent that is not told that we decapsulate ourselves (D=0) addresses them to
    the home address, in IP-in-IP, before they enter the tunnel (HA-40, MN-42).
    """
    return packet.encapsulation == Encapsulation.IPIP and not packet.ports


def deviation(way: Way, packet: Decapsulated) -> str | None:
    """Say in what a packet from the right address differs from what was negotiated.

    Nothing else is let in beside that (RT-07, NAT-09); but fragments of a minimal
    tunnel, which cannot carry them, come in IP-in-IP (TUN-05).
    """
    expected = way.peers.get(packet.source + packet.ports)
    if expected is None:
        if not packet.ports or packet.source in way.peers:
            return "wrong_encapsulation"
        return "wrong_ports"
    encapsulation, key = expected
    if packet.encapsulation != encapsulation and not (
        encapsulation == Encapsulation.MINIMAL
        and packet.encapsulation == Encapsulation.IPIP
        and is_fragment(packet.inner)
    ):
        return "wrong_encapsulation"
    return None if packet.key == key else "wrong_key"
