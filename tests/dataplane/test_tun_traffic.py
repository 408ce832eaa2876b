# SPDX-License-Identifier: GPL-2.0-only
"""Packets of all sizes through real tunnels between real namespaces."""

import ctypes
import errno
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from dataplane.traffic import (
    begin_capture,
    captured,
    collect_start,
    collected,
    ping,
    send_packets,
    tcp_both_ways,
    udp_both_ways,
)
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    HOME,
    HOME_AGENT,
    PORTS,
    WLAN0,
    World,
    counters,
    drops,
    ha_tunnel,
    have_tun,
    install,
    mn_tunnel,
)
from mip_agents.dataplane import mmsg
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation
from support.netns import isolated

SIZES = [0, 1, 100, 1400, 1448, 1452, 1472, 1473, 3000, 9000, 30000, 60000]
ROOM = {Encapsulation.IPIP: 20, Encapsulation.GRE: 24, Encapsulation.MINIMAL: 20}
"""Minimal adds 12 octets at most, but its fragments go in IP-in-IP (TUN-05)."""

EACH = 100
"""Packets of a kind in a burst: together more than are read in one go."""

every_port = pytest.mark.parametrize("port", PORTS)
every_way = pytest.mark.parametrize("reverse", [True, False], ids=["reverse", "direct"])
every_form = pytest.mark.parametrize("form", list(ROOM), ids=lambda form: form.title)


def world(port: str) -> World:
    if port == "tun" and not have_tun():
        pytest.skip("no /dev/net/tun for this user")
    return World(port)


