# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent's visitor list and its pending requests. RFC 5944 section 3.7.1.

The two are apart: a request changes nothing of a visitor before the home agent has
accepted it (FA-07). Private addresses of several home networks may meet at a foreign
agent, so that a visitor is known by its link and its home address.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.deadlines import Deadlines
from mip_agents.protocol.events import Received
from mip_agents.protocol.names import canonical
from mip_agents.protocol.policy import ForeignAgentPolicy
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.values import Value
from mip_agents.protocol.view import Reply, Request
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import LIFETIME_DEREGISTER
from scapy_mip.ident import LOW_MASK

UNKNOWN = "0.0.0.0"
"""The home address of a node that asks for one."""


class Place(NamedTuple):
    """Where a visitor is and who it is there."""

    interface: str
    home_address: str


class Asker(NamedTuple):
    """Who asks: two nodes may claim one home address, and only one be right."""

    interface: str
    link_address: str
    node: str
    """The NAI of a node without home address (NAI-02), else the home address."""


class Visit(Value, frozen=True):
    """A request of a node on one of our links, with what it takes to answer (FA-02)."""

    received: Received
    request: Request
    interface: str
    link_address: str
    nai: str | None
    """In canonical form."""
    care_of_address: str
    """Ours that the request is relayed from (FA-18)."""
    encapsulating: bool
    """The encapsulating delivery style is wanted (RT-03)."""
    mobile_foreign: SecurityAssociation | None = None
    """Signs what the node gets (FA-26)."""
    foreign_home: SecurityAssociation | None = None
    """Signs the request for the home agent, whose reply must be signed, too."""
    gre_key: int | None = None
    """Asked for in the packets to us (TUN-09)."""

    @property
    def asker(self) -> Asker:
        """Who asks."""
        return Asker(self.interface, self.link_address, node_of(self.request))

    @property
    def place(self) -> Place:
        """Where the node is; its home address may not be known yet."""
        return Place(self.interface, self.request.home_address)


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for the home agent's answer."""

    visit: Visit
    sent: bytes
    """The request as it was relayed."""
    expires: float
    """Monotonic second at which the node is told that no answer came."""
    lapses: bool
    """Its lifetime is over by then, so that the node is told nothing (FA-05, FA-19)."""

    @property
    def low(self) -> int:
        """What the reply repeats of Identification (FA-22)."""
        return self.visit.request.identification & LOW_MASK


class Visitor(Value, frozen=True):
    """A node that is registered through us."""

    nai: str | None
    link_address: str
    source: str
    """IP source of its request: the home address or a co-located care-of address."""
    care_of_address: str
    home_agent: str
    flags: int
    identification: int
    lifetime: int
    """Granted seconds; 65535 is infinite."""
    expires: float
    """Monotonic second; `NEVER` for an infinite lifetime."""
    tunnel: Tunnel | None
    """None: its tunnel ends at a co-located care-of address."""


def node_of(request: Request) -> str:
    """Return whom a request is from: the NAI where it has no home address (NAI-02)."""
    if request.home_address == UNKNOWN and request.nai is not None:
        return canonical(request.nai) or UNKNOWN
    return request.home_address


