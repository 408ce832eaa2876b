# SPDX-License-Identifier: GPL-2.0-only
"""The mobile node. RFC 5944 sections 2.4 and 3.6.

This part decides where the node is to be registered, from its surroundings and from
what it is asked; the registrar gets it there. A request to deregister stops roaming
until the next request to register, since the node would undo it at once. An interface
that was asked for stays in use as long as it can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from mip_agents.protocol.agents_heard import News
from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.attempts import NEVER, Goal, State
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.denials import Reaction
from mip_agents.protocol.discovery import AgentAdvertisement, parse_discovery
from mip_agents.protocol.effects import Effect, Severity
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
from mip_agents.protocol.jumps import JumpDetector
from mip_agents.protocol.movement import Surroundings
from mip_agents.protocol.outbox import Fields
from mip_agents.protocol.policy import CareOf, MobileNodePolicy
from mip_agents.protocol.registrar import Registrar
from mip_agents.protocol.view import Malformed, Request, parse
from scapy_mip.const import LIFETIME_DEREGISTER, LIFETIME_INFINITE, describe_code

_NTP_HALF_SECOND = 1 << 31
_NEWS = {News.NEW: "agent_heard", News.LEFT: "agent_left"}


class MobileNodeEngine:
    """A mobile node without clock, socket or kernel.

    :param random_bytes: source of the unforeseeable bits of Identification and of the
        spread of retransmissions.
    """

    def __init__(
        self, policy: MobileNodePolicy, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.policy = policy
        self._around = Surroundings(policy, random_bytes)
        self._registrar = Registrar(policy, random_bytes, self._elsewhere)
        self._jumps = JumpDetector()
        self._pinned: str | None = None
        self._suspended = False
        self._lifetime = policy.lifetime

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take in one event; return what is to be done, in order."""
        registrar, around = self._registrar, self._around
        self._catch_up(now)
        match event:
            case Received():
                self._receive(event, now)
            case TimerFired():
                self._look_around(now)
                registrar.tick(now)
            case InterfacesChanged(interfaces):
                around.update(interfaces)
                self._look_around(now)
            case DiscoveryReceived():
                self._hear(event, now)
            case TunnelReady(token):
                registrar.tunnel_answered(token, None, now)
            case TunnelFailed(token, reason):
                registrar.tunnel_answered(token, reason, now)
            case RegisterRequested():
                self._register(event, now)
            case DeregisterRequested(token):
                self._deregister(token, now)
            case CancelRequested(token):
                self._cancel(token, now)
            case ClearRequested(token):
                registrar.out.finish([token], "a mobile node keeps no bindings")
            case JournalWritten() | JournalFailed() | Restored():
                pass
            case Undelivered() | Stopping():
                pass
            case _:
                assert_never(event)
        attachment = registrar.attachment
        if attachment and not around.has(attachment):
            registrar.lose(now, interface_is_up=around.is_up(attachment.interface))
        for solicitation in around.solicit(now.mono, search=not self._suspended):
            fields: Fields = {"interface": solicitation.interface}
            registrar.out.put(solicitation)
            registrar.out.note("agent_solicited", fields, severity=Severity.DEBUG)
        return registrar.out.empty()

    @property
    def state(self) -> State:
        """Where the node stands."""
        return self._registrar.state

    def next_timer(self) -> float | None:
        """Return the monotonic second at which `TimerFired` is wanted, if at all."""
        times = self._registrar.next_timer(), self._around.next_timer
        return min((t for t in times if t is not None), default=None)

    def status(self, now: Instant) -> dict[str, Any]:
        """Return the engine's state as JSON-able values, named as in the registry.

        `remaining` and `clock_offset` are whole seconds; the offset is what the home
        agent's clock is ahead of ours, as far as a denial with 133 has told.
        """
        policy, registrar = self.policy, self._registrar
        attachment, registration = registrar.attachment, registrar.registration
        away = attachment is not None and not attachment.is_home
        agent = attachment.agent if attachment else None
        remaining = None
        if registration is not None and registration.expires != NEVER:
            remaining = max(0, int(registration.expires - now.mono))
        # What is granted may be less than what is wanted.
        terms = registration.terms if registration is not None else policy
        codes = list(registrar.exchange.codes)
        code = codes[0] if codes else None
        offset = registrar.exchange.timestamps.offset
        return {
            "role": "mobile_node",
            "state": registrar.state.value,
            "home_address": policy.home_address,
            "home_agent": registrar.home_agent,
            "interface": attachment.interface if attachment else None,
            "foreign_agent": agent.address if agent else None,
            "care_of": policy.care_of.value,
            "care_of_address": attachment.address if attachment and away else None,
            "registered_care_of_address": (
                registration.attachment.address if registration else None
            ),
            "lifetime": registration.lifetime if registration else None,
            "remaining": remaining,
            "encapsulation": terms.encapsulation.slug,
            "reverse_tunnel": terms.reverse_tunnel,
            "broadcasts": policy.broadcasts,
            "roam": policy.roam and not self._suspended,
            "last_code": code,
            "last_code_text": None if code is None else describe_code(code),
            "last_codes": codes,
            "clock_offset": (offset + _NTP_HALF_SECOND) >> 32,
            "replay": "timestamp",
            "quirks": ["coarse_timestamps"] if policy.coarse_timestamps else [],
            "agents": self._around.agents.status(now.mono),
        }

    def _receive(self, received: Received, now: Instant) -> None:
        message = parse(received.data)
        registrar = self._registrar
        if isinstance(message, Malformed):
            self._drop(received, message.rule, message.reason)
        elif isinstance(message, Request):
            self._drop(received, "MN-29", "a request, but mobile nodes grant nothing")
        else:
            registrar.receive(message, received.source, now)
            if registrar.attempt is None and registrar.registration is not None:
                self._around.setbacks.forget(registrar.registration.attachment)

    def _hear(self, received: DiscoveryReceived, now: Instant) -> None:
        """Take in an advertisement, and go where it is best then."""
        policy, registrar = self.policy, self._registrar
        if policy.care_of is CareOf.CO_LOCATED or not self._around.is_up(
            received.interface
        ):
            return
        message = parse_discovery(received.data)
        if isinstance(message, Malformed):
            self._drop(received, message.rule, message.reason)
        if not isinstance(message, AgentAdvertisement):
            return
        attachment = registrar.attachment
        agent = attachment.agent if attachment else None
        in_use = agent.address if agent else None
        news = self._around.agents.hear(received, message, now.mono, in_use)
        fields: Fields = {"interface": received.interface, "agent": received.source}
        event = _NEWS.get(news)
        if event is not None:
            registrar.out.note(event, fields, severity=Severity.DEBUG)
        self._look_around(now)
        registered = registrar.state is State.REGISTERED
        if news is News.RESTARTED and registered and received.source == in_use:
            registrar.out.warn("foreign_agent_restarted", fields, rule="MN-12")
            registrar.renew(now)

    def _drop(
        self, received: Received | DiscoveryReceived, rule: str, reason: str
    ) -> None:
        fields: Fields = {"source": received.source, "reason": reason}
        self._registrar.out.warn("message_dropped", fields, rule=rule)

    def _catch_up(self, now: Instant) -> None:
        """Take note of time that went by, also of such that no timer has seen."""
        registrar, around = self._registrar, self._around
        missed = self._jumps.missed(now)
        if missed:
            registrar.out.warn("clock_jumped", {"seconds": int(missed)})
            around.agents.age(missed)
        if around.agents.expire(now.mono):
            self._look_around(now)  # MN-10
        if missed:
            registrar.age(missed, now)

    def _elsewhere(
        self, failed: Attachment, why: Reaction, now: Instant
    ) -> Attachment | None:
        """Return what to try after an attachment that led nowhere, if anything."""
        around = self._around
        whole = why is Reaction.NEXT_AGENT
        around.setbacks.add(
            around.ways_through(failed) if whole else [failed], now.mono
        )
        roam = self.policy.roam and not self._suspended
        return around.other_than(failed, now.mono, roam=roam)

    def _look_around(self, now: Instant) -> None:
        """Go where it is best, if it is for this node to choose."""
        registrar = self._registrar
        roams = self.policy.roam and not self._suspended
        held = self._around.hold(registrar.home_agent, claim=roams)
        if held is not None:
            registrar.out.put(held)
        if not roams:
            self._look_only(now)
            return
        current = registrar.attachment
        best = self._around.best(self._pinned, current, now.mono)
        if best is None or best.interface != self._pinned:
            self._pinned = None
        if best is None or best == current:
            return
        registrar.out.note("interface_chosen", {"interface": best.interface})
        self._attach(best, now, persistent=True)

    def _look_only(self, now: Instant) -> None:
        """Take note of what is there, without going anywhere by itself."""
        registrar = self._registrar
        if registrar.state is not State.DETACHED:
            return
        registration = registrar.registration
        if registration is not None:
            if not self._suspended and self._around.has(registration.attachment):
                registrar.renew(now)
            return
        found = self._around.best(None, None, now.mono)
        if found is not None and found.is_home:
            registrar.stay_home(found)

    def _attach(
        self,
        attachment: Attachment,
        now: Instant,
        *,
        persistent: bool,
        requesters: tuple[int, ...] = (),
    ) -> None:
        home = attachment.is_home
        before = self._registrar.registration
        overlap = (
            self.policy.simultaneous
            and not home
            and before is not None
            and before.attachment != attachment
            and self._around.has(before.attachment)
        )
        self._registrar.pursue(
            Goal.RETURN if home else Goal.REGISTER,
            attachment,
            now,
            lifetime=LIFETIME_DEREGISTER if home else self._lifetime,
            overlap=overlap,
            persistent=persistent,
            requesters=requesters,
        )

    def _register(self, event: RegisterRequested, now: Instant) -> None:
        registrar, token = self._registrar, event.token
        lifetime = self.policy.lifetime if event.lifetime is None else event.lifetime
        if not LIFETIME_DEREGISTER < lifetime <= LIFETIME_INFINITE:
            error = f"lifetime {lifetime}: take 1 to 65534 seconds, or 65535 for ever"
            registrar.out.finish([token], error)
            return
        current, registration = registrar.attachment, registrar.registration
        found = self._around.attach(event.interface, current, now.mono)
        if isinstance(found, str):
            registrar.out.finish([token], found)
            return
        self._suspended = False
        self._pinned = event.interface
        self._lifetime = lifetime
        known = registration is not None and registration.attachment == found
        persistent = self.policy.roam or known
        self._attach(found, now, persistent=persistent, requesters=(token,))

    def _deregister(self, token: int, now: Instant) -> None:
        """End the registration, and stay where the node is."""
        registrar = self._registrar
        attempt, registration = registrar.attempt, registrar.registration
        attachment = registrar.attachment
        self._suspended = True
        self._pinned = None
        if attempt is not None and attempt.goal is not Goal.REGISTER:
            # At home, or asked before: this is what is under way.
            attempt.requesters.append(token)
        elif attachment is None or attachment.is_home:
            if registration is not None:
                registrar.forget(token, now)
            else:
                registrar.out.finish([token])
        elif registration is None and attempt is not None and not attempt.tries:
            registrar.drop_attempt("superseded by a request to deregister")
            registrar.stand_down(now)
            registrar.out.finish([token])
        else:
            # On the move the home agent may have either binding, or both. A foreign
            # agent relays no request that ends them all: its address must be in it.
            before = registration.attachment if registration else attachment
            moving = before != attachment
            if attachment.agent and not before.agent and self._around.has(before):
                attachment = before
            registrar.pursue(
                Goal.DEREGISTER,
                attachment,
                now,
                everything=moving and attachment.agent is None,
                requesters=(token,),
            )

    def _cancel(self, token: int, now: Instant) -> None:
        """Give up what was asked for, and fall back on what there was before."""
        registrar = self._registrar
        attempt = registrar.attempt
        if attempt is None or not attempt.requesters:
            registrar.out.finish([token], "nothing is under way")
            return
        registrar.out.finish(attempt.requesters, "cancelled")
        if token not in attempt.requesters:
            registrar.out.finish([token])
        attempt.requesters = []
        if attempt.goal is Goal.RETURN:
            # The node is at home whether or not someone waits to hear it.
            return
        self._suspended = registrar.registration is None
        if registrar.registration is None and attempt.tries:
            # The home agent may have granted what nobody wants any more.
            registrar.pursue(Goal.DEREGISTER, attempt.attachment, now)
        else:
            registrar.stand_down(now)
