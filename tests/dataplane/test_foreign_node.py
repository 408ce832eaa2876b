# SPDX-License-Identifier: GPL-2.0-only
"""A mobile node that is registered through a foreign agent, by all drivers."""

from dataclasses import replace

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from dataplane.foreign import (
    CARE_OF,
    FA_ETH1,
    ForeignWorld,
    counted,
    drop_counts,
    frames,
    mac,
    send_frames,
    wait_for,
    watch_frames,
)
from dataplane.traffic import (
    collect_start,
    collected,
    ping,
    send_packets,
    stop_stream,
    stream,
    tcp_both_ways,
    udp_both_ways,
    udp_take,
    udp_taken,
)
from dataplane.world import (
    CORRESPONDENT,
    HOME,
    HOME_AGENT,
    close,
    combinations,
    counters,
    differences,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
    state,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.select import DRIVERS
from mip_agents.protocol.tunnel import Role
from support.netns import isolated

SIZES = [0, 1, 1448, 1472, 9000, 60000]
BROADCAST = "ff:ff:ff:ff:ff:ff"
CO_LOCATED = "10.1.6.5"

every_driver = pytest.mark.parametrize("driver", combinations(DRIVERS))
every_way = pytest.mark.parametrize("reverse", [True, False], ids=["reverse", "direct"])


def world(driver: str = "tun") -> ForeignWorld:
    problem = DRIVERS[driver].problem(Role.MOBILE_NODE)
    if problem is not None:
        pytest.skip(f"driver {driver}: {problem}")
    return ForeignWorld(mn_driver=driver)


@every_driver
@every_way
@isolated
def test_traffic_of_all_sizes(driver: str, reverse: bool) -> None:
    """MN-40, RT-08: the agent is the default router of an interface without address."""
    w = world(driver)
    w.visit(reverse=reverse)
    w.start_mn().call(install, w.through(reverse=reverse))
    sizes = (0, 1452, 1472, 20000)
    w.cn.call(ping, HOME, sizes)
    w.mn.call(ping, CORRESPONDENT, sizes)
    w.mn.call(ping, CORRESPONDENT, (56,), HOME)
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)
    assert bool(w.agents["fa"].call(counted)[0]) is reverse
    assert w.agents["mn"].call(counters) == (0, 0, 0, 0)  # no tunnel ends here
    w.mn.sh(f"ping -c1 -W3 {FA_ETH1}")


@isolated
def test_encapsulating_delivery() -> None:
    """RT-09, RT-11, MN-43: all goes to the agent in a tunnel, multicasts too."""
    w = world()
    w.visit(encapsulating=True)
    w.start_mn().call(install, w.through(encapsulating=True))
    w.mn.call(watch_frames, "eth0")
    w.mn.sh(f"ping -c3 -i 0.01 -W3 {CORRESPONDENT}")
    ours = mac(w.mn, "eth0")
    sent = [one for one in w.mn.call(frames, "eth0") if one.src == ours]
    assert {(one[IP].src, one[IP].dst, one[IP].proto) for one in sent} == {
        (HOME, FA_ETH1, 4)
    }
    sizes = (0, 1424, 1472, 20000)
    w.cn.call(ping, HOME, sizes)
    w.mn.call(ping, CORRESPONDENT, sizes)
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)
    assert w.agents["fa"].call(drop_counts) == {}
    assert w.agents["mn"].call(counters)[0] > 100
    with pytest.raises(RuntimeError, match="mtu"):
        w.mn.sh(f"ping -c1 -W1 -M do -s 1453 {CORRESPONDENT}")
    before = w.agents["fa"].call(counted)[0]
    packet = IP(src=HOME, dst="224.0.0.251") / UDP(sport=9, dport=9) / Raw(b"many")
    w.mn.call(send_packets, [bytes(packet)])
    wait_for(w.agents["fa"], sent_packets, before + 1)


def sent_packets() -> int:
    return counted()[0]


@pytest.mark.parametrize("driver", combinations(["ebpf", "kernel"]))
@isolated
def test_drivers_without_encapsulating_delivery_say_so(driver: str) -> None:
    w = world(driver)
    w.start_mn()
    before = state(w.mn)
    with pytest.raises(DataplaneError, match='use the driver "tun"'):
        w.agents["mn"].call(install, w.through(encapsulating=True))
    assert not differences(before, state(w.mn))


