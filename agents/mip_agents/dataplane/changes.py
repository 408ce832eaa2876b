# SPDX-License-Identifier: GPL-2.0-only
"""Changes to the kernel, each a value that knows how to be made and undone.

A `Ledger` makes them for their owners (a home address, say), compares what an owner
wants with what it has, and so calls the kernel for the difference only. Everything it
made it undoes. Objects carry the role's own protocol number, by which a later process
knows what a killed one left (`mip_agents.dataplane.leftovers`); settings, which cannot
carry a mark, are written to a state file before they are changed.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane import rtnetlink
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.rtnetlink import Outer, Requests
from mip_agents.dataplane.statefile import StateFile, read_setting, write_setting
from mip_agents.protocol.tunnel import Role

MARKS: Final = {Role.HOME_AGENT: 134, Role.MOBILE_NODE: 135}
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


class Message(Change):
    """A change that is one netlink message: many of them are sent at once."""

    __slots__ = ()

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

    async def make(self, ledger: Ledger) -> None:
        """See `Change`; replacing is one step, so that no packet is without a route."""
        ledger.request(self.making(ledger.mark))

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        ledger.request(self.undoing(ledger.mark))


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

    def _arguments(self, ledger: Ledger) -> dict[str, Any]:
        return {
            "dst": f"{self.address}/32",
            "oif": self.ifindex,
            "table": LOCAL_TABLE,
            "type": _BROADCAST,
            "scope": 253,  # link
            "proto": ledger.mark,
            "prefsrc": self.source,
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
        return arguments

    async def make(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call("rule", "add", **self._arguments(ledger))

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call("rule", "del", **self._arguments(ledger))


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
class LocalAddress(Change):
    """An address of this host on `lo`, where it is on no link, or on a port."""

    address: str
    ifindex: int = LOOPBACK

    async def make(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call(
            "addr",
            "add",
            index=self.ifindex,
            address=self.address,
            prefixlen=32,
            proto=ledger.mark,
        )

    async def undo(self, ledger: Ledger) -> None:
        """See `Change`."""
        await ledger.call(
            "addr", "del", index=self.ifindex, address=self.address, prefixlen=32
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
                await self._put_back(made, taken)
                self._keep(owner, before)
                raise _refusal(owner, change, error) from error
            finally:
                # Also when cancelled: what may have been made is to be undone later.
                made.append(change)
                current.append(change)
        slots = {change.slot for change in wanted}
        for change in reversed(before):
            if change.slot not in slots:
                await self._quietly(change.undo(self))
        self._keep(owner, list(wanted))

    async def _put_back(
        self, made: Sequence[Change], taken: Mapping[object, Change]
    ) -> None:
        """Undo what was made, with what was in the slots before in its place."""
        for done in reversed(made):
            old = taken.get(done.slot)
            await self._quietly(done.undo(self) if old is None else old.make(self))

    async def settle_many(
        self, wanted: Mapping[str, Sequence[Change]]
    ) -> dict[str, DataplaneError]:
        """Do what `settle` does for many owners, with few system calls.

        Return who cannot have what was wanted, and why.
        """
        refusals: dict[str, DataplaneError] = {}
        lacking: dict[str, list[Message]] = {}
        taken: dict[str, dict[object, Change]] = {}
        for owner, changes in wanted.items():
            before = self._made.get(owner, [])
            new = [change for change in changes if change not in before]
            slots = {change.slot for change in changes}
            packed = [change for change in new if isinstance(change, Message)]
            if len(packed) == len(new) and all(old.slot in slots for old in before):
                lacking[owner] = packed
                taken[owner] = {change.slot: change for change in before}
                # Whatever happens: what may have been made is to be undone later.
                self._keep(owner, [*before, *packed])
                continue
            try:
                await self.settle(owner, changes)
            except DataplaneError as refusal:
                refusals[owner] = refusal
        made: dict[str, list[Message]] = {owner: [] for owner in lacking}
        for number in range(max(map(len, lacking.values()), default=0)):
            step = [
                (owner, changes[number])
                for owner, changes in lacking.items()
                if number < len(changes) and owner not in refusals
            ]
            step.sort(key=lambda one: one[1].place)
            codes = self._request_many(change.making(self.mark) for _, change in step)
            for (owner, change), code in zip(step, codes, strict=True):
                if code:
                    refusals[owner] = _refusal(owner, change, OSError(code, ""))
                else:
                    made[owner].append(change)
        for owner, done in made.items():
            if owner in refusals:
                await self._put_back(done, taken[owner])
                self._keep(owner, list(taken[owner].values()))
            else:
                self._keep(owner, list(wanted[owner]))
        return refusals

    def _request_many(self, messages: Iterable[bytes]) -> list[int]:
        """Make requests that were packed by hand; return the error code of each."""
        codes = self._requests.carry_out(messages)
        self.calls += len(codes)
        return codes

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


def _refusal(
    owner: str, change: Change, error: NetlinkError | OSError
) -> DataplaneError:
    return DataplaneError(f"{owner}: {_sentence(change, error)}; nothing was changed")


def _sentence(change: Change, error: NetlinkError | OSError) -> str:
    """Say what the kernel refused and what to do."""
    code = error.code if isinstance(error, NetlinkError) else error.errno
    advice = "run with CAP_NET_ADMIN" if code in (errno.EPERM, errno.EACCES) else ""
    if code == errno.EROFS:
        advice = "/proc/sys is read-only here, so set the value beforehand"
    return f"{change}: {os.strerror(code or 0)}" + (f"; {advice}" if advice else "")
