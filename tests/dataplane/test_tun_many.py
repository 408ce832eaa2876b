# SPDX-License-Identifier: GPL-2.0-only
"""Many bindings at once in the `tun` driver: as one by one, and one refused alone."""

import errno
from collections.abc import Iterable
from dataclasses import replace

import pytest

from dataplane.traffic import collect_start, collected, stop_stream, stream
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    WLAN0,
    World,
    close,
    differences,
    driver,
    drops,
    ha_tunnel,
    state,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.changes import Change
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import Encapsulation
from support.netns import isolated

NOT_OURS = "10.99.0.1"


def tunnels() -> list[Tunnel]:
    """Of several forms; one has an end that is not ours."""
    made = [
        ha_tunnel(f"10.1.2.{number}", home_address=f"10.1.1.{100 + number}")
        for number in range(60)
    ]
    made[3] = replace(made[3], encapsulation=Encapsulation.GRE)
    made[4] = replace(made[4], peers=(ETH0, WLAN0))
    made[5] = replace(made[5], local=NOT_OURS)
    return made


async def install_each() -> list[str]:
    return [await refusal_of(tunnel) for tunnel in tunnels()]


async def refusal_of(tunnel: Tunnel) -> str:
    try:
        await driver().install(tunnel)
    except DataplaneError as refusal:
        return str(refusal)
    return ""


async def install_all() -> list[str]:
    refusals = await driver().install_many(tunnels())
    return ["" if refusal is None else str(refusal) for refusal in refusals]


async def move_all() -> int:
    """Return the number of netlink calls that it takes to move all, and then none."""
    every = [replace(one, peers=(WLAN0,)) for one in tunnels() if one.local != NOT_OURS]
    before = driver().netlink_calls
    assert not any(await driver().install_many(every))
    assert not any(await driver().install_many(every))
    assert sorted(driver().tunnels(), key=repr) == sorted(every, key=repr)
    return int(driver().netlink_calls - before)


@isolated
def test_many_at_once_are_as_one_by_one() -> None:
    w = World()
    clean = state(w.ha)
    one_by_one = w.start_ha()
    said = one_by_one.call(install_each)
    assert [number for number, text in enumerate(said) if text] == [5]
    expected = made(w)
    one_by_one.call(close)
    agent = w.start_ha()
    assert agent.call(install_all) == said
    assert made(w) == expected
    assert len(expected) == 2 * 59
    # A route is not told where its tunnel leads to; that of GRE has room for more now.
    assert agent.call(move_all) == 0
    agent.call(close)
    assert not differences(clean, state(w.ha))


def made(w: World) -> list[str]:
    """Return routes and proxies of the home agent, but for those of its links."""
    routes = w.ha.sh("ip route show proto 134").splitlines()
    return sorted([*routes, *w.ha.sh("ip neigh show proxy").splitlines()])


@isolated
def test_what_the_kernel_refuses_is_taken_back_alone() -> None:
    w = World()
    before = state(w.ha)
    agent = w.start_ha()
    agent.call(move_a_proxy_nowhere)
    said = agent.call(install_all)
    refused = {number: text for number, text in enumerate(said) if text}
    assert refused.keys() == {5, 30}
    assert "No such device; nothing was changed" in refused[30]
    assert REFUSED not in " ".join(made(w))
    assert len(made(w)) == 2 * 58
    assert agent.call(home_addresses) == 58
    agent.call(close)
    assert not differences(before, state(w.ha))


REFUSED = "10.1.1.130"


def move_a_proxy_nowhere() -> None:
    """Want a proxy, after a route, on an interface that is not there."""
    wanted = driver()._wanted

    def with_an_error(tunnel: Tunnel, mtu: int) -> list[Change]:
        route, proxy = wanted(tunnel, mtu)
        if tunnel.home_address == REFUSED:
            proxy = replace(proxy, ifindex=9999)
        return [route, proxy]

    driver()._wanted = with_an_error


@isolated
def test_a_failure_half_way_leaves_nothing_and_can_be_tried_again() -> None:
    w = World()
    agent = w.start_ha()
    agent.call(fail_after_the_routes)
    assert made(w) == []
    assert agent.call(home_addresses) == 0
    agent.call(install_all)
    assert len(made(w)) == 2 * 59


async def fail_after_the_routes() -> None:
    requests = driver()._ledger._requests
    carry_out = requests.carry_out

    def first(messages: Iterable[bytes]) -> list[int]:
        requests.carry_out = second
        return list(carry_out(messages))

    def second(messages: Iterable[bytes]) -> list[int]:
        requests.carry_out = carry_out
        raise OSError(errno.ENOBUFS, "no room")

    requests.carry_out = first
    with pytest.raises(OSError, match="no room"):
        await driver().install_many(tunnels())
    assert driver().undo_failures == []


def home_addresses() -> int:
    return len(list(driver().tunnels()))


@isolated
def test_moves_of_many_at_once_lose_no_packet() -> None:
    w = World()
    w.start(Encapsulation.IPIP, True)
    w.cn.call(collect_start, CORRESPONDENT, 7003)
    sending = w.mn.start(stream, CORRESPONDENT, 7003, 0.002)
    for number in range(20):
        w.ha_agent.call(move_with_others, number)
    w.mn.call(stop_stream)
    sent = sending()
    assert w.cn.call(collected, sent) == sent
    assert not w.ha_agent.call(drops)


async def move_with_others(round_: int) -> None:
    peers = [(ETH0,), (ETH0, WLAN0)][round_ % 2]
    others = [replace(one, peers=peers) for one in tunnels() if one.local != NOT_OURS]
    assert not any(await driver().install_many([*others, ha_tunnel(peers=peers)]))
    await driver().remove_many([one.home_address for one in others])