def wait_until_equal(w: World) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the counters of both ends, when the last packets have come through."""
    for _ in range(50):
        ours, theirs = w.ha_agent.call(counters), w.mn_agent.call(counters)
        if ours == (*theirs[2:], *theirs[:2]):
            break
        w.cn.sh("sleep 0.02")
    return ours, theirs


@every_port
@every_form
@every_way
@isolated
def test_all_sizes_both_ways(port: str, form: Encapsulation, reverse: bool) -> None:
    """HA-33, HA-35, MN-39, RT-13, TUN-01, TUN-05: pings, UDP in fragments, full TCP."""
    w = world(port)
    w.start(form, reverse)
    for size in (0, 56, 1200, 1424, 1448, 1452, 1472, 1473, 20000, 65000):
        w.cn.sh(f"ping -c1 -W3 -M dont -s {size} {HOME}")
        w.mn.sh(f"ping -c1 -W3 -M dont -s {size} -I {HOME} {CORRESPONDENT}")
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    segment = tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    assert segment == 1500 - ROOM[form] - 40 - 12
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)
    ours, theirs = wait_until_equal(w)
    assert ours[:2] == theirs[2:]
    assert ours[2:] == theirs[:2]
    assert bool(theirs[0]) is reverse
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@every_port
@every_form
@isolated
def test_dont_fragment_draws_the_icmp_answer(port: str, form: Encapsulation) -> None:
    """TUN-01, TUN-04: the sender inside learns the MTU of its tunnel."""
    w = world(port)
    w.start(form, True)
    mtu = 1500 - ROOM[form]
    w.cn.sh(f"ping -c1 -W3 -M do -s {mtu - 28} {HOME}")
    w.cn.sh(f"ping -c1 -W1 -M do -s {mtu - 27} {HOME} || true")
    assert f"mtu {mtu}" in w.cn.sh(f"ip route get {HOME}")
    with pytest.raises(RuntimeError, match="mtu"):
        w.mn.sh(f"ping -c1 -W1 -M do -s {mtu - 27} -I {HOME} {CORRESPONDENT}")


@pytest.mark.parametrize("form", [Encapsulation.IPIP, Encapsulation.MINIMAL])
@isolated
def test_smaller_path_mtu_is_learnt_from_routers(form: Encapsulation) -> None:
    """TUN-04, HA-39: "fragmentation needed" outside lowers the MTU inside."""
    w = World()
    w.start(form, True)
    w.rt.sh("ip link set to_eth0 mtu 1300")
    w.mn.sh("ip link set eth0 mtu 1300")
    for _ in range(3):  # the first is lost on the way and teaches the home agent
        w.cn.sh(f"ping -c1 -W1 -M do -s 1400 {HOME} || true")
    assert "mtu 1280" in w.cn.sh(f"ip route get {HOME}")
    assert w.ha_agent.call(drops).keys() == {"icmp_3_4"}
    # The mobile node's own interface has shrunk too, which its first answer finds out.
    w.cn.sh(f"ping -c1 -W1 -M dont -s 1400 {HOME} || true")
    assert w.mn_agent.call(drops) == {"send_emsgsize": 1}
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1400 {HOME}")


@every_form
@isolated
def test_fragmented_outer_packets_are_reassembled(form: Encapsulation) -> None:
    """Raw sockets get whole packets, whatever the path did to them."""
    w = World()
    w.rt.sh("ip link set to_eth0 mtu 600")
    w.mn.sh("ip link set eth0 mtu 600")
    w.start(form, True)
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1200 {HOME}")
    assert not w.mn_agent.call(drops)


@every_form
@isolated
def test_home_agent_answers_inside_the_tunnel(form: Encapsulation) -> None:
    """HA-38: the home agent decapsulates and answers what is meant for itself.

    Its answers come from the tunnel's own end, so that S is not set (TUN-06).
    """
    w = World()
    w.start(form, True)
    w.mn.sh(f"ping -c1 -W3 -I {HOME} {HOME_AGENT}")
    w.ha.sh(f"ping -c1 -W3 {HOME}")
    assert w.ha_agent.call(counters)[0] == 2


@isolated
def test_two_nodes_reach_each_other_through_the_home_agent() -> None:
    """RT-07 on the way in, HA-33 on the way out; no redirect in between."""
    w = World()
    w.start(Encapsulation.IPIP, True)
    other = "10.1.1.11"
    w.cn.sh(f"ip addr add {other}/32 dev lo")
    w.ha_agent.call(install, ha_tunnel("10.9.0.2", home_address=other))
    from dataplane.world import open_driver
    from mip_agents.protocol.tunnel import Role
    from support.netns import Node

    second = Node("second", inside=w.cn)
    second.call(open_driver, Role.MOBILE_NODE, {})
    second.call(install, mn_tunnel(CORRESPONDENT, interface="eth0", home_address=other))
    w.mn.sh(f"ping -c3 -i 0.01 -W3 -I {HOME} {other}")
    assert w.ha_agent.call(counters) == (3, 252, 3, 252)


@isolated
def test_what_is_bound_elsewhere_stays_as_it_was() -> None:
    """MN-18: packets with a care-of address as source do not enter the tunnel."""
    w = World()
    w.start(Encapsulation.IPIP, True)
    for source in (ETH0, WLAN0):
        w.mn.sh(f"ping -c1 -W3 -I {source} {CORRESPONDENT}")
    w.mn.sh("ping -c1 -W3 10.1.3.1")
    assert w.mn_agent.call(counters) == (0, 0, 0, 0)
    w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")
    assert w.mn_agent.call(counters) == (1, 84, 1, 84)


@isolated
def test_outer_packets_leave_by_the_named_interface() -> None:
    """MN-40: although the main default route points to another one."""
    w = World()
    w.start_ha().call(install, ha_tunnel(WLAN0))
    w.start_mn().call(install, mn_tunnel(WLAN0, "wlan0"))
    w.mn.sh(
        "ip route del default dev eth0 && ip route add default via 10.1.2.1 metric 1"
    )
    w.mn.sh(f"ping -c2 -i 0.01 -W3 -I {HOME} {CORRESPONDENT}")
    assert w.mn_agent.call(counters) == (2, 168, 2, 168)
    assert not w.ha_agent.call(drops)


@isolated
def test_stale_home_link_does_not_catch_packets_home() -> None:
    """An interface without carrier keeps home address and connected route: undisturbed,
    yet packets to the home network go through the tunnel."""
    w = World()
    w.mn.sh(
        "ip link add home0 type veth peer name home0x && ip link set home0 up &&"
        f"ip addr add {HOME}/24 dev home0"
    )
    w.start(Encapsulation.IPIP, True)
    assert HOME not in w.mn.sh("ip addr show lo")
    assert "10.1.1.0/24 dev home0" in w.mn.sh("ip route show")
    w.mn.sh("ping -c1 -W3 10.1.1.1")
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert w.mn_agent.call(counters) == (2, 168, 2, 168)


@isolated
def test_receive_only_takes_packets_but_sends_none() -> None:
    """MN-33: while a request is under way."""
    w = World()
    w.start_ha().call(install, ha_tunnel(reverse=False))
    w.start_mn().call(install, mn_tunnel(reverse=False, receive_only=True))
    rules = w.mn.sh("ip rule show")
    assert "434" not in rules
    udp_both_ways(w.cn, w.mn, HOME, [10])
    assert w.mn_agent.call(counters)[::2] == (0, 1)
    w.mn_agent.call(install, mn_tunnel())
    assert "434" in w.mn.sh("ip rule show")
    w.mn_agent.call(install, mn_tunnel(receive_only=True))
    assert w.mn.sh("ip rule show") == rules


@every_port
@every_form
@isolated
def test_merged_segments_are_avoided(port: str, form: Encapsulation) -> None:
    """Receive offload would hand out segments glued together, with no checksum."""
    from mip_agents.dataplane.port import get_gro, set_gro

    w = world(port)
    for node, name in ((w.ha, "home0"), (w.mn, "eth0")):
        node.call(set_gro, name, True)
    w.start(form, True)
    assert not w.ha.call(get_gro, "home0")
    assert not w.mn.call(get_gro, "eth0")
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)


@isolated
def test_simultaneous_bindings_get_a_copy_each() -> None:
    """HA-33: a copy goes to each care-of address."""
    w = World()
    w.start_ha().call(install, ha_tunnel(peers=(ETH0, WLAN0)))
    w.start_mn().call(install, mn_tunnel())
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert w.ha_agent.call(counters)[0] == 1
    # Both copies arrive and each is answered.
    assert w.mn_agent.call(counters)[::2] == (2, 2)


@isolated
def test_each_copy_has_the_form_that_was_asked_for() -> None:
    """HA-44, TUN-04: three bindings, three encapsulations, room for the largest."""
    w = World()
    third = "10.1.2.6"
    w.mn.sh(f"ip addr add {third}/24 dev eth0")
    forms = (Encapsulation.MINIMAL, Encapsulation.GRE, Encapsulation.IPIP)
    tunnel = ha_tunnel(
        peers=(ETH0, WLAN0, third),
        encapsulation=forms[-1],
        peer_forms=tuple(map(Form, forms)),
    )
    w.start_ha().call(install, tunnel)
    for care_of, form in zip(tunnel.peers, forms, strict=True):
        w.cn.sh(f"ping -c1 -W3 {care_of}")  # neighbours are resolved
        count = w.mn.call(begin_capture, care_of, int(form))
        w.cn.sh(f"ping -c1 -W0.1 {HOME} || true")
        assert w.mn.call(captured, count) == 1
    w.cn.sh(f"ping -c1 -W1 -M do -s 1449 {HOME} || true")
    assert "mtu 1476" in w.cn.sh(f"ip route get {HOME}")
    # What comes from each must have its form, and no other.
    w.start_mn().call(install, mn_tunnel(encapsulation=forms[0]))
    w.mn.sh(f"ping -c1 -W3 -I {HOME} {CORRESPONDENT}")
    assert w.ha_agent.call(counters)[2] == 1
    w.mn_agent.call(install, mn_tunnel(WLAN0, "wlan0", encapsulation=forms[0]))
    w.mn.sh(f"ping -c1 -W0.2 -I {HOME} {CORRESPONDENT} || true")
    assert w.ha_agent.call(drops)["reverse_wrong_encapsulation"] == 1


@isolated
def test_hops_within_a_minimal_tunnel_count() -> None:
    """RFC 2004 section 3: the time to live is neither copied anew nor replaced.

    Three hops there (router, home agent, router within the tunnel), and two packets
    that differ in nothing else.
    """
    w = World()
    w.start(Encapsulation.MINIMAL, False)
    w.cn.sh(f"ping -c1 -W3 -t 4 {HOME}")
    w.cn.sh(f"ping -c1 -W0.3 -t 3 {HOME} || true")
    assert w.ha_agent.call(counters)[0] == 2
    assert w.mn_agent.call(counters)[2] == 1
    assert w.ha_agent.call(drops) == {"icmp_11_0": 1}
    for form in (Encapsulation.IPIP, Encapsulation.GRE):
        w.ha_agent.call(install, ha_tunnel(encapsulation=form, reverse=False))
        w.mn_agent.call(install, mn_tunnel(encapsulation=form, reverse=False))
        w.cn.sh(f"ping -c1 -W3 -t 3 {HOME}")


@isolated
def test_options_stay_in_the_header_of_a_minimal_tunnel() -> None:
    """RFC 2004 section 3: routers within the tunnel see them too."""
    w = World()
    w.start(Encapsulation.MINIMAL, True)
    shown = w.cn.sh(f"ping -c1 -W3 -R {HOME}")
    # There: the tunnel's entry and the router behind it, as they would without it.
    assert "RR:" in shown
    assert "10.1.2.1" in shown
    assert w.mn_agent.call(counters)[::2] == (1, 1)


def without_sendmmsg() -> None:
    """Have this process refused the call, as an old kernel or a filter does it."""

    def missing(*_arguments: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    mmsg._sendmmsg = missing


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
@every_port
@isolated
def test_of_a_burst_only_what_cannot_be_sent_is_missing(
    port: str, together: bool
) -> None:
    """Packets are sent together: one that fails takes no other with it."""
    w = world(port)
    refused = "10.1.1.11"
    agent = w.start_ha()
    if not together:
        agent.call(without_sendmmsg)
    agent.call(install, ha_tunnel(reverse=False))
    agent.call(install, ha_tunnel(WLAN0, home_address=refused))
    w.start_mn().call(install, mn_tunnel(reverse=False))
    w.ha.ip(f"route add unreachable {WLAN0}")
    w.cn.call(ping, HOME, (0,))  # all neighbours know each other now
    w.mn.call(collect_start, HOME, 7002)
    sent, octets, _, _ = agent.call(counters)
    packets = [
        bytes(
            IP(src=CORRESPONDENT, dst=target)
            / UDP(dport=7002)
            / Raw(number.to_bytes(4, "big"))
        )
        for number in range(EACH)
        for target in (refused, HOME)
    ]
    waiting = agent.start(time.sleep, 0.2)  # so that all are there when it reads
    w.cn.call(send_packets, packets)
    waiting()
    assert w.mn.call(collected, EACH) == EACH
    expected = sent + EACH, octets + EACH * len(packets[0])
    assert agent.call(counters)[:2] == expected
    assert agent.call(drops) == {"send_ehostunreach": EACH}
