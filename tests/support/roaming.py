# SPDX-License-Identifier: GPL-2.0-only
"""A mobile node, two foreign agents and a home agent with a virtual clock.

The node's `eth0` may be plugged into the link of the first foreign agent, `wlan0` into
that of the second. Journals and data planes answer at once.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mip_agents.protocol.effects import (
    Effect,
    Finished,
    InstallTunnel,
    Journal,
    Noted,
    RemoveTunnel,
    Send,
    SendDiscovery,
)
from mip_agents.protocol.events import (
    DiscoveryReceived,
    Event,
    InterfacesChanged,
    JournalWritten,
    Received,
    TimerFired,
    TunnelReady,
)
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import AdvertisementPolicy, ForeignAgentPolicy
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.tunnel import Tunnel
from support.agents import FA_KEY, HA, HOME, counting_bytes, home_agent
from support.scenario import instant
from support.visiting import VISITOR_KEY, visitor

NODE_MAC = "02:00:00:00:00:aa"
LINKS = {"eth0": "10.1.2.1", "wlan0": "10.1.3.1"}
"""The node's interfaces, and the address of the foreign agent on the other side."""


@dataclass
class Peer:
    """An engine and its data plane."""

    engine: Any
    link_address: str = ""
    tunnels: dict[str, Tunnel] = field(default_factory=dict)


