# SPDX-License-Identifier: GPL-2.0-only
"""The data plane as the agents see it, whatever carries the packets.

To this interface a binding is one atomic install, replace or remove, also where several
are asked for at once. Every change a driver makes to the kernel has its undo, `open`
removes what a crashed predecessor left behind, and `close` leaves nothing. A refresh of
a binding makes no call at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mip_agents.protocol.errors import MipError
from mip_agents.protocol.tunnel import Category, Tunnel
from scapy_mip.const import Encapsulation


class DataplaneError(MipError):
    """The kernel or the machine refused; the text says what and what to do."""


@dataclass(slots=True)
class Counters:
    """Packets and bytes (inner, without outer header) of one home address."""

    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0

    def as_json(self) -> dict[str, int]:
        """Return the counters by name; `asdict` would take twenty times as long."""
        return {
            "sent_packets": self.sent_packets,
            "sent_bytes": self.sent_bytes,
            "received_packets": self.received_packets,
            "received_bytes": self.received_bytes,
        }


@dataclass(slots=True)
class DropCounters:
    """Packets that a driver threw away, by reason, since it was opened."""

    reasons: dict[str, int] = field(default_factory=dict)

    def count(self, reason: str, packets: int = 1) -> None:
        """Count one packet, or some."""
        self.reasons[reason] = self.reasons.get(reason, 0) + packets


class Dataplane(Protocol):
    """One way to carry tunnelled packets; see `mip_agents.dataplane.select`."""

    name: str
    """`tun`, `recorder`, ... as in the configuration key `dataplane`."""
    encapsulations: frozenset[Encapsulation]
    """What tunnels can be made of."""
    copies: bool
    """Whether a packet can go to several care-of addresses at once (HA-33)."""
    categories: frozenset[Category]
    """What of that which is sent to many can be carried (HA-40, HA-41)."""

    encapsulating: bool
    """Whether a mobile node's packets can go to a foreign agent in a tunnel (RFC 3024
    section 5.2)."""

    async def open(self) -> None:
        """Get ready, after removing what an earlier process left.

        :raises DataplaneError: in one line that says what is missing and what to do.
        """

    async def install(self, tunnel: Tunnel) -> None:
        """Add the tunnel, or replace the one with the same key atomically.

        A home agent's driver also takes over the home address on the home link (proxy
        ARP, ARP-01). A mobile node's driver makes the home address local and, unless
        the tunnel is receive-only, sends what comes from it through the tunnel. A
        foreign agent's driver hands packets to the visitor by its link-layer address.
        :raises DataplaneError: nothing has changed then.
        """

    async def remove(self, key: str, /) -> None:
        """Undo `install` of the tunnel with this key; an unknown one is no error."""

    async def install_many(
        self, tunnels: Sequence[Tunnel]
    ) -> list[DataplaneError | None]:
        """Do what `install` does for several tunnels, no key twice, but faster.

        Return for each why it could not be; None: it is in place. One that is refused
        does not touch the others.
        """

    async def remove_many(self, keys: Sequence[str], /) -> None:
        """Do what `remove` does for several tunnels, none twice."""

    async def announce(
        self, address: str, interface: str | None = None, mac: str | None = None
    ) -> None:
        """Send gratuitous ARP for `address` a few times (ARP-02, ARP-04).

        `interface` None means the home link of a home agent. `mac` is the link-layer
        address to announce, as `02:00:00:00:00:01`; None means our own.
        :raises DataplaneError: if the link cannot carry it.
        """

    async def give_back(self, address: str, interface: str | None = None) -> None:
        """Announce the link-layer address of a node that is at home again (ARP-05).

        It is asked for on the link; if nobody answers, nothing is announced.
        `interface` None means the home link of a home agent.
        :raises DataplaneError: if the link cannot be asked.
        """

    async def hold(self, address: str, interface: str | None) -> None:
        """Have a mobile node's home address on its home link, and on no other (MN-13).

        :param address: with its prefix length, as `10.1.1.10/24`.
        :param interface: None: on none any more.
        :raises DataplaneError: it cannot be there.
        """

    def tunnels(self) -> Iterable[Tunnel]:
        """Return what is installed now."""

    def counters(self, key: str, /) -> Counters:
        """Return the traffic of one tunnel; zeros where it is unknown."""

    def traffic(self) -> dict[str, Counters]:
        """Return the traffic of each tunnel, by its key."""

    def drops(self) -> DropCounters:
        """Return what was thrown away, by reason."""

    async def close(self) -> None:
        """Undo everything, in reverse order. Safe to call twice and after a failure."""
