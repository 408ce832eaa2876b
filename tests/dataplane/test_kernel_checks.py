# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's tunnel devices let in at a home agent and at a mobile node."""

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import GRE
from scapy.packet import Packet

from dataplane.test_tun_checks import drops, ping, reach, tunnelled
from dataplane.traffic import send_packets
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    HOME,
    HOME_AGENT,
    WLAN0,
    World,
    counters,
    ha_tunnel,
    install,
    mn_tunnel,
    with_devices,
)
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation

OTHER = "10.1.1.11"
KEY = 0xDEADBEEF


def wrapped(form: Form, outer: str, inner: Packet) -> Packet:
    """Put `inner` into the form that a home agent is to receive."""
    if form.encapsulation is Encapsulation.IPIP:
        return tunnelled(outer, inner)
    if form.receive_key is None:
        return IP(src=outer, dst=HOME_AGENT) / GRE() / inner
    keyed = GRE(key_present=1, key=form.receive_key)
    return IP(src=outer, dst=HOME_AGENT) / keyed / inner


@pytest.mark.parametrize(
    "form",
    [
        Form(Encapsulation.IPIP),
        Form(Encapsulation.GRE),
        Form(Encapsulation.GRE, receive_key=KEY),
    ],
    ids=["ipip", "gre", "keyed"],
)
@with_devices
def test_only_a_nodes_own_tunnel_lets_its_packets_in(form: Form) -> None:
    """RT-07, TUN-01: outer and inner source, encapsulation and key have to fit."""
    w = World(driver="kernel")
    agent = w.start_ha()
    changes = {"encapsulation": form.encapsulation, "peer_forms": (form,)}
    agent.call(install, ha_tunnel(**changes))
    agent.call(install, ha_tunnel(WLAN0, home_address=OTHER, **changes))
    unfit = Form(Encapsulation.IPIP)
    reason = "reverse_wrong_encapsulation"
    if form == unfit:
        unfit = Form(Encapsulation.GRE)
    other_key = Form(Encapsulation.GRE, receive_key=1)
    cases = {
        "registered": (wrapped(form, ETH0, ping(HOME)), None),
        "wrong outer source": (
            wrapped(form, WLAN0, ping(HOME)),
            "reverse_wrong_outer_source",
        ),
        "unbound inner source": (
            wrapped(form, ETH0, ping("10.1.1.99")),
            "reverse_no_binding",
        ),
        "other node's inner source": (
            wrapped(form, ETH0, ping(OTHER)),
            "reverse_wrong_outer_source",
        ),
        "wrong encapsulation": (wrapped(unfit, ETH0, ping(HOME)), reason),
        "wrong key": (
            wrapped(other_key, ETH0, ping(HOME)),
            reason if form.encapsulation is Encapsulation.IPIP else "reverse_wrong_key",
        ),
        "inner TTL 0": (wrapped(form, ETH0, ping(HOME, ttl=0)), "ttl_zero"),
    }
    for case, (packet, why) in cases.items():
        before, passed = agent.call(drops), agent.call(counters)[2]
        reach(w.mn, agent, [packet] * 5, sum(before.values()) + passed + 5)
        expected = dict(before)
        if why is None:
            assert agent.call(counters)[2] == passed + 5, case
        else:
            expected[why] = expected.get(why, 0) + 5
        assert agent.call(drops) == expected, case
    # A move: the old care-of address is worth nothing any more.
    agent.call(install, ha_tunnel(WLAN0, **changes))
    before = agent.call(drops)
    total = sum(before.values()) + agent.call(counters)[2]
    reach(w.mn, agent, [wrapped(form, ETH0, ping(HOME))] * 5, total + 5)
    before["reverse_wrong_outer_source"] += 5
    assert agent.call(drops) == before


@with_devices
def test_reverse_tunnel_that_was_not_asked_for_and_exit_address() -> None:
    """RT-07: without T nothing comes in. TUN-02, HA-36: nothing goes back."""
    w = World(driver="kernel")
    agent = w.start_ha()
    agent.call(install, ha_tunnel(reverse=False))
    reach(w.mn, agent, [tunnelled(ETH0, ping(HOME))], 1)
    assert agent.call(drops) == {"reverse_not_negotiated": 1}
    reach(w.mn, agent, [ping(ETH0, HOME)], 2)
    assert agent.call(drops) == {"reverse_not_negotiated": 1, "exit_address": 1}
    assert agent.call(counters) == (0, 0, 0, 0)


@with_devices
def test_mobile_node_listens_to_its_home_agent_alone() -> None:
    """MN-39: from the home agent and in the right form; a group's packets, too."""
    w = World(driver="kernel")
    agent = w.start_mn()
    agent.call(install, mn_tunnel())
    inner = IP(src=CORRESPONDENT, dst=HOME) / ICMP()
    good = IP(src=HOME_AGENT, dst=ETH0) / inner
    bad = [
        IP(src=CORRESPONDENT, dst=ETH0) / inner,
        IP(src=HOME_AGENT, dst=ETH0) / GRE() / inner,
    ]
    w.cn.call(send_packets, [bytes(packet) for packet in (*bad, good)])
    reach(w.cn, agent, [good], 2)
    assert agent.call(counters)[2] == 2
