# SPDX-License-Identifier: GPL-2.0-only
"""Visitors and their tunnels in step: how they come, stay and go. RFC 5944 3.7.3.2.

All that concerns one place happens one after the other: what comes while the data plane
is at work for it waits. A node is told that it is registered when its tunnel is there,
and not before.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

from mip_agents.protocol.answers import describe
from mip_agents.protocol.bindings import choose_encapsulation, expiry
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.deadlines import Deadlines
from mip_agents.protocol.effects import (
    Effect,
    InstallTunnel,
    Noted,
    RemoveTunnel,
    Severity,
)
from mip_agents.protocol.policy import ForeignAgentPolicy
from mip_agents.protocol.request_checks import Denied
from mip_agents.protocol.tunnel import Form, Tunnel
from mip_agents.protocol.tunnel import Visitor as Guest
from mip_agents.protocol.view import Reply
from mip_agents.protocol.visitor_answers import VisitorAnswers
from mip_agents.protocol.visitor_checks import is_another
from mip_agents.protocol.visitors import (
    PendingList,
    Place,
    Visit,
    Visitor,
    VisitorList,
)
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    Encapsulation,
    ReplyCode,
    RequestFlag,
)

RETRY_S = 30.0
"""Seconds until the data plane is asked again to remove a tunnel."""

_D, _T = RequestFlag.D.value, RequestFlag.T.value
_STAYS = "stays at the home agent until it expires"


@dataclass(frozen=True, slots=True)
class Granted:
    """A request that the home agent has accepted."""

    visit: Visit
    reply: Reply


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A visitor whose lifetime may be over."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A visitor that came again on another of our links."""


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A tunnel that could not be removed."""

    key: str


Job = Granted | Lapsed | Moved | LeftBehind


@dataclass(frozen=True, slots=True)
class _Order:
    """What the data plane is at work with."""

    place: Place
    work: tuple[Granted, Tunnel] | LeftBehind
    """A tunnel that is installed, or what is left behind if one is not removed."""


class VisitorLedger:
    """Changes the visitor list, and orders the tunnels that belong to it."""

    def __init__(
        self,
        policy: ForeignAgentPolicy,
        visitors: VisitorList,
        pending: PendingList,
        answers: VisitorAnswers,
    ) -> None:
        self._policy = policy
        self._visitors = visitors
        self._pending = pending
        self._answers = answers
        self._tokens = itertools.count(1)
        self._orders: dict[int, _Order] = {}
        self._in_work: set[Place] = set()
        self._waiting: dict[Place, deque[Job]] = {}
        self._left = Deadlines[tuple[Place, LeftBehind]]()

    def grant(self, visit: Visit, reply: Reply, now: Instant) -> list[Effect]:
        """Carry out what the home agent has accepted."""
        self._pending.settling += 1
        place = Place(visit.interface, reply.home_address)
        return self._submit(place, Granted(visit, reply), now)

    def attend(self, now: Instant) -> list[Effect]:
        """Drop the visitors whose lifetime is over; nothing is sent (FA-05)."""
        jobs: list[tuple[Place, Job]] = [
            *((place, Lapsed()) for place in self._visitors.take_due(now.mono)),
            *self._left.take_due(now.mono),
        ]
        return [
            effect for place, job in jobs for effect in self._submit(place, job, now)
        ]

    def next_timer(self) -> float | None:
        """Return the second at which `attend` is wanted, if at all."""
        moments = self._visitors.next_end(), self._left.next()
        return min((one for one in moments if one is not None), default=None)

    def settle(self, token: int, error: str | None, now: Instant) -> list[Effect]:
        """Take in that an order is carried out, or has failed."""
        order = self._orders.pop(token, None)
        if order is None:
            return []
        self._in_work.discard(order.place)
        effects: list[Effect] = []
        if error is not None:
            effects.append(_failure(order.place, error))
        if isinstance(order.work, LeftBehind):
            if error is None:
                self._nothing_left(order.place, order.work.key)
            else:
                self._left.set((order.place, order.work), now.mono + RETRY_S)
        else:
            granted, tunnel = order.work
            if error is None:
                self._nothing_left(order.place, tunnel.key)
                effects += self._enter(order.place, granted, tunnel, now)
            else:
                effects += self._refuse(granted, error, now)
        queue = self._waiting.get(order.place)
        while queue and order.place not in self._in_work:
            effects += self._run(order.place, queue.popleft(), now)
        if not queue:
            self._waiting.pop(order.place, None)
        return effects

    def _submit(self, place: Place, job: Job, now: Instant) -> list[Effect]:
        if place in self._in_work:
            self._waiting.setdefault(place, deque()).append(job)
            return []
        return self._run(place, job, now)

    def _run(self, place: Place, job: Job, now: Instant) -> list[Effect]:
        if isinstance(job, Granted):
            ends = self._lifetime(job) == LIFETIME_DEREGISTER
            return self._end(place, job) if ends else self._begin(place, job, now)
        if isinstance(job, LeftBehind):
            return [self._removal(place, job)]
        visitor, lapsed = self._visitors.get(place), isinstance(job, Lapsed)
        if visitor is None or (lapsed and visitor.expires > now.mono):
            return []
        fields: dict[str, str | int | None] = {
            "home_address": place.home_address,
            "interface": place.interface,
            "home_agent": visitor.home_agent,
            "lifetime": visitor.lifetime,
        }
        event, rule = ("visitor_expired", "FA-24")
        if not lapsed:
            event, rule = ("visitor_moved", "FA-02")
        return [*self._drop(place), Noted(event=event, rule=rule, fields=fields)]

    def _lifetime(self, granted: Granted) -> int:
        """Return the least of what was asked, what was granted and ours (C-4)."""
        return min(
            granted.visit.request.lifetime,  # COM-18
            granted.reply.lifetime,
            self._policy.registration_lifetime,
        )

    def _begin(self, place: Place, granted: Granted, now: Instant) -> list[Effect]:
        """List a node, once its tunnel is as it was granted."""
        visit, home_agent = granted.visit, granted.reply.home_agent
        before = self._visitors.get(place)
        if before is not None and is_another(before, visit.link_address, home_agent):
            # A node without home address got one that is taken here (NAI-02).
            return self._refuse(granted, "home address is another visitor's", now)
        tunnel = None
        if not visit.request.flags & _D:
            tunnel = tunnel_of(self._policy, granted)
        effects: list[Effect] = []
        for other in self._visitors.elsewhere(place, home_agent):
            effects += self._submit(other, Moved(), now)
        if tunnel == (None if before is None else before.tunnel):
            return effects + self._enter(place, granted, tunnel, now)
        if tunnel is None:
            # A co-located care-of address has taken the place of ours.
            effects += self._drop(place)
            return effects + self._enter(place, granted, tunnel, now)
        token = self._begun(_Order(place, (granted, tunnel)))
        return [*effects, InstallTunnel(token, tunnel)]

    def _enter(
        self, place: Place, granted: Granted, tunnel: Tunnel | None, now: Instant
    ) -> list[Effect]:
        """List a visitor and tell it; its lifetime begins now (FA-24)."""
        self._pending.settling -= 1
        visit, lifetime = granted.visit, self._lifetime(granted)
        known = self._visitors.get(place) is not None
        visitor = Visitor(
            nai=visit.nai,
            link_address=visit.link_address,
            source=visit.received.source,
            care_of_address=visit.request.care_of_address,
            home_agent=granted.reply.home_agent,
            flags=visit.request.flags,
            identification=visit.request.identification,
            lifetime=lifetime,
            expires=expiry(lifetime, now),
            tunnel=tunnel,
        )
        self._visitors.put(place, visitor)
        # Most registrations are refreshes, of which nobody wants to hear.
        severity = Severity.DEBUG if known else Severity.INFO
        event = "registration_refreshed" if known else "registration_accepted"
        noted = self._noted(event, "FA-24", granted, lifetime, severity)
        return [self._answers.relay(visit, granted.reply), noted]

    def _end(self, place: Place, granted: Granted) -> list[Effect]:
        """Let a node go (FA-25), unless another binding of it is meant."""
        self._pending.settling -= 1
        noted = self._noted("deregistration_accepted", "FA-25", granted, 0)
        effects: list[Effect] = [
            self._answers.relay(granted.visit, granted.reply),
            noted,
        ]
        visitor = self._visitors.get(place)
        if visitor is None or visitor.home_agent != granted.reply.home_agent:
            return effects
        meant = (visitor.care_of_address, place.home_address)
        if granted.visit.request.care_of_address in meant:
            effects += self._drop(place)
        return effects

    def _refuse(self, granted: Granted, error: str, now: Instant) -> list[Effect]:
        """Tell a node that we cannot do what its home agent has granted.

        We must not deregister it there (FA-05).
        """
        self._pending.settling -= 1
        denied = Denied(ReplyCode.FA_INSUFFICIENT_RESOURCES, "FA-05", error)
        return self._answers.deny(granted.visit, denied, now, binding=_STAYS)

    def _drop(self, place: Place) -> list[Effect]:
        visitor = self._visitors.drop(place)
        if visitor is None or visitor.tunnel is None:
            return []
        return [self._removal(place, LeftBehind(visitor.tunnel.key))]

    def _removal(self, place: Place, work: LeftBehind) -> RemoveTunnel:
        return RemoveTunnel(self._begun(_Order(place, work)), work.key)

    def _nothing_left(self, place: Place, key: str) -> None:
        """Forget what was left behind: it is gone, or another is in its place."""
        left = LeftBehind(key)
        self._left.drop((place, left))
        queue = self._waiting.get(place)
        if queue is not None and left in queue:
            queue.remove(left)

    def _begun(self, order: _Order) -> int:
        token = next(self._tokens)
        self._orders[token] = order
        self._in_work.add(order.place)
        return token

    def _noted(
        self,
        event: str,
        rule: str,
        granted: Granted,
        lifetime: int,
        severity: Severity = Severity.INFO,
    ) -> Noted:
        fields = describe(granted.visit.received, granted.visit.request)
        fields |= {
            "home_address": granted.reply.home_address,
            "home_agent": granted.reply.home_agent,
            "interface": granted.visit.interface,
            "lifetime": lifetime,
            "code": granted.reply.code,
        }
        return Noted(event=event, severity=severity, rule=rule, fields=fields)


def tunnel_of(policy: ForeignAgentPolicy, granted: Granted) -> Tunnel:
    """Return the tunnel of a request that was granted (RT-08, RT-09)."""
    visit, reply = granted.visit, granted.reply
    flags = visit.request.flags
    form = choose_encapsulation(flags, policy.encapsulations) or Encapsulation.IPIP
    keyed = Form(form, send_key=reply.gre_key, receive_key=visit.gre_key)
    return Tunnel(
        home_address=reply.home_address,
        local=visit.request.care_of_address,
        peers=(reply.home_agent,),
        encapsulation=form,
        reverse=bool(flags & _T),
        interface=visit.interface,
        peer_forms=() if visit.gre_key is None else (keyed,),
        visitor=Guest(visit.link_address, visit.encapsulating),
    )


def _failure(place: Place, error: str) -> Noted:
    fields: dict[str, str | int | None] = {
        "home_address": place.home_address,
        "interface": place.interface,
        "reason": error,
    }
    return Noted(event="visitor_change_failed", severity=Severity.ERROR, fields=fields)
