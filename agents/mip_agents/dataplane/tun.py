# SPDX-License-Identifier: GPL-2.0-only
"""The `tun` driver: encapsulation in user space, for a home agent or a mobile node.

It works wherever a process may make an interface and open raw sockets, in an
unprivileged user namespace too. The kernel routes what belongs into tunnels to our port
(`port.py`), we put the outer header around it and send it (`packets.py`), and the other
way round; the kernel forwards, fragments, answers ARP and reports "fragmentation
needed".

A home agent has one host route and one proxy neighbour for each home address. A mobile
node has its home address, a routing table of its own and four policy rules:

    4340  from HOME                              -> our table
    4341  from (not chosen yet) to HOME NETWORK  -> our table
    4342  from (not chosen yet)                  -> main, without its default routes
    4343  from (not chosen yet)                  -> our table

So what is bound to the home address, and what is bound to none and goes beyond the
visited link, uses the home address; what is bound to a care-of address, and the outer
packets themselves, goes by the main table, in which nothing is touched. The second rule
stands because the connected route of the home network may outlive its link.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ndmsg import NUD_FAILED, NUD_INCOMPLETE

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.arp import Announcer
from mip_agents.dataplane.changes import (
    LOOPBACK,
    MAIN_TABLE,
    Change,
    Ledger,
    LocalAddress,
    Proxy,
    Route,
    Rule,
    Setting,
)
from mip_agents.dataplane.leftovers import lock, remove_leftovers
from mip_agents.dataplane.outer import ROOM
from mip_agents.dataplane.packets import PacketPath, path_mtu
from mip_agents.dataplane.port import NEXT_HOP, Port, open_port
from mip_agents.dataplane.statefile import StateFile
from mip_agents.protocol.tunnel import Role, Tunnel

TABLE: Final = 434
"""Routing table of a mobile node's own routes."""

PRIORITIES: Final = range(4340, 4344)
"""Of a mobile node's policy rules, in the order above."""

MTU_LIFETIME: Final = 600.0
"""Seconds after which a path MTU is looked up again, as the kernel forgets it then."""

_ANY = "0.0.0.0"
_UNRESOLVED = NUD_INCOMPLETE | NUD_FAILED
_BASE = "port"


