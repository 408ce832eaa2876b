# SPDX-License-Identifier: GPL-2.0-only
"""How a home agent makes itself known on its home link. RFC 5944 2.3 (AG-14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mip_agents.protocol.advertise import Advertiser, Offer
from mip_agents.protocol.effects import Effect, Noted, Severity
from mip_agents.protocol.events import DiscoveryReceived
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import HomeAgentPolicy, ReverseTunnel
from scapy_mip.const import AgentFlag, Encapsulation

_ON_REQUEST = {
    Encapsulation.MINIMAL: AgentFlag.M,
    Encapsulation.GRE: AgentFlag.G,
}
"""Encapsulations that are offered by a flag; IP-in-IP goes without saying."""


def offer_of(policy: HomeAgentPolicy) -> Offer:
    """Return what a home agent advertises: that it is one, and how it tunnels."""
    flags = AgentFlag.H
    for encapsulation, flag in _ON_REQUEST.items():
        if encapsulation in policy.encapsulations:
            flags |= flag
    if policy.reverse_tunnel is not ReverseTunnel.OFF:
        flags |= AgentFlag.T
    return Offer(flags, (), policy.max_lifetime)


class HomeLink:
    """The advertiser of a home agent, on the interface that has its address.

    Where the address moves to another interface, that is another link: its sequence
    numbers begin with 0.
    """

    def __init__(
        self, policy: HomeAgentPolicy, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._policy = policy
        self._offer = offer_of(policy)
        self._random_bytes = random_bytes
        self._advertiser: Advertiser | None = None
        self._stopped = False
        self._interface: str | None = None
        """The one with our address, while it is up."""
        self._lost = False

    def follow(
        self, interfaces: Mapping[str, InterfaceState], now: float
    ) -> list[Effect]:
        """Advertise where our address is, as long as that link is up."""
        policy = self._policy
        if self._stopped:
            return []  # nothing comes behind the last word
        for link in interfaces.values():
            entry = policy.home_entry(link)
            if link.up and entry is not None:
                break
        else:
            if self._advertiser is not None:
                self._advertiser.suspend()
            return self._note(None)
        return [*self._note(link.name), *self._advertise(link, entry, now)]

    def _note(self, interface: str | None) -> list[Effect]:
        """Say that the home link is lost or found, where that is news."""
        before, self._interface = self._interface, interface
        fields: dict[str, str | int | None] = {"address": self._policy.address}
        if interface is None and before is not None:
            self._lost = True
            fields |= {"interface": before, "reason": "no interface with it is up"}
            return [Noted("home_link_lost", Severity.WARNING, fields=fields)]
        if interface is not None and before is None and self._lost:
            fields["interface"] = interface
            return [Noted("home_link_found", fields=fields)]
        return []

    def _advertise(self, link: InterfaceState, entry: str, now: float) -> list[Effect]:
        policy = self._policy
        if policy.advertisement is None:
            return []
        if self._advertiser is None or self._advertiser.interface != link.name:
            self._advertiser = Advertiser(
                policy.advertisement, link.name, self._random_bytes
            )
        # Nodes know by our address that they are at home, and need no other (MN-13).
        return self._advertiser.start([entry], self._offer, now)

    def hear(self, event: DiscoveryReceived, now: float) -> list[Effect]:
        """Answer a solicitation."""
        if self._advertiser is None or event.interface != self._advertiser.interface:
            return []
        return self._advertiser.solicited(event, now)

    def tick(self, now: float) -> list[Effect]:
        """Advertise, if it is time."""
        return [] if self._advertiser is None else self._advertiser.tick(now)

    def stop(self) -> list[Effect]:
        """Tell the link that we are gone."""
        self._stopped = True
        return [] if self._advertiser is None else self._advertiser.stop()

    def next_timer(self) -> float | None:
        """Return the second at which `tick` is wanted, if at all."""
        return None if self._advertiser is None else self._advertiser.next_timer()

    def status(self) -> dict[str, Any] | None:
        """Return where and how often it advertises; None: not at all."""
        policy, advertiser = self._policy.advertisement, self._advertiser
        if policy is None:
            return None
        return {
            "interface": _place(advertiser),
            "interval": policy.interval,
            "lifetime": policy.lifetime,
            "destination": policy.destination,
            "flags": "".join(flag.name or "" for flag in self._offer.flags),
            "sent": advertiser.sent if advertiser else 0,
        }


def _place(advertiser: Advertiser | None) -> str | None:
    """Return the interface on which there is something to hear."""
    if advertiser is None or not advertiser.active:
        return None
    return advertiser.interface
