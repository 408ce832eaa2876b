# SPDX-License-Identifier: GPL-2.0-only
"""A correspondent, a home agent, a foreign agent and a visitor around one router.

cn 10.9.0.2 -- rt -- 10.1.1.20 ha         home link 10.1.1.0/24
                |
                +-- 10.1.4.5 fa (up0)
                     |
                     +-- 10.1.5.1 (eth1) -- mn (eth0)
                     +-- 10.1.6.1 (eth2) -- mn (wlan0)
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from dataplane.world import (
    HOME,
    HOME_AGENT,
    HOME_NETWORK,
    all_offloads_off,
    driver,
    ha_tunnel,
    install,
    mirrored,
    open_driver,
)
from mip_agents.protocol.tunnel import AgentLink, Form, Role, Tunnel, Visitor
from scapy_mip.const import Encapsulation
from support.netns import Node, connect_all

CARE_OF = "10.1.4.5"
FA_ETH1 = "10.1.5.1"
FA_ETH2 = "10.1.6.1"
FA_ADDRESSES = {"eth1": FA_ETH1, "eth2": FA_ETH2}
LINKS = {"eth1": "eth0", "eth2": "wlan0"}
"""Interfaces of the visitor by those of the foreign agent."""


def mac(node: Node, interface: str) -> str:
    """Return the link-layer address of a node's interface."""
    text: str = node.call(_mac, interface)
    return text


def _mac(interface: str) -> str:
    from mip_agents.dataplane.port import mac_address

    return mac_address(interface).hex(":")


class ForeignWorld:
    """The nodes; every agent is a process of its own in the namespace of its node."""

    def __init__(self, port: str = "auto", mn_driver: str = "tun") -> None:
        self.port = port
        self.mn_driver = mn_driver
        self.cn, self.rt = Node("cn"), Node("rt")
        self.ha, self.fa, self.mn = Node("ha"), Node("fa"), Node("mn")
        connect_all(
            (self.cn, "eth0", self.rt, "to_cn"),
            (self.ha, "home0", self.rt, "to_ha"),
            (self.fa, "up0", self.rt, "to_fa"),
            *((self.mn, ours, self.fa, theirs) for theirs, ours in LINKS.items()),
        )
        self.cn.ip(
            "addr add 10.9.0.2/24 dev eth0",
            "route add default via 10.9.0.1",
        )
        self.ha.ip(
            "addr add 10.1.1.20/24 dev home0",
            "route add default via 10.1.1.1",
        )
        self.fa.ip(
            "addr add 10.1.4.5/24 dev up0",
            "addr add 10.1.5.1/24 dev eth1",
            "addr add 10.1.6.1/24 dev eth2",
            "route add default via 10.1.4.1",
        )
        self.rt.ip(
            "addr add 10.9.0.1/24 dev to_cn",
            "addr add 10.1.1.1/24 dev to_ha",
            "addr add 10.1.4.1/24 dev to_fa",
            "route add 10.1.5.0/24 via 10.1.4.5",
            "route add 10.1.6.0/24 via 10.1.4.5",
        )
        self.rt.set("ip_forward", "1")
        self.agents: dict[str, Node] = {}

    def start_ha(self, **options: Any) -> Node:
        """Open the home agent's data plane in a process of its own."""
        options = {"address": HOME_AGENT} | options
        return self._start("ha", self.ha, Role.HOME_AGENT, options, "tun")

    def start_fa(self, **options: Any) -> Node:
        """Open the foreign agent's data plane in a process of its own."""
        options = {"port": self.port} | options
        return self._start("fa", self.fa, Role.FOREIGN_AGENT, options, "tun")

    def start_mn(self, **options: Any) -> Node:
        """Open the mobile node's data plane in a process of its own."""
        options = {"home_network": HOME_NETWORK} | options
        return self._start("mn", self.mn, Role.MOBILE_NODE, options, self.mn_driver)

    def like_wires(self) -> None:
        """See `World.like_wires`."""
        for node in (self.cn, self.rt, self.ha, self.fa, self.mn):
            node.call(all_offloads_off)

    def _start(
        self, name: str, node: Node, role: Role, options: dict[str, Any], driver: str
    ) -> Node:
        agent = self.agents[name] = Node(f"{name} agent", inside=node)
        agent.call(open_driver, role, options, driver)
        return agent

    def visitor(
        self,
        interface: str = "eth1",
        *,
        form: Form | None = None,
        encapsulating: bool = False,
        **changes: Any,
    ) -> Tunnel:
        """The foreign agent's end."""
        form = form or Form(Encapsulation.IPIP)
        link_address = mac(self.mn, LINKS[interface])
        values = {
            "home_address": HOME,
            "local": CARE_OF,
            "peers": (HOME_AGENT,),
            "encapsulation": form.encapsulation,
            "peer_forms": (mirrored(form),),
            "reverse": True,
            "interface": interface,
            "visitor": Visitor(link_address, encapsulating),
        }
        return Tunnel(**(values | changes))

    def through(
        self,
        interface: str = "eth1",
        *,
        form: Form | None = None,
        encapsulating: bool = False,
        **changes: Any,
    ) -> Tunnel:
        """The mobile node's end, at the foreign agent behind an interface of that."""
        form = form or Form(Encapsulation.IPIP)
        link = AgentLink(
            FA_ADDRESSES[interface], mac(self.fa, interface), encapsulating
        )
        values = {
            "home_address": HOME,
            "local": CARE_OF,
            "peers": (HOME_AGENT,),
            "encapsulation": form.encapsulation,
            "reverse": True,
            "interface": LINKS[interface],
            "agent": link,
        }
        return Tunnel(**(values | changes))

    def visit(
        self,
        interface: str = "eth1",
        *,
        form: Form | None = None,
        reverse: bool = True,
        encapsulating: bool = False,
    ) -> None:
        """Install the tunnel at both ends, with all that is not there yet."""
        if "ha" not in self.agents:
            self.start_ha()
        if "fa" not in self.agents:
            self.start_fa()
        form = form or Form(Encapsulation.IPIP)
        self.agents["ha"].call(install, ha_tunnel(CARE_OF, form=form, reverse=reverse))
        tunnel = self.visitor(
            interface, form=form, reverse=reverse, encapsulating=encapsulating
        )
        self.agents["fa"].call(install, tunnel)

    def plain_host(self, interface: str = "eth1") -> None:
        """Let the visitor be a host that knows of nothing but its router."""
        plain_host(self.mn, LINKS[interface], FA_ADDRESSES[interface])


