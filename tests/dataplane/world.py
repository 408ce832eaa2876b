# SPDX-License-Identifier: GPL-2.0-only
"""A correspondent, a home agent and a mobile node around one router.

cn 10.9.0.2 -- rt -- 10.1.1.20 ha         home link 10.1.1.0/24
                |
                +-- 10.1.2.5 mn (eth0), 10.1.3.5 mn (wlan0)
"""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from mip_agents.dataplane.tun import TunDataplane
from mip_agents.protocol.tunnel import Role, Tunnel
from scapy_mip.const import Encapsulation
from support.netns import Node, connect

HOME = "10.1.1.10"
HOME_AGENT = "10.1.1.20"
CORRESPONDENT = "10.9.0.2"
ETH0 = "10.1.2.5"
WLAN0 = "10.1.3.5"
HOME_NETWORK = IPv4Network("10.1.1.0/24")

PORTS = ("tun", "veth")
_driver: TunDataplane | None = None


def ha_tunnel(care_of: str = ETH0, **changes: Any) -> Tunnel:
    """The home agent's end."""
    values = {
        "home_address": HOME,
        "local": HOME_AGENT,
        "peers": (care_of,),
        "encapsulation": Encapsulation.IPIP,
        "reverse": True,
    }
    return Tunnel(**(values | changes))


def mn_tunnel(care_of: str = ETH0, interface: str = "eth0", **changes: Any) -> Tunnel:
    """The mobile node's end."""
    values = {
        "home_address": HOME,
        "local": care_of,
        "peers": (HOME_AGENT,),
        "encapsulation": Encapsulation.IPIP,
        "reverse": True,
        "interface": interface,
    }
    return Tunnel(**(values | changes))


class World:
    """The nodes; every agent is a process of its own in the namespace of its node."""

    def __init__(self, port: str = "auto") -> None:
        self.port = port
        self.cn, self.rt = Node("cn"), Node("rt")
        self.ha, self.mn = Node("ha"), Node("mn")
        connect(self.cn, "eth0", self.rt, "to_cn")
        connect(self.ha, "home0", self.rt, "to_ha")
        connect(self.mn, "eth0", self.rt, "to_eth0")
        connect(self.mn, "wlan0", self.rt, "to_wlan0")
        self.cn.sh(
            "ip addr add 10.9.0.2/24 dev eth0; ip route add default via 10.9.0.1"
        )
        self.ha.sh(
            "ip addr add 10.1.1.20/24 dev home0; ip route add default via 10.1.1.1"
        )
        self.mn.sh(
            "ip addr add 10.1.2.5/24 dev eth0; ip addr add 10.1.3.5/24 dev wlan0;"
            "ip route add default via 10.1.2.1 dev eth0 metric 100;"
            "ip route add default via 10.1.3.1 dev wlan0 metric 200"
        )
        self.rt.sh(
            "ip addr add 10.9.0.1/24 dev to_cn; ip addr add 10.1.1.1/24 dev to_ha;"
            "ip addr add 10.1.2.1/24 dev to_eth0; ip addr add 10.1.3.1/24 dev to_wlan0;"
            "echo 1 > /proc/sys/net/ipv4/ip_forward"
        )
        self.ha_agent = self.mn_agent = None

    def start_ha(self, **options: Any) -> Node:
        """Open the home agent's data plane in a process of its own."""
        self.ha_agent = agent = Node("ha agent", inside=self.ha)
        options = {"address": HOME_AGENT, "port": self.port} | options
        agent.call(open_driver, Role.HOME_AGENT, options)
        return agent

    def start_mn(self, **options: Any) -> Node:
        """Open the mobile node's data plane in a process of its own."""
        self.mn_agent = agent = Node("mn agent", inside=self.mn)
        options = {"home_network": HOME_NETWORK, "port": self.port} | options
        agent.call(open_driver, Role.MOBILE_NODE, options)
        return agent

    def start(self, encapsulation: Encapsulation, reverse: bool) -> None:
        """Open both and install the tunnel at both ends."""
        changes = {"encapsulation": encapsulation, "reverse": reverse}
        self.start_ha().call(install, ha_tunnel(**changes))
        self.start_mn().call(install, mn_tunnel(**changes))


# What agents do on request


def driver() -> TunDataplane:
    """Return this process's data plane."""
    assert _driver is not None
    return _driver


async def open_driver(role: Role, options: dict[str, Any]) -> None:
    """Make and open it."""
    global _driver
    _driver = TunDataplane(role, **options)
    await _driver.open()


async def install(tunnel: Tunnel) -> int:
    """Install a tunnel; return the number of netlink calls that took."""
    before = driver().netlink_calls
    await driver().install(tunnel)
    return driver().netlink_calls - before


async def remove(home_address: str = HOME) -> None:
    """Remove a tunnel."""
    await driver().remove(home_address)
    assert driver().undo_failures == []


async def announce(*args: Any) -> None:
    """Announce an address."""
    await driver().announce(*args)


def drops() -> dict[str, int]:
    """Return the drop counters."""
    return dict(driver().drops().reasons)


def counters() -> tuple[int, int, int, int]:
    """Return the counters of the home address."""
    now = driver().counters(HOME)
    return (
        now.sent_packets,
        now.sent_bytes,
        now.received_packets,
        now.received_bytes,
    )


async def close() -> None:
    """Close the data plane."""
    await driver().close()
    assert driver().undo_failures == []


def state(node: Node) -> dict[str, str]:
    """Dump all that a data plane may touch in the namespace of `node`."""
    dump = {
        what: node.sh(what)
        for what in (
            "ip -o link show",
            "ip -o addr show | sed 's/ tentative//'",
            "ip -4 route show table all",
            "ip rule show",
            "ip neigh show proxy",
            "ip ntable show name arp_cache | grep -o 'dev .*\\|.*proxy_delay [0-9]*'",
            "cd /proc/sys/net/ipv4; grep -r . conf/*/forwarding conf/*/rp_filter",
        )
    }
    dump["gro"] = node.call(_gro)
    return dump


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the lines in which two states differ."""
    lines = []
    for what, text in before.items():
        old, new = text.splitlines(), after[what].splitlines()
        lines += [f"- {line}" for line in old if line not in new]
        lines += [f"+ {line}" for line in new if line not in old]
    return lines


def _gro() -> str:
    import socket

    from mip_agents.dataplane.port import get_gro

    names = [name for _, name in socket.if_nameindex()]
    return " ".join(f"{name}={get_gro(name)}" for name in names)


def have_tun() -> bool:
    """Tell whether a TUN device can be opened here."""
    import os

    return os.access(Path("/dev/net/tun"), os.R_OK | os.W_OK)
