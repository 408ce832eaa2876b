# SPDX-License-Identifier: GPL-2.0-only
"""Links and the Internet between them, in memory: who hears what, and when.

A link is a network with a prefix; all links are joined by an Internet that delivers by
prefix, or by the outside address of the box that hides a link. What goes wrong is
decided on each link that a datagram passes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from msgspec.structs import replace

from mip_agents.protocol.effects import Send, SendDiscovery
from mip_agents.protocol.events import DiscoveryReceived, Received
from mip_agents.simulation.agenda import Agenda
from mip_agents.simulation.nat import Nat

BROADCAST = "255.255.255.255"
_LINK_TTL = 1


@dataclass(slots=True)
class Conditions:
    """What a link does to what passes it."""

    delay: float = 0.005
    """Seconds that a datagram takes at least."""
    jitter: float = 0.0
    """Seconds by which it may be later, so that datagrams overtake each other."""
    loss: float = 0.0
    """Share of datagrams that are lost."""
    duplication: float = 0.0
    """Share of datagrams that come twice."""
    corruption: float = 0.0
    """Share of datagrams of which a byte is changed, and no checksum says so."""
    cut: bool = False
    """Whether nothing reaches the Internet from there."""


@dataclass(slots=True, eq=False)
class Port:
    """An interface of a node: where it is, and what it hears."""

    owner: str
    """The node's name."""
    name: str
    link_address: str
    hear: Callable[[Received | DiscoveryReceived], None]
    addresses: tuple[str, ...] = ()
    """Without prefix length."""
    link: Link | None = None

    def plug(self, link: Link | None, addresses: Iterable[str] = ()) -> None:
        """Move to another link, or to none, and have these addresses there."""
        if self.link is not None:
            del self.link.ports[self.link_address]
            for address in self.addresses:
                self.link.holders[address].remove(self)
        self.link, self.addresses = link, tuple(addresses)
        if link is not None:
            link.ports[self.link_address] = self
            for address in self.addresses:
                link.holders.setdefault(address, []).append(self)


@dataclass(slots=True, eq=False)
class Link:
    """A network."""

    name: str
    prefix: IPv4Network
    router: str
    conditions: Conditions = field(default_factory=Conditions)
    ports: dict[str, Port] = field(default_factory=dict)
    """By link-layer address, in the order in which they came."""
    holders: dict[str, list[Port]] = field(default_factory=dict)
    """Who has an address; the first one hears what is sent to it."""
    nat: Nat | None = None
    """The box between it and the Internet; then nobody outside knows its prefix."""

    def at(self, link_address: str | None) -> list[Port]:
        """Return the port with a link-layer address; all of them for None."""
        if link_address is None:
            return list(self.ports.values())
        port = self.ports.get(link_address)
        return [] if port is None else [port]


@dataclass(slots=True)
class Packet:
    """A datagram on its way, for those who write captures."""

    time: float
    link: str
    """Its name; the outside address of a box, for what has passed that."""
    source: str
    source_port: int
    destination: str
    destination_port: int
    ttl: int
    data: bytes
    icmp: bool = False


