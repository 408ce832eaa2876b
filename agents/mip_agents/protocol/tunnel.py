# SPDX-License-Identifier: GPL-2.0-only
"""What a registration asks of the data plane, as plain values."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scapy_mip.const import Encapsulation


class Role(enum.StrEnum):
    """Which end of the tunnels an agent is."""

    HOME_AGENT = "home-agent"
    FOREIGN_AGENT = "foreign-agent"
    MOBILE_NODE = "mobile-node"


class Category(enum.StrEnum):
    """What is sent to more than one host of the home network (HA-40, HA-41)."""

    LIMITED = "limited"
    """To 255.255.255.255."""
    SUBNET = "subnet"
    """To the broadcast address of the home network."""
    MULTICAST = "multicast"
    """To groups that the mobile node has joined through the tunnel."""


BROADCASTS = frozenset({Category.LIMITED, Category.SUBNET})
"""What a mobile node asks for with the B flag; it asks for a group by joining it."""


class Delivery(NamedTuple):
    """How what is sent to many reaches a mobile node at one of its peers.

    RFC 5944 sections 4.3 and 4.4.
    """

    peer: str
    nested: bool
    """Put it into a packet from us to the home address before it goes into the tunnel:
    the foreign agent at the other end could not tell for whom it is (D=0)."""
    categories: frozenset[Category]


class Form(NamedTuple):
    """How packets to and from one other end of a tunnel are wrapped."""

    encapsulation: Encapsulation
    send_key: int | None = None
    """Key of the GRE packets that we send; None: they have none (RFC 6245)."""
    receive_key: int | None = None
    """Key that the other end puts into its GRE packets; None: they have none."""
    ports: tuple[int, int] | None = None
    """Our UDP port and that of the other end, where packets travel in Tunnel Data
    messages (RFC 3519 section 4.2); None: directly in IP."""


class Visitor(NamedTuple):
    """A mobile node on a foreign agent's link. RFC 5944 section 3.7.1."""

    link_address: str
    """Its link-layer address: its packets go there without ARP (FA-28)."""
    encapsulating: bool
    """Whether it delivers packets in a tunnel from its home address to us, as RFC 3024
    section 5.2 has it; else they are plain, and those that are not for the tunnel are
    routed (RT-08 to RT-10)."""


class AgentLink(NamedTuple):
    """The foreign agent through which a mobile node is registered."""

    address: str
    link_address: str
    """Its link-layer address: packets go there without ARP (MN-41)."""
    encapsulating: bool
    """Whether packets go to it in a tunnel from the home address (RFC 3024 section
    5.2); else it is the default router, and takes them as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """One home address and the tunnel that carries its packets.

    All agents describe their end of a tunnel alike. Installing a tunnel whose `key` is
    present replaces it in one step, so that a handover never leaves a moment without
    one. Addresses are dotted strings.
    """

    home_address: str
    local: str
    """Our end: source of the outer header (RFC 5944 section 4.2.3)."""
    peers: tuple[str, ...]
    """Other ends: a copy goes to each, and packets are accepted from each. For a home
    agent the care-of addresses, for a mobile node its home agent."""
    encapsulation: Encapsulation
    reverse: bool
    """Whether packets from the home address travel through the tunnel too (T). If not,
    a home agent drops what arrives through it (RT-07)."""
    interface: str | None = None
    """Mobile node: the interface whose care-of address is `local`; outer packets leave
    there. None: routing decides. Foreign agent: the visited link."""
    gateway: str | None = None
    """Mobile node: next hop on `interface`, where the kernel has no default route there
    that leads to the other end."""
    receive_only: bool = False
    """Mobile node: packets are taken out of the tunnel but none are sent into it yet,
    as while a request is under way (MN-33)."""
    peer_forms: tuple[Form, ...] = ()
    """How packets are wrapped for each of `peers`, in their order, where that is not
    plain `encapsulation` for all (HA-44). `encapsulation` is that of the peer that was
    added last."""

    deliveries: tuple[Delivery, ...] = ()
    """Home agent: the peers that get what is sent to many on the home network. What is
    not named here must not be sent to them (HA-40)."""

    broadcasts: bool = False
    """Mobile node: the home agent sends it the broadcasts of the home network (B)."""

    visitor: Visitor | None = None
    """Foreign agent: who gets what comes out of the tunnel."""

    agent: AgentLink | None = None
    """Mobile node: the foreign agent that ends the tunnel, so that packets come out of
    it as they are; `local` is its care-of address. None: the tunnel ends here."""

    @property
    def key(self) -> str:
        """What it is known by: the home address.

        A foreign agent's has the visited link behind it, as in `10.1.1.10%eth1`:
        private addresses of several home networks may meet there.
        """
        if self.visitor is None:
            return self.home_address
        return f"{self.home_address}%{self.interface}"

    def forms(self) -> Iterator[tuple[str, Form]]:
        """Yield each of the other ends with the form of the packets there."""
        every = self.peer_forms or (Form(self.encapsulation),) * len(self.peers)
        return zip(self.peers, every, strict=True)
