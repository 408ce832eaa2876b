# SPDX-License-Identifier: GPL-2.0-only
"""The home agent as values in, values out. RFC 5944 section 3.8.

All that concerns one home address happens one after the other: while a change of its
bindings waits for the journal or the data plane, later requests of the same node wait
behind it. So nothing is lost or overtaken, and no decision rests on a change that may
still be taken back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, assert_never

from mip_agents.protocol.answers import Answers, describe, dropped, repeated
from mip_agents.protocol.bindings import (
    NEVER,
    Binding,
    Bindings,
    form_of,
    has_care_of_address,
    restore,
)
from mip_agents.protocol.changes import Ledger
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    AnnounceAddress,
    BindingRecord,
    DroppedBinding,
    Effect,
    Finished,
    GiveBackAddress,
    IdentificationRecord,
    Noted,
    Severity,
)
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
from mip_agents.protocol.freshness import ReplayGuard
from mip_agents.protocol.grants import granted_before, granted_bindings
from mip_agents.protocol.home_addresses import HomeAddresses
from mip_agents.protocol.home_link import HomeLink
from mip_agents.protocol.limits import RateLimiter, neighbourhood
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.replay import Freshness
from mip_agents.protocol.request_checks import (
    Asked,
    Denied,
    Dropped,
    authenticate,
    check_destination,
    check_foreign_agent,
    check_service,
    is_unicast,
    serves,
    unfit_care_of_address,
)
from mip_agents.protocol.security import ReplayStyle, replay_style
from mip_agents.protocol.view import Malformed, Request, parse
from scapy_mip.const import LIFETIME_DEREGISTER, ReplyCode, flag_letters

_FRESH, _DEBUG = Freshness.FRESH, Severity.DEBUG

MAX_WAITING = 4
"""Requests of one node that wait while an earlier one is in work."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """Someone's wish to drop the bindings of a home address."""

    token: int
    home_address: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Time to drop what has expired, and to put the data plane right."""

    home_address: str


Job = Asked | Cleared | Reconciled


class HomeAgentEngine:
    """A home agent without clock, socket or kernel.

    :param random_bytes: where nonces (HA-32), GRE keys (TUN-08) and the spread of
        advertisements (AG-04) come from.
    """

    def __init__(
        self, policy: HomeAgentPolicy, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.policy = policy
        self._random_bytes = random_bytes
        self._guard = ReplayGuard(random_bytes, policy.timestamp_tolerance)
        self._ledger = Ledger(policy, self._guard)
        self._addresses = HomeAddresses(policy, self._is_busy)
        self._in_work: dict[str, Job] = {}
        self._waiting: dict[str, deque[Job]] = {}
        self._answers = Answers(policy, self._guard)
        self._home_link = HomeLink(policy, random_bytes)
        self._quirks = policy.quirks()
        # Failed authentications by source. A source is easily forged, so that nodes
        # with a binding from there are asked in spite of it, and those who come from
        # a new place do not suffer from what another part of the Internet sends.
        self._strangers = RateLimiter(
            rate=50, burst=100, total=500, commons=64, group_of=neighbourhood
        )

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take in one event; return what is to be done, in order."""
        match event:
            case Received():
                return self._receive(event, now)
            case JournalWritten():
                return self._journal_answered(event.token, None, now)
            case TunnelReady():
                return self._settle(event.token, None, now)
            case TimerFired():
                return self._attend(now)
            case JournalFailed(token, reason):
                return self._journal_answered(token, f"journal: {reason}", now)
            case TunnelFailed(token, reason):
                return self._settle(token, f"data plane: {reason}", now)
            case Restored():
                return self._restore(event, now)
            case ClearRequested(token, home_address):
                node = self._addresses.node_of(home_address)
                return self._submit(node, Cleared(token, home_address), now)
            case RegisterRequested(token=token) | DeregisterRequested(token):
                return [Finished(token=token, error="a home agent does not register")]
            case CancelRequested(token):
                return [Finished(token=token, error="nothing is under way")]
            case InterfacesChanged(interfaces):
                return self._home_link.follow(interfaces, now.mono)
            case DiscoveryReceived():
                return self._home_link.hear(event, now.mono)
            case Stopping():
                return self._home_link.stop()
            case Undelivered():
                return []
            case _:
                assert_never(event)

    def next_timer(self) -> float | None:
        """Return the monotonic second at which `TimerFired` is wanted, if at all."""
        timers = (self._ledger.next_timer(), self._home_link.next_timer())
        return min((due for due in timers if due is not None), default=None)

    def status(self, now: Instant) -> dict[str, Any]:  # noqa: ARG002
        """Return the engine's state as JSON-able values, named as in the registry."""
        policy, table = self.policy, self._ledger.table
        return {
            "role": "home_agent",
            "address": policy.address,
            "home_network": str(policy.home_network),
            "bindings": len(table),
            "mobile_nodes": table.nodes,
            "pending": len(self._in_work),
            "leases": self._addresses.leased,
            "max_lifetime": policy.max_lifetime,
            "max_bindings_per_node": policy.max_bindings_per_node,
            "encapsulations": sorted(form.slug for form in policy.encapsulations),
            "reverse_tunnel": policy.reverse_tunnel.value,
            "broadcasts": sorted(policy.broadcasts),
            "advertisement": self._home_link.status(),
            "quirks": self._quirks,
        }

    def home_addresses(self) -> list[str]:
        """Return the home addresses that have a binding now."""
        return self._ledger.table.home_addresses()

    def bindings(
        self, now: Instant, home_addresses: Iterable[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return each active binding as JSON-able values, named as in the registry.

        `nai` is None for nodes that are known by their home address. `remaining` is in
        seconds, None for an infinite lifetime.
        :param home_addresses: whose bindings; None: everyone's.
        """
        policy, table = self.policy, self._ledger.table
        wanted = self.home_addresses() if home_addresses is None else home_addresses
        found = []
        entries = ((home, binding) for home in wanted for binding in table.get(home))
        for home_address, binding in entries:
            if binding.expires <= now.mono:
                continue
            form = form_of(binding, policy.encapsulations)
            remaining = binding.expires - now.mono
            found.append(
                {
                    "home_address": home_address,
                    "nai": self._addresses.name_of(home_address),
                    "care_of_address": binding.care_of_address,
                    "home_agent": policy.address,
                    "lifetime": binding.lifetime,
                    "remaining": None if remaining == NEVER else int(remaining),
                    "flags": flag_letters(binding.flags),
                    "encapsulation": form.slug if form else None,
                    "identification": f"{binding.identification:016x}",
                    "spi": binding.spi,
                    "source": binding.source,
                }
            )
        return found

    def _receive(self, received: Received, now: Instant) -> list[Effect]:
        message = parse(received.data)
        if not isinstance(message, Request):
            if isinstance(message, Malformed):
                return [dropped(received, message.rule, message.reason)]
            return [dropped(received, "HA-03", "a reply, but home agents ask nothing")]
        source = received.source
        if not is_unicast(source) or not received.source_port:
            return [dropped(received, "HA-25", "no address to answer to", message)]
        node = self._addresses.identify(message)
        if not self._strangers.would_allow(source, now.mono) and not self._has_bound(
            node, message, source
        ):
            reason = "too many failed authentications from there"
            return [dropped(received, "HA-07", reason, message)]
        judged = authenticate(self.policy, received, message, node)
        if isinstance(judged, Dropped):
            return [dropped(received, judged.rule, judged.reason, message)]
        asked, denied = judged
        if denied is not None:
            self._strangers.allow(source, now.mono)
            return self._answers.deny(asked, denied, now)
        if node in self._in_work:
            return self._wait(node, asked)
        return self._decide(asked, now)

    def _has_bound(self, node: str, request: Request, source: str) -> bool:
        """Return whether the node has a binding that was registered from there."""
        home_address = self._addresses.known_address(node, request)
        known = self._ledger.table.get(home_address)
        return any(binding.source == source for binding in known)

    def _is_busy(self, home_address: str) -> bool:
        """Return whether an address has a binding now, or is about to."""
        ledger = self._ledger
        under_way = ledger.change_of(home_address) is not None
        return under_way or bool(ledger.table.get(home_address))

    def _submit(self, node: str, job: Job, now: Instant) -> list[Effect]:
        """Run a job now, or behind the change under way for its node."""
        if node in self._in_work:
            return self._wait(node, job)
        return self._run(node, job, now)

    def _wait(self, node: str, job: Job) -> list[Effect]:
        """Have a job wait behind the change under way for its node."""
        waiting = self._waiting.setdefault(node, deque())
        if isinstance(job, Asked):
            data = job.request.data
            others = [
                other
                for other in (self._in_work[node], *waiting)
                if isinstance(other, Asked)
            ]
            if any(other.request.data == data for other in others):
                return [repeated(job, "still in work")]
            if len(waiting) >= MAX_WAITING:
                reason = "too many requests of this node in work"
                return [dropped(job.received, "HA-17", reason, job.request)]
        elif job in waiting:
            return []
        waiting.append(job)
        return []

    def _run(self, node: str, job: Job, now: Instant) -> list[Effect]:
        if isinstance(job, Asked):
            return self._decide(job, now)
        ledger = self._ledger
        match job:
            case Cleared(token, home_address):
                before = ledger.table.get(home_address)
                if not before:
                    error = f"{home_address} has no binding"
                    return [Finished(token=token, error=error)]
                effects = ledger.begin(home_address, before, (), now)
            case Reconciled(home_address):
                effects = self._reconcile(home_address, now)
        if ledger.change_of(job.home_address) is not None:
            self._in_work[node] = job
        return effects

    def _journal_answered(
        self, token: int, error: str | None, now: Instant
    ) -> list[Effect]:
        renewal = self._ledger.renewed(token, error)
        if renewal is None:
            return self._settle(token, error, now)
        node, _timestamp, bindings = renewal
        asked = self._in_work.pop(node)
        assert isinstance(asked, Asked)  # for nothing else a binding is renewed
        if error is None:
            effects = self._refreshed(asked, bindings)
        else:
            effects = self._failed(asked, error, now)
        return self._go_on(node, effects, now)

    def _settle(self, token: int, error: str | None, now: Instant) -> list[Effect]:
        change, effects = self._ledger.settle(token, error, now)
        if change is None:
            return effects
        home_address = change.home_address
        node = self._addresses.node_of(home_address)
        job = self._in_work.pop(node)
        match job:
            case Asked():
                if change.error is None:
                    effects += self._granted(job, change.before, change.after)
                else:
                    effects += self._failed(job, change.error, now)
            case Cleared(waiting_token):
                effects += [
                    Finished(token=waiting_token, error=change.error),
                    Noted(
                        event="bindings_cleared",
                        fields={"home_address": home_address, "error": change.error},
                    ),
                ]
            case Reconciled():
                if change.error is not None:
                    effects.append(_failure(home_address, change.error))
        return self._go_on(node, effects, now)

    def _go_on(self, node: str, effects: list[Effect], now: Instant) -> list[Effect]:
        """Run what waits for a node that is not in work any more."""
        queue = self._waiting.get(node)
        if queue is None:
            return effects
        while queue and node not in self._in_work:
            effects += self._run(node, queue.popleft(), now)
        if not queue:
            del self._waiting[node]
        return effects

    def _decide(self, asked: Asked, now: Instant) -> list[Effect]:
        """Deny, repeat an answer, or begin the change that the request asks for."""
        policy = self.policy
        asked = self._addresses.recall(asked)
        before = self._ledger.table.get(asked.request.home_address)
        freshness = self._guard.judge(asked, now)
        if freshness is not _FRESH:
            if freshness is not Freshness.TOO_FAR:
                granted = granted_before(asked, before, self._guard)
                if granted is not None:
                    return self._answers.repeat(asked, granted, before, now)
            code = ReplyCode.HA_IDENTIFICATION_MISMATCH
            return self._answers.deny(
                asked, Denied(code, "HA-09", freshness.value), now
            )
        judged = check_foreign_agent(policy, asked) or check_destination(
            policy, asked.received, asked.request
        )
        if judged is not None:
            if isinstance(judged, Denied):
                return self._answers.deny(asked, judged, now)
            rule, reason = judged.rule, judged.reason
            return [dropped(asked.received, rule, reason, asked.request)]
        placed = self._addresses.settle(asked, before)
        if isinstance(placed, Denied):
            return self._answers.deny(asked, placed, now)
        judged = check_service(policy, placed.request, before)
        if judged is not None:
            return self._answers.deny(placed, judged, now)
        return self._begin(placed, before, now)

    def _begin(self, asked: Asked, before: Bindings, now: Instant) -> list[Effect]:
        """Begin the change that a request asks for."""
        after = granted_bindings(self.policy, asked, before, now, self._random_bytes)
        request = asked.request
        home_address = request.home_address
        # With a name or nonces, the binding does not tell what is not to be accepted
        # again, and a deregistration leaves none that could.
        if (
            asked.node == home_address
            and request.lifetime != LIFETIME_DEREGISTER
            and self._guard.uses_timestamps(asked)
        ):
            journal = self._ledger.renew(home_address, before, after, now)
            if journal is not None:
                self._in_work[home_address] = asked
                return [journal]
        first = bool(after) and not before
        lease = self._addresses.grant(asked, now.ntp, again=first)
        proof = self._guard.proof(asked)
        self._in_work[asked.node] = asked
        return self._ledger.begin(home_address, before, after, now, proof, lease)

    def _failed(self, asked: Asked, error: str, now: Instant) -> list[Effect]:
        """Deny a request that could not be carried out."""
        code = ReplyCode.HA_INSUFFICIENT_RESOURCES
        return [
            _failure(asked.request.home_address, error),
            *self._answers.deny(asked, Denied(code, "HA-17", error), now),
        ]

    def _granted(self, asked: Asked, before: Bindings, after: Bindings) -> list[Effect]:
        """Answer a request that has been carried out."""
        request = asked.request
        if request.lifetime == LIFETIME_DEREGISTER:
            effects = self._accept(
                asked, after or before, "deregistration_accepted", "HA-19"
            )
        elif has_care_of_address(before, request.care_of_address):
            effects = self._refreshed(asked, after)
        else:
            effects = self._accept(asked, after, "registration_accepted", "HA-18")
        home_address = request.home_address
        if not before:
            if after:
                effects.append(AnnounceAddress(home_address))  # ARP-02
        elif not after and asked.received.source == home_address:
            # Proxy ARP ended with the tunnel, and the node is on this link (ARP-05).
            effects.append(GiveBackAddress(home_address, asked.received.interface))
        return effects

    def _refreshed(self, asked: Asked, bindings: Bindings) -> list[Effect]:
        """Answer a request for a binding that there was before.

        Nothing else changes, and most registrations are of this kind: the log leaves
        them out unless it is told otherwise.
        """
        return self._accept(asked, bindings, "registration_refreshed", "HA-21", _DEBUG)

    def _accept(
        self,
        asked: Asked,
        bindings: Bindings,
        event: str,
        rule: str,
        severity: Severity = Severity.INFO,
    ) -> list[Effect]:
        """Send the reply that grants a request, and note it.

        :param bindings: where the key of its GRE tunnel is, if it has one.
        """
        lifetime, longest = asked.request.lifetime, self.policy.max_lifetime
        if lifetime > longest:
            lifetime = longest
        code = self._answers.accepting_code(asked)
        fields = describe(asked.received, asked.request)
        fields["lifetime"] = lifetime
        fields["code"] = int(code)
        return [
            self._answers.accept(asked, code, lifetime, bindings),
            Noted(event, severity, rule, fields),
        ]

    def _attend(self, now: Instant) -> list[Effect]:
        """Advertise; drop expired bindings; nothing is sent for them (HA-03, HA-23)."""
        effects = self._home_link.tick(now.mono)
        for home_address in self._ledger.due(now):
            effects += self._reconciled(home_address, now)
        return effects + self._ledger.forget_again(now)

    def _reconciled(self, home_address: str, now: Instant) -> list[Effect]:
        """Put a home address right, now or behind the change under way."""
        node = self._addresses.node_of(home_address)
        return self._submit(node, Reconciled(home_address), now)

    def _reconcile(self, home_address: str, now: Instant) -> list[Effect]:
        lapsed = self._ledger.table.lapsed(home_address, now.mono)
        bindings = self._ledger.table.get(home_address)
        left = tuple(binding for binding in bindings if binding not in lapsed)
        effects = self._ledger.begin(home_address, bindings, left, now)
        for binding in lapsed:
            fields: dict[str, str | int | None] = {
                "home_address": home_address,
                "care_of_address": binding.care_of_address,
                "lifetime": binding.lifetime,
            }
            effects.append(Noted(event="binding_expired", rule="HA-23", fields=fields))
        return effects

    def _restore(self, event: Restored, now: Instant) -> list[Effect]:
        """Take over the bindings of a former process, without any reply."""
        policy, ledger = self.policy, self._ledger
        self._addresses.restore(event.leases)
        self._guard.remember(*event.identifications, *event.nonces)
        kept: dict[str, Bindings] = {}
        gone = []
        for entry in event.bindings:
            home_address = entry.home_address
            node = self._addresses.node_of(home_address)
            association = policy.association(node, entry.spi)
            if association and replay_style(association) is ReplayStyle.TIMESTAMP:
                stamp = IdentificationRecord(node, entry.identification)
                self._guard.remember(stamp)
            binding = restore(entry, now)
            served = association and binding and self._still_served(entry, binding)
            if binding is None or not served:
                gone.append(DroppedBinding(home_address, entry.care_of_address))
            else:
                kept[home_address] = (*kept.get(home_address, ()), binding)
        effects = ledger.forget(tuple(gone))
        for home_address, bindings in kept.items():
            ledger.restore(home_address, bindings)
            effects += self._reconciled(home_address, now)
        restored = sum(map(len, kept.values()))
        fields = {"bindings": restored, "dropped": len(gone)}
        return [*effects, Noted(event="bindings_restored", fields=fields)]

    def _still_served(self, entry: BindingRecord, binding: Binding) -> bool:
        """Return whether the configuration still allows a restored binding."""
        policy, home_address = self.policy, entry.home_address
        return (
            entry.home_agent == policy.address
            and serves(policy, home_address)
            and not unfit_care_of_address(policy, home_address, entry.care_of_address)
            and form_of(binding, policy.encapsulations) is not None
        )


def _failure(home_address: str, error: str) -> Noted:
    return Noted(
        event="binding_change_failed",
        severity=Severity.ERROR,
        fields={"home_address": home_address, "reason": error},
    )
