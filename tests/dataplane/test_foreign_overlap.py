# SPDX-License-Identifier: GPL-2.0-only
"""Two visitors with the same private home address, on two links, of two home agents."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

from scapy.layers.inet import ICMP, IP

from dataplane.foreign import (
    CARE_OF,
    FA_ETH1,
    FA_ETH2,
    ForeignWorld,
    counted,
    drop_counts,
    mac,
    plain_host,
)
from dataplane.traffic import send_packets, tcp_both_ways, udp_both_ways
from dataplane.world import HOME, ha_tunnel, install, open_driver
from mip_agents.protocol.tunnel import Role, Visitor
from support.netns import Node, connect, isolated

SECOND_AGENT = "10.1.7.20"
PRIVATE = "192.168.77.2"
"""A correspondent in each of the two networks, at the same address, too."""


class TwoNetworks(ForeignWorld):
    """Behind each home agent is a network that nobody else can reach."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.other = Node("second agent"), Node("other visitor")
        self.hosts = [Node("first host"), Node("second host")]
        connect(self.second, "up0", self.rt, "to_second")
        connect(self.other, "eth0", self.fa, "eth3")
        self.rt.sh("ip addr add 10.1.7.1/24 dev to_second")
        self.second.sh(
            f"ip addr add {SECOND_AGENT}/24 dev up0; ip route add default via 10.1.7.1"
        )
        self.fa.sh(f"ip addr flush dev eth2; ip addr add {FA_ETH2}/24 dev eth3")
        for host, agent in zip(self.hosts, (self.ha, self.second), strict=True):
            connect(host, "eth0", agent, "inside")
            agent.sh(
                "ip addr add 192.168.77.1/24 dev inside;"
                "echo 1 > /proc/sys/net/ipv4/conf/inside/forwarding"
            )
            host.sh(
                f"ip addr add {PRIVATE}/24 dev eth0;"
                "ip route add default via 192.168.77.1"
            )
        first = self.start_ha()
        other = Node("second agent's", inside=self.second)
        options = {
            "address": SECOND_AGENT,
            "home_interface": "lo",
            "home_network": IPv4Network("10.1.1.0/24"),
        }
        other.call(open_driver, Role.HOME_AGENT, options)
        first.call(install, ha_tunnel(CARE_OF))
        other.call(install, ha_tunnel(CARE_OF, local=SECOND_AGENT))
        agent = self.start_fa()
        agent.call(install, self.visitor())
        tunnel = replace(
            self.visitor(),
            interface="eth3",
            peers=(SECOND_AGENT,),
            visitor=Visitor(mac(self.other, "eth0"), False),
        )
        agent.call(install, tunnel)
        plain_host(self.mn, "eth0", FA_ETH1)
        plain_host(self.other, "eth0", FA_ETH2)


@isolated
def test_each_reaches_its_own_network() -> None:
    """RT-08, FA-28: by the link that they are on, and the home agent of each."""
    w = TwoNetworks()
    visitors = [w.mn, w.other]
    for visitor, host in zip(visitors, w.hosts, strict=True):
        visitor.sh(f"ping -c2 -i 0.01 -W3 {PRIVATE}")
        host.sh(f"ping -c1 -W3 {HOME}")
        sizes = [0, 1448, 1472, 9000]
        udp_both_ways(host, visitor, HOME, sizes)
        udp_both_ways(visitor, host, PRIVATE, sizes)
        tcp_both_ways(visitor, host, PRIVATE, 1 << 18)
    agent = w.agents["fa"]
    assert agent.call(counted)[0] > 50
    assert agent.call(counted, f"{HOME}%eth3")[0] > 50
    assert agent.call(drop_counts) == {}
    # Only the one that was asked answers.
    w.mn.sh(f"ip addr del {HOME}/32 dev eth0")
    w.hosts[1].sh(f"ping -c1 -W3 {HOME}")
    w.hosts[0].sh(f"! ping -c1 -W0.3 {HOME}")


@isolated
def test_each_learns_the_size_of_its_own_tunnel() -> None:
    """TUN-04: what the kernel tells a visitor goes to the link that it is on."""
    w = TwoNetworks()
    w.rt.sh("ip link set to_second mtu 1300")
    w.second.sh("ip link set up0 mtu 1300")
    for _ in range(3):
        for visitor in (w.mn, w.other):
            visitor.sh(f"ping -c1 -W1 -M do -s 1452 {PRIVATE} || true")
    assert "mtu" not in w.mn.sh(f"ip route get {PRIVATE}")
    assert "mtu 1280" in w.other.sh(f"ip route get {PRIVATE}")
    w.mn.sh(f"ping -c1 -W3 -M do -s 1452 {PRIVATE}")
    w.mn.sh(f"ping -c1 -W1 -M do -s 1453 {PRIVATE} || true")
    assert "mtu 1480" in w.mn.sh(f"ip route get {PRIVATE}")


@isolated
def test_a_home_agent_reaches_its_own_visitor_only() -> None:
    w = TwoNetworks()
    agent = w.agents["fa"]
    spoofed = IP(src="10.1.7.99", dst=CARE_OF) / IP(src=PRIVATE, dst=HOME) / ICMP()
    w.second.call(send_packets, [bytes(spoofed)])
    w.second.sh("sleep 0.1")
    assert agent.call(counted)[2] == 0
    assert agent.call(drop_counts) == {"forward_wrong_outer_source": 1}
