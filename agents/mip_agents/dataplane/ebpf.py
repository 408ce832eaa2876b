# SPDX-License-Identifier: GPL-2.0-only
"""The `ebpf` driver: encapsulation in the kernel by tc programs, one map entry each.

The programs (`bpf/mip_tunnel.c` says what they do) sit on all Ethernet interfaces and
at the far end of a veth pair, our port. To a home agent (`ebpfhome.py`), a binding is
one map entry. That takes the place of routes and proxy neighbours for each: the program
marks what is for a bound address, and for each size of inner packets there is one rule
and one route that lead marked packets into the port. A mobile node has the routes of
all drivers.

A killed agent's programs go on with its last bindings until a successor replaces them:
a restart interrupts nothing.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.agentlink import goes_direct
from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.changes import LOOPBACK, Change, Route
from mip_agents.dataplane.link_filters import (
    EGRESS,
    INGRESS,
    PREFIXES,
    Filter,
    LinkFilters,
    links,
)
from mip_agents.dataplane.outer import room_for
from mip_agents.dataplane.pathmtu import (
    ETHERNET_MTU,
    no_local_end,
    open_end,
)
from mip_agents.dataplane.port import (
    NEXT_HOP,
    PORT_NAMES,
    mac_address,
    open_pair,
    set_offloads,
)
from mip_agents.dataplane.reassembled import Reassembled
from mip_agents.dataplane.routed import RoutedDataplane
from mip_agents.dataplane.routes import Entry, forget_own
from mip_agents.dataplane.settings import no_reverse_path_filter, sysctl
from mip_agents.dataplane.sink import open_sinks
from mip_agents.dataplane.tunnel_maps import TunnelMaps
from mip_agents.protocol.tunnel import Form, Role, Tunnel
from scapy_mip.const import Encapsulation

_MOST_ROOM = room_for(Form(Encapsulation.GRE, send_key=0, ports=(0, 0)))
_ETHERNET = 14
_LARGEST_SEGMENTS = 0xFFFF - _MOST_ROOM + _ETHERNET + 1
"""Octets of a frame from which on segments do not come as one packet (GSO).

