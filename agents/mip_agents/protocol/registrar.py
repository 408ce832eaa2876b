# SPDX-License-Identifier: GPL-2.0-only
"""How a mobile node registers: what follows what, until it is done or given up.

The engine decides where the node is to be registered; this part gets it there. It has
at most one `Attempt`, what it is trying to achieve, and one `Registration`, what the
home agent has granted. An attempt is replaced when the node moves or is asked for
something else; a registration lives until its time is over, so that traffic flows
while the next one is being made. RFC 5944 sections 3.6.1 to 3.6.3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.attempts import (
    AGENT_TRIES,
    MAX_TRIES,
    NEVER,
    STATES,
    Attempt,
    Goal,
    Registration,
    State,
    granted,
)
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.denials import (
    AUTHENTICATION_FAILURES,
    Reaction,
    concede,
    reaction,
)
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Finished,
    Severity,
)
from mip_agents.protocol.exchange import Exchange
from mip_agents.protocol.fsm import Machine
from mip_agents.protocol.outbox import Fields, Outbox
from mip_agents.protocol.policy import MobileNodePolicy
from mip_agents.protocol.reply_checks import ACCEPTING
from mip_agents.protocol.request_checks import is_unicast
from mip_agents.protocol.requests import make_tunnel
from mip_agents.protocol.terms import Terms, first_terms
from mip_agents.protocol.tunnel_slot import NO_ANSWER, PATIENCE_S, TunnelSlot
from mip_agents.protocol.view import Reply
from scapy_mip.const import LIFETIME_DEREGISTER, ReplyCode, describe_code

TUNNEL_RETRY_S = 10.0
"""Seconds until a failed order to the data plane is given again."""

QUICK_RESYNCHRONISATIONS = 2
"""Denials with 133 that are answered at once; after them the back-off decides, since
some home agents only repeat what was sent."""

_LATER = {
    ReplyCode.HA_INSUFFICIENT_RESOURCES,
    ReplyCode.HA_IDENTIFICATION_MISMATCH,
}
"""Denials of a home agent that may hold a binding, and let go of it another time."""

_SENDING = {Goal.RETURN: State.RETURNING, Goal.DEREGISTER: State.DEREGISTERING}


class Registrar:
    """The course of registrations. Its methods add to `out` what is to be done.

    :param elsewhere: tells what to try in the place of an attachment through a foreign
        agent that led nowhere; None: there is nothing.
    """

    def __init__(
        self,
        policy: MobileNodePolicy,
        random_bytes: Callable[[int], bytes],
        elsewhere: Callable[[Attachment, Reaction, Instant], Attachment | None],
    ) -> None:
        self.policy = policy
        self.out = Outbox(policy.home_address)
        self.attachment: Attachment | None = None
        """Where the node is, or is getting registered."""
        self.attempt: Attempt | None = None
        self.registration: Registration | None = None
        self.home_agent = policy.home_agent
        """As configured, or as the home agent itself has said with code 136."""
        self.exchange = Exchange(policy, random_bytes, self.out)
        self._elsewhere = elsewhere
        self._single: str | None = None
        """The home agent that has said that it keeps one binding at a time (code 1)."""
        self._machine = Machine(STATES)
        self._slot = TunnelSlot(policy.home_address, self.out)
        self._remove_at = 0.0
        """Monotonic second at which a tunnel that is left over is removed again."""

    @property
    def state(self) -> State:
        """Where the node stands."""
        return self._machine.state

    def next_timer(self) -> float | None:
        """Return the monotonic second at which `tick` has something to do."""
        times = self._slot.deadlines()
        if self.attempt is not None and self.attempt.due is not None:
            times.append(self.attempt.due)
        if self.registration is not None:
            times.append(self.registration.expires)
            if self.state is State.REGISTERED:
                times.append(self.registration.refresh_at)
        if self._is_left_over:
            times.append(self._remove_at)
        found = min(times, default=NEVER)
        return None if found == NEVER else found

    # What the engine asks for

    def pursue(
        self,
        goal: Goal,
        attachment: Attachment,
        now: Instant,
        *,
        lifetime: int = 0,
        terms: Terms | None = None,
        overlap: bool = False,
        everything: bool = False,
        persistent: bool = False,
        requesters: Iterable[int] = (),
    ) -> None:
        """Start an attempt in place of the one under way.

        :param terms: instead of what is asked for first, with `lifetime`.
        :param overlap: ask the home agent to keep the binding before for a moment, if
            it can, as that still works.
        :param everything: deregister all bindings, not only that of the attachment.
        :param persistent: go on after a denial and without replies.
        """
        self.drop_attempt("superseded by a newer request")
        self.attachment = attachment
        home_address = self.policy.home_address
        terms = terms or first_terms(self.policy, attachment, lifetime)
        if overlap and self._single != self.home_agent:
            terms = dataclasses.replace(terms, simultaneous=True)
        self.attempt = Attempt(
            goal=goal,
            attachment=attachment,
            care_of_address=home_address if everything else attachment.address,
            home_agent=self.home_agent,
            wanted=lifetime or terms.lifetime,
            terms=terms,
            backoff=self.exchange.waits_for_replies(terms.lifetime),
            persistent=persistent,
            requesters=list(requesters),
        )
        self._prepare(self.attempt, now)

    def renew(self, now: Instant, requesters: Iterable[int] = ()) -> None:
        """Register again what is registered."""
        registration = self.registration
        if registration is not None:
            self.pursue(
                Goal.REGISTER,
                registration.attachment,
                now,
                terms=registration.terms,
                persistent=True,
                requesters=requesters,
            )

    def drop_attempt(self, error: str) -> None:
        """End the attempt under way; those who wait for it get the error."""
        if self.attempt is not None:
            self.out.finish(self.attempt.requesters, error)
            self.attempt = None

    def stay_home(self, attachment: Attachment) -> None:
        """Take note of being at home without asking the home agent for anything."""
        self.attachment = attachment
        self._go(State.AT_HOME)

    def stand_down(self, now: Instant) -> None:
        """Leave off, and fall back on the registration that stands, if one does."""
        attempt, registration = self.attempt, self.registration
        self.attempt = None
        if registration is None:
            self._detach(now, [])
            return
        if attempt is not None and attempt.tries:
            # The home agent may have granted what is given up: assert the old one.
            self.registration = dataclasses.replace(registration, refresh_at=now.mono)
        self.attachment = registration.attachment
        self._go(State.REGISTERED)

    def lose(self, now: Instant, *, interface_is_up: bool) -> None:
        """Take note that the interface in use is gone, or the agent there.

        A registration stays, with its tunnel, until its time is over: it may come back.
        """
        if self.attachment is None:
            return
        name, agent = self.attachment.interface, self.attachment.agent
        ending = self.attempt is not None and self.attempt.goal is Goal.DEREGISTER
        if agent is not None and interface_is_up:
            fields: Fields = {"interface": name, "foreign_agent": agent.address}
            self.out.warn("foreign_agent_lost", fields, rule="MN-10")
            name = f"foreign agent {agent.address}"
        else:
            self.out.warn("interface_lost", {"interface": name})
        self.drop_attempt(f"{name} was lost")
        if ending:
            self.registration = None
        self.attachment = None
        if self.registration is None:
            self._detach(now, [])
        else:
            self._go(State.DETACHED)

    def forget(self, token: int, now: Instant) -> None:
        """Give up a registration that cannot be ended, as its interface is gone."""
        registration = self.registration
        if registration is None:
            return
        name = registration.attachment.interface
        error = f"{name} was lost; the binding at the home agent ends by itself"
        self.registration = None
        self._detach(now, [Finished(token=token, error=error)])

    # What happens

    def receive(self, reply: Reply, source: str, now: Instant) -> None:
        """Take in a reply to the latest request, or drop it."""
        attempt = self.attempt
        sent = self.exchange.believe(attempt, reply, source, now)
        if attempt is None or sent is None:
            return
        if reply.code in ACCEPTING:
            self._accepted(attempt, reply, now)
        elif reply.code == ReplyCode.HA_IDENTIFICATION_MISMATCH:
            self._mismatched(attempt, reply, sent, now)
        elif reply.code == ReplyCode.HA_UNKNOWN_HOME_AGENT:
            self._redirected(attempt, reply, sent, now)
        else:
            self._denied(attempt, reply, now)

    def tunnel_answered(self, token: int, error: str | None, now: Instant) -> None:
        """Take in the data plane's answer to an order."""
        if not self._slot.settle(token, error):
            return
        if error is not None:
            self._remove_at = now.mono + TUNNEL_RETRY_S
        if self.state is State.PREPARING:
            self._prepared(error, now)
        elif error is not None:
            self._hurry(now)

    @property
    def _is_left_over(self) -> bool:
        """Whether there is a tunnel that nobody needs, and that did not go away."""
        needed = self.registration is not None or self.attempt is not None
        return not needed and self._slot.wanted is not None and not self._slot.waits

    def _hurry(self, now: Instant) -> None:
        """Refresh soon: that finds the tunnel missing, and orders it."""
        if self.registration is not None:
            soon = min(self.registration.refresh_at, now.mono + TUNNEL_RETRY_S)
            self.registration = dataclasses.replace(self.registration, refresh_at=soon)

    def tick(self, now: Instant) -> None:
        """Do what is due."""
        if self._slot.tick(now):
            self._hurry(now)
        if self.registration is not None and self.registration.expires <= now.mono:
            self._expire(self.registration, now)
        attempt = self.attempt
        if attempt is not None:
            if attempt.due is not None and attempt.due <= now.mono:
                self._proceed(attempt, now)
        elif (
            self.state is State.REGISTERED
            and self.registration is not None
            and self.registration.refresh_at <= now.mono
        ):
            self.renew(now)
        if self._is_left_over and self._remove_at <= now.mono:
            self._slot.order(None)

    def age(self, seconds: float, now: Instant) -> None:
        """Let time go by that the monotonic clock did not see, and register again."""
        if self.registration is not None:
            self.registration = dataclasses.replace(
                self.registration,
                since=self.registration.since - seconds,
                refresh_at=now.mono,
            )
            self.tick(now)

    # Steps of an attempt

    def _go(self, state: State) -> None:
        old = self._machine.state
        if state is not old:
            self._machine.state = state
            fields: Fields = {"state": state.value, "before": old.value}
            self.out.note("state_changed", fields, severity=Severity.DEBUG)

    def _prepare(self, attempt: Attempt, now: Instant) -> None:
        """Bring the tunnel to where the request can be sent.

        Leaving home, it must receive before the home agent sends (MN-33, ARP-03); on
        the way home it must be gone, and home routing back, before the request (MN-13).
        While another registration stands, its tunnel stays: it receives from the home
        agent wherever the node is.
        """
        slot = self._slot
        wanted = slot.wanted
        if attempt.goal is Goal.REGISTER:
            tunnel = make_tunnel(self.policy, attempt, receive_only=True)
            ready = wanted is not None and (not wanted.receive_only or wanted == tunnel)
            if not ready:
                slot.order(tunnel)
            waits = not ready or (wanted == tunnel and slot.waits)
        elif attempt.goal is Goal.RETURN:
            if wanted is not None:
                slot.order(None)
            waits = slot.waits
        else:
            waits = False
        if waits:
            attempt.due = now.mono + PATIENCE_S
            self._go(State.PREPARING)
        else:
            self._depart(attempt, now)

    def _prepared(self, error: str | None, now: Instant) -> None:
        attempt = self.attempt
        if attempt is None:
            return
        if error is None or attempt.goal is Goal.RETURN:
            # At home without the home agent's packets is worse than at home with a
            # tunnel that is left over.
            self._depart(attempt, now)
            return
        self.out.finish(attempt.requesters, f"tunnel: {error}")
        attempt.requesters = []
        if attempt.persistent:
            attempt.due = now.mono + TUNNEL_RETRY_S
        else:
            self.stand_down(now)

    def _depart(self, attempt: Attempt, now: Instant) -> None:
        """Send the first request; at home, after announcing the address (ARP-04)."""
        if attempt.goal is Goal.RETURN:
            self._announce(attempt)
        self._transmit(attempt, now)

    def _announce(self, attempt: Attempt) -> None:
        interface = attempt.attachment.interface
        self.out.put(AnnounceAddress(self.policy.home_address, interface))

    def _transmit(self, attempt: Attempt, now: Instant) -> None:
        """Send a request, in the state that belongs to it."""
        registration = self.registration
        renewing = registration and registration.attachment == attempt.attachment
        normal = State.REFRESHING if renewing else State.REGISTERING
        self._go(_SENDING.get(attempt.goal, normal))
        self.exchange.send(attempt, now)

    def _proceed(self, attempt: Attempt, now: Instant) -> None:
        """Go on when the time for the next step has come."""
        if self.state is State.PREPARING:
            if self._slot.waits:
                self._slot.give_up()
                self._prepared(NO_ANSWER, now)
            else:
                self._prepare(attempt, now)
            return
        if attempt.tries >= MAX_TRIES and (
            attempt.requesters or self._may_end(attempt)
        ):
            self._unanswered(attempt, now)
        elif (
            attempt.tries < AGENT_TRIES
            or attempt.attachment.agent is None
            or not self._go_elsewhere(attempt, Reaction.NEXT_AGENT, now)
        ):
            self._transmit(attempt, now)

    def _may_end(self, attempt: Attempt) -> bool:
        """Return whether an attempt ends without success.

        At home it also ends where no registration is known: nothing says that there
        is a binding to be deregistered, unless the home agent could not do it now. One
        whose clock was set back refuses until that has come to where it was.
        """
        unneeded = attempt.goal is Goal.RETURN and self.registration is None
        later = attempt.last_code in _LATER
        return (unneeded and not later) or not attempt.persistent

    def _unanswered(self, attempt: Attempt, now: Instant) -> None:
        code = attempt.last_code
        error = f"no reply from {attempt.home_agent}"
        if code is not None:
            error = f"{describe_code(code)} (code {code})"
        fields: Fields = {
            "home_agent": attempt.home_agent,
            "reason": error,
            "tries": attempt.tries,
        }
        self.out.warn("gave_up" if self._may_end(attempt) else "no_reply", fields)
        self.out.finish(attempt.requesters, error, code)
        attempt.requesters = []
        if self._may_end(attempt):
            self._fail(attempt, now)
        else:
            self._transmit(attempt, now)

    def _fail(self, attempt: Attempt, now: Instant) -> None:
        """End an attempt that reached nothing."""
        if attempt.goal is Goal.RETURN:
            self.attempt = self.registration = None
            self._go(State.AT_HOME)
        elif attempt.goal is Goal.DEREGISTER:
            # Whoever asked wants no tunnel any more, whatever the home agent thinks.
            self.attempt = None
            self.registration = None
            self._detach(now, [])
        else:
            self.stand_down(now)

    # Replies that are believed

    def _accepted(self, attempt: Attempt, reply: Reply, now: Instant) -> None:
        lifetime = min(attempt.terms.lifetime, reply.lifetime)  # COM-18
        if attempt.goal is Goal.REGISTER and not lifetime:
            self._denied(attempt, reply, now, "accepted for no time at all")
            return
        attachment, code = attempt.attachment, reply.code
        if code == ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS:
            self._single = attempt.home_agent
        fields: Fields = {
            "interface": attachment.interface,
            "care_of_address": attempt.care_of_address,
            "home_agent": attempt.home_agent,
            "lifetime": lifetime,
        }
        if attachment.agent is not None:
            fields["foreign_agent"] = attachment.agent.address
        finished = [
            Finished(token=token, code=code, fields=fields)
            for token in attempt.requesters
        ]
        self.attempt = None
        self.home_agent = attempt.home_agent
        if attempt.goal is Goal.REGISTER:
            renewed = self.state is State.REFRESHING
            overlap = attempt.terms.simultaneous and code == ReplyCode.ACCEPTED
            self.registration = granted(attempt, lifetime, overlap=overlap)
            self._go(State.REGISTERED)
            event = "registration_refreshed" if renewed else "registration_accepted"
            self.out.note(event, fields | {"code": code}, rule="MN-33")
            tunnel = make_tunnel(self.policy, attempt, receive_only=False)
            self._slot.ensure(tunnel, now, finished)
            return
        self.registration = None
        self.out.note("deregistration_accepted", fields | {"code": code}, rule="MN-24")
        if attempt.goal is Goal.RETURN:
            self._go(State.AT_HOME)
            self._announce(attempt)
            self.out.put(*finished)
        else:
            self._detach(now, finished)

    def _mismatched(
        self, attempt: Attempt, reply: Reply, sent: int, now: Instant
    ) -> None:
        """Take over the home agent's clock and try again, soon but not forever."""
        attempt.mismatches += 1
        adjusted = self.exchange.timestamps.resynchronise(
            sent, reply.identification, now.ntp
        )
        fields: Fields = {
            "code": reply.code,
            "adjusted": int(adjusted),
            "mismatches": attempt.mismatches,
        }
        self.out.warn("identification_mismatch", fields, rule="MN-35")
        if attempt.mismatches <= QUICK_RESYNCHRONISATIONS:
            self._transmit(attempt, now)

    def _redirected(
        self, attempt: Attempt, reply: Reply, sent: int, now: Instant
    ) -> None:
        """Try the home agent that the reply names, once in an attempt (MN-36)."""
        named = reply.home_agent
        if attempt.redirected or named == attempt.home_agent or not is_unicast(named):
            self._denied(attempt, reply, now)
            return
        self.exchange.timestamps.resynchronise(sent, reply.identification, now.ntp)
        attempt.redirected = True
        attempt.home_agent = named
        fields: Fields = {"code": reply.code, "home_agent": named}
        self.out.warn("home_agent_named", fields, rule="MN-36")
        self._prepare(attempt, now)

    def _denied(
        self, attempt: Attempt, reply: Reply, now: Instant, reason: str | None = None
    ) -> None:
        """Try something else, if there is anything; else tell who asked.

        An attempt that goes on tries again later then, with long waits.
        """
        code = reply.code
        reason = reason or describe_code(code)
        fields: Fields = {
            "home_agent": attempt.home_agent,
            "code": code,
            "reason": reason,
        }
        rule = "MN-32" if code in AUTHENTICATION_FAILURES else None
        self.out.warn("registration_denied", fields, rule=rule)
        if attempt.attachment.agent is not None and attempt.goal is Goal.REGISTER:
            terms = concede(attempt.terms, code, reply.lifetime)
            attempt.refused.add(attempt.terms)
            if terms is not None and terms not in attempt.refused:
                attempt.terms = terms
                self._prepare(attempt, now)
                return
            if self._go_elsewhere(attempt, reaction(code), now):
                return
        self.out.finish(attempt.requesters, f"{reason} (code {code})", code)
        attempt.requesters = []
        if self._may_end(attempt):
            self._fail(attempt, now)
            return
        if attempt.denials is None:
            attempt.denials = self.exchange.waits_after_denials()
        attempt.due = now.mono + attempt.denials.wait()

    def _go_elsewhere(self, attempt: Attempt, why: Reaction, now: Instant) -> bool:
        """Pursue the same by another way, for those who wait; return whether so."""
        if attempt.goal is not Goal.REGISTER or why is Reaction.BACK_OFF:
            return False
        found = self._elsewhere(attempt.attachment, why, now)
        if found is None:
            return False
        requesters, attempt.requesters = attempt.requesters, []
        self.pursue(
            Goal.RETURN if found.is_home else Goal.REGISTER,
            found,
            now,
            lifetime=LIFETIME_DEREGISTER if found.is_home else attempt.wanted,
            persistent=attempt.persistent,
            requesters=requesters,
        )
        return True

    # Ends

    def _expire(self, registration: Registration, now: Instant) -> None:
        """Do without a registration whose time is over."""
        self.registration = None
        attachment = registration.attachment
        fields: Fields = {
            "interface": attachment.interface,
            "care_of_address": attachment.address,
            "lifetime": registration.lifetime,
        }
        self.out.warn("registration_expired", fields, rule="MN-33")
        attempt = self.attempt
        if self.state is State.REGISTERED:
            # The timer came late, so late that there was no refresh.
            terms = registration.terms
            self.pursue(Goal.REGISTER, attachment, now, terms=terms, persistent=True)
        elif self.state is State.REFRESHING:
            self._go(State.REGISTERING)
        elif self.state is State.DETACHED:
            self._slot.ensure(None, now)
        elif attempt is not None and self.state in _SENDING.values():
            # What was to be ended has ended by itself.
            requesters, attempt.requesters = attempt.requesters, []
            self.out.finish(requesters)
            self._fail(attempt, now)

    def _detach(self, now: Instant, finished: list[Finished]) -> None:
        self.attachment = None
        self._go(State.DETACHED)
        self._slot.ensure(None, now, finished)
