# SPDX-License-Identifier: GPL-2.0-only
"""Checks of what a program gives to `HomeAgent`, `ForeignAgent` and `MobileNode`.

Each error is one line that names the argument and says what is allowed; no value is
repeated, since it may be a key in the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from mip_agents.protocol.errors import MipError
from mip_agents.protocol.policy import CareOf, DeliveryStyle, ReverseTunnel
from mip_agents.protocol.security import SecurityTable, parse_security
from mip_agents.protocol.tunnel import Category
from mip_agents.runtime.options import DATAPLANES, QUIRKS, AgentOptions
from scapy_mip.const import Encapsulation


def one_of(name: str, value: str, allowed: Iterable[str]) -> str:
    """Return one of the allowed words."""
    words = list(allowed)
    if value not in words:
        raise MipError(f"{name}: allowed: {', '.join(words)}")
    return value


def between(name: str, value: int, lowest: int, highest: int) -> int:
    """Return a whole number in a range."""
    if not isinstance(value, int) or not lowest <= value <= highest:
        raise MipError(f"{name}: allowed: {lowest} to {highest}")
    return value


def seconds(name: str, value: float, lowest: float, highest: float) -> float:
    """Return a time in a range."""
    if not isinstance(value, int | float) or not lowest <= value <= highest:
        raise MipError(f"{name}: allowed: {lowest:g} to {highest:g} seconds")
    return value


def some(name: str, words: Iterable[str]) -> tuple[str, ...]:
    """Return at least one word."""
    if isinstance(words, str) or not (found := tuple(words)):
        raise MipError(f"{name}: allowed: a list with at least one")
    return found


def address(name: str, text: str) -> str:
    """Return an IPv4 address as a dotted string."""
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise MipError(f"{name}: allowed: an IPv4 address") from None


def network(name: str, text: str | None) -> IPv4Network | None:
    """Return a network, or None where none is given."""
    try:
        return None if text is None else IPv4Network(text)
    except ValueError:
        raise MipError(f"{name}: allowed: a prefix such as 10.1.1.0/24") from None


def encapsulation(name: str, word: str) -> Encapsulation:
    """Return an encapsulation."""
    known = {form.title: form for form in Encapsulation}
    return known[one_of(name, word, known)]


def reverse_tunnel(name: str, word: str) -> ReverseTunnel:
    """Return how a home agent treats the T flag."""
    return ReverseTunnel(one_of(name, word, (member.value for member in ReverseTunnel)))


def broadcasts(name: str, words: Iterable[str]) -> frozenset[Category]:
    """Return what a home agent passes on of what is sent to many."""
    return frozenset(Category(one_of(name, word, Category)) for word in words)


def care_of(name: str, word: str) -> CareOf:
    """Return which kind of care-of address a mobile node registers."""
    return CareOf(one_of(name, word, CareOf))


def delivery_style(name: str, word: str) -> DeliveryStyle:
    """Return how packets get to a foreign agent for its reverse tunnel."""
    return DeliveryStyle(one_of(name, word, DeliveryStyle))


def foreign_agents(
    name: str, security: Mapping[str, Mapping[int, str | bytes]]
) -> SecurityTable:
    """Return what a mobile node shares with foreign agents, by address and SPI."""
    table = SecurityTable()
    for agent, keys in security.items():
        try:
            associations = parse_security(keys)
        except ValueError as error:
            raise MipError(f"{name}: {error}") from None
        for association in associations:
            table.add(address(name, agent), association)
    return table


def quirks(name: str, words: Iterable[str]) -> frozenset[str]:
    """Return what is done for the sake of a peer with a fault."""
    return frozenset(one_of(name, word, QUIRKS) for word in words)


def make_options(
    *,
    state_dir: Path | str | None,
    control_socket: Path | str | None,
    dataplane: str,
    ntp_server: str | None,
    listen: str,
    gateways: Mapping[str, str] | None = None,
) -> AgentOptions:
    """Return the shell's part of the arguments."""
    return AgentOptions(
        state_dir=None if state_dir is None else Path(state_dir),
        control_socket=None if control_socket is None else Path(control_socket),
        dataplane=one_of("dataplane", dataplane, DATAPLANES),
        ntp_servers=() if ntp_server is None else (ntp_server,),
        listen=address("listen", listen),
        gateways={
            name: address(f"gateways: {name}", gateway)
            for name, gateway in (gateways or {}).items()
        },
    )
