# SPDX-License-Identifier: GPL-2.0-only
"""Tunnel devices of the kernel: made, read back, taken away.

A home agent has one *external* device for each encapsulation, which leaves the outer
header to routes. A mobile node has a device for each tunnel, as anyone would set it up
with `ip tunnel add`. The kernel's fallback devices (`tunl0`, `gre0`) and those of
others are never touched.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.port import INTERFACE_PREFIXES
from mip_agents.dataplane.rtnetlink import TUNNEL_TTL
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation

DEVICE_PREFIXES: Final = {role: f"{name}-" for role, name in INTERFACE_PREFIXES.items()}
"""How the names of a role's devices begin."""

KINDS: Final = {Encapsulation.IPIP: "ipip", Encapsulation.GRE: "gre"}
"""What can be had as a device, with the kernel's name for it."""

_GRE_KEY: Final = 0x2000
_TOS_OF_INNER: Final = 1


class Device(NamedTuple):
    """A device that was made."""

    name: str
    ifindex: int


def check(home_address: str, form: Form) -> None:
    """See that there can be a device for a form.

    :raises DataplaneError: there cannot.
    """
    what = form.encapsulation.title if form.ports is None else "UDP"
    if form.encapsulation not in KINDS or form.ports is not None:
        raise DataplaneError(
            f"{home_address}: the kernel has no devices for {what} tunnels, which the "
            'driver "kernel" therefore cannot make; the driver "tun" can'
        )


def external(encapsulation: Encapsulation) -> dict[str, Any]:
    """Describe a device that leaves the outer header to routes."""
    return {f"{KINDS[encapsulation]}_collect_metadata": True}


def between(
    form: Form, local: str, remote: str, interface: str | None
) -> dict[str, Any]:
    """Describe a device for one tunnel.

    A device with a TTL of its own sets DF in every outer header: routes have to carry
    the tunnel's MTU.
    :param interface: through which outer packets leave; None: routing decides
    :raises OSError: there is no such interface.
    """
    kind = KINDS[form.encapsulation]
    described: dict[str, Any] = {
        "local": local,
        "remote": remote,
        "ttl": TUNNEL_TTL,
        "tos": _TOS_OF_INNER,
        "pmtudisc": 1,
    }
    if interface is not None:
        described["link"] = socket.if_nametoindex(interface)
    for direction, key in (("i", form.receive_key), ("o", form.send_key)):
        if key is not None:
            described[f"{direction}key"] = key
            described[f"{direction}flags"] = _GRE_KEY
    return {f"{kind}_{name}": value for name, value in described.items()}


async def make(
    ipr: AsyncIPRoute,
    name: str,
    encapsulation: Encapsulation,
    wanted: dict[str, Any],
    guard: Callable[[int], Awaitable[None]] | None = None,
) -> Device:
    """Make a device, see that the kernel holds what was asked for, and take it up.

    :param guard: is given the device's index before anything can come in
    :raises DataplaneError: it cannot be; nothing has changed then.
    """
    kind = KINDS[encapsulation]
    try:
        await ipr.link("add", ifname=name, kind=kind, **wanted)
    except NetlinkError as error:
        raise DataplaneError(_refusal(name, kind, error)) from error
    ifindex = socket.if_nametoindex(name)
    try:
        held = await _read_back(ipr, ifindex, kind, wanted)
        if held != wanted:
            raise DataplaneError(
                f"{name}: asked for {wanted}, but the kernel holds {held}"
            )
        # Without this, IPv6 would announce itself to the other end of the tunnel.
        with contextlib.suppress(OSError):  # no IPv6, or a read-only /proc/sys
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        if guard is not None:
            await guard(ifindex)
        await ipr.link("set", index=ifindex, state="up")
    except BaseException:
        await remove(ipr, ifindex)
        raise
    return Device(name, ifindex)


async def remove(ipr: AsyncIPRoute, ifindex: int) -> None:
    """Remove a device, with the routes and filters on it; it may be gone."""
    try:
        await ipr.link("del", index=ifindex)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise


async def _read_back(
    ipr: AsyncIPRoute, ifindex: int, kind: str, wanted: dict[str, Any]
) -> dict[str, Any]:
    """Return what the kernel holds of the attributes that are wanted."""
    (link,) = await ipr.link("get", index=ifindex)
    information = link.get_attr("IFLA_LINKINFO")
    if information.get_attr("IFLA_INFO_KIND") != kind:
        return {}
    held = information.get_attr("IFLA_INFO_DATA")
    return {name: held.get_attr(f"IFLA_{name.upper()}") for name in wanted}


def _refusal(name: str, kind: str, error: NetlinkError) -> str:
    """Say what the kernel refused and what to do."""
    if error.code == errno.EOPNOTSUPP:
        return f"{name}: this kernel has no {kind} devices"
    if error.code == errno.EEXIST:
        return (
            f"{name}: another {kind} device takes the same packets; "
            "`ip -d link show` lists it"
        )
    return f"{name}: {error}"
