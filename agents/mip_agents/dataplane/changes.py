# SPDX-License-Identifier: GPL-2.0-only
"""Changes to the kernel, each a value that knows how to be made and undone.

A ledger (`ledger.py`) makes them for their owners. Objects carry the role's own
protocol number, by which a later process knows what a killed one left
(`mip_agents.dataplane.leftovers`). Settings, which cannot carry a mark, are written to
a state file before they change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mip_agents.dataplane import rtnetlink
from mip_agents.dataplane.rtnetlink import Outer
from mip_agents.dataplane.statefile import StateFile, read_setting, write_setting
from mip_agents.protocol.tunnel import Role

MARKS: Final = {Role.HOME_AGENT: 134, Role.MOBILE_NODE: 135, Role.FOREIGN_AGENT: 136}
"""Routing protocol number of each role, on its routes, rules, addresses, neighbours."""

MAIN_TABLE: Final = 254
LOCAL_TABLE: Final = 255
LOOPBACK: Final = 1
"""Index of `lo` in every network namespace."""

_BROADCAST = 3  # RTN_BROADCAST
METRIC: Final = 434
"""Of routes that need not differ."""


class Maker(Protocol):
    """Who makes changes: the way to the kernel."""

    mark: int
    """Protocol number of the role."""
    state: StateFile

    async def call(self, subject: str, verb: str, **arguments: Any) -> None:
        """Make one netlink request. :raises NetlinkError: as the kernel answers."""

    def request(self, message: bytes) -> None:
        """Make one request that was packed by hand. :raises OSError: likewise."""


class Change(ABC):
    """One change; equal changes are the same change."""

    @property
    def slot(self) -> object:
        """What it occupies: of two changes in one slot, the later one counts."""
        return self

    @abstractmethod
    async def make(self, maker: Maker) -> None:
        """Make it, replacing what is in the slot."""

    @abstractmethod
    async def undo(self, maker: Maker) -> None:
        """Take it back."""


class Message(Change):
    """A change that is one netlink message: many of them are sent at once."""

    @property
    def place(self) -> int:
        """By which a kernel finds things faster that are made one after the other."""
        return 0

    @abstractmethod
    def making(self, mark: int) -> bytes:
        """Return the request, which replaces what is in the slot."""

    @abstractmethod
    def undoing(self, mark: int) -> bytes:
        """Return the request to take it back."""

    async def make(self, maker: Maker) -> None:
        """See `Change`; replacing is one step, so that no packet is without a route."""
        maker.request(self.making(maker.mark))

    async def undo(self, maker: Maker) -> None:
        """See `Change`."""
        maker.request(self.undoing(maker.mark))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Message):
    """A route, with the mark of the role."""

    destination: str
    """As `10.1.1.10/32`, a default route as `0.0.0.0/0`."""
    ifindex: int
    gateway: str | None
    mtu: int | None = None
    source: str | None = None
    table: int = MAIN_TABLE
    metric: int = METRIC
    outer: Outer | None = None
    """What an external tunnel device puts around the packets."""

    @property
    def slot(self) -> object:
        """A table holds one route for a destination and a metric."""
        return (Route, self.table, self.destination, self.metric)

    def making(self, mark: int) -> bytes:
        """See `Message`."""
        return rtnetlink.route(
            "replace",
            destination=self.destination,
            ifindex=self.ifindex,
            table=self.table,
            metric=self.metric,
            protocol=mark,
            gateway=self.gateway,
            source=self.source,
            mtu=self.mtu,
            outer=self.outer,
        )

    def undoing(self, mark: int) -> bytes:
        """See `Message`."""
        return rtnetlink.route(
            "del",
            destination=self.destination,
            ifindex=self.ifindex,
            table=self.table,
            metric=self.metric,
            protocol=mark,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastRoute(Change):
    """A broadcast address of this host's, with the mark of the role."""

    address: str
    ifindex: int
    source: str
    mtu: int
    """Linux before 6.17 takes no notice of it."""

    def _arguments(self, maker: Maker) -> dict[str, Any]:
        return {
            "dst": f"{self.address}/32",
            "oif": self.ifindex,
            "table": LOCAL_TABLE,
            "type": _BROADCAST,
            "scope": 253,  # link
            "proto": maker.mark,
            "prefsrc": self.source,
            "metrics": {"mtu": self.mtu},
        }

    async def make(self, maker: Maker) -> None:
        """See `Change`; the kernel may have such a route through another interface."""
        await maker.call("route", "append", **self._arguments(maker))

    async def undo(self, maker: Maker) -> None:
        """See `Change`."""
        await maker.call("route", "del", **self._arguments(maker))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Change):
    """A policy rule, with the mark of the role."""

    priority: int
    table: int
    source: str | None = None
    """`0.0.0.0` stands for packets whose source is not chosen yet."""
    destination: str | None = None
    suppress_default: bool = False
    """Take no default route from the table."""
    local: bool = False
    """Only for packets of this host."""
    interface: str | None = None
    """Only for packets that arrive there."""
    mark: tuple[int, int] | None = None
    """Only for packets whose mark has this value in the bits of this mask."""

    def _arguments(self, maker: Maker) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "family": 2,
            "priority": self.priority,
            "table": self.table,
            "FRA_PROTOCOL": maker.mark,
        }
        if self.source is not None:
            arguments |= {"src": self.source, "src_len": 32}
        if self.mark is not None:
            arguments["fwmark"], arguments["fwmask"] = self.mark
        if self.destination is not None:
            network, _, length = self.destination.partition("/")
            arguments |= {"dst": network, "dst_len": int(length)}
        if self.suppress_default:
            arguments["FRA_SUPPRESS_PREFIXLEN"] = 0
        if self.local:
            arguments["iifname"] = "lo"
        elif self.interface is not None:
            arguments["iifname"] = self.interface
        return arguments

    async def make(self, maker: Maker) -> None:
        """See `Change`."""
        await maker.call("rule", "add", **self._arguments(maker))

    async def undo(self, maker: Maker) -> None:
        """See `Change`."""
        await maker.call("rule", "del", **self._arguments(maker))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy(Message):
    """An address that we answer ARP requests for (ARP-01)."""

    address: str
    ifindex: int

    @property
    def place(self) -> int:
        """See `Message`."""
        return rtnetlink.proxy_place(self.address)

    def making(self, mark: int) -> bytes:
        """See `Message`."""
        return self._request("add", mark)

    def undoing(self, mark: int) -> bytes:
        """See `Message`."""
        return self._request("del", mark)

    def _request(self, action: str, mark: int) -> bytes:
        return rtnetlink.proxy(
            action, address=self.address, ifindex=self.ifindex, protocol=mark
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour(Change):
    """The link-layer address of a neighbour, which is therefore never asked for."""

    address: str
    ifindex: int
    link_address: str
    """As `02:00:00:00:00:01`."""

    @property
    def slot(self) -> object:
        """An interface has one neighbour with an address."""
        return (Neighbour, self.address, self.ifindex)

    async def make(self, maker: Maker) -> None:
        """See `Change`; what the kernel had found out by itself is replaced."""
        maker.request(
            rtnetlink.neighbour(
                "replace",
                address=self.address,
                ifindex=self.ifindex,
                link_address=self.link_address,
                protocol=maker.mark,
            )
        )

    async def undo(self, maker: Maker) -> None:
        """See `Change`."""
        maker.request(
            rtnetlink.neighbour("del", address=self.address, ifindex=self.ifindex)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddress(Change):
    """An address of this host: on `lo`, where it is on no link, on a port or a link."""

    address: str
    ifindex: int = LOOPBACK
    prefix_length: int = 32

    async def make(self, maker: Maker) -> None:
        """See `Change`."""
        await maker.call(
            "addr",
            "add",
            index=self.ifindex,
            address=self.address,
            prefixlen=self.prefix_length,
            proto=maker.mark,
        )

    async def undo(self, maker: Maker) -> None:
        """See `Change`."""
        await maker.call(
            "addr",
            "del",
            index=self.ifindex,
            address=self.address,
            prefixlen=self.prefix_length,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Change):
    """A value that carries no mark; see `mip_agents.dataplane.statefile`."""

    kind: str
    key: str
    value: str
    optional: bool = False
    """Whether a kernel or an interface without it, or a read-only one, will do."""

    async def make(self, maker: Maker) -> None:
        """See `Change`."""
        try:
            before = read_setting(self.kind, self.key)
            if before != self.value:
                maker.state.remember(self.kind, self.key, before, self.value)
                write_setting(self.kind, self.key, self.value)
        except OSError:
            maker.state.restore(self.kind, self.key)
            if not self.optional:
                raise

    async def undo(self, maker: Maker) -> None:
        """See `Change`; a value that someone else has set since then stays."""
        maker.state.restore(self.kind, self.key)