@every_driver
@isolated
def test_no_arp_of_a_node_away_but_to_its_agent(driver: str) -> None:
    """ARP-03, ARP-08, MN-41: no broadcast of ours; one unicast answer to the agent."""
    w = world(driver)
    w.visit()
    for home_is_on in ("lo", "eth0"):
        if home_is_on == "eth0":  # where it was at home, and is still configured
            w.mn.sh(f"ip addr add {HOME}/24 dev eth0")
        w.mn.call(watch_frames, "eth0")
        w.start_mn().call(install, w.through())
        w.mn.sh(f"ping -c2 -i 0.01 -W3 {CORRESPONDENT}")
        w.cn.sh(f"ping -c2 -i 0.01 -W3 {HOME}")
        w.mn.sh("ping -c1 -W1 10.1.1.20")
        w.agents["mn"].call(install, w.through(receive_only=True))
        agent, node = mac(w.fa, "eth1"), mac(w.mn, "eth0")
        for asker, its, to in (
            (agent, FA_ETH1, BROADCAST),
            ("02:00:00:00:00:99", "10.1.5.99", BROADCAST),
            ("02:00:00:00:00:99", "10.1.5.99", node),
            ("02:00:00:00:00:99", "0.0.0.0", BROADCAST),
            (agent, FA_ETH1, node),
        ):
            question = Ether(src=asker, dst=to) / ARP(
                op=1, hwsrc=asker, psrc=its, pdst=HOME
            )
            w.fa.call(send_frames, "eth1", [bytes(question)])
        answers: list[Packet] = []
        for _ in range(100):
            found = w.mn.call(frames, "eth0")
            answers += [one for one in found if one.src == node and ARP in one]
            if answers:
                break
            w.mn.sh("sleep 0.01")
        (answer,) = answers
        assert (answer.dst, answer[ARP].op) == (agent, 2)
        assert (answer[ARP].hwsrc, answer[ARP].psrc) == (node, HOME)
        assert (answer[ARP].hwdst, answer[ARP].pdst) == (agent, FA_ETH1)
        w.agents["mn"].call(close)


@every_driver
@isolated
def test_redirects_to_other_routers_are_ignored(driver: str) -> None:
    """MN-41: nobody else there is our router, nor asked for."""
    w = world(driver)
    w.visit()
    w.start_mn().call(install, w.through())
    w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")
    quoted = IP(src=HOME, dst=CORRESPONDENT) / ICMP()
    redirect = (
        Ether(src=mac(w.fa, "eth1"), dst=mac(w.mn, "eth0"))
        / IP(src=FA_ETH1, dst=HOME)
        / ICMP(type=5, code=1, gw="10.1.5.99")
        / quoted
    )
    w.mn.call(watch_frames, "eth0")
    w.fa.call(send_frames, "eth1", [bytes(redirect)])
    w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")
    assert f"via {FA_ETH1}" in w.mn.sh(f"ip route get {CORRESPONDENT}")
    assert not [one for one in w.mn.call(frames, "eth0") if ARP in one]


@every_driver
@isolated
def test_a_strict_kernel_lets_the_agent_through(driver: str) -> None:
    """Where reverse paths are checked, and while the tunnel only receives."""
    w = world(driver)
    w.mn.sh("echo 1 | tee /proc/sys/net/ipv4/conf/*/rp_filter")
    w.visit()
    w.start_mn().call(install, w.through(receive_only=True))
    rules = w.mn.sh("ip rule show")
    assert "434" not in rules
    w.mn.call(udp_take, HOME, 434)
    reply = (
        Ether(src=mac(w.fa, "eth1"), dst=mac(w.mn, "eth0"))
        / IP(src=FA_ETH1, dst=HOME)
        / UDP(sport=434, dport=434)
        / Raw(b"\3reply")
    )
    w.fa.call(send_frames, "eth1", [bytes(reply)])
    assert w.mn.call(udp_taken) == b"\3reply"
    w.agents["mn"].call(install, w.through())
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.agents["mn"].call(install, w.through(receive_only=True))
    assert w.mn.sh("ip rule show") == rules


@isolated
def test_a_nested_broadcast_is_opened() -> None:
    """MN-42, FA-33: it comes as the home agent has wrapped it for us."""
    for driver in ("tun", "ebpf"):
        w = world(driver)
        w.visit()
        w.start_mn().call(install, w.through(broadcasts=True))
        w.mn.call(udp_take, "", 7010)
        broadcast = IP(src=CORRESPONDENT, dst="10.1.1.255") / UDP(sport=9, dport=7010)
        nest = IP(src=HOME_AGENT, dst=HOME) / broadcast / Raw(b"many")
        outer = IP(src=HOME_AGENT, dst=CARE_OF) / nest
        w.cn.call(send_packets, [bytes(outer)])
        assert w.mn.call(udp_taken) == b"many"


