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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """One home address and the tunnel that carries its packets.

    Home agent and mobile node describe their end of a tunnel alike; `home_address` is
    the key. Installing a tunnel whose key is present replaces it in one step, so that
    a handover never leaves a moment without one. Addresses are dotted strings.
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
    there. None: routing decides."""
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

    def forms(self) -> Iterator[tuple[str, Form]]:
        """Yield each of the other ends with the form of the packets there."""
        every = self.peer_forms or (Form(self.encapsulation),) * len(self.peers)
        return zip(self.peers, every, strict=True)
