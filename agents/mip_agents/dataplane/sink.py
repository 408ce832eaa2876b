# SPDX-License-Identifier: GPL-2.0-only
"""Devices that swallow what raw sockets have taken, so that the kernel says nothing.

A kernel with tunnels of its own gives each tunnel packet to our raw sockets, then looks
for the device that it is for. It finds none and tells the other end by ICMP ("port
unreachable"), where a device takes its tunnel for broken. An external device is asked
last and takes all. What it takes is dropped before anything looks inside.
"""

from __future__ import annotations

import contextlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP

from mip_agents.dataplane import tunneldevice
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.rtnetlink import Requests, clsact, drop_filter
from mip_agents.dataplane.tunneldevice import DEVICE_PREFIXES
from mip_agents.protocol.tunnel import Role
from scapy_mip.const import Encapsulation


class _Handler(NamedTuple):
    """What a kernel has that takes the packets of a tunnel protocol."""

    modules: tuple[str, ...]
    """One of them is enough; each knows the protocol, and may know no device for it."""
    fallback: str
    """The device that takes what is for no other, if someone has taken it up."""


_HANDLERS: Final = {
    Encapsulation.IPIP: _Handler(("ipip", "sit", "tunnel4"), "tunl0"),
    Encapsulation.GRE: _Handler(("ip_gre",), "gre0"),
}
_MODULES: Final = Path("/sys/module")


async def open_sinks(ipr: AsyncIPRoute, role: Role, stack: AsyncExitStack) -> None:
    """Make the devices that this kernel needs, with their undo on the stack.

    Where there can be none the packets are carried all the same. Nothing is taken from
    another external device, or from the kernel's own one if that is up.
    """
    for encapsulation, handler in _HANDLERS.items():
        if not any((_MODULES / name).exists() for name in handler.modules):
            continue
        if await _is_up(ipr, handler.fallback):
            continue
        with contextlib.suppress(DataplaneError):
            device = await tunneldevice.make(
                ipr,
                f"{DEVICE_PREFIXES[role]}sink-{tunneldevice.KINDS[encapsulation]}",
                encapsulation,
                tunneldevice.external(encapsulation),
                _drop_all,
            )
            stack.push_async_callback(tunneldevice.remove, ipr, device.ifindex)


async def _is_up(ipr: AsyncIPRoute, name: str) -> bool:
    try:
        (link,) = await ipr.link("get", ifname=name)
    except NetlinkError:  # there is none
        return False
    return bool(link["flags"] & IFF_UP)


async def _drop_all(ifindex: int) -> None:
    """Let nothing come out of a device. :raises DataplaneError: it cannot be."""
    with Requests() as requests:
        try:
            requests.call(clsact("add", ifindex))
            requests.call(drop_filter(ifindex))
        except OSError as error:
            raise DataplaneError(f"no tc filter: {error.strerror}") from error
