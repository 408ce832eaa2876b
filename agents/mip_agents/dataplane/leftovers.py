# SPDX-License-Identifier: GPL-2.0-only
"""Removal of what a killed predecessor of the same role left in the kernel.

Its interfaces and its filters are known by name, its routes, rules, addresses and
neighbours by the role's protocol number. A lock, which the kernel releases with the
process, makes sure that the predecessor is dead.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.changes import MARKS
from mip_agents.dataplane.link_filters import remove_filters
from mip_agents.dataplane.port import INTERFACE_PREFIXES
from mip_agents.dataplane.rtnetlink import Requests, neighbour, proxy
from mip_agents.protocol.tunnel import Role


def lock(role: Role) -> socket.socket:
    """Take the role's place in this network namespace, until the socket is closed.

    The lock is an abstract unix socket: such names belong to a network namespace, as
    everything does that a data plane changes, and vanish with their process.
    :raises DataplaneError: if another process has it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"mip-dataplane-{role}"
    try:
        sock.bind(f"\0{name}")
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        who = role.replace("-", " ")
        raise DataplaneError(
            f"another {who} runs in this network namespace (it holds the socket "
            f"@{name}): stop it, or give this one a namespace of its own"
        ) from error
    return sock


async def remove_leftovers(ipr: AsyncIPRoute, role: Role) -> int:
    """Remove what carries the mark of `role`; return how many objects that were.

    Call it under the `lock`.
    """
    mark = MARKS[role]
    removed = await remove_filters(ipr, role)
    # Rules go first: while they stand, packets are led to routes that vanish. Devices
    # take their routes with them, of which there may be very many.
    async for rule in _dump(ipr, "rule"):
        if rule.get_attr("FRA_PROTOCOL") == mark:
            removed += await _delete(ipr, "rule", **_rule(rule))
    async for link in _dump(ipr, "link", family=socket.AF_UNSPEC):
        name = link.get_attr("IFLA_IFNAME")
        if name.startswith(INTERFACE_PREFIXES[role]):
            removed += await _delete(ipr, "link", index=link["index"])
    with Requests() as requests:
        removed += requests.flush_routes(mark)
        codes = requests.carry_out(
            proxy("del", address=address, ifindex=ifindex, protocol=mark)
            for address, ifindex, protocol in requests.proxies()
            if protocol == mark
        )
        codes += requests.carry_out(
            neighbour("del", address=address, ifindex=ifindex)
            for address, ifindex, protocol in requests.neighbours()
            if protocol == mark
        )
        removed += codes.count(0)
    async for address in _dump(ipr, "addr"):
        if address.get_attr("IFA_PROTO") == mark:
            removed += await _delete(
                ipr,
                "addr",
                index=address["index"],
                address=address.get_attr("IFA_ADDRESS"),
                prefixlen=address["prefixlen"],
            )
    return removed


async def _dump(
    ipr: AsyncIPRoute, subject: str, family: int = socket.AF_INET
) -> AsyncIterator[Any]:
    """Dump first, yield then: what is yielded is deleted."""
    messages = [
        message async for message in await getattr(ipr, subject)("dump", family=family)
    ]
    for message in messages:
        yield message


async def _delete(ipr: AsyncIPRoute, subject: str, **arguments: Any) -> int:
    with contextlib.suppress(NetlinkError):  # gone with something deleted before
        await getattr(ipr, subject)("del", **arguments)
        return 1
    return 0


def _rule(rule: Any) -> dict[str, Any]:
    """Return what names a rule among those of the same priority."""
    arguments: dict[str, Any] = {
        "family": socket.AF_INET,
        "priority": rule.get_attr("FRA_PRIORITY"),
        "table": rule.get_attr("FRA_TABLE"),
        "FRA_PROTOCOL": rule.get_attr("FRA_PROTOCOL"),
    }
    if rule.get_attr("FRA_FWMARK"):
        arguments["fwmark"] = rule.get_attr("FRA_FWMARK")
        arguments["fwmask"] = rule.get_attr("FRA_FWMASK")
    for name, key in (("FRA_SRC", "src"), ("FRA_DST", "dst")):
        if rule[f"{key}_len"]:
            arguments |= {key: rule.get_attr(name), f"{key}_len": rule[f"{key}_len"]}
    return arguments