The outer header must fit, but not much more: of some sizes TCP joins 46 segments to
65,400 octets, all of which would be taken apart.
"""

_ADDRESS = "169.254.43.4"
"""Of the port: the reverse path filter, also a loose one, drops all that arrives on an
interface without an address. No packet has it; its scope is this host."""

_SCOPE_HOST = 254

_VIRTUAL_MTU = 1400
"""Of packets of this host itself to a virtual home network: less than tunnels have."""

_NO_MAC = bytes(6)


class EbpfDataplane(RoutedDataplane):
    """Tunnels in the kernel, without tunnel devices."""

    name = "ebpf"

    def __init__(
        self,
        role: Role,
        *,
        address: str | None = None,
        home_network: IPv4Network | None = None,
        home_interface: str | None = None,
        state_file: Path | None = None,
    ) -> None:
        """See `RoutedDataplane`."""
        super().__init__(
            role,
            address=address,
            home_network=home_network,
            home_interface=home_interface,
            state_file=state_file,
        )
        self._port = (0, 0)
        self._maps: TunnelMaps | None = None
        self._reassembled: Reassembled | None = None
        self._filters: LinkFilters | None = None
        self._link_mtus: dict[int, int] = {}
        self._link_mtu = ETHERNET_MTU
        """The smallest: it can be wrong, but rarely too large."""
        self._whole: set[str] = set()
        """Home addresses whose packets must not be put together or half done."""
        self._local: str | None = None
        """A mobile node's care-of address."""
        self._over_udp: dict[str, Tunnel] = {}
        """By home address, tunnels that packets come out of in Tunnel Data."""

    @property
    def port_name(self) -> str:
        """The interface that our routes point to."""
        return PORT_NAMES[self._role]

    async def _bring_up(self, ipr: AsyncIPRoute) -> list[Change]:
        """See `RoutedDataplane`."""
        self._maps = TunnelMaps(self._role)
        self._stack.callback(self._maps.close)
        self._port = await self._make_port(ipr)
        self._stack.push_async_callback(self._remove_port, ipr)
        await open_sinks(ipr, self._role, self._stack)
        self._reassembled = Reassembled(
            self.port_name, self._tunnel_of, self._path_changed
        )
        self._stack.callback(self._reassembled.close)
        self._filters = LinkFilters(ipr, self._role)
        self._stack.push_async_callback(self._filters.close)
        settings: list[Change] = [
            no_reverse_path_filter(self.port_name),
            # Without it no program may ask for a route on behalf of the port.
            sysctl(self.port_name, "forwarding"),
        ]
        if self._role is Role.HOME_AGENT:
            assert self._home_interface is not None  # found at opening
            settings += [
                # Packets of this host for a bound address pass the port twice.
                sysctl(self.port_name, "accept_local"),
                sysctl(self._home_interface, "forwarding"),
            ]
        if self._home_index == LOOPBACK and self._home_network is not None:
            # Nobody is there but mobile nodes, and this host must find them too.
            settings.append(
                Route(
                    destination=str(self._home_network),
                    ifindex=self._port[0],
                    gateway=NEXT_HOP,
                    mtu=_VIRTUAL_MTU,
                )
            )
        return settings

    async def _make_port(self, ipr: AsyncIPRoute) -> tuple[int, int]:
        try:
            pair = await open_pair(ipr, self.port_name)
            await ipr.link("set", index=pair[0], gso_max_size=_LARGEST_SEGMENTS)
            await ipr.addr(
                "add", index=pair[0], address=_ADDRESS, prefixlen=32, scope=_SCOPE_HOST
            )
        except NetlinkError as error:
            raise DataplaneError(
                f"no veth pair {self.port_name}: {error}; run with CAP_NET_ADMIN, on a "
                "kernel that has veth"
            ) from error
        set_offloads(f"{self.port_name}x", False)
        return pair

    async def _remove_port(self, ipr: AsyncIPRoute) -> None:
        with contextlib.suppress(NetlinkError):  # someone else was faster
            await ipr.link("del", index=self._port[0])

    async def _start(self) -> None:
        """See `RoutedDataplane`."""
        filters, maps = self._running()
        name = PREFIXES[self._role] + "port"
        program = maps.programs[name.removeprefix("mip_")]
        await filters.attach(self._port[1], (Filter(INGRESS, name, program),))
        await self._look_at_links()
        if self._role is Role.HOME_AGENT:
            await self._forget_answers()  # to a killed predecessor's host
            self._stack.push_async_callback(self._forget_answers)

    def _running(self) -> tuple[LinkFilters, TunnelMaps]:
        assert self._filters is not None  # between `open` and `close`
        assert self._maps is not None
        return self._filters, self._maps

    # Links come, go and change

    async def _look_at_links(self) -> None:
        """Put the programs on all interfaces, and tell them what they need to know."""
        await super()._look_at_links()
        filters, maps = self._running()
        present = await links(self._opened().ipr)
        wanted = [
            Filter(parent, name, maps.programs[name.removeprefix("mip_")])
            for parent, name in (
                (INGRESS, PREFIXES[self._role] + "link_in"),
                (EGRESS, PREFIXES[self._role] + "link_out"),
            )
            if name.removeprefix("mip_") in maps.programs
        ]
        for link in present:
            await filters.attach(link.ifindex, tuple(wanted))
        filters.keep_only({link.ifindex for link in present} | {self._port[1]})
        self._configure({link.ifindex: link.mac for link in present})
        mtus = {link.ifindex: link.mtu for link in present}
        if self._link_mtus and mtus != self._link_mtus:
            self._path_changed()
        self._link_mtus = mtus
        self._link_mtu = min(mtus.values(), default=ETHERNET_MTU)

    async def _forget_answers(self) -> None:
        """Have this host ask again who has the home addresses."""
        ipr = self._opened().ipr
        own = {link.ifindex: link.mac for link in await links(ipr)}
        await forget_own(ipr, own)

    def _configure(self, macs: dict[int, bytes]) -> None:
        network = self._home_network
        self._running()[1].configure(
            port=self._port,
            port_mac=mac_address(self.port_name),
            home_link=self._home_index if self._home_index != LOOPBACK else 0,
            home_mac=macs.get(self._home_index, _NO_MAC),
            broadcast=network.broadcast_address if network else None,
        )

    # A mobile node's tunnel, and what a home agent's need, too

    def _entry(self, tunnel: Tunnel) -> Entry:  # noqa: ARG002  # one for all
        """See `RoutedDataplane`."""
        return Entry(self._port[0], NEXT_HOP)

    async def _carry(self, tunnel: Tunnel) -> None:
        """See `RoutedDataplane`."""
        if goes_direct(tunnel):
            # What is still on its way to the last care-of address is welcome.
            self._running()[1].set_home(tunnel.home_address)
            self._put(replace(tunnel, receive_only=True), 0, 0)
            self._set_local(None)
            return
        ifindex = 0
        open_end(tunnel.interface, tunnel.local).close()
        if tunnel.interface is not None:
            try:
                ifindex = socket.if_nametoindex(tunnel.interface)
            except OSError as error:
                raise no_local_end(tunnel.interface, tunnel.local, error) from error
        self._running()[1].set_home(tunnel.home_address)
        self._put(tunnel, ifindex, 0)
        self._set_local(tunnel.local)

    async def _drop(self, key: str) -> None:
        """See `RoutedDataplane`."""
        self._take_back(key)
        self._set_local(None)

    def _set_local(self, local: str | None) -> None:
        """Note the address at which a mobile node's tunnel packets arrive."""
        if local is not None:
            self._running()[1].add_local(local)
        if self._local is not None:
            self._running()[1].drop_local(self._local)
        self._local = local

    def _put(self, tunnel: Tunnel, ifindex: int, mark: int) -> None:
        """Carry packets by `tunnel`. :raises DataplaneError: nothing has changed."""
        home = tunnel.home_address
        minimal = tunnel.encapsulation is Encapsulation.MINIMAL
        over_udp = False
        if tunnel.peer_forms:
            minimal = any(
                form.encapsulation is Encapsulation.MINIMAL
                for form in tunnel.peer_forms
            )
            over_udp = any(form.ports for form in tunnel.peer_forms)
        if minimal:
            self._need_whole_packets(home)
        if over_udp:
            self._take_tunnel_data(tunnel)
        unused: Tunnel | None = tunnel if over_udp else None
        try:
            self._running()[1].put(tunnel, ifindex, mark)
            unused = self._over_udp.pop(home, None)
            if over_udp:
                self._over_udp[home] = tunnel
        finally:
            self._take_no_tunnel_data(unused)
        if not minimal and home in self._whole:
            self._need_no_whole_packets(home)

    def _take_back(self, home_address: str) -> int:
        """Carry nothing for it; see `TunnelMaps.drop` for what is returned."""
        self._need_nothing(home_address)
        return self._running()[1].drop(home_address)

    def _need_nothing(self, home_address: str) -> None:
        """Let go of what its tunnel needed beside its map entry."""
        if home_address in self._whole:
            self._need_no_whole_packets(home_address)
        self._take_no_tunnel_data(self._over_udp.pop(home_address, None))

    def _need_whole_packets(self, home_address: str) -> None:
        """Have segments and checksums completed on the way into the port.

        Later hands could not do it behind the header of minimal encapsulation.
        """
        if not self._whole:
            set_offloads(self.port_name, False)
        self._whole.add(home_address)

    def _need_no_whole_packets(self, home_address: str) -> None:
        self._whole.remove(home_address)
        if not self._whole:
            set_offloads(self.port_name, True)

    def _take_tunnel_data(self, tunnel: Tunnel) -> None:
        """Let Tunnel Data for `tunnel` in. :raises DataplaneError: nothing changed."""
        assert self._reassembled is not None
        self._reassembled.data.use(tunnel)
        self._running()[1].set_ports(self._reassembled.data.ports)

    def _take_no_tunnel_data(self, tunnel: Tunnel | None) -> None:
        """Undo it, where there is something to undo."""
        if tunnel is not None:
            assert self._reassembled is not None
            self._reassembled.data.forget(tunnel)
            self._running()[1].set_ports(self._reassembled.data.ports)

    # What is known of the traffic

    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`."""
        return self._maps.counters(key) if self._maps else Counters()

    def traffic(self) -> dict[str, Counters]:
        """See `Dataplane.traffic`."""
        counted = self._maps.all_counters() if self._maps else {}
        if counted is None:
            return super().traffic()
        return {home: counted.get(home) or Counters() for home in self._tunnels}

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        counted = DropCounters(dict(self._drops.reasons))
        if self._maps is not None and self._reassembled is not None:
            counted.reasons.update(self._reassembled.drops.reasons)
            self._maps.count_drops(counted)
        return counted

    async def _take_down(self) -> None:
        """See `RoutedDataplane`."""
        await super()._take_down()
        self._maps = self._reassembled = self._filters = None
        self._link_mtus.clear()
        self._whole.clear()
        self._local = None
        self._over_udp.clear()
