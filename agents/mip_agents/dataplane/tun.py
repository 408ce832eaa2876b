# SPDX-License-Identifier: GPL-2.0-only
"""The `tun` driver: encapsulation in user space, for a home agent or a mobile node.

It works wherever a process may make an interface and open raw sockets, in an
unprivileged user namespace too. The kernel routes what belongs into tunnels to our port
(`port.py`), we put the outer header around it and send it (`packets.py`), and the other
way round; the kernel forwards, fragments, answers ARP and reports "fragmentation
needed".
"""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from pyroute2 import AsyncIPRoute

from mip_agents.dataplane.api import Counters, DropCounters
from mip_agents.dataplane.changes import Change, Setting
from mip_agents.dataplane.packets import PacketPath
from mip_agents.dataplane.port import NEXT_HOP, Port, open_port
from mip_agents.dataplane.routed import RoutedDataplane
from mip_agents.dataplane.routes import (
    Entry,
    default_interfaces,
    forwarding,
    no_reverse_path_filter,
)
from mip_agents.dataplane.sink import open_sinks
from mip_agents.protocol.tunnel import Category, Role, Tunnel


class TunDataplane(RoutedDataplane):
    """Tunnels in user space."""

    name = "tun"
    categories = frozenset(Category)

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

        :param port: `tun`, `veth`, or `auto` for the first that works
        """
        super().__init__(
            role,
            address=address,
            home_network=home_network,
            home_interface=home_interface,
            state_file=state_file,
        )
        self._port_kind = port
        self._path: PacketPath | None = None
        self._port: Port | None = None

    @property
    def port_name(self) -> str | None:
        """The interface that our routes point to."""
        return self._port.name if self._port else None

    async def _bring_up(self, ipr: AsyncIPRoute) -> list[Change]:
        """See `RoutedDataplane`."""
        await open_sinks(ipr, self._role, self._stack)
        self._port = await open_port(ipr, self._role, self._port_kind)
        self._stack.push_async_callback(self._port.close)
        self._path = PacketPath(
            self._role,
            self._port,
            home_network=self._home_network,
            drops=self._drops,
            on_path_change=self._path_changed,
        )
        self._stack.callback(self._path.close)
        return await self._settings(ipr, self._port.name)

    async def _settings(self, ipr: AsyncIPRoute, port: str) -> list[Change]:
        """Return what the port and the home link need besides tunnels."""
        changes: list[Change] = [no_reverse_path_filter(port)]
        if self._home_interface is not None and self._role is Role.HOME_AGENT:
            home = self._home_interface
            changes += forwarding(home, port)
            arrivals = dict.fromkeys((home, *await default_interfaces(ipr)))
            changes += [_no_merging(name) for name in arrivals]
        return changes

    async def _start(self) -> None:
        """See `RoutedDataplane`."""
        self._running().start()

    def _entry(self, tunnel: Tunnel) -> Entry:  # noqa: ARG002  # one for all
        """See `RoutedDataplane`."""
        assert self._port is not None
        return Entry(self._port.ifindex, NEXT_HOP)

    async def _wanted(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        """See `RoutedDataplane`."""
        wanted = await super()._wanted(tunnel, mtu)
        if self._role is Role.MOBILE_NODE and tunnel.interface is not None:
            wanted.insert(0, _no_merging(tunnel.interface))
        return wanted

    async def _carry(self, tunnel: Tunnel) -> None:
        """See `RoutedDataplane`."""
        path = self._running()
        path.put(path.prepare(tunnel))

    async def _drop(self, home_address: str) -> None:
        """See `RoutedDataplane`."""
        self._running().drop(home_address)

    async def _settled(self) -> None:
        """See `RoutedDataplane`."""
        self._running().close_unused()

    def _running(self) -> PacketPath:
        assert self._path is not None  # between `open` and `close`
        return self._path

    def counters(self, home_address: str) -> Counters:
        """See `Dataplane.counters`."""
        way = self._path.get(home_address) if self._path else None
        return way.counters if way else Counters()

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        return self._drops

    async def close(self) -> None:
        """See `Dataplane.close`."""
        await super().close()
        self._path = self._port = None


def _no_merging(interface: str) -> Setting:
    """Switch generic receive offload off where tunnel packets arrive.

    It merges TCP segments inside of tunnel packets into one of up to 64 KB with an
    unfinished checksum. The kernel's own tunnels take that apart again, a raw socket
    hands it out as it is.
    """
    return Setting(kind="gro", key=interface, value="0", optional=True)
