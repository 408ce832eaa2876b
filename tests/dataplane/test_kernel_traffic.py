# SPDX-License-Identifier: GPL-2.0-only
"""Packets of all sizes through the kernel's own tunnel devices."""

import asyncio
import contextlib
import socket
import sys

import pytest

from dataplane.test_tun_traffic import wait_until_equal
from dataplane.traffic import (
    collect_start,
    collected,
    ping,
    stop_stream,
    stream,
    tcp_both_ways,
    udp_both_ways,
)
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    HOME,
    HOME_AGENT,
    WLAN0,
    World,
    counters,
    differences,
    drops,
    ha_tunnel,
    install,
    mn_tunnel,
    open_driver,
    state,
    with_devices,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.port import set_gro
from mip_agents.dataplane.tunneldevice import DEVICE_PREFIXES
from mip_agents.protocol.tunnel import Form, Role
from scapy_mip.const import Encapsulation
from support.netns import Node

SIZES = [0, 1, 1400, 1448, 1452, 1472, 1473, 3000, 60000]
PLACES = [(ETH0, "eth0"), (WLAN0, "wlan0")]

IPIP = Form(Encapsulation.IPIP)
GRE = Form(Encapsulation.GRE)
KEYED = Form(Encapsulation.GRE, send_key=77, receive_key=0x80000001)
"""As the home agent has it; the mobile node's keys are the other way round."""

ROOM = {IPIP: 20, GRE: 24, KEYED: 28}


def ha_end(form: Form, care_of: str = ETH0, **changes):
    return ha_tunnel(
        care_of, encapsulation=form.encapsulation, peer_forms=(form,), **changes
    )


def mn_end(form: Form, care_of: str = ETH0, interface: str = "eth0", **changes):
    theirs = form._replace(send_key=form.receive_key, receive_key=form.send_key)
    return mn_tunnel(
        care_of,
        interface,
        encapsulation=form.encapsulation,
        peer_forms=(theirs,),
        **changes,
    )


_RTMGRP_IPV4_ROUTE, _RTM_NEWROUTE = 0x40, 24
_watch: list[socket.socket] = []


def watch_routes() -> None:
    """Have the kernel report every change of a route from now on."""
    watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    watch.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    watch.bind((0, _RTMGRP_IPV4_ROUTE))
    watch.setblocking(False)
    _watch.append(watch)


def changes_of_home_route() -> list[int]:
    """Return the kinds of changes to the home address's route since then."""
    kinds = []
    with _watch.pop() as watch, contextlib.suppress(BlockingIOError):
        while True:
            message = watch.recv(65536)
            if socket.inet_aton(HOME) in message:
                kinds.append(int.from_bytes(message[4:6], sys.byteorder))
    return kinds


def start(form: Form, **changes) -> World:
    w = World(driver="kernel")
    w.start_ha().call(install, ha_end(form, **changes))
    w.start_mn().call(install, mn_end(form, **changes))
    return w


def merge_nothing() -> None:
    """Let no segments be merged that come out of our devices.

    The home agent's counters have them as one packet then, and with one header.
    """
    for _, name in socket.if_nameindex():
        if name.startswith(tuple(DEVICE_PREFIXES.values())):
            set_gro(name, False)


@pytest.mark.parametrize("form", [IPIP, GRE, KEYED], ids=["ipip", "gre", "keyed"])
@with_devices
def test_all_sizes_both_ways(form: Form) -> None:
    """HA-33, HA-35, MN-39, RT-13, TUN-01: pings, UDP in fragments, full TCP."""
    w = start(form)
    for agent in (w.ha_agent, w.mn_agent):
        agent.call(merge_nothing)
    pings = (0, 56, 1424, 1452, 1473, 65000)
    w.cn.call(ping, HOME, pings)
    w.mn.call(ping, CORRESPONDENT, pings, HOME)
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    segment = tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    assert segment == 1500 - ROOM[form] - 40 - 12
    mtu = 1500 - ROOM[form]
    w.cn.sh(f"ping -c1 -W1 -M do -s {mtu - 27} {HOME} || true")
    assert f"mtu {mtu}" in w.cn.sh(f"ip route get {HOME}")
    ours, theirs = wait_until_equal(w)
    assert ours == (*theirs[2:], *theirs[:2])
    assert min(ours) > 20
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@with_devices
def test_direct_answers_do_not_use_the_tunnel() -> None:
    w = start(IPIP, reverse=False)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    assert w.mn_agent.call(counters)[0] == 0
    assert w.mn_agent.call(counters)[2] > len(SIZES)


