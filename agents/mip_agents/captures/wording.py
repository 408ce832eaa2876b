# SPDX-License-Identifier: GPL-2.0-only
"""Words for the steps of a sequence: what a packet is, in two or three short lines."""

from __future__ import annotations

import enum

from mip_agents.captures.observation import Kind, Observation
from mip_agents.protocol.reply_checks import ACCEPTING
from scapy_mip.base import MESSAGE_NAMES
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    LIFETIME_INFINITE,
    Encapsulation,
    describe_code,
)
from scapy_mip.extensions.auth import short_name
from scapy_mip.messages import MIPMessage

_TUNNELS: dict[int, str] = {
    Encapsulation.IPIP: "IP-in-IP",
    Encapsulation.GRE: "GRE",
    Encapsulation.MINIMAL: "minimal encapsulation",
}


class Verdict(enum.Enum):
    """What came of judging the authenticators of a message."""

    NONE = "not judged"
    GOOD = "valid"
    BAD = "not valid"


def name_step(seen: Observation, count: int) -> str:
    """Say what a packet is, or several like it."""
    if seen.kind is Kind.TUNNEL:
        how = _TUNNELS.get(seen.ip.protocol, "UDP tunnelling")
        return f"{count} packet{'s' * (count > 1)}, {how}"
    if seen.kind is Kind.MESSAGE:
        kind = seen.data[0] if seen.data else -1
        name = MESSAGE_NAMES.get(kind, "empty datagram" if kind < 0 else f"type {kind}")
    else:
        name = seen.kind.value
    if seen.kind in (Kind.ADVERTISEMENT, Kind.SOLICITATION) and seen.is_to_many:
        name += "s to all" if count > 1 else " to all"
    elif count > 1:
        name += "s"
    return f"{count} {name}" if count > 1 else name[:1].upper() + name[1:]


def describe(group: list[Observation]) -> tuple[list[str], Verdict]:
    """Say in short lines what is in a packet, or in several like it."""
    first = group[0]
    match first.kind:
        case Kind.REQUEST:
            return _request(first)
        case Kind.REPLY:
            return _reply(first)
        case Kind.ADVERTISEMENT:
            return _advertisements(group), Verdict.NONE
        case Kind.TUNNEL:
            return _tunnel(group), Verdict.NONE
        case Kind.MESSAGE if isinstance(first.packet, MIPMessage):
            return _with_authentication([], first)
        case _:
            return [], Verdict.NONE


def _request(seen: Observation) -> tuple[list[str], Verdict]:
    packet = seen.packet
    line = f"at {packet.care_of_address} for {_lifetime(packet.lifetime)}"
    if packet.flags:
        line += f", flags {packet.flags}"
    lines = [line]
    if packet.lifetime == LIFETIME_DEREGISTER:
        lines[0] += ": deregistration"
    if packet.home_agent != seen.ip.destination:
        lines.append(f"home agent {packet.home_agent}")
    return _with_authentication(lines, seen)


def _reply(seen: Observation) -> tuple[list[str], Verdict]:
    packet = seen.packet
    line = f"code {packet.code}, {describe_code(packet.code)}"
    if packet.code in ACCEPTING:
        line += f", for {_lifetime(packet.lifetime)}"
    return _with_authentication([line], seen)


def _with_authentication(
    lines: list[str], seen: Observation
) -> tuple[list[str], Verdict]:
    """Add a line with the authentication extensions, if there are any."""
    found, verdicts = [], []
    for offset, extension in seen.authentications:
        verdict = seen.verdicts.get(offset)
        said = f"{short_name(extension.type)} {extension.spi}"
        found.append(f"{said} {verdict}" if verdict else said)
        if verdict:
            verdicts.append(verdict)
    if found:
        lines = [*lines, ", ".join(found)]
    if not verdicts:
        return lines, Verdict.NONE
    good = all(verdict == "valid" for verdict in verdicts)
    return lines, Verdict.GOOD if good else Verdict.BAD


def _advertisements(group: list[Observation]) -> list[str]:
    first, last = group[0].mobility, group[-1].mobility
    if first is None:
        return ["no mobility agent extension"]
    lines = [f"flags {first.flags}, lifetime {_lifetime(first.registration_lifetime)}"]
    if first.care_of_addresses:
        lines[0] += f", care-of {', '.join(first.care_of_addresses)}"
    number = f"sequence number {first.sequence_number}"
    if last is not None and len(group) > 1:
        number = f"sequence numbers {first.sequence_number} to {last.sequence_number}"
    return [*lines, number]


def _tunnel(group: list[Observation]) -> list[str]:
    flows = {
        (seen.inner.source, seen.inner.destination)
        for seen in group
        if seen.inner is not None
    }
    if len(flows) != 1:
        return [f"{len(flows)} pairs of inner addresses"] if flows else []
    ((source, destination),) = flows
    return [f"inside: {source} to {destination}"]


def _lifetime(seconds: int) -> str:
    return "ever" if seconds == LIFETIME_INFINITE else f"{seconds} s"
