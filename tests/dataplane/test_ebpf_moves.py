# SPDX-License-Identifier: GPL-2.0-only
"""Moves in the `ebpf` driver: none costs more than one update, nor others a packet."""

from dataplane.traffic import collect_start, collected, stop_stream, stream
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    WLAN0,
    World,
    drops,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
)
from mip_agents.dataplane.marks import MAX_SIZES
from scapy_mip.const import Encapsulation
from support.netns import isolated


@isolated
def test_moves_of_others_lose_no_packet() -> None:
    """Entries are reused at once; a packet never takes that of another node."""
    w = World(driver="ebpf")
    w.start(Encapsulation.IPIP, True)
    w.cn.call(collect_start, CORRESPONDENT, 7003)
    sending = w.mn.start(stream, CORRESPONDENT, 7003, 0.001)
    for number in range(40):
        w.ha_agent.call(churn, number)
        w.ha_agent.call(install, ha_tunnel(peers=PEERS[number % 2]))
    w.mn.call(stop_stream)
    sent = sending()
    assert w.cn.call(collected, sent) == sent
    assert not w.ha_agent.call(drops)


PEERS = [(ETH0,), (ETH0, WLAN0)]


async def churn(round_: int) -> None:
    for number in range(250):
        home = f"10.200.{round_}.{number}"
        await install(ha_tunnel(f"10.1.2.{number}", home_address=home))
        await install(ha_tunnel(f"10.1.3.{number}", home_address=home))
        await remove(home)


@isolated
def test_home_agent_makes_no_netlink_call() -> None:
    """For installing, replacing, refreshing and removing; one size of packets is new
    once."""
    w = World(driver="ebpf")
    ha, mn = w.start_ha(), w.start_mn()
    assert ha.call(install, ha_tunnel()) == 2  # the first of its size: route and rule
    assert ha.call(install, ha_tunnel()) == 0
    assert ha.call(install, ha_tunnel(WLAN0)) == 0
    assert ha.call(install, ha_tunnel(home_address="10.1.1.11")) == 0
    assert ha.call(install, ha_tunnel(peers=(ETH0, WLAN0), reverse=False)) == 0
    assert ha.call(install, ha_tunnel(encapsulation=Encapsulation.GRE)) == 2
    assert ha.call(install, ha_tunnel(encapsulation=Encapsulation.IPIP)) == 0
    before = ha.call(calls)
    ha.call(remove)
    assert ha.call(calls) == before
    assert mn.call(install, mn_tunnel()) == 8  # two addresses and routes, four rules
    assert mn.call(install, mn_tunnel()) == 0
    assert mn.call(install, mn_tunnel(WLAN0, "wlan0")) == 0


@isolated
def test_more_sizes_than_marks_share_the_smaller() -> None:
    w = World(driver="ebpf")
    marks = w.start_ha().call(marks_of, [*range(600, 1300, 10), 1300, 500])
    assert len(set(marks)) == MAX_SIZES
    assert marks[70] == marks[MAX_SIZES - 1]
    assert marks[71] == marks[0]


async def marks_of(sizes: list[int]) -> list[int]:
    from dataplane.world import driver

    return [await driver()._make_way(size) for size in sizes]


def calls() -> int:
    from dataplane.world import driver

    return driver().netlink_calls
