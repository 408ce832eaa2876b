# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent sends back, to whom, and how often. RFC 5944 section 3.8.3.

A reply is a pure function of the request, the decision, and the nonce where the node
uses one: the reply to a granted request that is repeated is made anew and comes out
byte for byte the same, so none is stored.
"""

from __future__ import annotations

from mip_agents.protocol.bindings import Bindings
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Effect, Noted, Send, Severity
from mip_agents.protocol.events import Received
from mip_agents.protocol.freshness import ReplayGuard
from mip_agents.protocol.gre_keys import answered_key
from mip_agents.protocol.limits import RateLimiter
from mip_agents.protocol.names import canonical
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.quirks import NodeQuirk
from mip_agents.protocol.request_checks import Asked, Denied, is_unicast
from mip_agents.protocol.view import Request, build_reply
from scapy_mip.const import TTL_DIRECT, ReplyCode, flag_letters

_Key = tuple[str, str]
"""Where a request came from, and from whom."""


class Answers:
    """Makes the replies of a home agent, and holds back what comes too often."""

    def __init__(self, policy: HomeAgentPolicy, guard: ReplayGuard) -> None:
        self._policy = policy
        self._guard = guard
        self._usual_code = (
            ReplyCode.ACCEPTED
            if policy.max_bindings_per_node > 1
            else ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS
        )
        # Anyone can provoke 131; what takes a valid authenticator to provoke has a
        # limit of its own, which strangers cannot use up.
        self._failures: RateLimiter[_Key] = RateLimiter(rate=1, burst=3, total=100)
        self._denials: RateLimiter[_Key] = RateLimiter(rate=1, burst=5, total=1000)

    def accepting_code(self, asked: Asked) -> ReplyCode:
        """Code 0, or 1 without simultaneous bindings (HA-18, C-5)."""
        special = asked.unusual
        if special is not None and NodeQuirk.CODE_0_ONLY in special.quirks:
            return ReplyCode.ACCEPTED
        return self._usual_code

    def accept(
        self, asked: Asked, code: ReplyCode, lifetime: int, bindings: Bindings
    ) -> Send:
        """Make the reply that grants a request.

        :param code: see `accepting_code`.
        :param bindings: where the key of its GRE tunnel is, if it has one.
        """
        identification = self._guard.granting(asked)
        gre_key = answered_key(asked.request, bindings)
        return self._reply(asked, code, lifetime, identification, gre_key)

    def repeat(
        self, asked: Asked, lifetime: int, bindings: Bindings, now: Instant
    ) -> list[Effect]:
        """Give the answer of a granted request again; nothing is extended (HA-22)."""
        if not self._denials.allow(_key(asked), now.mono):
            return [_held_back(asked, "HA-22")]
        reply = self.accept(asked, self.accepting_code(asked), lifetime, bindings)
        return [reply, repeated(asked, "answered before")]

    def deny(self, asked: Asked, denied: Denied, now: Instant) -> list[Effect]:
        """Answer with a denial, unless too many went there lately."""
        request, code = asked.request, denied.code
        fields = describe(asked.received, request)
        fields |= {"code": int(code), "reason": denied.reason}
        noted = Noted(
            event="registration_denied",
            severity=Severity.WARNING,
            rule=denied.rule,
            fields=fields,
        )
        # An answer to a foreign agent that proved itself is a duty (HA-07), and it
        # cannot be provoked by strangers either.
        forged = code is ReplyCode.HA_MN_FAILED_AUTHENTICATION
        forged = forged and not asked.foreign_valid
        limiter = self._failures if forged else self._denials
        if not limiter.allow(_key(asked), now.mono):
            return [noted, _held_back(asked, denied.rule)]
        identification = self._guard.denying(asked, code, now)
        lifetime = min(request.lifetime, self._policy.max_lifetime)
        return [self._reply(asked, code, lifetime, identification), noted]

    def _reply(
        self,
        asked: Asked,
        code: ReplyCode,
        lifetime: int,
        identification: int,
        gre_key: int | None = None,
    ) -> Send:
        """Make a reply and address it (HA-25 to HA-27, NAI-03)."""
        received, request, policy = asked.received, asked.request, self._policy
        data = build_reply(
            code,
            lifetime,
            request.home_address,
            policy.address,
            identification,
            asked.mobile_home,
            asked.foreign_home,
            request.nai,
            gre_key,
        )
        own, source = received.destination, received.source
        if own != policy.address and (
            not is_unicast(own) or own in policy.broadcast_addresses
        ):
            own = policy.address
        return Send(
            data,
            own,
            received.destination_port,
            source,
            received.source_port,
            # To a node at home, past a tunnel that may still be in place (HA-26).
            received.interface if source == request.home_address else None,
            TTL_DIRECT,
        )


def describe(received: Received, request: Request) -> dict[str, str | int | None]:
    """Return what a log line says about a request; no keys, no authenticators."""
    fields: dict[str, str | int | None] = {
        "home_address": request.home_address,
        "care_of_address": request.care_of_address,
        "home_agent": request.home_agent,
        "lifetime": request.lifetime,
        "flags": flag_letters(request.flags),
        "identification": request.identification.to_bytes(8, "big").hex(),
        "source": received.source,
    }
    if request.nai is None:
        return fields
    name = canonical(request.nai)
    return fields if name is None else {"nai": name, **fields}


def dropped(
    received: Received, rule: str, reason: str, request: Request | None = None
) -> Noted:
    """Note a datagram that gets no answer (COM-08)."""
    fields: dict[str, str | int | None] = {"source": received.source}
    if request is not None:
        fields = describe(received, request)
    return Noted(
        event="message_dropped",
        severity=Severity.WARNING,
        rule=rule,
        fields=fields | {"reason": reason},
    )


def repeated(asked: Asked, reason: str) -> Noted:
    """Note a request that came before (HA-22)."""
    return Noted(
        event="request_repeated",
        severity=Severity.DEBUG,
        rule="HA-22",
        fields=describe(asked.received, asked.request) | {"reason": reason},
    )


def _held_back(asked: Asked, rule: str) -> Noted:
    return Noted(
        event="reply_held_back",
        severity=Severity.DEBUG,
        rule=rule,
        fields=describe(asked.received, asked.request) | {"reason": "rate limit"},
    )


def _key(asked: Asked) -> _Key:
    return asked.received.source, asked.node
