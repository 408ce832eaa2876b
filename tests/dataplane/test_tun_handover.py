# SPDX-License-Identifier: GPL-2.0-only
"""What a replaced tunnel keeps, what a refresh costs, what a failure leaves."""

import asyncio
import socket

import pytest

from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    WLAN0,
    World,
    counters,
    driver,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
)
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import Encapsulation
from support.netns import isolated, sh


@isolated
def test_refresh_makes_no_netlink_call() -> None:
    """A refresh, and at the home agent a handover too, stays in memory."""
    w = World()
    ha, mn = w.start_ha(), w.start_mn()
    assert ha.call(install, ha_tunnel()) == 2  # a route and a proxy neighbour
    assert ha.call(install, ha_tunnel()) == 0
    assert ha.call(install, ha_tunnel(WLAN0)) == 0
    assert ha.call(install, ha_tunnel(peers=(ETH0, WLAN0), reverse=False)) == 0
    # The MTU of the route changes with the encapsulation, and only that.
    assert ha.call(install, ha_tunnel(encapsulation=Encapsulation.GRE)) == 1
    assert mn.call(install, mn_tunnel()) == 8  # two addresses and routes, four rules
    assert mn.call(install, mn_tunnel()) == 0
    assert mn.call(install, mn_tunnel(WLAN0, "wlan0")) == 0


async def recheck_during(*changes: Tunnel | None) -> list[tuple[str, ...]]:
    """Have sizes checked while changes wait; return where packets go in the end."""
    plane = driver()
    async with plane._changing:
        waiting = []
        for change in changes:
            work = plane.install(change) if change else plane.remove(HOME)
            waiting.append(asyncio.create_task(work))
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(plane._check_sizes()))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    return [tunnel.peers for tunnel in plane.tunnels()]


@isolated
def test_a_smaller_mtu_that_is_reported_during_a_move_undoes_nothing() -> None:
    """TUN-04."""
    w = World()
    ha = w.start_ha()
    ha.call(install, ha_tunnel())
    assert ha.call(recheck_during, ha_tunnel(WLAN0)) == [(WLAN0,)]
    assert ha.call(recheck_during, None) == []


@isolated
def test_counters_survive_a_handover() -> None:
    w = World()
    w.start(Encapsulation.IPIP, True)
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.ha_agent.call(install, ha_tunnel(WLAN0))
    w.mn_agent.call(install, mn_tunnel(WLAN0, "wlan0"))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert w.ha_agent.call(counters) == (2, 168, 2, 168)


@isolated
def test_a_gateway_that_only_the_configuration_knows_is_used() -> None:
    """Also for the requests, so it is in place while the tunnel only receives."""
    w = World()
    w.start(Encapsulation.IPIP, True)
    w.mn.sh("ip route del default dev wlan0")
    assert "10.1.1.20 via" not in w.mn.sh("ip route show table main")
    for receive_only in (True, False):
        tunnel = mn_tunnel(
            WLAN0, "wlan0", gateway="10.1.3.1", receive_only=receive_only
        )
        w.mn_agent.call(install, tunnel)
        routes = w.mn.sh("ip route show table main")
        assert "10.1.1.20 via 10.1.3.1 dev wlan0" in routes
    w.ha_agent.call(install, ha_tunnel(WLAN0))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.mn_agent.call(install, mn_tunnel())
    assert "10.1.1.20 via" not in w.mn.sh("ip route show table main")


@isolated
def test_unanswered_neighbours_do_not_delay_the_return_home() -> None:
    """An entry made while the link was lost would hold messages back for a second."""
    w = World()
    w.start(Encapsulation.IPIP, True)
    # Without a route the kernel takes the home agent to be on the link.
    w.mn.sh("ip route del default dev eth0; ping -c1 -W1 -I eth0 10.1.1.20 || true")
    assert "10.1.1.20" in w.mn.sh("ip neigh show dev eth0")
    w.mn_agent.call(remove, HOME)
    assert "10.1.1.20" not in w.mn.sh("ip neigh show dev eth0")


@isolated
def test_failed_install_changes_nothing() -> None:
    from dataplane.world import differences, state
    from mip_agents.dataplane.api import DataplaneError

    w = World()
    w.start(Encapsulation.IPIP, True)
    before = state(w.mn)
    with pytest.raises(DataplaneError, match=r"10\.7\.7\.7"):
        w.mn_agent.call(install, mn_tunnel("10.7.7.7"))
    w.mn.sh("ip route flush root 0.0.0.0/0 table main; ip -4 addr flush dev wlan0")
    w.mn.sh("ip addr add 10.1.3.5/24 dev wlan0; ip -4 addr flush dev eth0")
    w.mn.sh("ip addr add 10.1.2.5/24 dev eth0")
    with pytest.raises(DataplaneError, match="no default route through wlan0"):
        w.mn_agent.call(install, mn_tunnel(WLAN0, "wlan0", reverse=False))
    w.mn.sh(
        "ip route add default via 10.1.2.1 dev eth0 metric 100;"
        "ip route add default via 10.1.3.1 dev wlan0 metric 200"
    )
    assert not differences(before, state(w.mn))
    w.cn.sh(f"ping -c1 -W3 {HOME}")


NEW_ETH0 = f"""\
ip link set eth0 down
ip link set eth0 name old0
ip address flush dev old0
ip link add eth0 type veth peer name eth1
ip address add {ETH0}/24 dev eth0
ip link set eth0 up
ip link set eth1 up
ip route add default via 10.1.2.1 dev eth0
ip neigh replace 10.1.2.1 lladdr 02:00:00:00:00:01 dev eth0"""


async def install_on_new_link(tunnel: Tunnel) -> tuple[int, dict[str, int]]:
    """Install a tunnel before anybody has looked at its interface, which is new.

    Send a packet into it; return how many were sent and what was dropped.
    """
    plane = driver()
    async with plane._changing:
        waiting = asyncio.create_task(plane.install(tunnel))
        await asyncio.sleep(0)
        sh(NEW_ETH0)
    await waiting
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOME, 0))
        sock.sendto(b"probe", (CORRESPONDENT, 9))
    while not (sent := plane.counters(HOME).sent_packets) and not plane.drops().reasons:
        await asyncio.sleep(0.01)
    return sent, plane.drops().reasons


@pytest.mark.parametrize("form", [None, FORMS["gre"]], ids=["same", "other"])
@isolated
def test_a_tunnel_is_not_taken_to_be_there_when_its_interface_was_made_anew(form):
    """Neither the same one nor what another of the same interface has in common."""
    w = World()
    agent = w.start_mn()
    agent.call(install, mn_tunnel())
    assert agent.call(install_on_new_link, mn_tunnel(form=form)) == (1, {})
