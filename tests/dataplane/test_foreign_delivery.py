# SPDX-License-Identifier: GPL-2.0-only
"""Encapsulating delivery: visitors put their packets into a tunnel to us."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from dataplane.foreign import (
    CARE_OF,
    FA_ETH1,
    ForeignWorld,
    counted,
    drop_counts,
    frames,
    wait_for,
    watch_frames,
)
from dataplane.traffic import send_packets
from dataplane.world import CORRESPONDENT, FORMS, HOME, HOME_AGENT, counters
from support.netns import isolated


def delivered(inner: Packet, outer: str = HOME) -> bytes:
    return bytes(IP(src=outer, dst=FA_ETH1) / inner)


def ping(source: str = HOME, destination: str = CORRESPONDENT, **fields: int) -> Packet:
    return IP(src=source, dst=destination, **fields) / ICMP()


def visited(form: str = "ipip") -> ForeignWorld:
    w = ForeignWorld()
    w.visit(form=FORMS[form], encapsulating=True)
    w.plain_host()
    return w


@pytest.mark.parametrize("form", ["ipip", "gre-key", "minimal"])
@isolated
def test_what_comes_in_a_tunnel_goes_on_in_a_tunnel(form: str) -> None:
    """RT-01, RT-09: and is answered through the home agent; we count as a hop."""
    w = visited(form)
    w.cn.call(watch_frames, "eth0")
    w.mn.call(send_packets, [delivered(ping(ttl=9))])
    wait_for(w.agents["fa"], counted, (1, 28, 1, 28))
    assert w.agents["ha"].call(counters) == (1, 28, 1, 28)
    (asked,) = [
        one
        for one in w.cn.call(frames, "eth0")
        if one.haslayer(ICMP) and one[ICMP].type == 8
    ]
    hops = 3 if form == "minimal" else 2  # within a minimal tunnel they count, too
    assert asked[IP].ttl == 9 - 1 - hops


@isolated
def test_plain_packets_are_routed() -> None:
    """RT-10: those of a visitor that asked for encapsulating delivery."""
    w = visited()
    w.cn.call(watch_frames, "eth0")
    w.mn.sh(f"ping -c1 -W3 {CORRESPONDENT}")
    assert w.agents["fa"].call(counted) == (0, 0, 1, 84)
    assert w.agents["ha"].call(counters)[2] == 0


@pytest.mark.parametrize("destination", ["255.255.255.255", "10.1.1.255", "224.0.0.22"])
@isolated
def test_what_is_for_many_reaches_the_home_agent(destination: str) -> None:
    """RT-11: with the hops that it has left, of which reports of groups have one."""
    w = visited()
    w.ha.call(watch_frames, "home0")
    hops = 1 if destination.startswith("224") else 7
    packet = (
        IP(src=HOME, dst=destination, ttl=hops) / UDP(sport=9, dport=9) / Raw(b"many")
    )
    w.mn.call(send_packets, [delivered(packet)])
    wait_for(w.agents["fa"], counted, (1, 32, 0, 0))
    (found,) = [one for one in w.ha.call(frames, "home0") if one.haslayer(UDP)]
    assert (found[IP].src, found[IP].dst) == (CARE_OF, HOME_AGENT)
    assert found[IP].payload[IP].dst == destination
    left = hops if destination != "10.1.1.255" else hops - 1
    assert found[IP].payload[IP].ttl == left


DROPS = {
    "another source inside": (
        delivered(ping("10.1.1.11")),
        "delivery_wrong_inner_source",
    ),
    "another form": (
        bytes(IP(src=HOME, dst=FA_ETH1) / GRE() / ping()),
        "delivery_wrong_encapsulation",
    ),
    "another sender": (delivered(ping(), "10.1.1.11"), "forward_no_visitor"),
    "out of hops": (delivered(ping(ttl=1)), "ttl_zero"),
}


@isolated
def test_what_does_not_go_on() -> None:
    """RT-09: only what was sent by the visitor, as it has agreed to."""
    w = visited()
    agent = w.agents["fa"]
    for case, (packet, reason) in DROPS.items():
        before = agent.call(drop_counts)
        w.mn.call(send_packets, [packet])
        wait_for(agent, drop_counts, before | {reason: before.get(reason, 0) + 1})
        assert agent.call(counted) == (0, 0, 0, 0), case


@isolated
def test_direct_delivery_does_not_take_tunnels() -> None:
    """RT-01: whoever asked for direct delivery sends plain packets."""
    w = ForeignWorld()
    w.visit()
    w.plain_host()
    w.mn.call(send_packets, [delivered(ping())])
    wait_for(w.agents["fa"], drop_counts, {"delivery_not_negotiated": 1})


@isolated
def test_the_visitor_on_another_link_is_another_one() -> None:
    """The same home address there does not get into this tunnel."""
    w = visited()
    w.fa.sh("echo 0 | tee /proc/sys/net/ipv4/conf/*/rp_filter")
    w.mn.sh(f"ip route replace {FA_ETH1} dev wlan0 src {HOME}")
    w.mn.call(send_packets, [delivered(ping())])
    wait_for(w.agents["fa"], drop_counts, {"forward_no_visitor": 1})


@isolated
def test_too_large_ones_are_cut_or_draw_the_icmp_answer() -> None:
    """TUN-04: GRE needs more room than the visitor has taken for IP-in-IP."""
    w = visited("gre-key")
    room = IP(src=HOME, dst=CORRESPONDENT) / ICMP() / Raw(b"x" * 1452)
    assert len(room) == 1480
    w.mn.call(send_packets, [delivered(room)])
    wait_for(w.agents["ha"], counters, (2, 1500, 2, 1500))
    w.mn.call(watch_frames, "eth0")
    room.flags = "DF"
    w.mn.call(send_packets, [delivered(room)])
    wait_for(w.agents["fa"], drop_counts, {"delivery_emsgsize": 1})
    told = [
        one[ICMP]
        for one in w.mn.call(frames, "eth0")
        if one.haslayer(ICMP) and one[ICMP].type == 3
    ]
    assert [one.nexthopmtu for one in told] == [1472]
