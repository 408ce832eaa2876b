# SPDX-License-Identifier: GPL-2.0-only
"""The nodes of a capture: which addresses are one node's, and what its role is.

Roles and addresses are read off the registrations and advertisements. A mobile node is
known by its home address or NAI; a foreign agent often has one address on the visited
link and another towards the home agent, which show as two ends of one relay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mip_agents.captures.observation import Kind, Observation
from mip_agents.captures.rules.registration import node_name
from scapy_mip.const import REPLY_CODES, Issuer, RequestFlag

MN, FA, HA = "MN", "FA", "HA"
_ANY, _ALL = "0.0.0.0", "255.255.255.255"
_ORDER = {MN: 0, FA: 1, "": 2, HA: 3}


@dataclass(slots=True, eq=False)
class Lifeline:
    """One node."""

    role: str = ""
    """`MN`, `FA`, `HA`, or nothing where no message tells."""
    name: str = ""
    """What a mobile node is known by; empty for others."""
    addresses: dict[str, None] = field(default_factory=dict)
    """In the order in which they turned up."""

    @property
    def labels(self) -> list[str]:
        """What stands above it: the role with the first name, then the others."""
        names = list(dict.fromkeys([self.name, *self.addresses]))
        shown = [name for name in names if name] or ["?"]
        return [f"{self.role} {shown[0]}".strip(), *shown[1:]]


class Participants:
    """All nodes of some packets, which are given in the order of time."""

    def __init__(self, packets: Iterable[Observation]) -> None:
        self._nodes: dict[str, Lifeline] = {}
        """Mobile nodes, by name."""
        self._agents: dict[str, Lifeline] = {}
        """Everybody else, by address."""
        self._owners: dict[str, Lifeline] = {}
        """Mobile nodes, by address; one that several have had is the first one's."""
        self._hops: dict[tuple[object, ...], list[Observation]] = {}
        packets = list(packets)
        for seen in packets:
            if seen.kind is Kind.REQUEST:
                self._see_request(seen)
        for seen in packets:
            if seen.kind is Kind.REPLY:
                self._see_reply(seen)
            elif seen.kind is Kind.ADVERTISEMENT:
                self._see_advertisement(seen)

    def ends(self, seen: Observation) -> tuple[Lifeline, Lifeline | None]:
        """Return who sent a packet to whom; None: to all on the link."""
        if seen.kind in (Kind.REQUEST, Kind.REPLY):
            node = self._nodes.get(node_name(seen))
        elif seen.inner is not None:
            node = self._owners.get(
                seen.inner.destination, self._owners.get(seen.inner.source)
            )
        else:
            node = None
        source = self._find(seen.ip.source, node)
        if seen.ip.destination == _ALL and seen.kind is Kind.REPLY and node is not None:
            return source, node  # to one that has no address yet (FA-28)
        if seen.is_to_many:
            return source, None
        return source, self._find(seen.ip.destination, node)

    def ordered(self, used: Iterable[Lifeline]) -> list[Lifeline]:
        """Return lifelines once each, mobile nodes first and home agents last."""
        return sorted(dict.fromkeys(used), key=lambda one: _ORDER[one.role])

    def _find(self, address: str, node: Lifeline | None) -> Lifeline:
        if node is not None and address in node.addresses:
            return node
        agent = self._agents.get(address)
        if agent is not None and agent.role:
            return agent
        owner = self._owners.get(address)
        if owner is None and address == _ANY and len(self._nodes) == 1:
            owner = next(iter(self._nodes.values()))  # which asks for agents
        return owner or self._agent(address)

    def _own(self, node: Lifeline, address: str) -> None:
        """Take an address for one of a mobile node's."""
        node.addresses[address] = None
        self._owners.setdefault(address, node)

    def _node(self, seen: Observation) -> Lifeline:
        name = node_name(seen)
        known = self._nodes.get(name)
        if known is None:
            known = self._nodes[name] = Lifeline(MN, name if name != _ANY else "")
            home = seen.packet.home_address
            if home != _ANY:
                self._own(known, home)
        return known

    def _agent(self, address: str, role: str = "") -> Lifeline:
        """Return who has an address, and give him a role if he has none."""
        known = self._agents.setdefault(address, Lifeline())
        known.addresses[address] = None
        known.role = known.role or role
        return known

    def _join(self, one: str, other: str) -> None:
        """Take two addresses for those of one agent."""
        keeps, goes = self._agent(one), self._agent(other)
        if keeps is goes:
            return
        keeps.role = HA if HA in (keeps.role, goes.role) else keeps.role or goes.role
        keeps.addresses |= goes.addresses
        for address in goes.addresses:
            self._agents[address] = keeps

    def _see_request(self, seen: Observation) -> None:
        packet, source, target = seen.packet, seen.ip.source, seen.ip.destination
        node, care_of = self._node(seen), packet.care_of_address
        hops = self._hop(seen)
        is_own = bool(packet.flags & RequestFlag.D) or care_of == packet.home_address
        if is_own:
            self._own(node, care_of)
        if source == care_of and not is_own:
            self._agent(source, FA)
        elif len(hops) == 1:
            self._own(node, source)
        elif source not in node.addresses:
            self._agent(source, FA)
        is_first = source in node.addresses
        if seen.is_to_many:
            pass
        elif target == packet.home_agent or packet.home_agent in (_ANY, _ALL):
            self._agent(target, HA)
        elif is_first:
            self._agent(target, FA)
            if not is_own and care_of != _ANY and self._agent(care_of).role != HA:
                self._join(target, care_of)
        else:
            self._agent(target, HA)
        self._join_relay(hops, node)

    def _see_reply(self, seen: Observation) -> None:
        source, target = seen.ip.source, seen.ip.destination
        known = REPLY_CODES.get(seen.packet.code)
        node, hops = self._node(seen), self._hop(seen)
        if known is not None and known.issuer is Issuer.FA:
            self._agent(source, FA)
        elif source == seen.packet.home_agent or self._is_foreign_agent(target):
            self._agent(source, HA)
        if target not in self._agents and self._is_foreign_agent(source):
            self._own(node, target)
        self._join_relay(hops, node)

    def _is_foreign_agent(self, address: str) -> bool:
        return address in self._agents and self._agents[address].role == FA

    def _see_advertisement(self, seen: Observation) -> None:
        mobility = seen.mobility
        if mobility is None:
            self._agent(seen.ip.source)
            return
        self._agent(seen.ip.source, FA if mobility.flags.F else HA)
        for address in mobility.care_of_addresses:
            self._join(seen.ip.source, address)

    def _hop(self, seen: Observation) -> list[Observation]:
        """Return what was seen of a message until now, from its first hop on."""
        packet: Any = seen.packet
        key = (seen.kind, node_name(seen), packet.identification, packet.lifetime)
        hops = self._hops.setdefault(key, [])
        hops.append(seen)
        return hops

    def _join_relay(self, hops: list[Observation], node: Lifeline) -> None:
        """Take who got a message and who sent it on for one agent."""
        if len(hops) < 2:
            return
        came, went = hops[-2].ip.destination, hops[-1].ip.source
        if hops[-2].is_to_many or came in node.addresses or went in node.addresses:
            return
        if HA not in (self._agent(came).role, self._agent(went).role):
            self._join(came, went)
