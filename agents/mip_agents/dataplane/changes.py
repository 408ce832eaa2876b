# SPDX-License-Identifier: GPL-2.0-only
"""Changes to the kernel, each a value that knows how to be made and undone.

A `Ledger` makes them for their owners (a home address, say), compares what an owner
wants with what it has, and so calls the kernel for the difference only. Everything it
made it undoes. Objects carry the role's own protocol number, by which a later process
knows what a killed one left (`mip_agents.dataplane.leftovers`); settings, which cannot
carry a mark, are written to a state file before they are changed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane import rtnetlink
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.rtnetlink import Outer, Requests
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

_GONE = frozenset((errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL))


class Change(ABC):
    """One change; equal changes are the same change."""

    @property
    def slot(self) -> object:
        """What it occupies: of two changes in one slot, the later one counts."""
        return self

    @abstractmethod
    async def make(self, ledger: Ledger) -> None:
        """Make it, replacing what is in the slot."""

    @abstractmethod
    async def undo(self, ledger: Ledger) -> None:
        """Take it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Change):
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

    async def make(self, ledger: Ledger) -> None:
        """See `Change`; replacing is one step, so that no packet is without a route."""
        ledger.request(
            rtnetlink.route(
                "replace",
                destination=self.destination,
                ifindex=self.ifindex,
                table=self.table,
                metric=self.metric,
                protocol=ledger.mark,
                gateway=self.gateway,
                source=self.source,
                mtu=self.mtu,
                outer=self.outer,
            )
        )

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        ledger.request(
            rtnetlink.route(
                "del",
                destination=self.destination,
                ifindex=self.ifindex,
                table=self.table,
                metric=self.metric,
                protocol=ledger.mark,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastRoute(Change):
    """A broadcast address of this host's, with the mark of the role."""

    address: str
    ifindex: int
    source: str
    mtu: int
    """Linux before 6.17 takes no notice of it."""

    def _arguments(self, ledger: Ledger) -> dict[str, Any]:
        return {
            "dst": f"{self.address}/32",
            "oif": self.ifindex,
            "table": LOCAL_TABLE,
            "type": _BROADCAST,
            "scope": 253,  # link
            "proto": ledger.mark,
            "prefsrc": self.source,
            "metrics": {"mtu": self.mtu},
        }

    async def make(self, ledger: Ledger) -> None:
        """See `Change`; the kernel may have such a route through another interface."""
        await ledger.call("route", "append", **self._arguments(ledger))

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call("route", "del", **self._arguments(ledger))


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

    def _arguments(self, ledger: Ledger) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "family": 2,
            "priority": self.priority,
            "table": self.table,
            "FRA_PROTOCOL": ledger.mark,
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

    async def make(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call("rule", "add", **self._arguments(ledger))

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call("rule", "del", **self._arguments(ledger))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy(Change):
    """An address that we answer ARP requests for (ARP-01)."""

    address: str
    ifindex: int

    async def make(self, ledger: Ledger) -> None:
        """See `Change`."""
        ledger.request(self._message("add", ledger))

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        ledger.request(self._message("del", ledger))

    def _message(self, action: str, ledger: Ledger) -> bytes:
        return rtnetlink.proxy(
            action, address=self.address, ifindex=self.ifindex, protocol=ledger.mark
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

    async def make(self, ledger: Ledger) -> None:
        """See `Change`; what the kernel had found out by itself is replaced."""
        ledger.request(
            rtnetlink.neighbour(
                "replace",
                address=self.address,
                ifindex=self.ifindex,
                link_address=self.link_address,
                protocol=ledger.mark,
            )
        )

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        ledger.request(
            rtnetlink.neighbour("del", address=self.address, ifindex=self.ifindex)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAddress(Change):
    """An address of this host: on `lo`, where it is on no link, on a port or a link."""

    address: str
    ifindex: int = LOOPBACK
    prefix_length: int = 32

    async def make(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call(
            "addr",
            "add",
            index=self.ifindex,
            address=self.address,
            prefixlen=self.prefix_length,
            proto=ledger.mark,
        )

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call(
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

    async def make(self, ledger: Ledger) -> None:
        """See `Change`."""
        try:
            before = read_setting(self.kind, self.key)
            if before != self.value:
                ledger.state.remember(self.kind, self.key, before, self.value)
                write_setting(self.kind, self.key, self.value)
        except OSError:
            ledger.state.restore(self.kind, self.key)
            if not self.optional:
                raise

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`; a value that someone else has set since then stays."""
        ledger.state.restore(self.kind, self.key)


class Ledger:
    """The changes that are in force, by owner, and the way to the kernel."""

    def __init__(
        self, ipr: AsyncIPRoute, requests: Requests, role: Role, state: StateFile
    ) -> None:
        self.ipr = ipr
        self._requests = requests
        self.mark = MARKS[role]
        self.state = state
        self.calls = 0
        """Netlink requests made; a refresh makes none."""
        self.failures: list[str] = []
        """What could not be undone."""
        self._made: dict[str, list[Change]] = {}

    async def call(self, subject: str, verb: str, **arguments: Any) -> None:
        """Make one netlink request. :raises NetlinkError: as the kernel answers."""
        self.calls += 1
        await getattr(self.ipr, subject)(verb, **arguments)

    def request(self, message: bytes) -> None:
        """Make one request that was packed by hand. :raises OSError: likewise."""
        self.calls += 1
        self._requests.call(message)

    def has(self, owner: str, change: Change) -> bool:
        """Tell whether `owner` has made `change`."""
        return change in self._made.get(owner, ())

    async def settle(self, owner: str, wanted: Sequence[Change]) -> None:
        """Make what `owner` wants and lacks, then undo what it does not want any more.

        The order of `wanted` is the order of making.
        :raises DataplaneError: after everything was put back.
        """
        current = self._made.setdefault(owner, [])
        before = list(current)
        taken = {change.slot: change for change in before}
        made: list[Change] = []
        for change in wanted:
            if change in before:
                continue
            try:
                await change.make(self)
            except (NetlinkError, OSError) as error:
                for done in reversed(made):
                    old = taken.get(done.slot)
                    back = done.undo(self) if old is None else old.make(self)
                    await self._quietly(back)
                self._keep(owner, before)
                raise DataplaneError(
                    f"{owner}: {_sentence(change, error)}; nothing was changed"
                ) from error
            finally:
                # Also when cancelled: what may have been made is to be undone later.
                made.append(change)
                current.append(change)
        slots = {change.slot for change in wanted}
        for change in reversed(before):
            if change.slot not in slots:
                await self._quietly(change.undo(self))
        self._keep(owner, list(wanted))

    async def renew(self, owner: str) -> None:
        """Make anew what the kernel forgets when a link goes down, if it is up."""
        calls = self.calls
        for change in self._made.get(owner, ()):
            if isinstance(change, Route | Neighbour):
                with contextlib.suppress(OSError):  # it is still down
                    await change.make(self)
        self.calls = calls

    def _keep(self, owner: str, changes: list[Change]) -> None:
        """Note what an owner has made."""
        if changes:
            self._made[owner] = changes
        else:
            self._made.pop(owner, None)

    async def undo_all(self) -> None:
        """Undo everything in reverse order, going on where something fails."""
        for owner in reversed(list(self._made)):
            await self.settle(owner, ())

    async def _quietly(self, awaitable: Any) -> None:
        """Wait for an undo; what is gone needs none, and a failure stops none."""
        try:
            await awaitable
        except NetlinkError as error:
            if error.code not in _GONE:
                self.failures.append(os.strerror(error.code))
        except OSError as error:
            if error.errno not in _GONE:
                self.failures.append(str(error))

    def owners(self) -> Iterable[str]:
        """Return who has changes in force."""
        return self._made.keys()


def _sentence(change: Change, error: NetlinkError | OSError) -> str:
    """Say what the kernel refused and what to do."""
    code = error.code if isinstance(error, NetlinkError) else error.errno
    advice = "run with CAP_NET_ADMIN" if code in (errno.EPERM, errno.EACCES) else ""
    if code == errno.EROFS:
        advice = "/proc/sys is read-only here, so set the value beforehand"
    return f"{change}: {os.strerror(code or 0)}" + (f"; {advice}" if advice else "")
