# SPDX-License-Identifier: GPL-2.0-only
"""The `tun` driver of a foreign agent: packets between tunnels and visited links.

Each link that has visitors has a port of its own, and routing tables that the kernel
asks for nothing but the packets of visitors:

    4330  from the port             -> where the link's visitors are
    4331  from our address there    -> where the link's visitors are
    4332  from the link and HOME    -> the port, with the MTU of the visitor's tunnel

So what comes out of a tunnel goes to the visitor's link-layer address on its own link,
whoever else may have the same home address, and the main table knows of no visitor
(FA-32). The second rule is for what this host says as a router: that a packet is too
big. The third one stands for visitors with a reverse tunnel and direct delivery
(RT-08); what others send as it is goes by the main table (FA-31, RT-10).
"""

from __future__ import annotations

import itertools
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.changes import Change, Neighbour, Route, Rule, Setting
from mip_agents.dataplane.port import NEXT_HOP, Port, open_port
from mip_agents.dataplane.routed import RoutedDataplane
from mip_agents.dataplane.routes import Entry, default_interfaces
from mip_agents.dataplane.settings import no_merging, no_reverse_path_filter, sysctl
from mip_agents.dataplane.sink import open_sinks
from mip_agents.dataplane.tun import TunDataplane
from mip_agents.dataplane.visitorpath import VisitorPath
from mip_agents.protocol.tunnel import Category, Role, Tunnel

PRIORITIES: Final = range(4330, 4333)
"""Of the policy rules, in the order above."""

_FIRST_TABLE: Final = 434
_TABLE_SHIFT: Final = 16
"""A table's number is that of the link, from the first one on, and behind it the MTU
of the tunnels that it leads to, or 0 for the table that leads to the visitors."""

_ADDRESS: Final = "169.254.43.5"
"""Of ports: the reverse path filter, also a loose one, drops all that arrives on an
interface without an address. No packet has it; its scope is this host."""
_SCOPE_HOST: Final = 254


