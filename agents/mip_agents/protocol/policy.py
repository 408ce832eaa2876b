# SPDX-License-Identifier: GPL-2.0-only
"""What an engine is told to do, as frozen values; configuration files end up here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from mip_agents.protocol.names import NamedNodes
from mip_agents.protocol.security import NodeAssociation, SecurityTable
from mip_agents.protocol.tunnel import Category
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import REPLAY_TOLERANCE_DEFAULT, Encapsulation

LIMITED_BROADCAST = "255.255.255.255"


class ReverseTunnel(enum.StrEnum):
    """How a home agent treats the T flag. RFC 3024 section 4.3."""

    OFF = "off"
    """A request with T is denied with 137."""
    OPTIONAL = "optional"
    REQUIRED = "required"
    """A request without T is denied with 138."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAgentPolicy:
    """What a home agent serves and grants."""

    address: str
    """The unicast address that mobile nodes register with (HA-14)."""
    home_network: IPv4Network
    mobile_nodes: SecurityTable
    foreign_agents: SecurityTable = field(default_factory=SecurityTable)
    named_nodes: NamedNodes = field(default_factory=NamedNodes)
    """Nodes that are known by their NAI and get an address from a pool (HA-24)."""
    max_lifetime: int = 36000
    """Seconds; 65535 allows infinite lifetimes."""
    max_bindings_per_node: int = 4
    """Care-of addresses per node at one time (S flag); 1 answers with code 1."""
    encapsulations: frozenset[Encapsulation] = frozenset(
        {Encapsulation.IPIP, Encapsulation.GRE}
    )
    reverse_tunnel: ReverseTunnel = ReverseTunnel.OPTIONAL
    timestamp_tolerance: int = REPLAY_TOLERANCE_DEFAULT
    """Seconds by which a node's clock may differ (HA-30)."""
    broadcasts: frozenset[Category] = frozenset()
    """What is sent to many and may be passed on to those who ask for it; where it is
    empty the B flag is ignored (HA-04)."""
    strict: bool = False
    """Deny requests with reserved bits set instead of ignoring the bits (C-1)."""
    hosts: range = field(init=False, repr=False, compare=False)
    """The addresses of hosts in `home_network`, as numbers; every request asks."""
    broadcast_addresses: frozenset[str] = field(init=False, repr=False, compare=False)
    """The addresses that all hosts of the home network hear."""

    def __post_init__(self) -> None:
        network = self.home_network
        first, last = int(network.network_address), int(network.broadcast_address)
        broadcasts = {LIMITED_BROADCAST}
        if network.prefixlen < 31:
            broadcasts.add(str(network.broadcast_address))
            first, last = first + 1, last - 1
        object.__setattr__(self, "hosts", range(first, last + 1))
        object.__setattr__(self, "broadcast_addresses", frozenset(broadcasts))

    def association(self, node: str, spi: int) -> SecurityAssociation | None:
        """Return what we share with a node, an NAI or a home address, under an SPI."""
        if "@" in node:
            named = self.named_nodes.find(node, spi)
            return None if named is None else named.association
        return self.mobile_nodes.find(node, spi)

    def any_association(self, node: str) -> SecurityAssociation | None:
        """Return what to sign with where a node names no SPI that we know."""
        if "@" in node:
            named = self.named_nodes.any_of(node)
            return None if named is None else named.association
        return self.mobile_nodes.any_of(node)

    def quirks(self) -> list[str]:
        """Return for which nodes exceptions are made, and which."""
        return sorted(
            f"{peer}: {quirk}"
            for peer, association in (*self.mobile_nodes, *self.named_nodes)
            if isinstance(association, NodeAssociation)
            for quirk in association.quirks
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNodePolicy:
    """Who a mobile node is and how it registers."""

    home_address: str
    home_agent: str
    security: SecurityAssociation
    home_network: IPv4Network | None = None
    """None: the network of the interface that holds the home address, else /24."""
    lifetime: int = 600
    """Requested seconds; 65535 is infinite."""
    reverse_tunnel: bool = True
    encapsulation: Encapsulation = Encapsulation.IPIP
    broadcasts: bool = False
    """Ask for the broadcasts of the home network (B)."""
    interfaces: tuple[str, ...] = ()
    """In order of preference."""
    care_of_addresses: dict[str, str] = field(default_factory=dict)
    """Fixed care-of address by interface; others are read from the kernel."""
    roam: bool = True
    """Move by itself as interfaces come and go; False: only when asked to register."""
    coarse_timestamps: bool = False
    """Quirk: leave the low 11 bits of Identification zero, for home agents that keep it
    in a double and answer 131 otherwise."""
