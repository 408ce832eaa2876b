# SPDX-License-Identifier: GPL-2.0-only
"""The `kernel` driver of a mobile node: an `ipip` or `gre` device for each tunnel.

On a move the new device is there before the route leads to it. The one before stays
until the next move, so that packets which are still on their way to the last care-of
address come in. The kernel takes them from the home agent alone, as both ends of the
tunnel are set in the device.
"""

from __future__ import annotations

import operator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

from pyroute2 import AsyncIPRoute

from mip_agents.dataplane import tunneldevice
from mip_agents.dataplane.agentlink import goes_direct
from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.changes import Change
from mip_agents.dataplane.deviceerrors import DeviceErrors
from mip_agents.dataplane.pathmtu import open_end
from mip_agents.dataplane.routed import RoutedDataplane
from mip_agents.dataplane.routes import Entry
from mip_agents.dataplane.settings import no_reverse_path_filter
from mip_agents.dataplane.statefile import write_setting
from mip_agents.dataplane.tunneldevice import DEVICE_PREFIXES, KINDS, Device
from mip_agents.protocol.tunnel import Category, Form, Tunnel


class _Way(NamedTuple):
    """What tells one device from another."""

    form: Form
    local: str
    remote: str
    interface: str | None


@dataclass(frozen=True, slots=True)
class _Traffic:
    """What devices have counted."""

    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0
    sent_in_vain: int = 0
    received_in_vain: int = 0

    def __add__(self, other: _Traffic) -> _Traffic:
        return _Traffic(*map(operator.add, astuple(self), astuple(other)))


def _traffic_of(device: str) -> _Traffic:
    """Read the kernel's counters of one device; zeros if it is gone."""
    # Not from sysfs, which shows the network namespace in which it was mounted.
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == device:
            count = [int(number) for number in numbers.split()]
            bytes_in, in_, bad_in, lost_in = count[:4]
            bytes_out, out, bad_out, lost_out = count[8:12]
            return _Traffic(
                out, bytes_out, in_, bytes_in, bad_out + lost_out, bad_in + lost_in
            )
    return _Traffic()


def _way(tunnel: Tunnel) -> _Way:
    ((home_agent, form),) = tunnel.forms()  # a mobile node has one
    return _Way(form, tunnel.local, home_agent, tunnel.interface)


def _check_local_end(tunnel: Tunnel) -> None:
    """See that packets can be sent, which a device itself does not ask.

    :raises DataplaneError: the local end is not ours.
    """
    local = "0.0.0.0" if tunnel.receive_only else tunnel.local  # it may be coming
    open_end(tunnel.interface, local).close()


class KernelMobileNode(RoutedDataplane):
    """A mobile node's tunnels by `ipip` and `gre` devices."""

    name = "kernel"
    encapsulations = frozenset(KINDS)
    categories = frozenset[Category]()  # not tried with tunnel devices

    _ipr: AsyncIPRoute | None = None

    async def _bring_up(self, ipr: AsyncIPRoute) -> list[Change]:
        """See `RoutedDataplane`."""
        self._ipr = ipr
        self._devices: dict[_Way, Device] = {}
        """The latest last."""
        self._number = 0
        self._past = _Traffic()
        """Of devices that are gone."""
        errors = DeviceErrors(self._drops, self._tunnel_of, self._path_changed)
        self._stack.callback(errors.close)
        self._stack.push_async_callback(self._remove_devices, 0)
        return []

    def _entry(self, tunnel: Tunnel) -> Entry:
        """See `RoutedDataplane`."""
        return Entry(self._devices[_way(tunnel)].ifindex, None)

    async def _carry(self, tunnel: Tunnel) -> None:
        """See `RoutedDataplane`."""
        if goes_direct(tunnel):
            return
        way = _way(tunnel)
        tunneldevice.check(tunnel.home_address, way.form)
        _check_local_end(tunnel)
        device = self._devices.pop(way, None)
        if device is None:
            device = await self._make(way)
        self._devices[way] = device

    async def _make(self, way: _Way) -> Device:
        """Make a device that takes packets whose way back is another one."""
        assert self._ipr is not None  # between `open` and `close`
        # Never an old name: what is said of a device that is gone is not meant.
        self._number += 1
        name = f"{DEVICE_PREFIXES[self._role]}{self._number}"
        device = await tunneldevice.make(
            self._ipr, name, way.form.encapsulation, tunneldevice.between(*way)
        )
        # Set here and not by the ledger, since it goes with the device.
        setting = no_reverse_path_filter(name)
        try:
            write_setting(setting.kind, setting.key, setting.value)
        except OSError as error:
            await tunneldevice.remove(self._ipr, device.ifindex)
            raise DataplaneError(f"{setting.key}: {error.strerror}") from error
        return device

    async def _drop(self, key: str) -> None:  # noqa: ARG002  # the only one
        """See `RoutedDataplane`."""
        await self._remove_devices(0)
        self._past = _Traffic()

    async def _settled(self) -> None:
        """See `RoutedDataplane`."""
        await self._remove_devices(2)

    async def _remove_devices(self, keep: int) -> None:
        """Remove all devices but the latest."""
        assert self._ipr is not None
        while len(self._devices) > keep:
            way = next(iter(self._devices))
            device = self._devices.pop(way)
            self._past += _traffic_of(device.name)
            await tunneldevice.remove(self._ipr, device.ifindex)

    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`; what the devices have counted."""
        if key not in self._tunnels:
            return Counters()
        now = self._traffic()
        return Counters(
            now.sent_packets, now.sent_bytes, now.received_packets, now.received_bytes
        )

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`; devices say no more than the direction."""
        counted = dict(self._drops.reasons)
        if self._ipr is not None:
            now = self._traffic()
            lost = {"receive": now.received_in_vain, "send": now.sent_in_vain}
            counted |= {reason: n for reason, n in lost.items() if n}
        return DropCounters(counted)

    def _traffic(self) -> _Traffic:
        total = self._past
        for device in self._devices.values():
            total += _traffic_of(device.name)
        return total

    async def _take_down(self) -> None:
        """See `RoutedDataplane`."""
        await super()._take_down()
        self._ipr = None
