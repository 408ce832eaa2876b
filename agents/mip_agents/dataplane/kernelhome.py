# SPDX-License-Identifier: GPL-2.0-only
"""The `kernel` driver of a home agent: two external devices, a route per binding.

`ip route` shows each binding with its care-of address (`encap ip ... dst`), `ip -d
link` the devices. A move replaces a route, which the kernel does in one step.
"""

from __future__ import annotations

from functools import partial

from pyroute2 import AsyncIPRoute

from mip_agents.dataplane import tunneldevice
from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.changes import Change
from mip_agents.dataplane.deviceerrors import DeviceErrors
from mip_agents.dataplane.gate import Gate, Passage
from mip_agents.dataplane.port import NEXT_HOP
from mip_agents.dataplane.routed import RoutedDataplane
from mip_agents.dataplane.routes import Entry
from mip_agents.dataplane.rtnetlink import Outer
from mip_agents.dataplane.settings import forwarding, no_reverse_path_filter
from mip_agents.dataplane.tunneldevice import DEVICE_PREFIXES, KINDS, Device
from mip_agents.protocol.tunnel import Category, Form, Tunnel
from scapy_mip.const import Encapsulation


class KernelHomeAgent(RoutedDataplane):
    """A home agent's tunnels by `ipip` and `gre` devices."""

    name = "kernel"
    encapsulations = frozenset(KINDS)
    categories = frozenset[Category]()  # not tried with tunnel devices
    copies = False  # a route has one outer header

    _gate: Gate | None = None

    async def _bring_up(self, ipr: AsyncIPRoute) -> list[Change]:
        """See `RoutedDataplane`."""
        self._devices: dict[Encapsulation, Device] = {}
        self._admitted: dict[str, str] = {}
        self._stale: list[tuple[str, str]] = []
        try:
            self._gate = Gate()
        except OSError as error:
            raise DataplaneError(
                f"no eBPF, by which the driver checks outer sources: {error.strerror}; "
                "run with CAP_BPF and CAP_NET_ADMIN, as root"
            ) from error
        self._stack.callback(self._gate.close)
        errors = DeviceErrors(self._drops, self._tunnel_of, self._path_changed)
        self._stack.callback(errors.close)
        for encapsulation, kind in KINDS.items():
            device = await tunneldevice.make(
                ipr,
                DEVICE_PREFIXES[self._role] + kind,
                encapsulation,
                tunneldevice.external(encapsulation),
                partial(self._gate.guard, ipr),
            )
            self._stack.push_async_callback(tunneldevice.remove, ipr, device.ifindex)
            self._devices[encapsulation] = device
        names = [device.name for device in self._devices.values()]
        assert self._home_interface is not None  # found by `open`
        return [
            *map(no_reverse_path_filter, names),
            *forwarding(self._home_interface, *names),
        ]

    def _entry(self, tunnel: Tunnel) -> Entry:
        """See `RoutedDataplane`."""
        peer, form = _only(tunnel)
        device = self._devices[form.encapsulation]
        outer = Outer(tunnel.local, peer, form.send_key)
        return Entry(device.ifindex, NEXT_HOP, outer)

    async def _carry(self, tunnel: Tunnel) -> None:
        """See `RoutedDataplane`."""
        peer, form = _only(tunnel)
        tunneldevice.check(tunnel.home_address, form)
        ifindex = self._devices[form.encapsulation].ifindex
        home = tunnel.home_address
        self._guarding().admit(
            home, Passage(peer, ifindex, form.receive_key or 0, tunnel.reverse)
        )
        old = self._admitted.get(home)
        if old not in (None, peer):
            self._stale.append((home, old))
        self._admitted[home] = peer

    async def _drop(self, key: str) -> None:
        """See `RoutedDataplane`."""
        peer = self._admitted.pop(key, None)
        if peer is not None:
            self._stale.append((key, peer))
            self._guarding().forget(key)

    async def _settled(self) -> None:
        """See `RoutedDataplane`."""
        while self._stale:
            home, peer = self._stale.pop()
            if self._admitted.get(home) != peer:
                self._guarding().refuse(home, peer)

    def _guarding(self) -> Gate:
        assert self._gate is not None  # between `open` and `close`
        return self._gate

    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`."""
        return self._gate.counters(key) if self._gate else Counters()

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        counted = self._gate.drops() if self._gate else DropCounters()
        counted.reasons.update(self._drops.reasons)
        return counted

    async def _take_down(self) -> None:
        """See `RoutedDataplane`."""
        await super()._take_down()
        self._gate = None


def _only(tunnel: Tunnel) -> tuple[str, Form]:
    """Return the other end of a tunnel. :raises DataplaneError: it has several."""
    if len(tunnel.peers) != 1:
        raise DataplaneError(
            f'{tunnel.home_address}: the driver "kernel" sends to one care-of '
            'address, and not to several at once; the driver "tun" can'
        )
    return next(tunnel.forms())