class PendingList:
    """Requests that wait for a reply, not more than the policy says (FA-03, FA-04).

    A request whose reply has come keeps its place while the data plane is at work.
    """

    def __init__(self, policy: ForeignAgentPolicy) -> None:
        self._policy = policy
        self._waiting: dict[Asker, Pending] = {}
        self._by_low: dict[int, list[Pending]] = {}
        self._ends = Deadlines[Asker]()
        self.settling = 0
        """Requests whose reply has come, and which are being carried out."""

    def __len__(self) -> int:
        return len(self._waiting) + self.settling

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._waiting.values())

    def has_room(self, asker: Asker) -> bool:
        """Return whether a request may wait; it takes the place of an earlier one."""
        return asker in self._waiting or len(self) < self._policy.max_pending

    def get(self, asker: Asker) -> Pending | None:
        """Return the request of a node that waits."""
        return self._waiting.get(asker)

    def add(self, visit: Visit, sent: bytes, now: Instant) -> None:
        """Let a request wait, in the place of an earlier one of the node."""
        self.drop(visit.asker)
        timeout, lifetime = self._policy.pending_timeout, visit.request.lifetime
        lapses = LIFETIME_DEREGISTER < lifetime < timeout
        expires = now.mono + (lifetime if lapses else timeout)
        pending = Pending(visit, sent, expires, lapses)
        self._waiting[visit.asker] = pending
        self._by_low.setdefault(pending.low, []).append(pending)
        self._ends.set(visit.asker, expires)

    def drop(self, asker: Asker) -> Pending | None:
        """Let a request wait no longer."""
        pending = self._waiting.pop(asker, None)
        if pending is not None:
            self._ends.drop(asker)
            alike = self._by_low[pending.low]
            alike.remove(pending)
            if not alike:
                del self._by_low[pending.low]
        return pending

    def with_low(self, low: int) -> list[Pending]:
        """Return the requests with these low 32 bits of Identification."""
        return list(self._by_low.get(low, ()))

    def match(self, reply: Reply) -> Pending | None:
        """Return the request that a reply answers (FA-22).

        Where several could be meant, the NAI decides, and then who came first.
        """
        name = None if reply.nai is None else canonical(reply.nai)
        found = [
            pending
            for pending in self.with_low(reply.identification & LOW_MASK)
            if pending.visit.request.home_address == reply.home_address
            or (
                pending.visit.request.home_address == UNKNOWN
                and name in (None, pending.visit.nai)
            )
        ]
        named = [one for one in found if name is not None and one.visit.nai == name]
        return next(iter(named or found), None)

    def next_end(self) -> float | None:
        """Return when the next request has waited long enough."""
        return self._ends.next()

    def take_due(self, now: float) -> list[Pending]:
        """Take out the requests that have waited long enough."""
        found = [self.drop(asker) for asker in self._ends.take_due(now)]
        return [pending for pending in found if pending is not None]


class VisitorList:
    """Visitors by link and home address, with the ends of their lifetimes."""

    def __init__(self) -> None:
        self._visitors: dict[Place, Visitor] = {}
        self._by_address: dict[str, set[Place]] = {}
        self._ends = Deadlines[Place]()

    def __len__(self) -> int:
        return len(self._visitors)

    def __iter__(self) -> Iterator[tuple[Place, Visitor]]:
        return iter(self._visitors.items())

    def get(self, place: Place) -> Visitor | None:
        """Return a visitor."""
        return self._visitors.get(place)

    def put(self, place: Place, visitor: Visitor) -> None:
        """Add a visitor, or put it in the place of what it was."""
        self._visitors[place] = visitor
        self._by_address.setdefault(place.home_address, set()).add(place)
        self._ends.set(place, visitor.expires)

    def drop(self, place: Place) -> Visitor | None:
        """Forget a visitor."""
        visitor = self._visitors.pop(place, None)
        if visitor is not None:
            self._ends.drop(place)
            places = self._by_address[place.home_address]
            places.remove(place)
            if not places:
                del self._by_address[place.home_address]
        return visitor

    def elsewhere(self, place: Place, home_agent: str) -> list[Place]:
        """Return where else the same node is listed: it has come from there.

        A node with the same address and another home agent is another one.
        """
        return [
            other
            for other in sorted(self._by_address.get(place.home_address, ()))
            if other != place and self._visitors[other].home_agent == home_agent
        ]

    def next_end(self) -> float | None:
        """Return when the next lifetime is over."""
        return self._ends.next()

    def take_due(self, now: float) -> list[Place]:
        """Return the visitors whose lifetime is over; each is named once."""
        return self._ends.take_due(now)
