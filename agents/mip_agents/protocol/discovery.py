# SPDX-License-Identifier: GPL-2.0-only
"""Router discovery from bytes to typed values and back. RFC 1256, RFC 5944 section 2.

Like `view` for control messages: this says what a message is, not whether it is
welcome.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from mip_agents.protocol.values import Value
from mip_agents.protocol.view import MAX_EXTENSIONS, Malformed
from scapy_mip.const import (
    AGENT_ADVERTISEMENT_CODES,
    AgentFlag,
    DiscoveryExtensionType,
)
from scapy_mip.discovery import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    icmp_classes,
)
from scapy_mip.discovery_extensions import (
    MIPDiscoveryExtension,
    MIPDiscoveryOneBytePadding,
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
    discovery_extension_name,
    frame,
)
from scapy_mip.extensions.base import is_skippable

UNDERSTOOD = frozenset(
    {
        DiscoveryExtensionType.ONE_BYTE_PADDING,
        DiscoveryExtensionType.MOBILITY_AGENT_ADVERTISEMENT,
        DiscoveryExtensionType.PREFIX_LENGTHS,
        DiscoveryExtensionType.CHALLENGE,
    }
)
"""The types that do not discard an advertisement although they are below 128. A
challenge is for those who answer it; the others need not."""

_HEADER = 8
_WORD = 4
_LEAST_ENTRY_WORDS = 2
_MAX_PREFIX = 32


class AgentAdvertisement(Value, frozen=True):
    """What a mobility agent offers on a link. RFC 5944 section 2.1."""

    code: int
    """0: it routes common traffic; 16: it does not (AG-09)."""
    lifetime: int
    """Seconds for which it counts; 0: the agent stops."""
    router_addresses: tuple[str, ...]
    flags: AgentFlag
    sequence_number: int
    registration_lifetime: int
    """Longest lifetime that its foreign agent relays, in seconds; 65535 is infinite."""
    care_of_addresses: tuple[str, ...]
    prefix_lengths: tuple[int, ...]
    """One for each router address; empty where they are not told (AG-17)."""


@dataclass(frozen=True, slots=True)
class RouterAdvertisement:
    """An advertisement without the extension that makes its sender an agent."""


@dataclass(frozen=True, slots=True)
class Solicitation:
    """Someone asks routers and agents to advertise. Nothing in it matters."""


Discovery = AgentAdvertisement | RouterAdvertisement | Solicitation | Malformed


@functools.lru_cache(1024)  # every node of a link hears the same
def parse_discovery(data: bytes) -> Discovery:
    """Turn an ICMP message of type 9 or 10 into a view; its checksum is good already.

    Reserved bits are ignored (MN-06), and so are prefix lengths whose number does not
    fit (AG-17). Never raises.
    """
    kind = icmp_classes().get(data[0]) if data else None
    if kind is MIPAgentAdvertisement:
        return _advertisement(data)
    if kind is not MIPAgentSolicitation or len(data) < _HEADER:
        return Malformed("AG-21", "cut short, or no router discovery")
    # RFC 1256 section 4.2: what stands behind the first eight octets is ignored.
    if data[1]:
        return Malformed("AG-21", f"solicitation with code {data[1]}")
    return Solicitation()


def _advertisement(data: bytes) -> AgentAdvertisement | RouterAdvertisement | Malformed:
    if len(data) < _HEADER:
        return Malformed("MN-05", "advertisement cut short")
    code, addresses, entry_words = data[1], data[4], data[5]
    if code not in AGENT_ADVERTISEMENT_CODES:
        return Malformed("MN-05", f"advertisement with code {code}")
    if addresses and entry_words < _LEAST_ENTRY_WORDS:
        return Malformed("MN-05", f"router entries of {entry_words} words")
    start = _HEADER + addresses * entry_words * _WORD
    if start > len(data):
        return Malformed("MN-05", "router addresses run over the end")
    found = _extensions(data, start)
    if isinstance(found, Malformed):
        return found
    offer: Any = found.get(MIPMobilityAgentAdvertisement)
    if offer is None:
        return RouterAdvertisement()
    letters = str(offer.flags).replace(AgentFlag.r.name or "", "")  # MN-06
    flags = AgentFlag(sum(AgentFlag[letter] for letter in letters))
    if not flags & (AgentFlag.F | AgentFlag.H):
        return Malformed("AG-12", "neither a foreign nor a home agent")
    if AgentFlag.F in flags and not offer.care_of_addresses:
        return Malformed("AG-12", "a foreign agent without a care-of address")
    header: Any = MIPICMP(data[:start])
    prefixes: Any = found.get(MIPPrefixLengths)
    return AgentAdvertisement(
        code=code,
        lifetime=header.lifetime,
        router_addresses=tuple(entry.router_address for entry in header.entries),
        flags=flags,
        sequence_number=offer.sequence_number,
        registration_lifetime=offer.registration_lifetime,
        care_of_addresses=tuple(offer.care_of_addresses),
        prefix_lengths=_prefix_lengths(prefixes, addresses),
    )


def _extensions(
    data: bytes, start: int
) -> dict[type[MIPDiscoveryExtension], MIPDiscoveryExtension] | Malformed:
    """Return the first extension of each class that matters."""
    found: dict[type[MIPDiscoveryExtension], MIPDiscoveryExtension] = {}
    stop = len(data)
    for _ in range(MAX_EXTENSIONS):
        if start >= stop:
            return found
        kind, end = data[start], frame(data, start, stop)
        where = f"{discovery_extension_name(kind)} at byte {start}"
        if end > stop:
            return Malformed("COM-03", f"{where} runs over the end")
        if kind not in UNDERSTOOD and not is_skippable(kind):
            return Malformed("COM-01", f"{where} is not understood")
        if kind == DiscoveryExtensionType.MOBILITY_AGENT_ADVERTISEMENT:
            offer = MIPDiscoveryExtension(data[start:end])
            if not isinstance(offer, MIPMobilityAgentAdvertisement):
                return Malformed("AG-13", f"{where} has a length that cannot be")
            found.setdefault(MIPMobilityAgentAdvertisement, offer)
        elif kind == DiscoveryExtensionType.PREFIX_LENGTHS:
            found.setdefault(MIPPrefixLengths, MIPDiscoveryExtension(data[start:end]))
        start = end
    if start < stop:
        return Malformed("COM-03", f"more than {MAX_EXTENSIONS} extensions")
    return found


def _prefix_lengths(extension: Any, count: int) -> tuple[int, ...]:
    if extension is None:
        return ()
    lengths = tuple(extension.prefix_lengths)
    fits = len(lengths) == count and all(one <= _MAX_PREFIX for one in lengths)
    return lengths if fits else ()


def build_solicitation() -> bytes:
    """Make an agent solicitation. RFC 5944 section 2.2."""
    return bytes(MIPAgentSolicitation())


@functools.lru_cache(1024)  # simulations begin many a time with the same
def build_advertisement(
    *,
    code: int,
    lifetime: int,
    router_addresses: tuple[str, ...],
    flags: AgentFlag,
    sequence_number: int,
    registration_lifetime: int,
    care_of_addresses: tuple[str, ...],
    prefix_lengths: tuple[int, ...] = (),
) -> bytes:
    """Make an agent advertisement, with a byte of padding if it is odd (AG-18)."""
    extensions: list[MIPDiscoveryExtension] = [
        MIPMobilityAgentAdvertisement(
            flags="".join(flag.name or "" for flag in flags),
            sequence_number=sequence_number,
            registration_lifetime=registration_lifetime,
            care_of_addresses=list(care_of_addresses),
        )
    ]
    if prefix_lengths:
        extensions.append(MIPPrefixLengths(prefix_lengths=list(prefix_lengths)))
        if len(prefix_lengths) % 2:  # everything else has an even length
            extensions.append(MIPDiscoveryOneBytePadding())
    return bytes(
        MIPAgentAdvertisement(
            code=code,
            lifetime=lifetime,
            entries=list(router_addresses),
            extensions=extensions,
        )
    )