class Roaming:
    """The world of one mobile node that visits foreign agents.

    :param loss: share of messages that are lost, on links and behind them.
    :param shared: whether node and agents share keys with each other.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        loss: float = 0.0,
        shared: bool = False,
        agents: dict[str, dict[str, Any]] | None = None,
        ha_policy: dict[str, Any] | None = None,
        **node: Any,
    ) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.time = 0.0
        self._serial = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self.ha = Peer(home_agent(**ha_policy or {}))
        self.mn = Peer(visitor(shared=shared, **node), NODE_MAC)
        self.agents = {
            name: self.agent(name, shared, (agents or {}).get(name, {}))
            for name in LINKS
        }
        self.addresses: dict[str, str | None] = dict.fromkeys(LINKS)
        """What the node's interfaces have: None is down, an empty text no address."""
        self.sent: list[tuple[float, Send]] = []
        """What the node has sent."""
        self.notes: list[Noted] = []
        self.finished: list[Finished] = []
        self.solicited = 0

    def agent(self, name: str, shared: bool, policy: dict[str, Any]) -> Peer:
        """Make a foreign agent on the link of an interface."""
        address = LINKS[name]
        nodes, homes = SecurityTable(), SecurityTable()
        if shared:
            nodes.add(HOME, VISITOR_KEY)
            homes.add(HA, FA_KEY)
        settings: dict[str, Any] = {
            "interfaces": ("visited",),
            "care_of_addresses": (address,),
            "advertisement": AdvertisementPolicy(interval=3),
            "mobile_nodes": nodes,
            "home_agents": homes,
        }
        made = ForeignAgentPolicy(**settings | policy)
        mac = f"02:00:00:00:00:0{address[5]}"
        peer = Peer(ForeignAgentEngine(made, counting_bytes()), mac)
        link = InterfaceState("visited", True, (f"{address}/24",), None, mac)
        self._later(0.0, lambda: self.feed(peer, InterfacesChanged({"visited": link})))
        return peer

    def plug(self, **addresses: str | None) -> None:
        """Say what the node's interfaces have; what is not named is down."""
        self.addresses = dict.fromkeys(LINKS) | addresses
        states = {
            name: InterfaceState(
                name, address is not None, (f"{address}/24",) if address else ()
            )
            for name, address in self.addresses.items()
        }
        self.feed(self.mn, InterfacesChanged(states))

    def run(self, until: float) -> None:
        """Let time go by."""
        peers = [self.mn, self.ha, *self.agents.values()]
        while True:
            timers = [
                (moment, peer)
                for peer in peers
                if (moment := peer.engine.next_timer()) is not None
            ]
            moment, peer = min(timers, key=lambda t: t[0], default=(until + 1, None))
            if self._due and self._due[0][0] <= moment:
                if self._due[0][0] > until:
                    break
                self.time, _, what = heapq.heappop(self._due)
                what()
            elif peer is not None and moment <= until:
                self.time = max(self.time, moment)
                self.feed(peer, TimerFired())
            else:
                break
        self.time = until

    def feed(self, peer: Peer, event: Event) -> None:
        """Hand an event to an engine, and carry out what it asks for."""
        for effect in peer.engine.handle(event, instant(self.time)):
            self._carry_out(peer, effect)

    def _later(self, delay: float, what: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._due, (self.time + delay, self._serial, what))

    def _carry_out(self, peer: Peer, effect: Effect) -> None:
        match effect:
            case Journal(token):
                self._later(0.0, lambda: self.feed(peer, JournalWritten(token)))
            case InstallTunnel(token, tunnel):
                peer.tunnels[tunnel.key] = tunnel
                self._later(0.001, lambda: self.feed(peer, TunnelReady(token)))
            case RemoveTunnel(token, key):
                peer.tunnels.pop(key, None)
                self._later(0.001, lambda: self.feed(peer, TunnelReady(token)))
            case Send():
                if peer is self.mn:
                    self.sent.append((self.time, effect))
                self._deliver(peer, effect, self._destination(peer, effect))
            case SendDiscovery():
                self.solicited += peer is self.mn
                self._deliver(peer, effect, self._across(peer, effect))
            case Finished():
                self.finished.append(effect)
            case Noted() if peer is self.mn:
                self.notes.append(effect)

    def _across(self, peer: Peer, effect: Send | SendDiscovery) -> Peer | None:
        """Return who is on the other side of the link, if the node is plugged in."""
        if peer is self.mn:
            name = effect.interface or ""
            plugged = self.addresses.get(name) is not None
            return self.agents[name] if plugged else None
        here = self._interface(peer)
        return self.mn if self.addresses[here] is not None else None

    def _interface(self, agent: Peer) -> str:
        return next(name for name, one in self.agents.items() if one is agent)

    def _destination(self, peer: Peer, send: Send) -> Peer | None:
        if send.link_address is not None:
            return self._across(peer, send)
        if send.destination == HA:
            return self.ha
        if send.destination in self.addresses.values():
            return self.mn
        found = [n for n, address in LINKS.items() if address == send.destination]
        return self.agents[found[0]] if found else None

    def _deliver(
        self, peer: Peer, effect: Send | SendDiscovery, to: Peer | None
    ) -> None:
        if to is None or self.random.random() < self.loss:
            return
        on_link = isinstance(effect, SendDiscovery) or effect.link_address is not None
        interface = None
        if on_link:
            agent = to if peer is self.mn else peer
            interface = "visited" if to is agent else self._interface(agent)
        event: Event
        if isinstance(effect, SendDiscovery):
            event = DiscoveryReceived(
                data=effect.data,
                source=effect.source,
                destination=effect.destination,
                interface=interface or "",
                ttl=1,
                link_address=peer.link_address,
            )
        else:
            event = Received(
                data=effect.data,
                source=effect.source,
                source_port=effect.source_port,
                destination=effect.destination,
                destination_port=effect.destination_port,
                interface=interface,
                ttl=effect.ttl if on_link else None,
                link_address=peer.link_address if on_link else None,
            )
        self._later(self.random.uniform(0.001, 0.02), lambda: self.feed(to, event))

    def status(self) -> dict[str, Any]:
        """Return the node's status."""
        found: dict[str, Any] = self.mn.engine.status(instant(self.time))
        return found

    def bound(self) -> list[str]:
        """Return the care-of addresses that the home agent has."""
        return [
            binding["care_of_address"]
            for binding in self.ha.engine.bindings(instant(self.time))
        ]

    def settled(self) -> dict[str, Any]:
        """Check that all agree on where the node is; return its status."""
        status = self.status()
        assert status["state"] == "registered", status
        care_of_address = status["care_of_address"]
        assert self.bound() == [care_of_address]
        tunnel = self.mn.tunnels[HOME]
        assert not tunnel.receive_only
        assert tunnel.local == care_of_address
        through = status["foreign_agent"]
        co_located = care_of_address not in LINKS.values()
        assert (tunnel.agent is None) is co_located
        if through is not None:
            (name,) = (n for n, address in LINKS.items() if address == through)
            visitors = [one.visitor for one in self.agents[name].tunnels.values()]
            if not co_located:
                assert [v.link_address for v in visitors if v] == [NODE_MAC]
        (home,) = self.ha.tunnels.values()
        assert home.peers == (care_of_address,)
        assert home.encapsulation is tunnel.encapsulation
        assert home.reverse is tunnel.reverse
        return status
