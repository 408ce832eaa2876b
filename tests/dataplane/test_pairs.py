# SPDX-License-Identifier: GPL-2.0-only
"""Every driver as home agent with every driver as mobile node, in every form.

One world per pair: its tunnel is replaced from form to form, as a new registration
would.
"""

import pytest

from dataplane.traffic import ping, tcp_both_ways, udp_both_ways, udp_refused
from dataplane.world import (
    CANNOT_CARRY,
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    HOME_AGENT,
    UDP_PORTS,
    World,
    combinations,
    counters,
    drops,
    forms_of,
    ha_tunnel,
    have_nft,
    install,
    listen,
    mirrored,
    mn_tunnel,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.outer import room_for
from mip_agents.dataplane.select import DRIVERS
from mip_agents.protocol.tunnel import Form
from support.netns import isolated

SIZES = [0, 1, 100, 1400, 1448, 1452, 1472, 1473, 3000, 9000, 60000]


def check(w: World, form: Form, reverse: bool) -> None:
    """HA-33, HA-35, MN-39, RT-13, TUN-01, -04, -05, NAT-10: all that may be sent."""
    # What an earlier form taught about the path is not true any more.
    for node in (w.cn, w.mn):
        node.set("route/flush", "-1")
    mtu = 1500 - room_for(form)
    before = w.ha_agent.call(counters), w.mn_agent.call(counters)
    pings = (0, mtu - 28, mtu - 27, 20000)
    w.cn.call(ping, HOME, pings)
    w.mn.call(ping, CORRESPONDENT, pings, HOME)
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    assert w.cn.call(udp_refused, HOME, 7999)
    assert w.mn.call(udp_refused, CORRESPONDENT, 7999)
    assert tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 18) == mtu - 40 - 12
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 18)
    w.cn.call(ping, HOME, (mtu - 28,), "", True)
    w.cn.sh(f"ping -c1 -W0.05 -M do -s {mtu - 27} {HOME} || true")
    assert f"mtu {mtu}" in w.cn.sh(f"ip route get {HOME}")
    if reverse:
        with pytest.raises(RuntimeError, match="mtu"):
            w.mn.sh(f"ping -c1 -W0.05 -M do -s {mtu - 27} -I {HOME} {CORRESPONDENT}")
    after = w.ha_agent.call(counters), w.mn_agent.call(counters)
    (ha_sent, _, ha_received, _), (mn_sent, _, mn_received, _) = (
        tuple(new - old for new, old in zip(*pair, strict=True))
        for pair in zip(after, before, strict=True)
    )
    assert ha_sent > 0 and mn_received > 0
    assert (ha_received > 0, mn_sent > 0) == (reverse, reverse)


def refuse_outer_fragments(w: World) -> None:
    """Let the router drop fragments of tunnel packets, as a firewall might.

    Then all that gets through was fragmented before it was encapsulated.
    """
    if have_nft():
        w.rt.sh(
            "nft add table ip f;"
            "nft add chain ip f c '{ type filter hook prerouting priority -450; }';"
            f"nft add rule ip f c ip daddr '{{ {ETH0}, {HOME_AGENT} }}'"
            " ip frag-off '&' 0x3fff != 0 drop"
        )


@pytest.mark.parametrize(("ha", "mn"), combinations(DRIVERS, DRIVERS))
@isolated
def test_all_traffic_between_two_drivers(ha: str, mn: str) -> None:
    w = World(driver=ha, mn_driver=mn)
    for node in (w.cn, w.ha, w.mn):  # all errors, however many we provoke
        node.set("icmp_ratelimit", "0")
    w.like_wires()
    refuse_outer_fragments(w)
    w.start_ha().call(listen, UDP_PORTS[0])
    w.start_mn().call(listen, UDP_PORTS[1])
    for name, form in forms_of(ha, mn).items():
        for reverse in (True, False):
            try:
                w.install(form, reverse=reverse)
                check(w, form, reverse)
                assert not w.ha_agent.call(drops)
                assert not w.mn_agent.call(drops)
            except Exception as error:
                error.add_note(f"{name}, {reverse=}")
                raise


@pytest.mark.parametrize("name", combinations(CANNOT_CARRY))
@isolated
def test_what_a_driver_cannot_carry_it_refuses(name: str) -> None:
    """The tunnel that is there goes on meanwhile."""
    w = World(driver=name)
    w.start_ha()
    w.start_mn()
    w.install(FORMS["ipip"])
    for form in (FORMS[unfit] for unfit in sorted(CANNOT_CARRY[name])):
        for agent, tunnel in (
            (w.ha_agent, ha_tunnel(form=form)),
            (w.mn_agent, mn_tunnel(form=mirrored(form))),
        ):
            with pytest.raises(
                DataplaneError, match=f"{name}|{tunnel.encapsulation.title}"
            ):
                agent.call(install, tunnel)
        w.cn.sh(f"ping -c1 -W3 {HOME}")
