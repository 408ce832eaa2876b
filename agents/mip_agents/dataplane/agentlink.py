# SPDX-License-Identifier: GPL-2.0-only
"""A mobile node and its foreign agent, on the link that they share.

Its packets come to the home address as they are, and leave by the agent as the default
router; with encapsulating delivery they go there in a tunnel from the home address. For
link-layer addresses nobody is asked (MN-41), nor is the home address told to anybody
there (ARP-03): to the agent alone, which asks by unicast, `arpanswers.py` tells it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import replace

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.changes import Change, Neighbour, Route
from mip_agents.dataplane.settings import no_reverse_path_filter, sysctl
from mip_agents.protocol.tunnel import Form, Tunnel
from scapy_mip.const import Encapsulation

_NEVER = "8"
"""Value of `arp_ignore`: no ARP request is answered."""

_SIOCGIFADDR = 0x8915


def goes_direct(tunnel: Tunnel) -> bool:
    """Tell whether packets go to a foreign agent as they are."""
    agent = tunnel.agent
    return agent is not None and not (agent.encapsulating and tunnel.reverse)


def first_leg(tunnel: Tunnel) -> Tunnel:
    """Return the tunnel that packets of this host enter.

    That is `tunnel` itself, but for encapsulating delivery: there it leads from the
    home address to the agent, in IP-in-IP (RT-09).
    """
    if tunnel.agent is None or goes_direct(tunnel):
        return tunnel
    return replace(
        tunnel,
        local=tunnel.home_address,
        peers=(tunnel.agent.address,),
        peer_forms=(Form(Encapsulation.IPIP),),
    )


def link_index(tunnel: Tunnel) -> int:
    """Return the index of the interface to a foreign agent.

    :raises DataplaneError: it is not there.
    """
    try:
        return socket.if_nametoindex(tunnel.interface or "")
    except OSError as error:
        raise DataplaneError(
            f"{tunnel.home_address}: no interface {tunnel.interface} to reach the "
            "foreign agent by"
        ) from error


def agent_changes(tunnel: Tunnel) -> list[Change]:
    """Return what a mobile node wants on the link of its foreign agent, if it has one.

    :raises DataplaneError: the interface is not there.
    """
    agent, interface = tunnel.agent, tunnel.interface or ""
    if agent is None:
        return []
    ifindex = link_index(tunnel)
    settings: list[Change] = []
    if _address_of(interface) == tunnel.home_address:
        settings.append(sysctl(interface, "arp_ignore", _NEVER))
    return [
        *settings,
        # Either allows redirects. To another router we would not go anyway, but ask the
        # whole link for its link-layer address (MN-41).
        *(sysctl(name, "accept_redirects", "0") for name in ("all", interface)),
        no_reverse_path_filter(interface),
        Neighbour(
            address=agent.address,
            ifindex=ifindex,
            link_address=agent.link_address,
        ),
    ]


def _address_of(interface: str) -> str | None:
    """Return the first address of an interface, or None if it has none."""
    request = struct.pack("16sH22x", interface.encode(), socket.AF_INET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFADDR, request)
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


def route_to_agent(tunnel: Tunnel) -> Route:
    """Return the way to the agent itself.

    Where the interface has no address there is no other, and the kernel would take what
    comes from the agent for spoofed.
    :raises DataplaneError: the interface is not there.
    """
    assert tunnel.agent is not None
    return Route(
        destination=f"{tunnel.agent.address}/32",
        ifindex=link_index(tunnel),
        gateway=None,
        source=tunnel.home_address,
    )
