# SPDX-License-Identifier: GPL-2.0-only
"""What a tunnel wants of the kernel besides carrying its packets: routes and the like.

It is the same for all drivers, which differ in where the routes lead to: their `Entry`.

A home agent has one host route and one proxy neighbour for each home address. A mobile
node has its home address (with a reverse tunnel on the entry, too), a routing table of
its own and four policy rules:

    4340  from HOME                              -> our table
    4341  from (not chosen yet) to HOME NETWORK  -> our table
    4342  from (not chosen yet)                  -> main, without its default routes
    4343  from (not chosen yet)                  -> our table

So what is bound to the home address, and what is bound to none and goes beyond the
visited link, uses the home address; what is bound to a care-of address, and the outer
packets themselves, goes by the main table, in which nothing is touched. The second rule
stands because the connected route of the home network may outlive its link.

Registered through a foreign agent that takes packets as they are, our table leads to
the agent, and a host route in the main table to the link that we share with it.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, NamedTuple

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ndmsg import NUD_FAILED, NUD_INCOMPLETE

from mip_agents.dataplane.agentlink import (
    agent_changes,
    goes_direct,
    route_to_agent,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.changes import (
    LOOPBACK,
    MAIN_TABLE,
    METRIC,
    BroadcastRoute,
    Change,
    LocalAddress,
    Proxy,
    Route,
    Rule,
)
from mip_agents.dataplane.ledger import Ledger
from mip_agents.dataplane.outer import room_for
from mip_agents.dataplane.rtnetlink import Outer, Requests
from mip_agents.dataplane.settings import answer_on_own_links
from mip_agents.dataplane.ways import subnet_broadcast
from mip_agents.protocol.tunnel import Tunnel

TABLE: Final = 434
"""Routing table of a mobile node's own routes."""

PRIORITIES: Final = range(4340, 4344)
"""Of a mobile node's policy rules, in the order above."""

_ANY = "0.0.0.0"
_GROUPS = "224.0.0.0/4"
_UNRESOLVED = NUD_INCOMPLETE | NUD_FAILED


class Entry(NamedTuple):
    """Where the kernel hands over what is to go into a tunnel."""

    ifindex: int
    gateway: str | None
    """Next hop; None: the interface has no neighbours."""
    outer: Outer | None = None
    """What the interface puts around the packets, where the route has to say it."""


def home_agent_changes(
    tunnel: Tunnel, mtu: int, entry: Entry, home_index: int
) -> list[Change]:
    """Return what a home agent wants for one home address.

    :param mtu: size of the largest inner packet
    :param home_index: of the home link's interface; that of `lo` for a virtual network
    """
    wanted: list[Change] = [
        Route(
            destination=f"{tunnel.home_address}/32",
            ifindex=entry.ifindex,
            gateway=entry.gateway,
            mtu=mtu,
            outer=entry.outer,
            metric=METRIC if entry.outer is None else _metric_of(tunnel.home_address),
        )
    ]
    if home_index != LOOPBACK:  # a virtual home network has no neighbours
        wanted.append(Proxy(address=tunnel.home_address, ifindex=home_index))
    return wanted


def _metric_of(home_address: str) -> int:
    """Return a metric that no other home address has; see `rtnetlink.route`."""
    return int(IPv4Address(home_address))


def mobile_node_changes(
    tunnel: Tunnel, mtu: int, entry: Entry, ledger: Ledger, home: IPv4Network | None
) -> list[Change]:
    """Return what a mobile node wants for its home address.

    :param mtu: size of the largest inner packet
    :param home: the home network, which is reached by tunnel
    :raises DataplaneError: there is no way to send
    """
    address = tunnel.home_address
    wanted = agent_changes(tunnel)
    wanted += _own_addresses(tunnel, mtu, entry, ledger, home)
    native = None
    if tunnel.agent is not None:
        wanted.append(route_to_agent(tunnel))
    else:
        native = _default_route(tunnel.interface)
        if native is None and tunnel.gateway and tunnel.interface:
            native = Entry(socket.if_nametoindex(tunnel.interface), tunnel.gateway)
            wanted += [
                Route(
                    destination=f"{peer}/32",
                    ifindex=native.ifindex,
                    gateway=native.gateway,
                )
                for peer in tunnel.peers
            ]
    if tunnel.receive_only:
        return wanted
    if tunnel.reverse and not goes_direct(tunnel):
        wanted.append(
            Route(
                destination=_GROUPS,  # a default route's MTU does not count for them
                table=TABLE,
                ifindex=entry.ifindex,
                gateway=None,
                mtu=mtu,
                source=address,
            )
        )
    way, size = entry, mtu
    if not tunnel.reverse and not goes_direct(tunnel):
        if native is None:
            where = f" through {tunnel.interface}" if tunnel.interface else ""
            raise DataplaneError(
                f"{address}: no default route{where} to send without a reverse "
                "tunnel; add one, or ask for a reverse tunnel"
            )
        way = native
        size += min(room_for(form) for _, form in tunnel.forms())
    wanted.append(
        Route(
            destination=f"{_ANY}/0",
            table=TABLE,
            ifindex=way.ifindex,
            gateway=way.gateway,
            mtu=None if goes_direct(tunnel) else size,
            source=address,
        )
    )
    return wanted + _rules(address, home)


