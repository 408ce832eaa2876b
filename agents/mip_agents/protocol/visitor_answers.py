# SPDX-License-Identifier: GPL-2.0-only
"""What a foreign agent sends to nodes on its links, to whom, and how often.

RFC 5944 sections 3.7.2.3 and 3.7.3.2. Everything goes to the link-layer address that
the request came from (FA-28).
"""

from __future__ import annotations

from collections.abc import Callable

from mip_agents.protocol.answers import describe
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Effect, Noted, Send, Severity
from mip_agents.protocol.limits import RateLimiter
from mip_agents.protocol.policy import LIMITED_BROADCAST, ForeignAgentPolicy
from mip_agents.protocol.request_checks import Denied, is_unicast
from mip_agents.protocol.view import Reply, append, authorized_end, build_reply
from mip_agents.protocol.visitors import UNKNOWN, Asker, Visit
from scapy_mip.const import MIP_PORT, TTL_DIRECT, ReplyCode


class VisitorAnswers:
    """Makes what a foreign agent sends to nodes, and holds back what is too much.

    :param address_on: gives our address on a link.
    """

    def __init__(
        self, policy: ForeignAgentPolicy, address_on: Callable[[str], str | None]
    ) -> None:
        self._policy = policy
        self._address_on = address_on
        self._denials: RateLimiter[Asker] = RateLimiter(rate=1, burst=1, total=100)

    def relay(self, visit: Visit, reply: Reply) -> Send:
        """Pass a reply on, without what is for us (FA-26)."""
        kept = reply.data[: authorized_end(reply)]
        data = append(kept, mobile_foreign=visit.mobile_foreign)
        return self._send(visit, data, reply.home_address)

    def deny(
        self,
        visit: Visit,
        denied: Denied,
        now: Instant,
        reply: Reply | None = None,
        **more: str,
    ) -> list[Effect]:
        """Answer with a denial of our own, at most one a second for a node (FA-06).

        :param reply: what the home agent said and we cannot do; its fields are those
            of the answer (NAI-03), else those of the request are (FA-15).
        :param more: what else is to be noted.
        """
        request = visit.request
        fields = describe(visit.received, request)
        fields |= {"interface": visit.interface, "code": int(denied.code)}
        noted = Noted(
            event="registration_denied",
            severity=Severity.WARNING,
            rule=denied.rule,
            fields=fields | {"reason": denied.reason} | more,
        )
        if not self._denials.allow(visit.asker, now.mono):
            fields = describe(visit.received, request) | {"reason": "rate limit"}
            held = Noted(
                event="reply_held_back",
                severity=Severity.DEBUG,
                rule="FA-06",
                fields=fields,
            )
            return [noted, held]
        lifetime = request.lifetime
        if denied.code is ReplyCode.FA_LIFETIME_TOO_LONG:
            lifetime = self._policy.registration_lifetime  # FA-12
        said = request if reply is None else reply
        data = build_reply(
            code=denied.code,
            lifetime=lifetime,
            home_address=said.home_address,
            home_agent=said.home_agent,
            identification=said.identification,
            mobile_home=None,
            nai=request.nai,
        )
        data = append(data, mobile_foreign=visit.mobile_foreign)
        return [self._send(visit, data, request.home_address), noted]

    def _send(self, visit: Visit, data: bytes, home_address: str) -> Send:
        """Address a reply (FA-27)."""
        received = visit.received
        source: str | None = received.destination
        if not is_unicast(received.destination):
            source = self._address_on(visit.interface)
        return Send(
            data=data,
            source=source or visit.care_of_address,
            source_port=MIP_PORT,
            destination=LIMITED_BROADCAST if home_address == UNKNOWN else home_address,
            destination_port=received.source_port,
            interface=visit.interface,
            ttl=TTL_DIRECT,
            link_address=visit.link_address,
        )