class Internet:
    """All links, and the way between them."""

    def __init__(self, agenda: Agenda, chance: random.Random) -> None:
        self.links: dict[str, Link] = {}
        self.delay = 0.010
        """Seconds from one link to another, each way."""
        self.bytes = 0
        """Of signalling, as sent."""
        self.sent = 0
        self.record: Callable[[Packet], None] | None = None
        self._agenda = agenda
        self._chance = chance
        self._by_prefix: dict[tuple[int, int], Link] = {}
        self._lengths: list[int] = []
        self._outsides: dict[str, Link] = {}

    def add(self, link: Link) -> Link:
        """Join a link to the others."""
        self.links[link.name] = link
        if link.nat is not None:
            self._outsides[link.nat.outside] = link
            return link
        length = link.prefix.prefixlen
        self._by_prefix[length, int(link.prefix.network_address)] = link
        self._lengths = sorted({*self._lengths, length}, reverse=True)
        return link

    def link_of(self, address: str) -> Link | None:
        """Return the link to whose prefix an address belongs."""
        number = int(IPv4Address(address))
        for length in self._lengths:
            found = self._by_prefix.get((length, number >> 32 - length << 32 - length))
            if found is not None:
                return found
        return None

    def send(self, port: Port, send: Send) -> bool:
        """Carry a datagram; False where there is nobody at all who could have it."""
        link = port.link
        if link is None:
            return True  # lost, as with the cable out
        self._count(link, send)
        if send.link_address is not None:
            self._deliver(link, None, link.at(send.link_address), port, send)
            return True
        there = self._leads_to(link, send.destination)
        if there is None:
            return False
        if there is not link:
            if link.nat is not None:
                send = self._leave(link.nat, send)
            if there.nat is not None:
                entering = self._enter(there.nat, send)
                if entering is None:
                    return True  # such a box drops without a word
                send = entering
        if send.destination in (BROADCAST, str(there.prefix.broadcast_address)):
            targets = [one for one in there.ports.values() if one is not port]
        else:
            targets = there.holders.get(send.destination, [])[:1]
        self._deliver(link, None if there is link else there, targets, port, send)
        return bool(targets)

    def _leads_to(self, link: Link, destination: str) -> Link | None:
        """Return on which link a datagram goes on from one."""
        if destination == BROADCAST:
            return link
        if link.nat is not None and IPv4Address(destination) in link.prefix:
            return link
        return self._outsides.get(destination) or self.link_of(destination)

    def _leave(self, nat: Nat, send: Send) -> Send:
        inside = send.source, send.source_port
        outside = nat.leave(inside, send.destination, self._agenda.now)
        send = replace(send, source=nat.outside, source_port=outside)
        self._note(nat.outside, send)
        return send

    def _enter(self, nat: Nat, send: Send) -> Send | None:
        found = nat.enter(send.destination_port, send.source, self._agenda.now)
        if found is None:
            return None
        send = replace(send, destination=found[0], destination_port=found[1])
        self._note(nat.outside, send)
        return send

    def inject(self, port: Port, event: Received | DiscoveryReceived) -> None:
        """Let something of a stranger arrive at a port."""
        if self.record is not None and port.link is not None:
            self.record(_packet(self._agenda.now, port.link.name, event))
        self._agenda.after(self.delay, _arrival(port, port.link, event))

    def _count(self, link: Link, send: Send) -> None:
        self.sent += 1
        self.bytes += len(send.data) + 28
        self._note(link.name, send)

    def _note(self, where: str, send: Send) -> None:
        if self.record is not None:
            self.record(
                Packet(
                    self._agenda.now,
                    where,
                    send.source,
                    send.source_port,
                    send.destination,
                    send.destination_port,
                    send.ttl or 64,
                    send.data,
                )
            )

    def _deliver(
        self,
        here: Link,
        there: Link | None,
        targets: list[Port],
        port: Port,
        send: Send,
    ) -> None:
        """Let a datagram arrive, as often and as late as the links have it."""
        if there is not None and (here.conditions.cut or there.conditions.cut):
            return
        passed = [here.conditions] + ([there.conditions] if there is not None else [])
        for target in targets:
            where = target.link
            for late, data in self._fates(send.data, passed):
                event = Received(
                    data=data,
                    source=send.source,
                    source_port=send.source_port,
                    destination=send.destination,
                    destination_port=send.destination_port,
                    interface=target.name,
                    ttl=send.ttl or 64,
                    link_address=port.link_address if there is None else None,
                )
                extra = self.delay if there is not None else 0.0
                self._agenda.after(late + extra, _arrival(target, where, event))

    def discover(self, port: Port, send: SendDiscovery) -> None:
        """Carry a router discovery message to those on its link."""
        link = port.link
        if link is None:
            return
        self.sent += 1
        self.bytes += len(send.data) + 20
        if self.record is not None:
            self.record(
                Packet(
                    self._agenda.now,
                    link.name,
                    send.source,
                    0,
                    send.destination,
                    0,
                    _LINK_TTL,
                    send.data,
                    icmp=True,
                )
            )
        for target in link.at(send.link_address):
            if target is port:
                continue
            for late, data in self._fates(send.data, [link.conditions]):
                if data != send.data:
                    continue  # ICMP, unlike UDP, is never without a checksum
                event = DiscoveryReceived(
                    data=data,
                    source=send.source,
                    destination=send.destination,
                    interface=target.name,
                    ttl=_LINK_TTL,
                    link_address=port.link_address,
                )
                self._agenda.after(late, _arrival(target, link, event))

    def _fates(
        self, data: bytes, passed: list[Conditions]
    ) -> list[tuple[float, bytes]]:
        """Return when a datagram arrives, and what is left of it, for each copy."""
        chance, copies = self._chance, 1
        late = 0.0
        for conditions in passed:
            late += conditions.delay
            if conditions.jitter:
                late += chance.random() * conditions.jitter
            if conditions.loss and chance.random() < conditions.loss:
                return []
            if conditions.duplication and chance.random() < conditions.duplication:
                copies += 1
            if conditions.corruption and chance.random() < conditions.corruption:
                damaged = bytearray(data)
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
                data = bytes(damaged)
        return [(late * (number + 1), data) for number in range(copies)]


def _packet(time: float, where: str, event: Received | DiscoveryReceived) -> Packet:
    icmp = isinstance(event, DiscoveryReceived)
    return Packet(
        time,
        where,
        event.source,
        0 if isinstance(event, DiscoveryReceived) else event.source_port,
        event.destination,
        0 if isinstance(event, DiscoveryReceived) else event.destination_port,
        event.ttl or 64,
        event.data,
        icmp,
    )


def _arrival(
    port: Port, link: Link | None, event: Received | DiscoveryReceived
) -> Callable[[], None]:
    def arrive() -> None:
        if port.link is link:  # else the interface has moved on
            port.hear(event)

    return arrive
