# SPDX-License-Identifier: GPL-2.0-only
"""The `ebpf` driver at the home link: who reaches a mobile node, and by which ARP."""

import pytest
from scapy.layers.l2 import ARP, Ether

from dataplane.traffic import tcp_both_ways, udp_both_ways
from dataplane.world import (
    CORRESPONDENT,
    HOME,
    HOME_AGENT,
    HOME_NETWORK,
    WLAN0,
    World,
    counters,
    drops,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
)
from mip_agents.dataplane.port import mac_address
from scapy_mip.const import Encapsulation
from support.netns import isolated

every_form = pytest.mark.parametrize(
    "form", list(Encapsulation), ids=lambda form: form.title
)


def world() -> World:
    return World(driver="ebpf")


@every_form
@isolated
def test_the_home_agents_host_reaches_the_node(form: Encapsulation) -> None:
    """HA-33, HA-38: its own packets are not routed by the map, but turn round."""
    w = world()
    w.start(form, True)
    for size in (0, 56, 1448, 1452, 1472, 1473, 20000):
        w.ha.sh(f"ping -c1 -W3 -M dont -s {size} {HOME}")
        w.mn.sh(f"ping -c1 -W3 -M dont -s {size} -I {HOME} {HOME_AGENT}")
    udp_both_ways(w.ha, w.mn, HOME, [0, 1400, 1472, 9000])
    tcp_both_ways(w.ha, w.mn, HOME, 1 << 20)
    tcp_both_ways(w.mn, w.ha, HOME_AGENT, 1 << 20)
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@isolated
def test_hosts_on_the_home_link_reach_the_node() -> None:
    """ARP-01: they ask by ARP, and are not redirected."""
    w = world()
    w.start(Encapsulation.IPIP, True)
    w.rt.sh(f"ping -c3 -i 0.01 -W3 {HOME}")
    assert w.ha_agent.call(counters) == (3, 252, 3, 252)
    neighbour = w.rt.sh(f"ip neigh show {HOME}")
    assert neighbour.split()[4] == w.ha.call(mac_address, "home0").hex(":")


@isolated
def test_strict_reverse_path_filters_do_not_matter() -> None:
    w = world()
    w.ha.sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    w.ha.sh("echo 1 > /proc/sys/net/ipv4/conf/home0/rp_filter")
    w.start(Encapsulation.GRE, True)
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.rt.sh(f"ping -c1 -W3 {HOME}")
    w.ha.sh(f"ping -c1 -W3 {HOME}")


@isolated
def test_home_agent_answers_arp_for_bound_addresses_alone() -> None:
    """ARP-01, ARP-05; neither announcements nor probes are requests."""
    w = world()
    agent = w.start_ha()
    assert w.rt.call(answers, HOME, "10.1.1.1") == 0
    agent.call(install, ha_tunnel())
    assert w.rt.call(answers, HOME, "10.1.1.1") == 1
    assert w.rt.call(answers, HOME, HOME) == 0
    assert w.rt.call(answers, HOME, "0.0.0.0") == 0
    agent.call(remove)
    assert w.rt.call(answers, HOME, "10.1.1.1") == 0


@isolated
def test_node_that_returned_home_is_reached_at_once() -> None:
    """ARP-05: our own answer does not outlive the binding."""
    w = world()
    w.start(Encapsulation.IPIP, True)
    w.ha.sh(f"ping -c1 -W3 {HOME}")
    w.ha_agent.call(remove)
    w.rt.sh(f"ip addr add {HOME}/32 dev lo")  # a host on the home link
    w.ha.sh(f"ping -c1 -W1 {HOME}")


@isolated
def test_what_is_not_bound_goes_its_way() -> None:
    """HA-34: and with all of the link's size."""
    w = world()
    agent = w.start_ha()
    agent.call(install, ha_tunnel())
    w.rt.sh("ip addr add 10.1.1.99/32 dev lo")
    w.ha.sh("ping -c1 -W3 -M do -s 1472 10.1.1.99")
    w.ha.sh("ping -c1 -W3 -M do -s 1472 10.9.0.2")
    assert agent.call(counters) == (0, 0, 0, 0)
    assert not agent.call(drops)


@isolated
def test_virtual_home_network() -> None:
    """The home agent's address is on `lo`, and there is no home link."""
    w = world()
    w.ha.sh(
        "ip addr flush dev home0; ip addr add 10.5.0.2/24 dev home0;"
        f"ip addr add {HOME_AGENT}/32 dev lo; ip route add 10.1.0.0/16 via 10.5.0.1;"
        "echo 1 > /proc/sys/net/ipv4/ip_forward"
    )
    w.rt.sh(
        "ip addr flush dev to_ha; ip addr add 10.5.0.1/24 dev to_ha;"
        "ip route add 10.1.1.0/24 via 10.5.0.2"
    )
    w.ha.sh("ip route add 10.9.0.0/24 via 10.5.0.1")
    w.start_ha(home_network=HOME_NETWORK).call(install, ha_tunnel())
    w.start_mn().call(install, mn_tunnel())
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.mn.sh(f"ping -c1 -W3 -I {HOME} {HOME_AGENT}")
    w.ha.sh(f"ping -c1 -W3 {HOME}")
    tcp_both_ways(w.ha, w.mn, HOME, 1 << 20)
    assert not w.ha_agent.call(drops)


@isolated
def test_path_mtu_of_one_binding_does_not_limit_the_others() -> None:
    """TUN-04: learnt from routers, kept by size."""
    w = world()
    other = "10.1.1.11"
    w.start(Encapsulation.IPIP, True)
    w.ha_agent.call(install, ha_tunnel(WLAN0, home_address=other))
    w.rt.sh("ip link set to_eth0 mtu 1300")
    w.mn.sh("ip link set eth0 mtu 1300")
    for _ in range(3):  # the first is lost on the way and teaches the home agent
        w.cn.sh(f"ping -c1 -W1 -M do -s 1400 {HOME} || true")
    assert "mtu 1280" in w.cn.sh(f"ip route get {HOME}")
    w.cn.sh(f"ping -c1 -W1 -M do -s 1460 {other} || true")
    assert "mtu 1480" in w.cn.sh(f"ip route get {other}")
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1400 {HOME}")
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)


@isolated
def test_narrower_link_of_the_home_agent_is_noticed() -> None:
    w = world()
    w.start(Encapsulation.IPIP, True)
    w.rt.sh("ip link set to_ha mtu 1200")
    w.ha.sh("ip link set home0 mtu 1200")
    for _ in range(100):
        if "mtu 1180" in w.ha.sh("ip route show table all"):
            break
        w.ha.sh("sleep 0.02")
    w.cn.sh(f"ping -c1 -W1 -M do -s 1160 {HOME} || true")
    assert "mtu 1180" in w.cn.sh(f"ip route get {HOME}")
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1160 {HOME}")


def answers(address: str, sender: str) -> int:
    """Count the answers to one ARP request within a moment."""
    import select
    import socket

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("to_ha", 0x0806))
        own = sock.getsockname()[4]
        mac = own.hex(":")
        frame = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            hwsrc=mac, psrc=sender, pdst=address
        )
        sock.send(bytes(frame))
        count = 0
        while select.select([sock], [], [], 0.2)[0]:
            heard = Ether(sock.recv(100))
            count += ARP in heard and heard[ARP].op == 2 and heard.dst == mac
        return count
