# SPDX-License-Identifier: GPL-2.0-only
"""A watch over interfaces, addresses and default routes, by netlink; no polling.

Notifications only say that something has changed: what, is read from fresh dumps. So a
burst of them costs one look, and nothing depends on having seen each, which the kernel
does not promise (ENOBUFS).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.port import INTERFACE_PREFIXES
from mip_agents.dataplane.rtnetlink import Requests, only_other_routes
from mip_agents.protocol.links import InterfaceState

Snapshot = dict[str, InterfaceState]
"""Interfaces by name, without `lo` and our own ports."""

LINKS_ONLY: Final = 0x1  # RTMGRP_LINK
ADDRESSES: Final = 0x10  # RTMGRP_IPV4_IFADDR
_GROUPS: Final = LINKS_ONLY | ADDRESSES | 0x40  # RTMGRP_IPV4_ROUTE
_ARPHRD_ETHER = 1
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_LOWER_UP = 0x10000
_OURS = tuple(INTERFACE_PREFIXES.values())


async def watch() -> AsyncIterator[Snapshot]:
    """Give the state of all interfaces, at once and after each change.

    States that differ in nothing are left out, as are those that nobody waited for:
    the next one taken is always the present.
    :raises DataplaneError: where netlink cannot be used.
    """
    ipr = AsyncIPRoute()
    try:
        await ipr.setup_endpoint()
        last: Snapshot | None = None
        async for _ in notifications():
            now = await _look(ipr)
            if now is not None and now != last:
                last = now
                yield dict(now)
    finally:
        ipr.close()


async def notifications(groups: int = _GROUPS) -> AsyncIterator[None]:
    """Say at once, and after each change, that it is time to look; until cancelled.

    :raises DataplaneError: where netlink cannot be used.
    """
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _subscribe(groups) as sock:
        loop.add_reader(sock.fileno(), _drain, sock, changed)
        try:
            while True:
                # Cleared before the look: what happens during it asks for another.
                changed.clear()
                yield
                await changed.wait()
        finally:
            loop.remove_reader(sock.fileno())


async def follow(callback: Callable[[Snapshot], None]) -> None:
    """Call `callback` at once and after each change, until cancelled."""
    async for snapshot in watch():
        callback(snapshot)


async def snapshot(ipr: AsyncIPRoute) -> Snapshot:
    """Return the state of all interfaces. :raises NetlinkError, OSError: likewise."""
    links = [link async for link in await ipr.link("dump")]
    addresses: dict[int, list[str]] = {}
    async for entry in await ipr.addr("dump", family=socket.AF_INET):
        text = f"{entry.get_attr('IFA_LOCAL')}/{entry['prefixlen']}"
        addresses.setdefault(entry["index"], []).append(text)
    gateways: dict[int, tuple[int, str]] = {}
    with Requests() as requests:
        routes = requests.default_routes()
    for route in routes:
        if route.gateway is not None:
            found = (route.metric, route.gateway)
            best = gateways.get(route.ifindex, found)
            gateways[route.ifindex] = min(found, best, key=_metric)
    return {
        link.get_attr("IFLA_IFNAME"): InterfaceState(
            name=link.get_attr("IFLA_IFNAME"),
            up=_is_up(link["flags"]),
            addresses=tuple(addresses.get(link["index"], ())),
            gateway=gateways.get(link["index"], (0, None))[1],
            link_address=link.get_attr("IFLA_ADDRESS") if _is_ethernet(link) else None,
        )
        for link in links
        if not link["flags"] & _IFF_LOOPBACK
        and not link.get_attr("IFLA_IFNAME").startswith(_OURS)
    }


def _is_ethernet(link: Any) -> bool:
    return bool(link["ifi_type"] == _ARPHRD_ETHER)


def _is_up(flags: int) -> bool:
    return bool(flags & _IFF_UP and flags & _IFF_LOWER_UP)


def _metric(entry: tuple[int, str]) -> int:
    return entry[0]


async def _look(ipr: AsyncIPRoute) -> Snapshot | None:
    """Take a snapshot; None where a change got in between, which is notified too."""
    try:
        return await snapshot(ipr)
    except (NetlinkError, OSError) as error:
        code = error.code if isinstance(error, NetlinkError) else error.errno
        if code in (errno.EINTR, errno.ENODEV):
            return None
        raise DataplaneError(f"cannot list interfaces: {error}") from error


def _subscribe(groups: int) -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        sock.bind((0, groups))
    except OSError as error:
        sock.close()
        raise DataplaneError(f"cannot watch interfaces: {error.strerror}") from error
    return sock


def _drain(sock: socket.socket, changed: asyncio.Event) -> None:
    """Throw the notifications away; that there was one is all that counts.

    Only default routes are looked at: a home agent may make and move many others.
    """
    while True:
        try:
            if not only_other_routes(sock.recv(65536)):
                changed.set()
        except BlockingIOError:
            break
        except OSError:  # ENOBUFS: some are lost, which is as good as any
            changed.set()
