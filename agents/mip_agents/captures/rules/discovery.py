# SPDX-License-Identifier: GPL-2.0-only
"""Agent advertisements and solicitations (AG). RFC 5944 section 2, RFC 1256."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Observation
from mip_agents.captures.rules import Deviations
from scapy_mip.discovery import MIPRouterEntry
from scapy_mip.discovery_extensions import (
    MIPDiscoveryOneBytePadding,
    MIPMobilityAgentAdvertisement,
)

AG_02 = Rule("AG-02", Severity.ERROR, "RFC 5944 2.1")
AG_04 = Rule("AG-04", Severity.WARNING, "RFC 5944 2.1")
AG_11 = Rule("AG-11", Severity.ERROR, "RFC 5944 2.3.2")
AG_12 = Rule("AG-12", Severity.ERROR, "RFC 5944 2.1.1")
AG_13 = Rule("AG-13", Severity.ERROR, "RFC 5944 2.1.1")
AG_16 = Rule("AG-16", Severity.ERROR, "RFC 5944 2.3")
AG_17 = Rule("AG-17", Severity.ERROR, "RFC 5944 2.1.2")
AG_18 = Rule("AG-18", Severity.WARNING, "RFC 5944 2.1.3")
AG_21 = Rule("AG-21", Severity.ERROR, "RFC 1256 4.2")
MN_01 = Rule("MN-01", Severity.ERROR, "RFC 5944 2.2")
MN_05 = Rule("MN-05", Severity.ERROR, "RFC 5944 2.4")

_LINK_TTL = 1
_BITS, _POINT_TO_POINT = 32, 31
"""From this prefix length on a network has no broadcast address."""
_AFTER_ROLLOVER, _LAST = 256, 0xFFFF
_LATE = 0xFF00
"""Numbers after which the roll-over may be among frames that were missed."""
_SLACK_S = 1.0


def check_solicitation(seen: Observation) -> Deviations:
    """Check a solicitation."""
    if seen.checksum_is_wrong:
        yield AG_21, "the ICMP checksum is wrong"
    if seen.packet.code != 0:
        yield AG_21, f"a solicitation with ICMP code {seen.packet.code}"
    if seen.ip.ttl != _LINK_TTL:
        yield MN_01, f"a solicitation with TTL {seen.ip.ttl} instead of 1"


def check_advertisement(seen: Observation) -> Deviations:
    """Check an advertisement by itself."""
    if seen.checksum_is_wrong:
        yield AG_21, "the ICMP checksum is wrong"
    if seen.ip.ttl != _LINK_TTL:
        yield AG_02, f"an advertisement with TTL {seen.ip.ttl} instead of 1"
    if seen.ip.destination in _broadcast_addresses(seen):
        yield AG_02, f"an advertisement to the subnet broadcast {seen.ip.destination}"
    mobility = seen.mobility
    if mobility is None:
        if seen.has_mobility:
            yield AG_13, "the Mobility Agent Advertisement extension has a wrong length"
        else:
            yield (
                MN_05,
                "ICMP code 16 without the Mobility Agent Advertisement extension",
            )
        return
    flags, addresses = mobility.flags, mobility.care_of_addresses
    if not flags.F and not flags.H:
        yield AG_12, "neither a home agent (H) nor a foreign agent (F)"
    if (flags.B or flags.R) and not flags.F:
        yield AG_12, "B or R without F"
    if flags.F and not addresses:
        yield AG_12, "a foreign agent without a care-of address"
    yield from _check_the_rest(seen)


def _broadcast_addresses(seen: Observation) -> set[str]:
    """Return those of the networks whose prefix lengths an advertisement has.

    Without, nobody can tell them from the addresses of hosts.
    """
    return {
        str(network.broadcast_address)
        for network in _networks(seen)
        if network.prefixlen < _POINT_TO_POINT
    }


def _networks(seen: Observation) -> list[IPv4Network]:
    if seen.prefixes is None:
        return []
    return [
        IPv4Network((router.router_address, length), strict=False)
        for router, length in zip(
            seen.packet.entries, seen.prefixes.prefix_lengths, strict=False
        )
        if isinstance(router, MIPRouterEntry) and 0 < length <= _BITS
    ]


def _check_the_rest(seen: Observation) -> Deviations:
    packet = seen.packet
    prefixes = seen.prefixes
    if prefixes is not None and len(prefixes.prefix_lengths) != packet.num_addrs:
        count = len(prefixes.prefix_lengths)
        yield AG_17, f"{count} prefix lengths for {packet.num_addrs} routers"
    places = [
        place
        for place, extension in enumerate(packet.extensions)
        if isinstance(extension, MIPDiscoveryOneBytePadding)
    ]
    if len(places) > 1:
        yield AG_18, f"{len(places)} bytes of padding"
    elif places and places[0] != len(packet.extensions) - 1:
        yield AG_18, "padding that is not at the end"


@dataclass(slots=True)
class _Agent:
    """What was seen of an agent last."""

    offer: MIPMobilityAgentAdvertisement
    time: float
    networks: list[IPv4Network]
    """Those that it gives the prefix lengths of."""
    late: bool = False
    """Whether it came too late; an agent whose link was down does so once."""


class Agents:
    """Sequence numbers and intervals of the agents of one link."""

    def __init__(self) -> None:
        self._known: dict[str, _Agent] = {}

    def offer(self, address: str) -> MIPMobilityAgentAdvertisement | None:
        """Return what an agent has advertised last."""
        known = self._known.get(address)
        return known.offer if known else None

    def see(self, seen: Observation) -> Deviations:
        """Compare an advertisement with the one before it."""
        mobility = seen.mobility
        if mobility is None:
            return
        known = self._known.get(seen.ip.source)
        sequence = mobility.sequence_number
        current = _Agent(mobility, seen.time, _networks(seen))
        self._known[seen.ip.source] = current
        if known is None:
            yield from self._compare_prefixes(seen.ip.source, current)
            return
        before = known.offer.sequence_number
        wanted = _AFTER_ROLLOVER if before == _LAST else before + 1
        # Frames may have been missed, and an agent that was started again begins at 0.
        over = before > _LATE and sequence >= _AFTER_ROLLOVER
        went_on = sequence >= wanted or sequence == 0 or over
        if not went_on:
            text = f"sequence number {sequence} after {before}"
            yield AG_11, f"{text} instead of {wanted}"
        gap, lifetime = seen.time - known.time, seen.packet.lifetime
        current.late = bool(lifetime) and gap > lifetime / 3 + _SLACK_S
        if current.late and known.late and sequence == wanted:
            text = f"{gap:.1f} s between advertisements with lifetime {lifetime} s"
            yield AG_04, f"{text}: one that is lost may end it"

    def _compare_prefixes(self, address: str, current: _Agent) -> Deviations:
        """Compare an agent that is new with others of its subnet (AG-16)."""
        for other, known in self._known.items():
            here, there = current.networks, known.networks
            shares = _holds(here, other) and not there
            if shares or (_holds(there, address) and not here):
                one = address if here else other
                yield (
                    AG_16,
                    f"of two agents of a subnet only {one} gives prefix lengths",
                )


def _holds(networks: list[IPv4Network], address: str) -> bool:
    return any(IPv4Address(address) in network for network in networks)