def plain_host(node: Node, interface: str, router: str, home: str = HOME) -> None:
    """Give a node its home address and a router."""
    node.sh(
        f"ip addr add {home}/32 dev {interface};"
        f"ip route add {router} dev {interface} src {home};"
        f"ip route add default via {router} dev {interface} src {home}"
    )


def counted(key: str = f"{HOME}%eth1") -> tuple[int, int, int, int]:
    """Return the counters of a tunnel."""
    now = driver().counters(key)
    return (
        now.sent_packets,
        now.sent_bytes,
        now.received_packets,
        now.received_bytes,
    )


def drop_counts() -> dict[str, int]:
    """Return what was dropped here, without what other hosts complained of."""
    found = driver().drops().reasons
    return {k: n for k, n in found.items() if not k.startswith("icmp_")}


def received(key: str = f"{HOME}%eth1") -> int:
    """Return how many packets came out of a tunnel."""
    return counted(key)[2]


def wait_for(node: Node, look: Callable[[], Any], wanted: Any) -> None:
    """Wait until what a node sees is as wanted."""
    seen = None
    for _ in range(200):
        seen = node.call(look)
        if seen == wanted:
            return
        node.sh("sleep 0.01")
    raise AssertionError(f"{wanted} expected, {seen} seen")


_EVERY_KIND = 3  # ETH_P_ALL
_NOTED = (b"\x08\0", b"\x08\6")
_frames: dict[str, socket.socket] = {}


def watch_frames(interface: str) -> None:
    """Begin to note the frames with IPv4 and ARP of an interface, both ways."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((interface, _EVERY_KIND))
    sock.setblocking(False)
    _frames[interface] = sock


def frames(interface: str) -> list[Packet]:
    """Return those noted since then."""
    found = []
    while True:
        try:
            frame = _frames[interface].recv(65535)
        except BlockingIOError:
            return found
        if frame[12:14] in _NOTED:
            found.append(Ether(frame))


def send_frames(interface: str, content: list[bytes]) -> None:
    """Send complete frames."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        for frame in content:
            sock.send(frame)