class TunDataplane:
    """Tunnels in user space; see `mip_agents.dataplane.api.Dataplane`."""

    name = "tun"

    def __init__(
        self,
        role: Role,
        *,
        address: str | None = None,
        home_network: IPv4Network | None = None,
        home_interface: str | None = None,
        state_file: Path | None = None,
        port: str = "auto",
    ) -> None:
        """Prepare the driver; nothing happens before `open`.

        :param address: of a home agent; its interface is the home link
        :param home_network: of a mobile node: what lies there is reached by tunnel
        :param home_interface: of a home agent, where it is not that of `address`
        :param state_file: remembers changed settings, so that they are put back even
            after a kill; without it only close() puts them back
        :param port: `tun`, `veth`, or `auto` for the first that works
        """
        self._role = role
        self._address = address
        self._home_network = home_network
        self._home_interface = home_interface
        self._home_index = 0
        self._port_kind = port
        self._state = StateFile(state_file)
        self._stack = contextlib.AsyncExitStack()
        self._announcer = Announcer()
        self._changing = asyncio.Lock()
        self._mtus: dict[str, int] = {}
        self._recheck: asyncio.TimerHandle | None = None
        self._recheck_task: asyncio.Task[None] | None = None
        self._ledger: Ledger | None = None
        self._path: PacketPath | None = None
        self._port: Port | None = None
        self._drops = DropCounters()
        self._undo_failures: list[str] = []

    @property
    def port_name(self) -> str | None:
        """The interface that our routes point to."""
        return self._port.name if self._port else None

    @property
    def netlink_calls(self) -> int:
        """How many requests changed, or tried to change, the kernel since `open`."""
        return self._ledger.calls if self._ledger else 0

    @property
    def undo_failures(self) -> list[str]:
        """What could not be undone, in the kernel's words; empty is normal."""
        return self._undo_failures

    async def open(self) -> None:
        """See `Dataplane.open`."""
        try:
            await self._open()
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError):
                raise DataplaneError(
                    f"no raw sockets: {error.strerror}; run with CAP_NET_RAW and "
                    "CAP_NET_ADMIN, as root or in a user namespace"
                ) from error
            raise

    async def _open(self) -> None:
        self._stack.enter_context(lock(self._role))
        ipr = AsyncIPRoute()
        self._stack.callback(ipr.close)
        await ipr.setup_endpoint()
        self._state.load()
        self._state.restore_all()
        await remove_leftovers(ipr, self._role)
        arrivals: list[str] = []
        if self._role is Role.HOME_AGENT:
            await self._find_home_link(ipr)
            arrivals = await _default_interfaces(ipr)
        self._port = await open_port(ipr, self._role, self._port_kind)
        self._stack.push_async_callback(self._port.close)
        self._path = PacketPath(
            self._role,
            self._port,
            home_network=self._home_network,
            on_path_change=self._path_changed,
        )
        self._drops = self._path.drops
        self._stack.callback(self._path.close)
        self._ledger = Ledger(ipr, self._role, self._state)
        self._undo_failures = self._ledger.failures
        self._stack.push_async_callback(self._ledger.undo_all)
        await self._ledger.settle(_BASE, self._settings(arrivals))
        self._path.start()

    async def _find_home_link(self, ipr: AsyncIPRoute) -> None:
        """Find the interface of a home agent's address, by which the home link is."""
        if self._home_interface is None:
            async for entry in await ipr.addr("dump", family=socket.AF_INET):
                if entry.get_attr("IFA_LOCAL") == self._address:
                    self._home_index = entry["index"]
        else:
            with contextlib.suppress(OSError):
                self._home_index = socket.if_nametoindex(self._home_interface)
        if not self._home_index:
            where = self._home_interface or f"with the address {self._address}"
            raise DataplaneError(
                f"no interface {where}: configure the home agent's address first"
            )
        self._home_interface = socket.if_indextoname(self._home_index)

    def _settings(self, arrivals: Sequence[str]) -> list[Change]:
        """Return what the port and the home link need besides tunnels."""
        assert self._port is not None
        port = self._port.name
        changes: list[Change] = [_no_reverse_path_filter(port)]
        if self._home_interface is not None and self._role is Role.HOME_AGENT:
            home = self._home_interface
            changes += [
                Setting(kind="sysctl", key=f"conf/{port}/forwarding", value="1"),
                Setting(kind="sysctl", key=f"conf/{home}/forwarding", value="1"),
                Setting(kind="proxy_delay", key=home, value="0", optional=True),
            ]
            changes += [_no_merging(name) for name in dict.fromkeys((home, *arrivals))]
        return changes

    async def install(self, tunnel: Tunnel) -> None:
        """See `Dataplane.install`."""
        async with self._changing:
            await self._install(tunnel)

    async def _install(self, tunnel: Tunnel) -> None:
        path, ledger, _ = self._opened()
        home = tunnel.home_address
        if self._role is Role.MOBILE_NODE:
            others = [old.home_address for old in path.tunnels()]
            if others not in ([], [home]):
                raise DataplaneError(
                    f"{home}: the home address {others[0]} is in use; remove it first"
                )
        mtu = path_mtu(tunnel)
        old = path.get(home)
        # Packets first, so that there is a tunnel when the routes lead to it.
        if old is None or old.tunnel != tunnel:
            path.put(path.prepare(tunnel))
        elif self._mtus.get(home) == mtu:
            return
        try:
            await ledger.settle(home, await self._wanted(tunnel, mtu))
        except BaseException:
            if old is None:
                path.drop(home)
            else:
                path.put(old)
            raise
        finally:
            path.close_unused()
        self._mtus[home] = mtu

    async def remove(self, home_address: str) -> None:
        """See `Dataplane.remove`."""
        async with self._changing:
            path, ledger, _ = self._opened()
            self._announcer.cancel(home_address)
            old = path.get(home_address)
            await ledger.settle(home_address, ())
            path.drop(home_address)
            self._mtus.pop(home_address, None)
            if old is not None and old.tunnel.interface is not None:
                await _forget_unresolved(ledger.ipr, old.tunnel.interface)

    async def announce(
        self, address: str, interface: str | None = None, mac: str | None = None
    ) -> None:
        """See `Dataplane.announce`."""
        link = interface or self._home_interface
        if link is None:
            raise DataplaneError(f"on which interface is {address} to be announced?")
        self._announcer.announce(link, address, mac)

    def tunnels(self) -> Iterable[Tunnel]:
        """See `Dataplane.tunnels`."""
        return self._path.tunnels() if self._path else []

    def counters(self, home_address: str) -> Counters:
        """See `Dataplane.counters`."""
        way = self._path.get(home_address) if self._path else None
        return way.counters if way else Counters()

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        return self._drops

    async def close(self) -> None:
        """See `Dataplane.close`."""
        if self._recheck is not None:
            self._recheck.cancel()
        if self._recheck_task is not None:  # soon done, and better not half
            await asyncio.gather(self._recheck_task, return_exceptions=True)
            self._recheck_task = None
        self._announcer.close()
        async with self._changing:
            await self._stack.aclose()
            self._ledger = self._path = self._port = None

    def _opened(self) -> tuple[PacketPath, Ledger, Port]:
        if self._path is None or self._ledger is None or self._port is None:
            raise DataplaneError("the data plane is closed: call open() first")
        return self._path, self._ledger, self._port

    # What a tunnel wants of the kernel

    async def _wanted(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        if self._role is Role.HOME_AGENT:
            return self._wanted_home_agent(tunnel, mtu)
        return await self._wanted_mobile_node(tunnel, mtu)

    def _wanted_home_agent(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        _, _, port = self._opened()
        wanted: list[Change] = [
            Route(
                destination=f"{tunnel.home_address}/32",
                ifindex=port.ifindex,
                gateway=NEXT_HOP,
                mtu=mtu,
            )
        ]
        if self._home_index != LOOPBACK:  # a virtual home network has no neighbours
            wanted.append(Proxy(address=tunnel.home_address, ifindex=self._home_index))
        return wanted

    async def _wanted_mobile_node(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        _, ledger, port = self._opened()
        home = tunnel.home_address
        wanted: list[Change] = []
        if tunnel.interface is not None:
            wanted.append(_no_merging(tunnel.interface))
        on_loopback = LocalAddress(address=home)
        if ledger.has(home, on_loopback) or not _is_local(home):
            wanted.append(on_loopback)
        native = await self._default_route(tunnel)
        if native is None and tunnel.gateway and tunnel.interface:
            native = tunnel.gateway, socket.if_nametoindex(tunnel.interface)
            wanted += [
                Route(destination=f"{peer}/32", ifindex=native[1], gateway=native[0])
                for peer in tunnel.peers
            ]
        if tunnel.receive_only:
            return wanted
        gateway: str | None = NEXT_HOP
        ifindex = port.ifindex
        if not tunnel.reverse:
            if native is None:
                where = f" through {tunnel.interface}" if tunnel.interface else ""
                raise DataplaneError(
                    f"{home}: no default route{where} to send without a reverse "
                    "tunnel; add one, or ask for a reverse tunnel"
                )
            gateway, ifindex = native
            mtu += ROOM[tunnel.encapsulation]
        wanted.append(
            Route(
                destination=f"{_ANY}/0",
                table=TABLE,
                ifindex=ifindex,
                gateway=gateway,
                mtu=mtu,
                source=home,
            )
        )
        bound, network, connected, unbound = PRIORITIES
        wanted.append(Rule(priority=bound, source=home, table=TABLE))
        if self._home_network is not None:
            wanted.append(
                Rule(
                    priority=network,
                    source=_ANY,
                    destination=str(self._home_network),
                    table=TABLE,
                    local=True,
                )
            )
        wanted += [
            Rule(
                priority=connected,
                source=_ANY,
                table=MAIN_TABLE,
                suppress_default=True,
                local=True,
            ),
            Rule(priority=unbound, source=_ANY, table=TABLE, local=True),
        ]
        return wanted

    async def _default_route(self, tunnel: Tunnel) -> tuple[str | None, int] | None:
        """Return next hop and interface index of the main table's default route.

        Only one through the tunnel's interface counts, where the tunnel has one.
        """
        _, ledger, _ = self._opened()
        best: Any = None
        async for route in await ledger.ipr.route(
            "dump", family=socket.AF_INET, table=MAIN_TABLE
        ):
            if route["dst_len"] or not _leaves_by(route, tunnel.interface):
                continue
            if best is None or _metric(route) < _metric(best):
                best = route
        if best is None:
            return None
        return best.get_attr("RTA_GATEWAY"), best.get_attr("RTA_OIF")

    # Path MTU (TUN-04)

    def _path_changed(self) -> None:
        """A router reported a smaller MTU; look the sizes up again, soon and later."""
        if self._recheck_task is None or self._recheck_task.done():
            loop = asyncio.get_running_loop()
            self._recheck_task = loop.create_task(self._check_sizes())
            if self._recheck is not None:
                self._recheck.cancel()
            self._recheck = loop.call_later(MTU_LIFETIME, self._path_changed)

    async def _check_sizes(self) -> None:
        for tunnel in list(self.tunnels()):
            with contextlib.suppress(DataplaneError):  # the next packet tries again
                await self.install(tunnel)


async def _forget_unresolved(ipr: AsyncIPRoute, interface: str) -> None:
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


def _no_reverse_path_filter(port: str) -> Setting:
    """Let the port deliver packets whose way back is another interface.

    The kernel takes the larger of the setting for all interfaces and the one for this,
    so that where filtering is on for all, only "loose" (2) is weaker than "strict" (1).
    """
    general = Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text().strip()
    value = "0" if general == "0" else "2"
    return Setting(kind="sysctl", key=f"conf/{port}/rp_filter", value=value)


def _no_merging(interface: str) -> Setting:
    """Switch generic receive offload off where tunnel packets arrive.

    It merges TCP segments inside of tunnel packets into one of up to 64 KB with an
    unfinished checksum. The kernel's own tunnels take that apart again, a raw socket
    hands it out as it is.
    """
    return Setting(kind="gro", key=interface, value="0", optional=True)


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


async def _default_interfaces(ipr: AsyncIPRoute) -> list[str]:
    """Return the interfaces of the default routes, where tunnel packets come in."""
    names = []
    async for route in await ipr.route("dump", family=socket.AF_INET, table=MAIN_TABLE):
        index = route.get_attr("RTA_OIF")
        if route["dst_len"] == 0 and index is not None:
            names.append(socket.if_indextoname(index))
    return names


def _leaves_by(route: Any, interface: str | None) -> bool:
    index = route.get_attr("RTA_OIF")
    if index is None:
        return False
    return interface is None or socket.if_indextoname(index) == interface


def _metric(route: Any) -> int:
    return route.get_attr("RTA_PRIORITY") or 0
