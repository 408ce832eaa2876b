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

from mip_agents.dataplane.agentlink import goes_direct
from mip_agents.dataplane.api import Counters, DropCounters
from mip_agents.dataplane.changes import Change
from mip_agents.dataplane.packets import PacketPath
from mip_agents.dataplane.port import NEXT_HOP, Port, open_port
from mip_agents.dataplane.routed import RoutedDataplane
from mip_agents.dataplane.routes import (
    Entry,
    default_interfaces,
)
from mip_agents.dataplane.settings import (
    forwarding,
    no_merging,
    no_reverse_path_filter,
)
from mip_agents.dataplane.sink import open_sinks
from mip_agents.dataplane.ways import Ways
from mip_agents.protocol.tunnel import Role, Tunnel


class TunDataplane(RoutedDataplane):
    """Tunnels in user space."""

    name = "tun"
    encapsulating = True

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
            Ways(self._role, self._home_network),
            drops=self._drops,
            on_path_change=self._path_changed,
        )
        self._stack.callback(self._path.close)
        self._path.attach(self._port)
        return self._settings(self._port.name)

    def _settings(self, port: str) -> list[Change]:
        """Return what the port and the home link need besides tunnels."""
        changes: list[Change] = [no_reverse_path_filter(port)]
        if self._home_interface is not None and self._role is Role.HOME_AGENT:
            home = self._home_interface
            changes += forwarding(home, port)
            arrivals = dict.fromkeys((home, *default_interfaces()))
            changes += [no_merging(name) for name in arrivals]
        return changes

    async def _start(self) -> None:
        """See `RoutedDataplane`."""
        self._running().start()

    def _entry(self, tunnel: Tunnel) -> Entry:  # noqa: ARG002  # one for all
        """See `RoutedDataplane`."""
        assert self._port is not None
        return Entry(self._port.ifindex, NEXT_HOP)

    def _wanted(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        """See `RoutedDataplane`."""
        wanted = super()._wanted(tunnel, mtu)
        if self._role is Role.MOBILE_NODE and tunnel.interface and not tunnel.agent:
            wanted.insert(0, no_merging(tunnel.interface))
        return wanted

    async def _carry(self, tunnel: Tunnel) -> None:
        """See `RoutedDataplane`."""
        path = self._running()
        assert self._port is not None
        if goes_direct(tunnel):
            path.flush(self._port)
        path.put(path.prepare(tunnel, self._port))

    async def _drop(self, key: str) -> None:
        """See `RoutedDataplane`."""
        self._running().drop(key)

    async def _settled(self) -> None:
        """See `RoutedDataplane`."""
        self._running().close_unused()

    def _running(self) -> PacketPath:
        assert self._path is not None  # between `open` and `close`
        return self._path

    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`."""
        way = self._path.get(key) if self._path else None
        return way.counters if way else Counters()

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        return self._drops

    async def _take_down(self) -> None:
        """See `RoutedDataplane`."""
        await super()._take_down()
        self._path = self._port = None
