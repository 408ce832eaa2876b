# SPDX-License-Identifier: GPL-2.0-only
"""The foreign agent as values in, values out. RFC 5944 section 3.7, RFC 3024 4.2.

Requests of nodes come as frames, with the link-layer address that the answer goes to.
Replies come whichever way their home agents are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from mip_agents.protocol.answers import describe, dropped
from mip_agents.protocol.bindings import choose_encapsulation
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Effect, Finished, Noted, Send, Severity
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    DiscoveryReceived,
    Event,
    InterfacesChanged,
    JournalFailed,
    JournalWritten,
    Received,
    RegisterRequested,
    Restored,
    Stopping,
    TimerFired,
    TunnelFailed,
    TunnelReady,
    Undelivered,
)
from mip_agents.protocol.names import canonical
from mip_agents.protocol.policy import ALL_AGENTS, ForeignAgentPolicy
from mip_agents.protocol.reply_checks import ACCEPTING
from mip_agents.protocol.request_checks import Denied, Dropped
from mip_agents.protocol.view import (
    Malformed,
    Reply,
    Request,
    append,
    authorized_end,
    parse,
)
from mip_agents.protocol.visited_links import VisitedLinks
from mip_agents.protocol.visitor_answers import VisitorAnswers
from mip_agents.protocol.visitor_changes import VisitorLedger
from mip_agents.protocol.visitor_checks import (
    check_claim,
    check_grant,
    check_reply,
    check_request,
    is_for_our_tunnel,
    wants_encapsulating,
)
from mip_agents.protocol.visitor_rows import rows
from mip_agents.protocol.visitors import (
    PendingList,
    Place,
    Visit,
    Visitor,
    VisitorList,
)
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    MIP_PORT,
    TTL_DIRECT,
    Encapsulation,
    ReplyCode,
    RequestFlag,
)
from scapy_mip.ident import LOW_MASK

_D = RequestFlag.D.value

UNREACHABLE = {
    0: ReplyCode.FA_HOME_NETWORK_UNREACHABLE,
    1: ReplyCode.FA_HA_HOST_UNREACHABLE,
    3: ReplyCode.FA_HA_PORT_UNREACHABLE,
    6: ReplyCode.FA_HOME_NETWORK_UNREACHABLE,
    7: ReplyCode.FA_HA_HOST_UNREACHABLE,
    11: ReplyCode.FA_HOME_NETWORK_UNREACHABLE,
    12: ReplyCode.FA_HA_HOST_UNREACHABLE,
}
"""What codes of Destination Unreachable mean to a node (FA-20); others mean 88."""

_IDENTIFICATION = slice(16, 24)
"""Where a request has its Identification; an ICMP error may have cut what follows."""


class ForeignAgentEngine:
    """A foreign agent without clock, socket or kernel.

    :param random_bytes: where the spread of advertisements and GRE keys come from.
    """

    def __init__(
        self, policy: ForeignAgentPolicy, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.policy = policy
        self._random_bytes = random_bytes
        self._links = VisitedLinks(policy, random_bytes)
        self._visitors = VisitorList()
        self._pending = PendingList(policy)
        self._answers = VisitorAnswers(policy, self._links.address_on)
        self._ledger = VisitorLedger(
            policy, self._visitors, self._pending, self._answers
        )

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take in one event; return what is to be done, in order."""
        effects = self._handle(event, now)
        if not isinstance(event, Stopping):
            effects += self._links.mark_busy(self._is_full, now.mono)
        return effects

    def _handle(self, event: Event, now: Instant) -> list[Effect]:
        match event:
            case Received():
                return self._receive(event, now)
            case DiscoveryReceived():
                return self._links.solicited(event, now.mono)
            case Undelivered():
                return self._give_up(event, now)
            case TimerFired():
                return [
                    *self._links.tick(now.mono),
                    *self._time_out(now),
                    *self._ledger.attend(now),
                ]
            case InterfacesChanged(interfaces):
                return self._links.change(interfaces, now.mono)
            case TunnelReady(token):
                return self._ledger.settle(token, None, now)
            case TunnelFailed(token, reason):
                return self._ledger.settle(token, f"data plane: {reason}", now)
            case Stopping():
                return self._links.stop()
            case RegisterRequested(token=token) | DeregisterRequested(token):
                return [
                    Finished(token=token, error="a foreign agent does not register")
                ]
            case CancelRequested(token):
                return [Finished(token=token, error="nothing is under way")]
            case ClearRequested(token):
                return [Finished(token=token, error="a foreign agent has no bindings")]
            case JournalWritten() | JournalFailed() | Restored():
                return []
            case _:
                assert_never(event)

    def next_timer(self) -> float | None:
        """Return the monotonic second at which `TimerFired` is wanted, if at all."""
        moments = (
            self._links.next_timer(),
            self._pending.next_end(),
            self._ledger.next_timer(),
        )
        return min((one for one in moments if one is not None), default=None)

    def status(self, now: Instant) -> dict[str, Any]:  # noqa: ARG002
        """Return the engine's state as JSON-able values, named as in the registry."""
        policy = self.policy
        return {
            "role": "foreign_agent",
            "interfaces": self._links.status(),
            "care_of_addresses": list(self._links.offered),
            "visitors": len(self._visitors),
            "pending": len(self._pending),
            "busy": self._is_full,
            "max_visitors": policy.max_visitors,
            "max_pending": policy.max_pending,
            "registration_lifetime": policy.registration_lifetime,
            "registration_required": policy.registration_required,
            "encapsulations": sorted(form.slug for form in policy.encapsulations),
            "reverse_tunnel": policy.reverse_tunnel.value,
        }

    def visitors(self, now: Instant) -> list[dict[str, Any]]:
        """Return each visitor and each pending request as JSON-able values.

        `state` is `registered` or `pending`. `remaining` is in seconds, of a pending
        request until it is given up; None for an infinite lifetime.
        """
        return rows(self._visitors, self._pending, now)

    @property
    def _is_full(self) -> bool:
        return len(self._visitors) >= self.policy.max_visitors

    def _receive(self, received: Received, now: Instant) -> list[Effect]:
        if received.link_address is not None and not self._is_for_us(received):
            return []
        message = parse(received.data)
        if isinstance(message, Malformed):
            return [dropped(received, message.rule, message.reason)]
        if isinstance(message, Request):
            return self._ask(received, message, now)
        return self._answer(received, message, now)

    def _is_for_us(self, received: Received) -> bool:
        """Return whether a frame is for an agent on one of our links (MN-19)."""
        return received.interface in self.policy.interfaces and (
            received.destination == ALL_AGENTS
            or received.destination in self._links.own
        )

    def _ask(self, received: Received, request: Request, now: Instant) -> list[Effect]:
        """Relay a request, or deny it."""
        if received.interface is None or received.link_address is None:
            reason = "not from a visited link"
            return [dropped(received, "FA-02", reason, request)]
        if not self._links.offered:
            reason = "we have no care-of address"
            return [dropped(received, "FA-01", reason, request)]
        interface, link_address = received.interface, received.link_address
        visit = self._visit(received, request, interface, link_address)
        judged: Denied | Dropped | None = check_request(
            self.policy,
            request,
            ttl=received.ttl,
            offered=self._links.offered,
            own=self._links.own,
        )
        visitor = self._visitors.get(visit.place)
        if judged is None:
            low = request.identification & LOW_MASK
            alike = [one.visit for one in self._pending.with_low(low)]
            judged = check_claim(visit, alike, visitor)
        if judged is None:
            judged = self._check_room(visit, visitor)
        if isinstance(judged, Dropped):
            return [dropped(received, judged.rule, judged.reason, request)]
        if judged is not None:
            return self._answers.deny(visit, judged, now)
        return self._relay(visit, now)

    def _visit(
        self, received: Received, request: Request, interface: str, link_address: str
    ) -> Visit:
        """Find out all that it takes to answer a request."""
        policy, offered = self.policy, self._links.offered
        care_of_address = request.care_of_address
        if care_of_address not in offered:
            care_of_address = offered[0]
        foreign_home = None
        if is_for_our_tunnel(request):
            foreign_home = policy.home_agents.any_of(request.home_agent)
        return Visit(
            received=received,
            request=request,
            interface=interface,
            link_address=link_address,
            nai=None if request.nai is None else canonical(request.nai),
            care_of_address=care_of_address,
            encapsulating=wants_encapsulating(request),
            mobile_foreign=policy.mobile_nodes.any_of(request.home_address),
            foreign_home=foreign_home,
            gre_key=self._gre_key(interface, request),
        )

    def _gre_key(self, interface: str, request: Request) -> int | None:
        """Return the key for GRE packets to us; that of a refreshed tunnel stays."""
        policy = self.policy
        form = choose_encapsulation(request.flags, policy.encapsulations)
        if not policy.gre_keys or form is not Encapsulation.GRE or request.flags & _D:
            return None
        visitor = self._visitors.get(Place(interface, request.home_address))
        if visitor is not None and visitor.tunnel is not None:
            for _, known in visitor.tunnel.forms():
                if known.receive_key is not None:
                    return known.receive_key
        # Zero would ask the home agent for one (TUN-08).
        return int.from_bytes(self._random_bytes(4), "big") or 1

    def _check_room(self, visit: Visit, visitor: Visitor | None) -> Denied | None:
        code = ReplyCode.FA_INSUFFICIENT_RESOURCES
        if not self._pending.has_room(visit.asker):
            return Denied(code, "FA-03", "too many requests wait for a reply")
        leaves = visit.request.lifetime == LIFETIME_DEREGISTER
        has_place = self._pending.get(visit.asker) is not None
        expected = len(self._visitors) + len(self._pending) - has_place
        if visitor is None and not leaves and expected >= self.policy.max_visitors:
            return Denied(code, "FA-03", "too many visitors")
        return None

    def _relay(self, visit: Visit, now: Instant) -> list[Effect]:
        """Pass a request on to the home agent (FA-16 to FA-18)."""
        request = visit.request
        before = self._pending.get(visit.asker)
        if before is not None and before.visit.request.data == request.data:
            # The node sends it again: so do we, with the same key as before.
            data, visit = before.sent, before.visit
        else:
            data = append(
                request.data[: authorized_end(request)],
                gre_key=visit.gre_key,
                foreign_home=visit.foreign_home,
            )
            self._pending.add(visit, data, now)
        send = Send(
            data=data,
            source=visit.care_of_address,
            source_port=MIP_PORT,
            destination=request.home_agent,
            destination_port=MIP_PORT,
            ttl=TTL_DIRECT,
        )
        fields = describe(visit.received, request) | {"interface": visit.interface}
        noted = Noted(event="request_relayed", severity=Severity.DEBUG, fields=fields)
        return [send, noted]

    def _answer(self, received: Received, reply: Reply, now: Instant) -> list[Effect]:
        """Do what a reply says, and pass it on."""
        by_link = received.link_address is not None
        if by_link and not self._links.leads_to(received.interface, received.source):
            return [dropped(received, "FA-22", "a reply from where visitors are")]
        pending = self._pending.match(reply)
        if pending is None:
            return [dropped(received, "FA-22", "a reply to no pending request")]
        visit = pending.visit
        judged = check_reply(self.policy, visit, reply, received.source)
        if isinstance(judged, Dropped):
            return [dropped(received, judged.rule, judged.reason, visit.request)]
        self._pending.drop(visit.asker)
        if judged is not None:
            return self._answers.deny(visit, judged, now)
        if reply.code not in ACCEPTING:
            fields = describe(visit.received, visit.request)
            fields |= {"interface": visit.interface, "code": reply.code}
            noted = Noted(event="denial_relayed", rule="FA-25", fields=fields)
            return [self._answers.relay(visit, reply), noted]
        denied = check_grant(visit, reply, self._links.own)
        if denied is not None:
            return self._answers.deny(visit, denied, now, reply)
        return self._ledger.grant(visit, reply, now)

    def _time_out(self, now: Instant) -> list[Effect]:
        """Give up requests that got no reply (FA-04, FA-19)."""
        effects: list[Effect] = []
        for pending in self._pending.take_due(now.mono):
            visit = pending.visit
            if pending.lapses:
                fields = describe(visit.received, visit.request)
                fields |= {"reason": "its lifetime is over"}
                effects.append(
                    Noted(event="request_lapsed", rule="FA-19", fields=fields)
                )
            else:
                code = ReplyCode.FA_REGISTRATION_TIMEOUT
                denied = Denied(code, "FA-04", "home agent does not answer")
                effects += self._answers.deny(visit, denied, now)
        return effects

    def _give_up(self, event: Undelivered, now: Instant) -> list[Effect]:
        """Tell a node that its home agent cannot be reached (FA-20)."""
        identification = event.data[_IDENTIFICATION]
        if len(identification) < 8:
            return []
        low = int.from_bytes(identification, "big") & LOW_MASK
        for pending in self._pending.with_low(low):
            visit = pending.visit
            if visit.request.home_agent == event.destination and (
                pending.sent.startswith(event.data)
            ):
                self._pending.drop(visit.asker)
                code = UNREACHABLE.get(event.icmp_code, ReplyCode.FA_HA_UNREACHABLE)
                reason = f"ICMP destination unreachable, code {event.icmp_code}"
                return self._answers.deny(visit, Denied(code, "FA-20", reason), now)
        return []
