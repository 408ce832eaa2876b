# SPDX-License-Identifier: GPL-2.0-only
"""Handovers lose nothing, also where the home agent moves first.

The pace is one packet per millisecond. On a single CPU a move would stop the sender,
too, and hide what is lost: there these tests say less.
"""

import pytest

from dataplane.traffic import collect_start, collected, stop_stream, stream
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    HOME,
    WLAN0,
    World,
    drops,
    ha_tunnel,
    install,
    mn_tunnel,
)
from mip_agents.dataplane.select import DRIVERS
from scapy_mip.const import Encapsulation
from support.netns import isolated

PLACES = [(ETH0, "eth0"), (WLAN0, "wlan0")]
MOVES = 100
INTERVAL_S = 0.001
every_driver = pytest.mark.parametrize(
    "driver",
    # The kernel's devices take packets at one care-of address alone, which has to be
    # known before any arrive: `test_kernel_traffic` moves as it is done with them.
    [name for name in DRIVERS if name != "kernel"],
)


@every_driver
@isolated
def test_a_hundred_handovers_lose_no_packet(driver: str) -> None:
    """HA-33: the home agent replaces a binding between two packets."""
    w = World(driver=driver)
    w.start(Encapsulation.IPIP, True)
    w.mn.call(collect_start, HOME, 7002)
    sending = w.cn.start(stream, HOME, 7002, INTERVAL_S)
    for number in range(MOVES):
        care_of, interface = PLACES[(number + 1) % 2]
        w.ha_agent.call(install, ha_tunnel(care_of))
        w.mn_agent.call(install, mn_tunnel(care_of, interface))
        w.mn.sh("sleep 0.02")
    w.cn.call(stop_stream)
    sent = sending()
    assert w.mn.call(collected, sent) == sent
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@every_driver
@isolated
def test_a_hundred_handovers_lose_no_packet_of_the_node(driver: str) -> None:
    """RT-13: the same on the way back, when the home agent hears of it first."""
    w = World(driver=driver)
    w.start(Encapsulation.GRE, True)
    w.cn.call(collect_start, CORRESPONDENT, 7003)
    sending = w.mn.start(stream, CORRESPONDENT, 7003, INTERVAL_S)
    form = {"encapsulation": Encapsulation.GRE}
    for number in range(MOVES):
        care_of, interface = PLACES[(number + 1) % 2]
        w.ha_agent.call(install, ha_tunnel(peers=(ETH0, WLAN0), **form))
        w.mn_agent.call(install, mn_tunnel(care_of, interface, **form))
        w.mn.sh("sleep 0.02")
    w.mn.call(stop_stream)
    sent = sending()
    assert w.cn.call(collected, sent) == sent
