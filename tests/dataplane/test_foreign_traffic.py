# SPDX-License-Identifier: GPL-2.0-only
"""Packets of all sizes between a correspondent and a visitor of a foreign agent."""

import pytest

from dataplane.foreign import (
    FA_ETH1,
    ForeignWorld,
    counted,
    drop_counts,
    frames,
    mac,
    watch_frames,
)
from dataplane.traffic import tcp_both_ways, udp_both_ways
from dataplane.world import (
    CORRESPONDENT,
    FORMS,
    HOME,
    PORTS,
    counters,
    have_tun,
)
from support.netns import isolated

SIZES = [0, 1, 1448, 1472, 1473, 9000, 60000]
ROOM = {"ipip": 20, "gre": 24, "gre-key": 28, "minimal": 20, "gre-udp": 36}

every_port = pytest.mark.parametrize("port", PORTS)
every_form = pytest.mark.parametrize("form", list(ROOM))
every_way = pytest.mark.parametrize("reverse", [True, False], ids=["reverse", "direct"])


def world(port: str = "auto") -> ForeignWorld:
    if port == "tun" and not have_tun():
        pytest.skip("no /dev/net/tun for this user")
    return ForeignWorld(port)


@every_port
@every_form
@every_way
@isolated
def test_all_sizes_both_ways(port: str, form: str, reverse: bool) -> None:
    """FA-29, FA-31, FA-34, RT-01, RT-08: pings, UDP in fragments, full TCP."""
    w = world(port)
    w.visit(form=FORMS[form], reverse=reverse)
    w.plain_host()
    for size in (0, 56, 1424, 1448, 1452, 1472, 1473, 20000, 65000):
        w.cn.sh(f"ping -c1 -W3 -M dont -s {size} {HOME}")
        w.mn.sh(f"ping -c1 -W3 -M dont -s {size} {CORRESPONDENT}")
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    sent, _, received, _ = w.agents["fa"].call(counted)
    assert received > 100
    assert (sent > 100) is reverse
    assert (w.agents["ha"].call(counters)[2] > 100) is reverse
    assert not w.agents["fa"].call(drop_counts)
    assert not w.agents["ha"].call(drop_counts)


@every_port
@every_form
@isolated
def test_dont_fragment_draws_the_icmp_answer(port: str, form: str) -> None:
    """TUN-04, FA-31: the visitor learns the MTU of its tunnel, from its router."""
    w = world(port)
    w.visit(form=FORMS[form])
    w.plain_host()
    mtu = 1500 - ROOM[form]
    w.mn.sh(f"ping -c1 -W3 -M do -s {mtu - 28} {CORRESPONDENT}")
    answer = w.mn.sh(f"ping -c1 -W1 -M do -s {mtu - 27} {CORRESPONDENT} || true")
    assert f"From {FA_ETH1}" in answer
    assert f"mtu = {mtu}" in answer
    w.cn.sh(f"ping -c1 -W1 -M do -s {mtu - 27} {HOME} || true")
    assert f"mtu {mtu}" in w.cn.sh(f"ip route get {HOME}")


@isolated
def test_smaller_path_mtu_is_learnt_from_routers() -> None:
    """TUN-04: on the way to the home agent, and told to the visitor."""
    w = world()
    w.visit()
    w.plain_host()
    w.rt.sh("ip link set to_ha mtu 1300")
    w.ha.sh("ip link set home0 mtu 1300")
    for _ in range(3):
        w.mn.sh(f"ping -c1 -W1 -M do -s 1400 {CORRESPONDENT} || true")
    assert "mtu 1280" in w.mn.sh(f"ip route get {CORRESPONDENT}")
    # The home agent's own interface has shrunk, too, which its first answer finds out.
    w.mn.sh(f"ping -c1 -W1 -M dont -s 1400 {CORRESPONDENT} || true")
    w.mn.sh(f"ping -c1 -W3 -M dont -s 1400 {CORRESPONDENT}")
    assert w.agents["fa"].call(drop_counts) == {}