@every_driver
@isolated
def test_close_and_remove_leave_nothing(driver: str) -> None:
    w = world(driver)
    w.visit()
    fresh = state(w.mn)
    agent = w.start_mn()
    before = state(w.mn)
    for receive_only in (True, False):
        agent.call(install, w.through(receive_only=receive_only))
        during = state(w.mn)
        assert "PERMANENT" in during["ip neigh show nud permanent"]
        agent.call(remove)
        assert not differences(before, state(w.mn))
    agent.call(install, w.through())
    agent.call(close)
    assert not differences(fresh, state(w.mn))


@every_driver
@isolated
def test_successor_of_a_killed_process_cleans_up(driver: str, tmp_path: str) -> None:
    w = world(driver)
    fresh = state(w.mn)
    options = {"state_file": tmp_path / "mn.state"}
    w.start_mn(**options).call(install, w.through())
    w.agents["mn"].kill()
    assert state(w.mn) != fresh
    w.start_mn(**options).call(close)
    assert not differences(fresh, state(w.mn))


@every_driver
@isolated
def test_refresh_makes_no_netlink_call(driver: str) -> None:
    w = world(driver)
    agent = w.start_mn()
    # Address, neighbour, two routes and four rules.
    assert agent.call(install, w.through()) == 8
    assert agent.call(install, w.through()) == 0
    # The other agent's neighbour entry and routes for those of the first.
    assert agent.call(install, w.through("eth2")) == 5


@isolated
def test_failed_install_changes_nothing() -> None:
    w = world()
    w.visit()
    agent = w.start_mn()
    before = state(w.mn)
    with pytest.raises(DataplaneError, match="no interface eth7"):
        agent.call(install, replace(w.through(), interface="eth7"))
    assert not differences(before, state(w.mn))
    agent.call(install, w.through())
    with pytest.raises(DataplaneError, match="no interface eth7"):
        agent.call(install, replace(w.through(), interface="eth7"))
    w.cn.sh(f"ping -c1 -W3 {HOME}")


MOVES = 40
PACE_S = 0.001

moving = pytest.mark.parametrize("driver", ["ebpf", "tun"])
elsewhere = pytest.mark.parametrize("other", ["co-located", "second agent"])


class Moves:
    """A node that moves between an agent and a place of another kind."""

    def __init__(self, driver: str, other: str) -> None:
        self.w = w = world(driver)
        w.like_wires()
        w.fa.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
        w.mn.sh(
            f"ip addr add {CO_LOCATED}/24 dev wlan0;"
            "ip route add default via 10.1.6.1 dev wlan0; ping -c1 -W3 10.1.6.1"
        )
        w.visit()
        self.places = [CARE_OF, CO_LOCATED]
        self.tunnels = [w.through(), mn_tunnel(CO_LOCATED, "wlan0")]
        if other == "second agent":
            w.fa.sh("ip addr add 10.1.4.6/24 dev up0")
            self.places[1] = "10.1.4.6"
            self.tunnels[1] = w.through("eth2", local="10.1.4.6")
            w.agents["fa"].call(install, w.visitor("eth2", local="10.1.4.6"))
        w.start_mn().call(install, self.tunnels[0])

    def move(self, number: int) -> None:
        self.w.agents["mn"].call(install, self.tunnels[number % 2])
        self.w.mn.sh("sleep 0.02")


@moving
@elsewhere
@isolated
def test_moves_lose_no_packet_to_the_node(driver: str, other: str) -> None:
    """HA-33: though the home agent moves first."""
    m = Moves(driver, other)
    m.w.mn.call(collect_start, HOME, 7002)
    sending = m.w.cn.start(stream, HOME, 7002, PACE_S)
    for number in range(1, MOVES):
        m.w.agents["ha"].call(install, ha_tunnel(m.places[number % 2]))
        m.move(number)
    m.w.cn.call(stop_stream)
    sent = sending()
    assert m.w.mn.call(collected, sent) == sent


@moving
@elsewhere
@isolated
def test_moves_lose_no_packet_of_the_node(driver: str, other: str) -> None:
    """RT-08, RT-13: there is no moment without a route."""
    m = Moves(driver, other)
    m.w.agents["ha"].call(install, ha_tunnel(peers=tuple(m.places)))
    m.w.cn.call(collect_start, CORRESPONDENT, 7003)
    sending = m.w.mn.start(stream, CORRESPONDENT, 7003, PACE_S)
    for number in range(1, MOVES):
        m.move(number)
    m.w.mn.call(stop_stream)
    sent = sending()
    assert m.w.cn.call(collected, sent) == sent
