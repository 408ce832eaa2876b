# SPDX-License-Identifier: GPL-2.0-only
"""Our programs on the interfaces of others, as tc filters.

A filter needs the qdisc `clsact`, which others may use as well: it goes only where it
came with us and nobody else's filter is on it. Filters are known by their names.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any, Final, NamedTuple

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.port import INTERFACE_PREFIXES
from mip_agents.protocol.tunnel import Role

INGRESS: Final = 0xFFFFFFF2
EGRESS: Final = 0xFFFFFFF3

PREFERENCES: Final = {Role.HOME_AGENT: 434, Role.MOBILE_NODE: 435}
"""Place among the filters of an interface; those with lower numbers come before."""

PREFIXES: Final = {
    Role.HOME_AGENT: "mip_ha_",
    Role.FOREIGN_AGENT: "mip_fa_",
    Role.MOBILE_NODE: "mip_mn_",
}
"""How the names of our filters begin."""

_HANDLE = 1
_ALL_PROTOCOLS = 3
_TYPE_ETHERNET = 1
_UPPER_KINDS = ("bridge", "bond", "team")
"""Kinds of interfaces from which packets arrive: those below are left alone."""


class Link(NamedTuple):
    """An interface on which tunnel packets may arrive."""

    ifindex: int
    name: str
    mac: bytes
    mtu: int


class Filter(NamedTuple):
    """A loaded program and its place on every link."""

    parent: int
    name: str
    descriptor: int


class LinkFilters:
    """The filters of one role."""

    def __init__(self, ipr: AsyncIPRoute, role: Role) -> None:
        self._ipr = ipr
        self._role = role
        self._attached: dict[int, bool] = {}
        """By interface, and whether its `clsact` is ours."""

    async def attach(self, ifindex: int, filters: tuple[Filter, ...]) -> None:
        """Put `filters` on an interface, unless they are there.

        :raises DataplaneError: they cannot be put there.
        """
        if ifindex in self._attached:
            return
        try:
            ours = True
            try:
                await self._ipr.tc("add", "clsact", ifindex)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
                ours = False
            self._attached[ifindex] = ours
            for entry in filters:
                await self._ipr.tc(
                    "add-filter",
                    "bpf",
                    ifindex,
                    _HANDLE,
                    parent=entry.parent,
                    prio=PREFERENCES[self._role],
                    protocol=_ALL_PROTOCOLS,
                    fd=entry.descriptor,
                    name=entry.name,
                    direct_action=True,
                )
        except NetlinkError as error:
            if error.code == errno.ENODEV:  # it went away in the meantime
                self._attached.pop(ifindex, None)
                return
            await self._detach(ifindex)
            raise DataplaneError(
                f"no tc filter on interface {ifindex}: {os.strerror(error.code)}; see "
                f"`tc filter show`, preference {PREFERENCES[self._role]}"
            ) from error

    def keep_only(self, present: set[int]) -> None:
        """Forget interfaces that are gone, and their filters with them."""
        for ifindex in self._attached.keys() - present:
            del self._attached[ifindex]

    async def close(self) -> None:
        """Take all filters away."""
        for ifindex in list(self._attached):
            await self._detach(ifindex)

    async def _detach(self, ifindex: int) -> None:
        ours = self._attached.pop(ifindex)
        await _remove(self._ipr, self._role, ifindex, qdisc_too=ours)


async def links(ipr: AsyncIPRoute) -> list[Link]:
    """Return the Ethernet interfaces, without our own and those below others.

    What arrives on another kind, or before we know of an interface, goes the way of
    packets that had to be reassembled: slower, but checked alike.
    """
    found = []
    async for link in await ipr.link("dump"):
        name = link.get_attr("IFLA_IFNAME")
        if link["ifi_type"] != _TYPE_ETHERNET or name.startswith(
            tuple(INTERFACE_PREFIXES.values())
        ):
            continue
        info = link.get_attr("IFLA_LINKINFO")
        if info and info.get_attr("IFLA_INFO_SLAVE_KIND") in _UPPER_KINDS:
            continue
        mac = bytes.fromhex(link.get_attr("IFLA_ADDRESS").replace(":", ""))
        found.append(Link(link["index"], name, mac, link.get_attr("IFLA_MTU")))
    return found


async def remove_filters(ipr: AsyncIPRoute, role: Role) -> int:
    """Remove what a killed predecessor left; return how many filters that were.

    Whether the `clsact` below was its own is not known any more: it goes if it is
    empty, in which case nobody misses it.
    """
    removed = 0
    for link in await links(ipr):
        removed += await _remove(ipr, role, link.ifindex, qdisc_too=True)
    return removed


async def _remove(
    ipr: AsyncIPRoute, role: Role, ifindex: int, *, qdisc_too: bool
) -> int:
    ours, others = 0, 0
    for parent in (INGRESS, EGRESS):
        for entry in await _filters(ipr, ifindex, parent):
            options = entry.get_attr("TCA_OPTIONS")
            name = options.get_attr("TCA_BPF_NAME") if options else None
            if not isinstance(name, str) or not name.startswith(PREFIXES[role]):
                others += entry["handle"] != 0  # the head of a list is none itself
                continue
            with contextlib.suppress(NetlinkError):
                await ipr.tc(
                    "del-filter",
                    "bpf",
                    ifindex,
                    entry["handle"],
                    parent=parent,
                    prio=entry["info"] >> 16,
                    protocol=_ALL_PROTOCOLS,
                )
                ours += 1
    if qdisc_too and ours and not others:
        with contextlib.suppress(NetlinkError):
            await ipr.tc("del", "clsact", ifindex)
    return ours


async def _filters(ipr: AsyncIPRoute, ifindex: int, parent: int) -> list[Any]:
    try:
        answer = await ipr.get_filters(index=ifindex, parent=parent)
        return [entry async for entry in answer]
    except NetlinkError:  # no clsact, or no interface any more
        return []
