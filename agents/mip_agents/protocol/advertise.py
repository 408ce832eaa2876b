# SPDX-License-Identifier: GPL-2.0-only
"""How an agent makes itself known on one link. RFC 5944 2.3, RFC 1256 section 4.

An `Advertiser` is part of an engine: it gives effects, and says when it wants to be
asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface

from mip_agents.protocol.discovery import (
    Solicitation,
    build_advertisement,
    parse_discovery,
)
from mip_agents.protocol.effects import Effect, Noted, SendDiscovery, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import DiscoveryReceived
from mip_agents.protocol.limits import RateLimiter
from mip_agents.protocol.policy import AdvertisementPolicy
from mip_agents.protocol.request_checks import is_unicast
from mip_agents.protocol.view import Malformed
from scapy_mip.const import AgentFlag

QUICK = 3
"""How many advertisements come quickly when a link is new. RFC 1256 section 5.1."""
QUICK_INTERVAL_S = 1.0
"""Seconds between those, at most; RFC 1256 allows 16, and a node waits for them."""
MAX_ANSWER_DELAY_S = 2.0
"""Longest wait before an answer to all. RFC 1256 section 5.1."""
LEAST_SHARE = 0.75
"""Shortest interval as a share of the longest. RFC 1256 section 4.1."""
LAST_SEQUENCE = 0xFFFF
FIRST_AFTER_LAST = 256
"""A sequence number below this tells that the agent began anew (AG-11)."""
MAX_ROUTERS = 255
MAX_CARE_OF_ADDRESSES = 62
"""What the length of the extension has room for."""

_UNSPECIFIED = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Offer:
    """What an agent offers on a link.

    :raises MipError: no agent may offer that (AG-12).
    """

    flags: AgentFlag
    care_of_addresses: tuple[str, ...]
    registration_lifetime: int
    """Seconds; 65535 is infinite."""

    def __post_init__(self) -> None:
        flags = self.flags
        if not flags & (AgentFlag.F | AgentFlag.H):
            raise MipError("an agent is a home agent, a foreign agent, or both")
        if AgentFlag.F not in flags and flags & (AgentFlag.B | AgentFlag.R):
            raise MipError("only a foreign agent is busy or requires registration")
        if AgentFlag.F in flags and not self.care_of_addresses:
            raise MipError("a foreign agent needs a care-of address")
        if len(self.care_of_addresses) > MAX_CARE_OF_ADDRESSES:
            raise MipError(
                f"an advertisement has room for {MAX_CARE_OF_ADDRESSES} care-of "
                f"addresses, not for {len(self.care_of_addresses)}"
            )


class Advertiser:
    """Advertises one agent on one link. Times are monotonic seconds.

    Its sequence numbers go on when the link was down for a while: beginning anew would
    tell mobile nodes that we have forgotten them (AG-11).

    :param random_bytes: where the spread of the intervals comes from.
    """

    def __init__(
        self,
        policy: AdvertisementPolicy,
        interface: str,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.policy = policy
        self.interface = interface
        self.sequence_number = 0
        """Of the next advertisement."""
        self.sent = 0
        """Advertisements so far."""
        self._random_bytes = random_bytes
        self._offer: Offer | None = None
        self._addresses: tuple[IPv4Interface, ...] = ()
        self._routers: tuple[str, ...] = ()
        self._lengths: tuple[int, ...] = ()
        self._quick = 0
        self._due: float | None = None
        self._last: float | None = None
        # Anyone can provoke an answer; a node that changes its link-layer address with
        # each solicitation finds the common limit (AG-05).
        self._answers: RateLimiter[str] = RateLimiter(rate=1, burst=3, total=50)

    @property
    def active(self) -> bool:
        """Whether there is a link and something to say on it."""
        return self._offer is not None

    def start(self, addresses: Sequence[str], offer: Offer, now: float) -> list[Effect]:
        """Advertise from now on: the link is up, or what there is to say has changed.

        :param addresses: our own on the link, as `10.1.2.1/24`; the first one is the
            source. Without any there is nothing to say.
        """
        if not addresses:
            self.suspend()
            return []
        entries = tuple(map(IPv4Interface, addresses))
        if (entries, offer) == (self._addresses, self._offer):
            return []
        if not self.active:
            self._quick = QUICK
        self._addresses, self._offer = entries, offer
        listed = entries[:MAX_ROUTERS]
        self._routers = tuple(str(one.ip) for one in listed)
        self._lengths = tuple(one.network.prefixlen for one in listed)
        if self.policy.interval:
            self._due = now
        return self.tick(now)

    def suspend(self) -> None:
        """Say nothing until `start`: the link is down."""
        self._offer, self._addresses, self._due = None, (), None

    def stop(self) -> list[Effect]:
        """Tell who heard us that we are gone: a lifetime of zero (AG-20)."""
        effects: list[Effect] = (
            [self._advertise(0)] if self.active and self.sent else []
        )
        self.suspend()
        return effects

    def next_timer(self) -> float | None:
        """Return the second at which `tick` is wanted, if at all."""
        return None if self._due is None else max(self._due, self._earliest())

    def tick(self, now: float) -> list[Effect]:
        """Advertise to all, if it is time."""
        due = self.next_timer()
        if due is None or now < due:
            return []
        self._last = now
        self._quick = max(0, self._quick - 1)
        interval = self.policy.interval
        if self._quick:
            interval = min(interval, QUICK_INTERVAL_S)
        self._due = now + self._spread(interval) if interval else None
        return [self._advertise(self.policy.lifetime)]

    def solicited(self, event: DiscoveryReceived, now: float) -> list[Effect]:
        """Answer a solicitation; anything else is nothing to us.

        Whoever has an address gets the answer alone, by its link-layer address, at
        once (AG-03); it need not be an address of the link (AG-07). The others wait
        for the next advertisement to all, which comes soon.
        """
        if not self.active:
            return []
        message = parse_discovery(event.data)
        if isinstance(message, Malformed):
            return [_dropped(event, message.rule, message.reason)]
        if not isinstance(message, Solicitation):
            return []
        if event.source == _UNSPECIFIED:
            soon = now + self._random() * MAX_ANSWER_DELAY_S
            self._due = soon if self._due is None else min(self._due, soon)
            return []
        if not self._may_be_a_node(event.source):
            return [_dropped(event, "AG-21", "no address to answer to")]
        if not self._answers.allow(event.link_address, now):
            reason = "too many solicitations"
            return [_dropped(event, "AG-05", reason, Severity.DEBUG)]
        return [self._advertise(self.policy.lifetime, event.source, event.link_address)]

    def _may_be_a_node(self, source: str) -> bool:
        """Return whether an address can be that of another host."""
        return is_unicast(source) and all(
            source not in (str(one.ip), str(one.network.broadcast_address))
            for one in self._addresses
        )

    def _earliest(self) -> float:
        """Return before when nothing more is sent to all (AG-05)."""
        if self._last is None:
            return 0.0
        interval = self.policy.interval or QUICK_INTERVAL_S
        return self._last + LEAST_SHARE * min(interval, QUICK_INTERVAL_S)

    def _random(self) -> float:
        """Return a random number from 0 to 1."""
        return int.from_bytes(self._random_bytes(2), "big") / 0xFFFF

    def _spread(self, interval: float) -> float:
        """Return a random time up to `interval`, and not much below (AG-04)."""
        return interval * (LEAST_SHARE + (1 - LEAST_SHARE) * self._random())

    def _advertise(
        self,
        lifetime: int,
        destination: str | None = None,
        link_address: str | None = None,
    ) -> SendDiscovery:
        policy, offer = self.policy, self._offer
        assert offer is not None, "only who has something to say gets here"
        number = self.sequence_number
        self.sequence_number = (
            FIRST_AFTER_LAST if number == LAST_SEQUENCE else number + 1
        )
        self.sent += 1
        return SendDiscovery(
            data=build_advertisement(
                code=policy.icmp_code,
                lifetime=lifetime,
                router_addresses=self._routers,
                flags=offer.flags,
                sequence_number=number,
                registration_lifetime=offer.registration_lifetime,
                care_of_addresses=offer.care_of_addresses,
                prefix_lengths=self._lengths if policy.prefix_lengths else (),
            ),
            source=self._routers[0],
            destination=destination or policy.destination,
            interface=self.interface,
            link_address=link_address,
        )


def _dropped(
    event: DiscoveryReceived,
    rule: str,
    reason: str,
    severity: Severity = Severity.WARNING,
) -> Noted:
    """Note a solicitation that gets no answer (COM-08)."""
    fields: dict[str, str | int | None] = {
        "source": event.source,
        "link_address": event.link_address,
        "interface": event.interface,
        "reason": reason,
    }
    return Noted(event="message_dropped", severity=severity, rule=rule, fields=fields)
