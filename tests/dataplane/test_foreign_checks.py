# SPDX-License-Identifier: GPL-2.0-only
"""What a foreign agent lets through, what it drops silently, and what it costs."""

from dataclasses import replace
from typing import Any

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
    received,
    wait_for,
    watch_frames,
)
from dataplane.traffic import send_packets
from dataplane.world import (
    CORRESPONDENT,
    FORMS,
    HOME,
    HOME_AGENT,
    ha_tunnel,
    install,
    remove,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation
from support.netns import isolated

OTHER = "10.1.1.11"


def ping(source: str = CORRESPONDENT, destination: str = HOME, **fields: Any) -> Packet:
    return IP(src=source, dst=destination, **fields) / ICMP()


def tunnelled(outer: str, inner: Packet, destination: str = CARE_OF) -> Packet:
    return IP(src=outer, dst=destination) / inner


FORWARD = {
    "the home agent's": (tunnelled(HOME_AGENT, ping()), None),
    "from any source inside": (tunnelled(HOME_AGENT, ping("192.0.2.7")), None),
    "of another outer source": (
        tunnelled(CORRESPONDENT, ping()),
        "forward_wrong_outer_source",
    ),
    "for nobody here": (
        tunnelled(HOME_AGENT, ping(destination=OTHER)),
        "forward_no_visitor",
    ),
    "for a real address": (
        tunnelled(HOME_AGENT, ping(destination="10.1.4.1")),
        "forward_no_visitor",
    ),
    "for many": (
        tunnelled(HOME_AGENT, ping(destination="255.255.255.255")),
        "forward_no_visitor",
    ),
    "in another form": (
        IP(src=HOME_AGENT, dst=CARE_OF) / GRE() / ping(),
        "forward_wrong_encapsulation",
    ),
    "out of hops": (tunnelled(HOME_AGENT, ping(ttl=0)), "ttl_zero"),
    "cut short": (tunnelled(HOME_AGENT, ping(len=900)), "truncated"),
}


@isolated
def test_only_what_a_visitors_home_agent_sent_comes_out() -> None:
    """FA-30: all else is dropped, counted, and not answered."""
    w = ForeignWorld()
    w.visit()
    agent = w.agents["fa"]
    w.cn.sh(f"ping -c1 -W3 {CARE_OF}")
    for case, (packet, reason) in FORWARD.items():
        w.cn.call(watch_frames, "eth0")
        before, passed = agent.call(drop_counts), agent.call(counted)[2]
        w.cn.call(send_packets, [bytes(packet)] * 3)
        if reason is None:
            wait_for(agent, received, passed + 3)
            assert agent.call(drop_counts) == before, case
        else:
            wait_for(agent, drop_counts, before | {reason: before.get(reason, 0) + 3})
            assert agent.call(counted)[2] == passed, case
            answers = [one for one in w.cn.call(frames, "eth0") if one.haslayer(ICMP)]
            assert all(one[IP].src != "10.1.4.5" for one in answers), case


@isolated
def test_a_key_that_was_agreed_on_is_asked_for() -> None:
    w = ForeignWorld()
    w.visit(form=FORMS["gre-key"])
    agent = w.agents["fa"]
    packets = [
        IP(src=HOME_AGENT, dst=CARE_OF) / GRE(key_present=1, key=key) / ping()
        for key in (0x1001, 0x1001, 0x2002)
    ]
    w.cn.call(send_packets, [bytes(one) for one in packets])
    wait_for(agent, drop_counts, {"forward_wrong_key": 1})
    assert agent.call(counted)[2] == 2


@isolated
def test_a_nested_packet_is_delivered_as_it_is() -> None:
    """FA-33: what is for many comes in a packet to the visitor, which stays closed."""
    w = ForeignWorld()
    w.visit()
    w.mn.call(watch_frames, "eth0")
    broadcast = (
        IP(src=CORRESPONDENT, dst="10.1.1.255") / UDP(sport=9, dport=9) / Raw(b"many")
    )
    nest = IP(src=HOME_AGENT, dst=HOME, id=7) / broadcast
    w.cn.call(send_packets, [bytes(tunnelled(HOME_AGENT, nest))])
    wait_for(w.agents["fa"], received, 1)
    (found,) = [one for one in w.mn.call(frames, "eth0") if one.haslayer(UDP)]
    assert (found[IP].src, found[IP].dst, found[IP].proto) == (HOME_AGENT, HOME, 4)
    assert bytes(found[IP].payload) == bytes(broadcast)


@isolated
def test_nobody_else_on_the_link_gets_into_the_tunnel() -> None:
    """RT-08: packets from other addresses are routed, if at all."""
    w = ForeignWorld()
    w.visit()
    w.mn.sh("ip addr add 10.1.5.9/24 dev eth0; ip route add default via 10.1.5.1")
    w.cn.call(watch_frames, "eth0")
    w.mn.sh(f"ping -c1 -W0.3 {CORRESPONDENT} || true")
    found = [one for one in w.cn.call(frames, "eth0") if one.haslayer(ICMP)]
    assert "10.1.5.9" in [one[IP].src for one in found]
    assert w.agents["fa"].call(counted) == (0, 0, 0, 0)


@isolated
def test_removed_visitor_gets_nothing() -> None:
    """FA-30: not even by way of the main table."""
    w = ForeignWorld()
    w.visit()
    w.plain_host()
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.agents["fa"].call(remove, f"{HOME}%eth1")
    w.rt.call(watch_frames, "to_fa")
    w.cn.sh(f"ping -c1 -W0.3 {HOME} || true")
    assert w.agents["fa"].call(drop_counts) == {"forward_no_visitor": 1}
    came_back = [
        one
        for one in w.rt.call(frames, "to_fa")
        if one.haslayer(ICMP) and one[IP].src == CORRESPONDENT and one[IP].proto == 1
    ]
    assert not came_back


@isolated
def test_another_home_agent_takes_the_place_of_the_first() -> None:
    """The same visitor, registered anew: the last one wins."""
    w = ForeignWorld()
    w.visit()
    agent = w.agents["fa"]
    agent.call(install, w.visitor(peers=(CORRESPONDENT,)))
    w.cn.call(send_packets, [bytes(tunnelled(CORRESPONDENT, ping("192.0.2.7")))])
    wait_for(agent, received, 1)
    w.cn.call(send_packets, [bytes(tunnelled(HOME_AGENT, ping()))])
    wait_for(agent, drop_counts, {"forward_wrong_outer_source": 1})


@isolated
def test_a_move_to_another_link_of_ours() -> None:
    """The entry on the new link is there before that on the old one goes."""
    w = ForeignWorld()
    w.visit()
    w.visit("eth2")
    w.plain_host("eth2")
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    agent = w.agents["fa"]
    agent.call(remove, f"{HOME}%eth1")
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert agent.call(counted, f"{HOME}%eth2") == (2, 168, 2, 168)
    assert agent.call(counted) == (0, 0, 0, 0)


@isolated
def test_the_entry_before_is_used_again_when_the_later_one_goes() -> None:
    w = ForeignWorld()
    w.visit()
    w.visit("eth2")
    w.agents["fa"].call(remove, f"{HOME}%eth2")
    w.plain_host()
    w.cn.sh(f"ping -c1 -W3 {HOME}")


@isolated
def test_refresh_makes_no_netlink_call() -> None:
    w = ForeignWorld()
    agent = w.start_fa()
    # The first visitor's link: two rules and the way into the tunnel.
    assert agent.call(install, w.visitor()) == 3 + 3
    assert agent.call(install, w.visitor()) == 0
    other = w.visitor(home_address=OTHER)
    assert agent.call(install, other) == 3  # neighbour, route, rule
    assert agent.call(install, w.visitor(home_address=OTHER, reverse=False)) == 1
    assert agent.call(install, w.visitor(peers=(CORRESPONDENT,))) == 0
    # A larger header means a smaller size: another way, another rule for the old one.
    gre = Form(Encapsulation.GRE)
    assert agent.call(install, w.visitor(form=gre)) == 3


@isolated
def test_counters_survive_a_new_registration() -> None:
    w = ForeignWorld()
    w.visit()
    w.plain_host()
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.visit(form=FORMS["gre"])
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert w.agents["fa"].call(counted) == (2, 168, 2, 168)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"interface": "eth9"}, "no interface eth9"),
        ({"interface": None}, "on which link"),
        ({"local": "10.7.7.7"}, r"cannot send from 10\.7\.7\.7"),
    ],
)
@isolated
def test_failed_install_changes_nothing(changes: dict[str, Any], reason: str) -> None:
    from dataplane.world import differences, state

    w = ForeignWorld()
    agent = w.start_fa()
    before = state(w.fa)
    with pytest.raises(DataplaneError, match=reason):
        agent.call(install, replace(w.visitor(), **changes))
    assert not differences(before, state(w.fa))
    agent.call(install, w.visitor())
    w.start_ha().call(install, ha_tunnel(CARE_OF))
    during = state(w.fa)
    with pytest.raises(DataplaneError, match=reason):
        agent.call(install, replace(w.visitor(), **changes))
    assert not differences(during, state(w.fa))
    w.plain_host()
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert FA_ETH1 in w.fa.sh("ip rule show")