@dataclass(slots=True)
class _Link:
    """A visited link."""

    name: str
    ifindex: int
    number: int
    port: Port
    addresses: list[str]
    """Ours there."""
    sizes: set[int] = field(default_factory=set)
    """MTUs of tunnels from here. They stay: the next visitor has one of them."""

    @property
    def owner(self) -> str:
        """Name it among those who change the kernel."""
        return f"link {self.name}"

    def table(self, mtu: int = 0) -> int:
        """Return the table that leads to visitors, or to tunnels with an MTU."""
        return ((_FIRST_TABLE + self.number) << _TABLE_SHIFT) | mtu

    def changes(self) -> list[Change]:
        """Return what the link has besides its visitors."""
        arriving, answering, _ = PRIORITIES
        ports = (self.name, self.port.name)
        return [
            *(no_reverse_path_filter(name) for name in ports),
            # What we tell visitors, and what this host sends to them through their
            # home agents, comes out of the port with an address of this host.
            sysctl(self.port.name, "accept_local"),
            no_merging(self.name),
            Rule(priority=arriving, interface=self.port.name, table=self.table()),
            *(
                Rule(priority=answering, source=address, table=self.table())
                for address in self.addresses
            ),
            *(
                Route(
                    destination="0.0.0.0/0",
                    table=self.table(mtu),
                    ifindex=self.port.ifindex,
                    gateway=NEXT_HOP,
                    mtu=mtu,
                )
                for mtu in sorted(self.sizes)
            ),
            *(sysctl(name, "forwarding") for name in ports),
        ]

    def visitor(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        """Return what one visitor has; the neighbour is the last to go (FA-28)."""
        assert tunnel.visitor is not None
        home = tunnel.home_address
        wanted: list[Change] = [
            Neighbour(
                address=home,
                ifindex=self.ifindex,
                link_address=tunnel.visitor.link_address,
            ),
            Route(
                destination=f"{home}/32",
                table=self.table(),
                ifindex=self.ifindex,
                gateway=None,
            ),
        ]
        if tunnel.reverse and not tunnel.visitor.encapsulating:
            wanted.append(
                Rule(
                    priority=PRIORITIES[-1],
                    interface=self.name,
                    source=home,
                    table=self.table(mtu),
                )
            )
        return wanted


class TunForeignAgent(RoutedDataplane):
    """Tunnels to visitors in user space."""

    name = "tun"
    categories = frozenset(Category)  # they come as they are (FA-33)

    def __init__(
        self,
        role: Role,
        *,
        state_file: Path | None = None,
        port: str = "auto",
        **others: Any,
    ) -> None:
        """Prepare the driver; nothing happens before `open`.

        :param port: `tun`, `veth`, or `auto` for the first that works
        :param others: what `RoutedDataplane` needs for other roles
        """
        super().__init__(role, state_file=state_file, **others)
        self._port_kind = port
        self._ipr: AsyncIPRoute
        self._path: VisitorPath | None = None
        self._links: dict[str, _Link] = {}

    async def _bring_up(self, ipr: AsyncIPRoute) -> list[Change]:
        """See `RoutedDataplane`."""
        self._ipr = ipr
        await open_sinks(ipr, self._role, self._stack)
        self._stack.push_async_callback(self._close_ports)
        self._path = VisitorPath(drops=self._drops, on_path_change=self._path_changed)
        self._stack.callback(self._path.close)
        return [
            # ICMP errors have the address of the link on which their reason came.
            Setting(kind="sysctl", key="icmp_errors_use_inbound_ifaddr", value="1"),
            *(no_merging(name) for name in dict.fromkeys(default_interfaces())),
        ]

    async def _start(self) -> None:
        """See `RoutedDataplane`."""
        self._running().start()

    def _entry(self, tunnel: Tunnel) -> Entry:
        """See `RoutedDataplane`."""
        assert tunnel.interface is not None
        return Entry(self._links[tunnel.interface].port.ifindex, NEXT_HOP)

    async def _carry(self, tunnel: Tunnel) -> None:
        """See `RoutedDataplane`."""
        if tunnel.visitor is None or tunnel.interface is None:
            raise DataplaneError(
                f"{tunnel.home_address}: on which link is the visitor?"
            )
        link = await self._visited(tunnel.interface)
        try:
            way = self._running().prepare(tunnel, link.port)
            way.link = link.ifindex
            way.mtu = self._mtus.get(tunnel.key, way.mtu)
            self._running().put(way)
        except DataplaneError:
            await self._settled()
            raise

    async def _prepare(self, tunnel: Tunnel, mtu: int) -> None:
        """See `RoutedDataplane`: packets of each size have a table of their own."""
        assert tunnel.interface is not None
        link = self._links[tunnel.interface]
        if mtu not in link.sizes:
            link.sizes.add(mtu)
            await self._opened().settle(link.owner, link.changes())

    def _wanted(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        """See `RoutedDataplane`."""
        assert tunnel.interface is not None
        link = self._links[tunnel.interface]
        way = self._running().get(tunnel.key)
        if way is not None:  # else it is about to be removed
            way.mtu = mtu
        return link.visitor(tunnel, mtu)

    async def remove(self, key: str, /) -> None:
        """See `Dataplane.remove`."""
        # First of all: what comes out of a tunnel would be routed elsewhere (FA-30).
        self._running().drop(key)
        await super().remove(key)

    async def _drop(self, key: str) -> None:
        """See `RoutedDataplane`."""
        self._running().drop(key)

    async def _settled(self) -> None:
        """See `RoutedDataplane`."""
        self._running().close_unused()
        used = {tunnel.interface for tunnel in self._tunnels.values()}
        for name in self._links.keys() - used:
            link = self._links.pop(name)
            await self._opened().settle(link.owner, ())
            self._running().detach(link.port)
            await link.port.close()

    def _running(self) -> VisitorPath:
        if self._path is None:
            raise DataplaneError("the data plane is closed: call open() first")
        return self._path

    # Visited links

    async def _visited(self, name: str) -> _Link:
        """Return a link, with its port open.

        :raises DataplaneError: nothing has changed then.
        """
        try:
            ifindex = socket.if_nametoindex(name)
        except OSError as error:
            raise DataplaneError(f"no interface {name} for visitors") from error
        known = self._links.get(name)
        if known is not None:
            return known
        taken = {link.number for link in self._links.values()}
        number = next(one for one in itertools.count() if one not in taken)
        port = await open_port(self._ipr, self._role, self._port_kind, number=number)
        try:
            await self._ipr.addr(
                "add",
                index=port.ifindex,
                address=_ADDRESS,
                prefixlen=32,
                scope=_SCOPE_HOST,
            )
            addresses = await self._addresses(ifindex)
            link = _Link(name, ifindex, number, port, addresses)
            await self._opened().settle(link.owner, link.changes())
        except BaseException as error:
            await port.close()
            if isinstance(error, NetlinkError):
                raise DataplaneError(f"{port.name}: {error}") from error
            raise
        self._running().attach(port)
        self._links[name] = link
        return link

    async def _look_at_links(self) -> None:
        """See `RoutedDataplane`; an interface may have been made anew, too."""
        ledger = self._opened()
        for link in list(self._links.values()):
            try:
                ifindex = socket.if_nametoindex(link.name)
            except OSError:
                continue  # visitors stay, for it may come back
            visitors = [
                tunnel
                for tunnel in self._tunnels.values()
                if tunnel.interface == link.name
            ]
            if ifindex != link.ifindex:
                await ledger.settle(link.owner, ())
                link.ifindex = ifindex
            link.addresses = await self._addresses(ifindex)
            await ledger.settle(link.owner, link.changes())
            for tunnel in visitors:
                way = self._running().get(tunnel.key)
                if way is None or way.link != ifindex:
                    await self._carry(tunnel)
                changes = link.visitor(tunnel, self._mtus[tunnel.key])
                await ledger.settle(tunnel.key, changes)
                await ledger.renew(tunnel.key)

    async def _addresses(self, ifindex: int) -> list[str]:
        """Return our addresses on an interface."""
        entries = await self._ipr.addr("dump", family=socket.AF_INET, index=ifindex)
        return [
            entry.get_attr("IFA_LOCAL")
            async for entry in entries
            if entry["index"] == ifindex
        ]

    async def _close_ports(self) -> None:
        for link in self._links.values():
            await link.port.close()
        self._links.clear()

    # What is known of the traffic

    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`."""
        way = self._path.get(key) if self._path else None
        return way.counters if way else Counters()

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        return self._drops

    async def _take_down(self) -> None:
        """See `RoutedDataplane`."""
        if self._path is not None:  # as in `remove`
            self._path.close()
        await super()._take_down()
        self._path = None


def make_tun(role: Role, **arguments: Any) -> TunDataplane | TunForeignAgent:
    """Make the driver of a role; the arguments are those of its class."""
    if role is Role.FOREIGN_AGENT:
        return TunForeignAgent(role, **arguments)
    return TunDataplane(role, **arguments)