@isolated
def test_errors_within_the_tunnel_are_told_to_the_visitor() -> None:
    """TUN-03: a router that knows no way to the home agent complains to us."""
    w = world()
    w.visit()
    w.plain_host()
    w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")
    w.rt.sh("ip route add unreachable 10.1.1.20")
    answer = w.mn.sh(f"ping -c1 -W2 {CORRESPONDENT} || true")
    assert "Destination Host Unreachable" in answer


@isolated
def test_small_visited_link_draws_the_icmp_answer() -> None:
    """FA-31: on the way out of a tunnel we are a router like any other."""
    w = world()
    w.visit()
    w.plain_host()
    w.fa.sh("ip link set eth1 mtu 1200")
    w.mn.sh("ip link set eth0 mtu 1200")
    answer = w.cn.sh(f"ping -c1 -W1 -M do -s 1300 {HOME} || true")
    assert "mtu = 1200" in answer
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1300 {HOME}")


@isolated
def test_hops_at_the_foreign_agent_count() -> None:
    """FA-31: in both directions; three routers for IP-in-IP: two and us."""
    w = world()
    w.visit()
    w.plain_host()
    w.cn.sh(f"ping -c1 -W3 -t 4 {HOME}")
    assert "Time to live" in w.cn.sh(f"ping -c1 -W2 -t 3 {HOME} || true")
    answer = w.mn.sh(f"ping -c1 -W2 -t 1 {CORRESPONDENT} || true")
    assert f"From {FA_ETH1}" in answer
    assert "Time to live" in answer


@isolated
def test_visitor_without_a_reverse_tunnel_is_routed() -> None:
    """FA-31, FA-32: its packets go by the main table, in which it is not found."""
    w = world()
    w.visit(reverse=False)
    w.plain_host()
    w.cn.call(watch_frames, "eth0")
    w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")
    from_visitor = [one for one in w.cn.call(frames, "eth0") if f"{HOME} >" in str(one)]
    assert from_visitor
    assert w.agents["fa"].call(counted)[::2] == (0, 1)
    assert HOME not in w.fa.sh("ip route show table main; ip route show table local")
    assert "via 10.1.4.1" in w.fa.sh(f"ip route get {HOME}")


@isolated
def test_no_address_of_a_visitor_is_asked_for() -> None:
    """FA-28: no ARP request for it, and none on its link; its entry says all."""
    w = world()
    w.visit()
    w.plain_host()
    w.mn.call(watch_frames, "eth0")
    w.cn.sh(f"ping -c3 -i 0.01 -W3 {HOME}")
    seen = w.mn.call(frames, "eth0")
    to_visitor = [one for one in seen if one.dst == mac(w.mn, "eth0")]
    assert len(to_visitor) >= 3
    ours = mac(w.fa, "eth1")
    assert not [
        one for one in seen if one.src == ours and one.dst == "ff:ff:ff:ff:ff:ff"
    ]
    assert "PERMANENT" in w.fa.sh(f"ip neigh show {HOME} dev eth1")


@isolated
def test_a_strict_kernel_lets_visitors_through() -> None:
    """Where reverse paths are checked on all interfaces, we loosen ours."""
    w = world()
    w.fa.sh("echo 1 | tee /proc/sys/net/ipv4/conf/*/rp_filter")
    for reverse in (True, False):
        w.visit(reverse=reverse)
        if reverse:
            w.plain_host()
        w.cn.sh(f"ping -c1 -W3 {HOME}")
        w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")


@isolated
def test_a_new_link_address_counts_at_once() -> None:
    """FA-28: a node that comes back with another card is found there."""
    w = world()
    w.visit()
    w.plain_host()
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.mn.sh("ip link set eth0 address 02:00:00:00:00:77")
    w.visit()
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert "02:00:00:00:00:77" in w.fa.sh(f"ip neigh show {HOME}")
