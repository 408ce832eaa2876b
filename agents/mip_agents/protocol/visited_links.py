# SPDX-License-Identifier: GPL-2.0-only
"""The links that a foreign agent serves, and what it makes known on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

from mip_agents.protocol.advertise import Advertiser, Offer
from mip_agents.protocol.effects import Effect, Noted, Severity
from mip_agents.protocol.events import DiscoveryReceived
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import ForeignAgentPolicy, ReverseTunnel
from scapy_mip.const import AgentFlag, Encapsulation


class VisitedLinks:
    """Our addresses, the care-of addresses among them, and an advertiser for each link.

    :param random_bytes: where the spread of advertisements comes from.
    """

    def __init__(
        self, policy: ForeignAgentPolicy, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._policy = policy
        self._states: Mapping[str, InterfaceState] = {}
        self._busy = self._stopped = False
        self._missing: list[str] = []
        self.own: frozenset[str] = frozenset()
        """Our addresses, on any interface."""
        self.offered: tuple[str, ...] = ()
        """Care-of addresses that we have indeed, as advertised."""
        self._advertisers = {
            name: Advertiser(policy.advertisement, name, random_bytes)
            for name in policy.interfaces
        }

    def change(self, states: Mapping[str, InterfaceState], now: float) -> list[Effect]:
        """Take in the state of all interfaces."""
        self._states = states
        self.own = frozenset(
            address for state in states.values() for address in _bare(state)
        )
        configured = self._policy.care_of_addresses
        self.offered = tuple(one for one in configured if one in self.own)
        missing = [one for one in configured if one not in self.own]
        effects: list[Effect] = [
            Noted(
                event="care_of_address_missing",
                severity=Severity.WARNING,
                rule="FA-01",
                fields={"care_of_address": one, "reason": "no interface has it"},
            )
            for one in missing
            if one not in self._missing
        ]
        self._missing = missing
        return effects + self._advertise(now)

    def leads_to(self, interface: str | None, address: str) -> bool:
        """Return whether what comes from an address may come by one of our links.

        Else a visitor could answer its own requests in a home agent's name.
        """
        state = self._states.get(interface or "")
        if state is None:
            return False
        host = IPv4Address(address)
        return state.gateway is not None or any(
            host in IPv4Interface(own).network for own in state.addresses
        )

    def mark_busy(self, busy: bool, now: float) -> list[Effect]:
        """Say whether there is room for more visitors (AG-15)."""
        if busy == self._busy:
            return []
        self._busy = busy
        noted = Noted(event="busy" if busy else "not_busy", rule="AG-15")
        return [noted, *self._advertise(now)]

    def _advertise(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self._stopped:
            return effects  # nothing comes behind the last word
        for name, advertiser in self._advertisers.items():
            state, was = self._states.get(name), advertiser.active
            if state is None or not state.up or not self.offered:
                advertiser.suspend()
            else:
                effects += advertiser.start(state.addresses, self._offer(), now)
            if advertiser.active != was:
                event = "advertising_started" if not was else "advertising_stopped"
                effects.append(Noted(event=event, fields={"interface": name}))
        return effects

    def _offer(self) -> Offer:
        policy = self._policy
        flags = AgentFlag.F
        for wanted, flag in (
            (policy.registration_required, AgentFlag.R),
            (self._busy, AgentFlag.B),
            (Encapsulation.MINIMAL in policy.encapsulations, AgentFlag.M),
            (Encapsulation.GRE in policy.encapsulations, AgentFlag.G),
            (policy.reverse_tunnel is not ReverseTunnel.OFF, AgentFlag.T),
        ):
            if wanted:
                flags |= flag
        return Offer(flags, self.offered, policy.registration_lifetime)

    def address_on(self, interface: str) -> str | None:
        """Return our first address on a link (FA-27)."""
        state = self._states.get(interface)
        return next(iter(_bare(state)), None) if state is not None else None

    def solicited(self, event: DiscoveryReceived, now: float) -> list[Effect]:
        """Answer a solicitation on one of the links."""
        advertiser = self._advertisers.get(event.interface)
        return [] if advertiser is None else advertiser.solicited(event, now)

    def tick(self, now: float) -> list[Effect]:
        """Advertise where it is time."""
        return [
            effect
            for advertiser in self._advertisers.values()
            for effect in advertiser.tick(now)
        ]

    def stop(self) -> list[Effect]:
        """Say on every link that we are gone (AG-20)."""
        self._stopped = True
        return [
            effect
            for advertiser in self._advertisers.values()
            for effect in advertiser.stop()
        ]

    def next_timer(self) -> float | None:
        """Return the second at which `tick` is wanted, if at all."""
        moments = (one.next_timer() for one in self._advertisers.values())
        return min((one for one in moments if one is not None), default=None)

    def status(self) -> list[dict[str, Any]]:
        """Return the links as JSON-able values."""
        return [
            {
                "name": name,
                "up": name in self._states and self._states[name].up,
                "addresses": list(self._states[name].addresses)
                if name in self._states
                else [],
                "advertising": advertiser.active,
                "advertisements": advertiser.sent,
            }
            for name, advertiser in self._advertisers.items()
        ]


def _bare(state: InterfaceState) -> list[str]:
    """Return the addresses of an interface without prefix lengths."""
    return [str(IPv4Interface(address).ip) for address in state.addresses]
