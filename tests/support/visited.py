# SPDX-License-Identifier: GPL-2.0-only
"""All three engines: a mobile node on the links of two foreign agents, or at home."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mip_agents.protocol.effects import Effect, Send, SendDiscovery
from mip_agents.protocol.events import (
    DiscoveryReceived,
    Event,
    InterfacesChanged,
    Received,
)
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import (
    AdvertisementPolicy,
    CareOf,
    ForeignAgentPolicy,
)
from support.agents import HA, HOME, counting_bytes
from support.link import LocalLink, Node
from support.scenario import instant

CARE_OF = {"eth0": "10.1.2.1", "wlan0": "10.1.3.1"}
"""The foreign agent on each link of the mobile node, by its care-of address."""
_THEIR_LINK = "eth1"
_NODE_MAC = {"eth0": "02:00:00:00:00:0a", "wlan0": "02:00:00:00:00:0b"}
_AGENT_MAC = {"eth0": "02:00:00:00:01:0a", "wlan0": "02:00:00:00:01:0b"}


def places(**up: str | None) -> InterfacesChanged:
    """Say which interfaces of the mobile node are up, and their address or ""."""
    return InterfacesChanged(
        {
            name: InterfaceState(
                name,
                up.get(name) is not None,
                (up[name],) if up.get(name) else (),
                None,
                _NODE_MAC.get(name),
            )
            for name in ("home0", *CARE_OF)
        }
    )


AT_HOME, NOWHERE = places(home0=f"{HOME}/24"), places()
VISITING_A, VISITING_B = places(eth0=""), places(wlan0="")
VISITING_BOTH = places(eth0="", wlan0="")


class VisitedLinks(LocalLink):
    """The world of one mobile node, its home agent, and two foreign agents."""

    def __init__(
        self,
        seed: int,
        *,
        fa_policy: dict[str, Any] | None = None,
        mn_policy: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        policy = {"care_of": CareOf.AUTO} | (mn_policy or {})
        super().__init__(seed, mn_policy=policy, **more)
        self.fa_policy = fa_policy or {}
        self.up: set[str] = set()
        self.fas = {name: Node(self._foreign_agent(name)) for name in CARE_OF}
        for name in CARE_OF:
            self._bring_up(name)

    def nodes(self) -> list[Node]:
        return [*super().nodes(), *self.fas.values()]

    def _foreign_agent(self, name: str) -> ForeignAgentEngine:
        settings: dict[str, Any] = {
            "interfaces": (_THEIR_LINK,),
            "care_of_addresses": (CARE_OF[name],),
            "advertisement": AdvertisementPolicy(interval=5.0),
            "registration_lifetime": 120,
        }
        policy = ForeignAgentPolicy(**settings | self.fa_policy)
        return ForeignAgentEngine(policy, counting_bytes())

    def _bring_up(self, name: str) -> None:
        address = f"{CARE_OF[name]}/24"
        state = InterfaceState(_THEIR_LINK, True, (address,), None, _AGENT_MAC[name])
        self.feed(self.fas[name], InterfacesChanged({_THEIR_LINK: state}))

    def restart(self, name: str) -> None:
        """Kill a foreign agent and start another in its place."""
        life = self.fas[name].life + 1
        self.fas[name] = Node(self._foreign_agent(name))
        self.fas[name].life = life
        self._bring_up(name)

    def feed(self, node: Node, event: Event) -> None:
        if node is self.mn and isinstance(event, InterfacesChanged):
            self.up = {name for name, state in event.interfaces.items() if state.up}
        super().feed(node, event)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        if isinstance(effect, SendDiscovery):
            self._copies(self._discovery(node, effect))
        else:
            super()._carry_out(node, effect)

    def _copies(self, arrival: Callable[[], None]) -> None:
        copies = self.random.choices((0, 1, 2), (self.loss, 1, self.loss))[0]
        for _ in range(copies):
            self.later(self.random.uniform(0, self.delay), arrival)

    def _name(self, node: Node) -> str:
        return next(name for name, agent in self.fas.items() if agent is node)

    def _discovery(self, node: Node, send: SendDiscovery) -> Callable[[], None]:
        common = {
            "data": send.data,
            "source": send.source,
            "destination": send.destination,
            "ttl": 1,
        }
        if node is self.mn:
            name = send.interface
            return self._to_agent(
                name,
                DiscoveryReceived(
                    interface=_THEIR_LINK, link_address=_NODE_MAC[name], **common
                ),
            )
        name = self._name(node)
        return self._to_node(
            name,
            DiscoveryReceived(interface=name, link_address=_AGENT_MAC[name], **common),
        )

    def _to_agent(self, name: str, event: Event) -> Callable[[], None]:
        def arrive() -> None:
            if name in self.up:
                self.feed(self.fas[name], event)

        return arrive

    def _to_node(self, name: str, event: Event) -> Callable[[], None]:
        def arrive() -> None:
            if name in self.up:
                self.feed(self.mn, event)

        return arrive

    def _arrival(self, node: Node, send: Send) -> Callable[[], None]:
        def received(**more: Any) -> Received:
            return Received(
                data=send.data,
                source=send.source,
                source_port=send.source_port,
                destination=send.destination,
                destination_port=send.destination_port,
                ttl=send.ttl,
                **more,
            )

        if node is self.mn and send.link_address is not None:
            name = send.interface or ""
            assert send.link_address == _AGENT_MAC[name]
            frame = received(interface=_THEIR_LINK, link_address=_NODE_MAC[name])
            return self._to_agent(name, frame)
        if node is self.mn:
            return lambda: self.feed(self.ha, received())
        if node is self.ha:
            for name, care_of_address in CARE_OF.items():
                if send.destination == care_of_address:
                    return lambda: self.feed(self.fas[name], received())
            return self._to_node("home0", received(interface="home0"))
        if send.link_address is not None:
            name = self._name(node)
            assert send.link_address == _NODE_MAC[name]
            frame = received(interface=name, link_address=_AGENT_MAC[name])
            return self._to_node(name, frame)
        return lambda: self.feed(self.ha, received())

    def settled(self) -> dict[str, Any]:
        """Check that all sides agree, and return the mobile node's status."""
        if self.mn.engine.status(instant(self.time))["state"] == "refreshing":
            self.run(self.time + 5)  # that is over soon
        now = instant(self.time)
        status = self.mn.engine.status(now)
        bound = [entry["care_of_address"] for entry in self.ha.engine.bindings(now)]
        if status["state"] == "registered":
            care_of_address = status["registered_care_of_address"]
            assert bound == [care_of_address]
            name = status["interface"]
            assert care_of_address == CARE_OF[name]
            tunnel = self.fas[name].tunnel
            assert tunnel is not None, "the foreign agent has no tunnel"
            assert (tunnel.local, tunnel.peers) == (care_of_address, (HA,))
            assert tunnel.visitor is not None
            assert tunnel.visitor.link_address == _NODE_MAC[name]
            ours = self.mn.tunnel
            assert ours is not None
            assert ours.agent is not None
            assert ours.agent.link_address == _AGENT_MAC[name]
            assert ours.agent.encapsulating == tunnel.visitor.encapsulating
            assert ours.reverse == tunnel.reverse
        elif status["state"] == "at-home":
            assert bound == []
            assert self.mn.tunnel is None
        for node in self.fas.values():
            listed = node.engine.visitors(now)
            registered = [one for one in listed if one["state"] == "registered"]
            assert bool(registered) == (node.tunnel is not None)
        return status