@with_devices
def test_smaller_path_mtu_is_learnt_from_routers() -> None:
    """TUN-04: what a router reports about outer packets lowers the inner MTU."""
    w = start(IPIP)
    w.rt.sh("ip link set to_eth0 mtu 1300")
    w.mn.sh("ip link set eth0 mtu 1300")
    for _ in range(3):  # the first is lost on the way and teaches the home agent
        w.cn.sh(f"ping -c1 -W1 -M do -s 1400 {HOME} || true")
    assert "mtu 1280" in w.cn.sh(f"ip route get {HOME}")
    w.cn.sh(f"ping -c1 -W1 -M dont -s 1400 {HOME} || true")
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1400 {HOME}")
    route = w.ha.sh(f"ip route show {HOME}")
    assert "encap ip" in route
    assert f"dst {ETH0}" in route
    assert "mtu 1280" in route


@with_devices
def test_twenty_handovers_lose_no_packet_and_delete_no_route() -> None:
    """HA-33: the home agent replaces a binding between two packets, one each ms."""
    w = start(IPIP)
    w.mn.call(collect_start, HOME, 7002)
    sending = w.cn.start(stream, HOME, 7002, 0.001)
    w.ha.call(watch_routes)
    forms = (GRE, IPIP)
    for number in range(20):
        form = forms[number % 2]
        care_of, interface = PLACES[(number + 1) % 2]
        # As in life: the mobile node asks from the new network, then it uses that.
        asking = mn_end(form, care_of, interface, receive_only=True)
        w.mn_agent.call(install, asking)
        assert w.ha_agent.call(install, ha_end(form, care_of)) == 1
        w.mn_agent.call(install, mn_end(form, care_of, interface))
        w.mn.call(asyncio.sleep, 0.05)
    w.cn.call(stop_stream)
    sent = sending()
    assert w.mn.call(collected, sent) == sent
    assert w.ha.call(changes_of_home_route) == [_RTM_NEWROUTE] * 20
    # Two devices at most: the present one, and the one before.
    assert len(w.mn.sh("ip -o link show | grep mipmn-").splitlines()) == 2


@with_devices
def test_refresh_makes_no_netlink_call() -> None:
    w = World(driver="kernel")
    ha, mn = w.start_ha(), w.start_mn()
    assert ha.call(install, ha_tunnel()) == 2  # a route and a proxy neighbour
    assert ha.call(install, ha_tunnel()) == 0
    assert mn.call(install, mn_tunnel()) == 8  # two addresses and routes, four rules
    assert mn.call(install, mn_tunnel()) == 0


@with_devices
def test_two_nodes_reach_each_other_and_the_home_agent() -> None:
    """HA-38, RT-07 on the way in, HA-33 on the way out; no redirect in between."""
    w = start(IPIP)
    other = "10.1.1.11"
    w.cn.sh(f"ip addr add {other}/32 dev lo")
    w.ha_agent.call(install, ha_tunnel(CORRESPONDENT, home_address=other))
    second = Node("second", inside=w.cn)
    second.call(open_driver, Role.MOBILE_NODE, {}, "kernel")
    second.call(install, mn_tunnel(CORRESPONDENT, "eth0", home_address=other))
    w.mn.sh(f"ping -c3 -i 0.01 -W3 -I {HOME} {other}")
    assert w.ha_agent.call(counters) == (3, 252, 3, 252)
    w.mn.sh(f"ping -c1 -W3 -I {HOME} {HOME_AGENT}")
    w.ha.sh(f"ping -c1 -W3 {HOME}")
    assert w.ha_agent.call(counters)[0] == 5


@with_devices
def test_outer_packets_leave_by_the_named_interface() -> None:
    """Whatever the main table prefers, also where it has no route at all."""
    w = World(driver="kernel")
    w.start_ha().call(install, ha_tunnel(WLAN0))
    tunnel = mn_tunnel(WLAN0, "wlan0", gateway="10.1.3.1")
    w.mn.sh("ip route del default dev wlan0")
    w.start_mn().call(install, tunnel)
    w.rt.sh("ip link set to_eth0 down")
    w.mn.sh(f"ping -c1 -W3 -I {HOME} {CORRESPONDENT}")


@with_devices
def test_what_cannot_be_is_refused_and_changes_nothing() -> None:
    w = start(IPIP)
    before = state(w.ha), state(w.mn)
    both = ha_tunnel(peers=(ETH0, WLAN0))
    with pytest.raises(DataplaneError, match="one care-of address"):
        w.ha_agent.call(install, both)
    for form in (Form(Encapsulation.MINIMAL), Form(Encapsulation.IPIP, ports=(9, 9))):
        with pytest.raises(DataplaneError, match=r"no devices for (minimal|UDP)"):
            w.ha_agent.call(install, ha_end(form))
        with pytest.raises(DataplaneError, match=r"no devices for (minimal|UDP)"):
            w.mn_agent.call(install, mn_end(form))
    with pytest.raises(DataplaneError, match=r"10\.7\.7\.7"):
        w.mn_agent.call(install, mn_tunnel("10.7.7.7"))
    with pytest.raises(DataplaneError, match="on nowhere: No such device"):
        w.mn_agent.call(install, mn_tunnel(interface="nowhere"))
    assert not differences(before[0], state(w.ha))
    assert not differences(before[1], state(w.mn))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
