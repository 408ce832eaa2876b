# SPDX-License-Identifier: GPL-2.0-only
"""The mobility agents that a mobile node hears on its links. RFC 5944 section 2.4.

Anyone on a link can advertise anything, so that the table is bounded: of too many
agents on one link the one that was silent longest is forgotten, but never the one in
use.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from mip_agents.protocol.attachment import ForeignAgent
from mip_agents.protocol.discovery import AgentAdvertisement
from mip_agents.protocol.events import DiscoveryReceived
from mip_agents.protocol.request_checks import is_unicast
from scapy_mip.const import AgentFlag

MAX_AGENTS = 16
"""Agents that are remembered for each interface."""

_RESTARTED_MAX = 255
"""A lower number up to this one is that of an agent that began anew; a higher one has
rolled over (MN-12)."""


class News(enum.Enum):
    """What an advertisement tells that was not known before."""

    NOTHING = "nothing"
    NEW = "an agent that was not there"
    RESTARTED = "an agent that began anew"
    """It has forgotten its visitors (MN-12)."""
    LEFT = "an agent that stops"


@dataclass(slots=True)
class _Heard:
    agent: ForeignAgent
    prefixes: frozenset[IPv4Network]
    sequence_number: int
    lifetime: int
    heard_at: float
    expires: float


class AgentsHeard:
    """Who advertised lately, on which interface. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._links: dict[str, dict[str, _Heard]] = {}
        self.changes = 0
        """Grows whenever `foreign_agents` may return something else."""

    def hear(
        self,
        received: DiscoveryReceived,
        advertisement: AgentAdvertisement,
        now: float,
        in_use: str | None = None,
    ) -> News:
        """Take in an advertisement; return what it tells.

        One with a lifetime of zero is the last of its agent.
        :param in_use: address of the agent that must not be forgotten.
        """
        if not is_unicast(received.source):
            return News.NOTHING
        link = self._links.setdefault(received.interface, {})
        known = link.pop(received.source, None)
        if not advertisement.lifetime:
            self.changes += 1
            return News.LEFT if known else News.NOTHING
        agent = _agent(received, advertisement)
        if known is None or not _alike(agent, known.agent):
            self.changes += 1
        heard = _Heard(
            agent=agent,
            prefixes=_prefixes(advertisement),
            sequence_number=advertisement.sequence_number,
            lifetime=advertisement.lifetime,
            heard_at=now,
            expires=now + advertisement.lifetime,
        )
        if len(link) >= MAX_AGENTS:
            del link[next(address for address in link if address != in_use)]
        _doubt_others(link, heard, now)
        link[received.source] = heard
        if known is None:
            return News.NEW
        number = heard.sequence_number
        restarted = _RESTARTED_MAX >= number < known.sequence_number
        return News.RESTARTED if restarted else News.NOTHING

    def foreign_agents(self, interface: str) -> list[ForeignAgent]:
        """Return the foreign agents on a link that can be used, by address."""
        return sorted(
            (
                heard.agent
                for heard in self._links.get(interface, {}).values()
                if AgentFlag.F in heard.agent.flags
                and heard.agent.care_of_addresses
                and heard.agent.registration_lifetime
            ),
            key=lambda agent: agent.address,
        )

    def hears_any(self, interface: str) -> bool:
        """Return whether any agent is heard on a link."""
        return bool(self._links.get(interface))

    def hears_home_agent(self, interface: str, address: str) -> bool:
        """Return whether a home agent advertises itself on a link (MN-13)."""
        heard = self._links.get(interface, {}).get(address)
        return heard is not None and AgentFlag.H in heard.agent.flags

    def forget(self, interface: str) -> None:
        """Forget whom an interface has heard: it is on another link now, or on none."""
        self._links.pop(interface, None)
        self.changes += 1

    def expire(self, now: float) -> bool:
        """Forget agents that are silent for too long (MN-10); return whether any is."""
        late = [
            (link, address)
            for link in self._links.values()
            for address, heard in link.items()
            if heard.expires <= now
        ]
        for link, address in late:
            del link[address]
            self.changes += 1
        return bool(late)

    def age(self, seconds: float) -> None:
        """Let time go by that the monotonic clock did not see."""
        for link in self._links.values():
            for heard in link.values():
                heard.heard_at -= seconds
                heard.expires -= seconds

    def next_expiry(self) -> float | None:
        """Return the second at which `expire` has something to do."""
        return min(
            (heard.expires for link in self._links.values() for heard in link.values()),
            default=None,
        )

    def status(self, now: float) -> list[dict[str, Any]]:
        """Return all of them as JSON-able values, named as in the registry."""
        return [
            {
                "interface": interface,
                "address": address,
                "flags": "".join(flag.name or "" for flag in heard.agent.flags),
                "care_of_addresses": list(heard.agent.care_of_addresses),
                "registration_lifetime": heard.agent.registration_lifetime,
                "remaining": max(0, int(heard.expires - now)),
            }
            for interface, link in sorted(self._links.items())
            for address, heard in sorted(link.items())
        ]


def _agent(
    received: DiscoveryReceived, advertisement: AgentAdvertisement
) -> ForeignAgent:
    return ForeignAgent(
        address=received.source,
        link_address=received.link_address,
        flags=advertisement.flags,
        registration_lifetime=advertisement.registration_lifetime,
        care_of_addresses=tuple(
            dict.fromkeys(filter(is_unicast, advertisement.care_of_addresses))
        ),
    )


def _alike(one: ForeignAgent, other: ForeignAgent) -> bool:
    """Return whether an agent is the same, and offers the same."""
    return (
        one == other
        and one.flags == other.flags
        and one.registration_lifetime == other.registration_lifetime
        and one.care_of_addresses == other.care_of_addresses
    )


def _prefixes(advertisement: AgentAdvertisement) -> frozenset[IPv4Network]:
    """Return the prefixes of the link, where they are told; no default route is one."""
    pairs = zip(
        advertisement.router_addresses, advertisement.prefix_lengths, strict=False
    )
    return frozenset(IPv4Network(pair, strict=False) for pair in pairs if pair[1])


def _doubt_others(link: dict[str, _Heard], newcomer: _Heard, now: float) -> None:
    """Wait less long for agents of another prefix than the one heard last (MN-11).

    Both are heard where two links overlap, so that an agent is not given up at once.
    Agents advertise three times in their lifetime (AG-04): half of it will do.
    """
    for heard in link.values():
        if (
            newcomer.prefixes
            and heard.prefixes
            and not newcomer.prefixes & heard.prefixes
        ):
            soon = max(now, heard.heard_at + heard.lifetime / 2)
            heard.expires = min(heard.expires, soon)