def _own_addresses(
    tunnel: Tunnel, mtu: int, entry: Entry, ledger: Ledger, home: IPv4Network | None
) -> list[Change]:
    """Return by what packets from and for the home network are a mobile node's own."""
    address = tunnel.home_address
    wanted: list[Change] = [answer_on_own_links()]
    on_loopback = LocalAddress(address=address)
    if ledger.has(address, on_loopback) or not _is_local(address):
        wanted.append(on_loopback)
    into_tunnel = tunnel.reverse and not goes_direct(tunnel)
    if into_tunnel:
        # The kernel reports groups that are joined on the port from an address there;
        # by IGMPv3 it would do so from 0.0.0.0 otherwise (MN-42).
        wanted.append(LocalAddress(address=address, ifindex=entry.ifindex))
    broadcast = subnet_broadcast(home)
    if tunnel.broadcasts and broadcast is not None:
        wanted.append(
            BroadcastRoute(
                address=socket.inet_ntoa(broadcast),
                # Without a reverse tunnel nothing must be sent there.
                ifindex=entry.ifindex if into_tunnel else LOOPBACK,
                source=address,
                mtu=mtu,
            )
        )
    return wanted


def _rules(address: str, home: IPv4Network | None) -> list[Change]:
    """Return the policy rules of a mobile node."""
    bound, network, connected, unbound = PRIORITIES
    rules: list[Change] = [Rule(priority=bound, source=address, table=TABLE)]
    if home is not None:
        rules.append(
            Rule(
                priority=network,
                source=_ANY,
                destination=str(home),
                table=TABLE,
                local=True,
            )
        )
    return [
        *rules,
        Rule(
            priority=connected,
            source=_ANY,
            table=MAIN_TABLE,
            suppress_default=True,
            local=True,
        ),
        Rule(priority=unbound, source=_ANY, table=TABLE, local=True),
    ]


def _default_route(interface: str | None) -> Entry | None:
    """Return where the main table's default route leads to.

    Only one through `interface` counts, where there is one.
    """
    with Requests() as requests:
        routes = [
            route
            for route in requests.default_routes()
            if interface is None or socket.if_indextoname(route.ifindex) == interface
        ]
    if not routes:
        return None
    best = min(routes, key=lambda route: route.metric)
    return Entry(best.ifindex, best.gateway)


def default_interfaces() -> list[str]:
    """Return the interfaces of the default routes, where tunnel packets come in."""
    with Requests() as requests:
        return [
            socket.if_indextoname(route.ifindex) for route in requests.default_routes()
        ]


def _is_local(address: str) -> bool:
    """Tell whether an interface that is up holds `address`."""
    if Path("/proc/sys/net/ipv4/ip_nonlocal_bind").read_text().strip() != "0":
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True


async def forget_unresolved(ipr: AsyncIPRoute, interface: str) -> None:
    """Delete the neighbours that an interface asked for in vain.

    Without a route, packets bound to an interface are taken to be for its own link.
    Those that we sent while it had lost its link left an entry for the home agent; on a
    return home, where that is a neighbour indeed, the next message would wait behind it
    until the kernel asks again, a second after it asked last.
    """
    with contextlib.suppress(OSError, NetlinkError):  # the interface may be gone
        index = socket.if_nametoindex(interface)
        async for entry in await ipr.neigh(
            "dump", family=socket.AF_INET, ifindex=index
        ):
            if entry["state"] & _UNRESOLVED and entry["ifindex"] == index:
                await ipr.neigh("del", dst=entry.get_attr("NDA_DST"), ifindex=index)


async def forget_own(ipr: AsyncIPRoute, own: Mapping[int, bytes]) -> None:
    """Delete the neighbours that have our own link-layer address.

    They are home addresses: we answered ARP requests of this very host for them.
    :param own: link-layer addresses by interface
    """
    async for entry in await ipr.neigh("dump", family=socket.AF_INET):
        mac, index = entry.get_attr("NDA_LLADDR"), entry["ifindex"]
        if mac and own.get(index) == bytes.fromhex(mac.replace(":", "")):
            with contextlib.suppress(NetlinkError):  # gone by itself
                await ipr.neigh("del", dst=entry.get_attr("NDA_DST"), ifindex=index)
