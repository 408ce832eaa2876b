# SPDX-License-Identifier: GPL-2.0-only
"""What an engine is told to do, as frozen values; configuration files end up here."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from mip_agents.protocol.links import InterfaceState
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


ALL_SYSTEMS = "224.0.0.1"

ALL_AGENTS = "224.0.0.11"
"""All mobility agents of a link. RFC 5944 section 3.6.1.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvertisementPolicy:
    """How an agent makes itself known on a link. RFC 5944 section 2.3."""

    interval: float = 3.0
    """Seconds between advertisements, at most; 0: only when solicited (AG-06)."""
    icmp_code: int = 0
    """0: we route common traffic, too; 16: we do not (AG-09)."""
    destination: str = ALL_SYSTEMS
    """224.0.0.1 or 255.255.255.255 (AG-02)."""
    prefix_lengths: bool = False
    """Tell the prefix length of our addresses; all agents of a link must do alike
    (AG-16)."""

    @property
    def lifetime(self) -> int:
        """Seconds for which an advertisement counts: three intervals (AG-04)."""
        return max(1, math.ceil(3 * self.interval)) if self.interval else 1800


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
    advertisement: AdvertisementPolicy | None = None
    """How it advertises itself on the home link (AG-14); None: not at all."""
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

    def home_entry(self, link: InterfaceState) -> str | None:
        """Return our address, as `10.1.1.20/24`, if this is our home link (AG-14)."""
        for entry in link.addresses:
            if entry.partition("/")[0] == self.address:
                return entry
        return None

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
class ForeignAgentPolicy:
    """What a foreign agent offers to mobile nodes that visit. RFC 5944 section 3.7."""

    interfaces: tuple[str, ...]
    """The visited links."""
    care_of_addresses: tuple[str, ...]
    """Our addresses that nodes may register; the first is advertised first (FA-01)."""
    advertisement: AdvertisementPolicy = AdvertisementPolicy()
    registration_lifetime: int = 1800
    """Longest lifetime that we relay, in seconds; 65535 is infinite (FA-12)."""
    registration_required: bool = True
    """Nodes with a care-of address of their own are to register here, too (R)."""
    encapsulations: frozenset[Encapsulation] = frozenset(
        {Encapsulation.IPIP, Encapsulation.GRE}
    )
    reverse_tunnel: ReverseTunnel = ReverseTunnel.OPTIONAL
    """OFF denies T with 74, REQUIRED denies its absence with 75 (RT-04)."""
    encapsulating_delivery: bool = True
    """Nodes may deliver packets for the reverse tunnel in a tunnel to us (RT-01)."""
    gre_keys: bool = False
    """Ask the home agent for keys in GRE packets (TUN-09). One that does not know RFC
    6245 discards such a request."""
    max_pending: int = 5
    """Requests that wait for a reply at one time; more get 66 (FA-03)."""
    pending_timeout: float = 7.0
    """Seconds until a request that waits is answered with 78 (FA-04)."""
    max_visitors: int = 1000
    """Visitors at one time; at the limit we are busy (AG-15), and new ones get 66."""
    mobile_nodes: SecurityTable = field(default_factory=SecurityTable)
    """Security associations with visitors (MFAE)."""
    home_agents: SecurityTable = field(default_factory=SecurityTable)
    """Security associations with home agents (FHAE)."""
    strict: bool = False
    """Deny requests with reserved bits set instead of ignoring the bits (C-1)."""


class CareOf(enum.StrEnum):
    """Which kind of care-of address a mobile node registers."""

    AUTO = "auto"
    """Co-located where the interface has an address, unless an agent asks for
    registration with R (MN-09); else that of a foreign agent."""
    CO_LOCATED = "co-located"
    FOREIGN_AGENT = "foreign-agent"


HYSTERESIS_S = 1.0
"""What daemons take for `MobileNodePolicy.hysteresis`: an interface that is about to go
again is gone by then, and no traffic waits for it."""


class DeliveryStyle(enum.StrEnum):
    """How packets get to a foreign agent for its reverse tunnel. RFC 3024 section 5."""

    DIRECT = "direct"
    ENCAPSULATING = "encapsulating"


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
    care_of: CareOf = CareOf.CO_LOCATED
    foreign_agents: SecurityTable = field(default_factory=SecurityTable)
    """Security associations with foreign agents (MFAE)."""
    delivery_style: DeliveryStyle = DeliveryStyle.DIRECT
    """With a reverse tunnel through a foreign agent."""
    simultaneous: bool = False
    """Keep the binding before while moving to another interface, if that still works
    and the home agent allows it (S)."""
    hysteresis: float = 0.0
    """Seconds for which a better interface must have been usable before it is taken,
    while the one in use works; 0: it is taken at once."""
    coarse_timestamps: bool = False
    """Quirk: leave the low 11 bits of Identification zero, for home agents that keep it
    in a double and answer 131 otherwise."""


AgentPolicy = HomeAgentPolicy | ForeignAgentPolicy | MobileNodePolicy
"""What an agent is told to do; it says which kind of agent that is."""

HOME_AGENT, FOREIGN_AGENT, MOBILE_NODE = "home_agent", "foreign_agent", "mobile_node"
"""Roles, by their names in configuration files and in the control interface."""


def role_of(policy: AgentPolicy) -> str:
    """Return which kind of agent a policy is for."""
    match policy:
        case HomeAgentPolicy():
            return HOME_AGENT
        case ForeignAgentPolicy():
            return FOREIGN_AGENT
        case MobileNodePolicy():
            return MOBILE_NODE
