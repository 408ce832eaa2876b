# SPDX-License-Identifier: GPL-2.0-only
"""Moves in the `ebpf` driver: none costs more than one update, nor others a packet."""

import errno
import socket
from dataclasses import replace

from dataplane.traffic import collect_start, collected, stop_stream, stream
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    HOME_AGENT,
    WLAN0,
    World,
    close,
    counters,
    driver,
    drops,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
)
from mip_agents.dataplane import bpf, map_entries
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.marks import MAX_SIZES
from mip_agents.dataplane.tunnel_structs import MAX_PEERS
from mip_agents.protocol.tunnel import Tunnel
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
def test_moves_of_many_at_once_lose_no_packet() -> None:
    """Each of them is one step, the node's own among them."""
    w = World(driver="ebpf")
    w.start(Encapsulation.IPIP, True)
    w.cn.call(collect_start, CORRESPONDENT, 7003)
    sending = w.mn.start(stream, CORRESPONDENT, 7003, 0.001)
    for number in range(60):
        w.ha_agent.call(churn_together, number)
    w.mn.call(stop_stream)
    sent = sending()
    assert w.cn.call(collected, sent) == sent
    assert not w.ha_agent.call(drops)


async def churn_together(round_: int) -> None:
    others = [f"10.200.{round_}.{number}" for number in range(250)]
    for net in (2, 3):
        tunnels = [
            ha_tunnel(f"10.1.{net}.{number}", home_address=home)
            for number, home in enumerate(others)
        ]
        own = ha_tunnel(reverse=True, local=HOME_AGENT, peers=(ETH0,))
        moved = ha_tunnel(peers=PEERS[(round_ + net) % 2])
        refusals = await driver().install_many([*tunnels[:100], own, *tunnels[100:]])
        assert refusals == [None] * 251
        assert await driver().install_many([*tunnels, moved]) == [None] * 251
    await driver().remove_many(others)


@isolated
def test_many_at_once_are_as_one_by_one() -> None:
    """New ones, moves, other forms, several peers, what is there already, and refusals
    in between."""
    w = World(driver="ebpf")
    agent = w.start_ha()
    alone = agent.call(entries_after, False)
    agent.call(close)
    together = w.start_ha().call(entries_after, True)
    assert together == alone
    assert len(alone) == 2 * STEPS


STEPS = 40


async def entries_after(together: bool) -> dict[str, bytes]:
    """Return what the programs find for each home address, and what is refused."""
    found: dict[str, bytes] = {}
    for step in (first_step(), second_step()):
        if together:
            refusals = await driver().install_many(step)
        else:
            refusals = [await refusal_of(tunnel) for tunnel in step]
        for tunnel, refusal in zip(step, refusals, strict=True):
            said = b"" if refusal is None else str(refusal).encode()
            assert (b"lower max_bindings" in said) == (len(tunnel.peers) > MAX_PEERS)
            assert (b"cannot send from" in said) == (tunnel.local == NOT_OURS)
            entry = entry_of(tunnel.home_address) + said
            found[f"{len(found) // STEPS} {tunnel.home_address}"] = entry
    installed = {tunnel.home_address: tunnel for tunnel in driver().tunnels()}
    homes = [tunnel.home_address for tunnel in second_step()]
    assert {home for home in homes if entry_of(home)} == installed.keys()
    if together:
        await driver().remove_many(homes)
    else:
        for home in homes:
            await driver().remove(home)
    assert not any(map(entry_of, homes))
    assert not driver()._maps._locals
    assert not driver().tunnels()
    return found


NOT_OURS = "10.99.0.1"


def first_step() -> list[Tunnel]:
    made = [
        ha_tunnel(f"10.1.2.{number}", home_address=f"10.1.1.{100 + number}")
        for number in range(STEPS)
    ]
    for number, form in enumerate(FORMS.values()):
        made[number] = ha_tunnel(form=form, home_address=made[number].home_address)
    made[20] = replace(made[20], peers=tuple(f"10.1.4.{n}" for n in range(MAX_PEERS)))
    made[21] = replace(made[21], peers=tuple(f"10.1.4.{n}" for n in range(9)))
    made[22] = replace(made[22], local=NOT_OURS)
    made[23] = replace(made[23], reverse=False)
    return made


def second_step() -> list[Tunnel]:
    """The forms change places; one tunnel of six stays, another goes elsewhere."""
    made = first_step()
    for number, form in enumerate(reversed(FORMS.values())):
        made[number] = ha_tunnel(form=form, home_address=made[number].home_address)
    for number in range(7, STEPS, 6):
        made[number] = replace(made[number], peers=(WLAN0,))
    return made


async def refusal_of(tunnel: Tunnel) -> DataplaneError | None:
    try:
        await driver().install(tunnel)
    except DataplaneError as refusal:
        return refusal
    return None


_PEERS_AT = 16


def entry_of(home: str) -> bytes:
    """Return what counts of the entry in the programs' map, without the mark."""
    table = driver()._maps._bindings
    table.key[:] = socket.inet_aton(home)
    if not table.lookup():
        return b""
    peers = table.value[_PEERS_AT]
    return bytes(table.value)[:12] + bytes(table.value)[_PEERS_AT : 20 + 20 * peers]


@isolated
def test_kernel_that_takes_one_at_a_time_gets_them_so() -> None:
    w = World(driver="ebpf")
    agent = w.start_ha()
    agent.call(use_no_batches)
    assert len(agent.call(entries_after, True)) == 2 * STEPS


def use_no_batches() -> None:
    bpf._MAP_UPDATE_MANY = bpf._MAP_LOOKUP_MANY = 999


@isolated
def test_one_that_finds_no_room_is_refused_alone() -> None:
    w = World(driver="ebpf")
    agent = w.start_ha()
    assert agent.call(fill) == (10, 5)


async def fill() -> tuple[int, int]:
    """Return how many found room in a small map, beside five that had it."""
    table = driver()._maps._bindings
    definition = table.definition._replace(max_entries=15)
    driver()._maps._bindings = bpf.Map("small", definition)
    made = [ha_tunnel(home_address=f"10.200.0.{number}") for number in range(25)]
    assert not any(await driver().install_many(made[:5]))
    moved = [replace(one, peers=(WLAN0,)) for one in made[:5]]
    refusals = await driver().install_many([*made[5:], *moved])
    refused = [one for one in refusals if one is not None]
    assert all("there may be 15 bindings" in str(one) for one in refused)
    assert refusals[20:] == [None] * 5
    there = list(driver().tunnels())
    assert len(there) == 15
    return len(there) - 5, sum(tunnel.peers == (WLAN0,) for tunnel in there)


@isolated
def test_path_is_asked_for_once_in_a_while_and_when_it_has_changed() -> None:
    w = World(driver="ebpf")
    agent = w.start_ha()
    agent.call(look_at_no_links)
    assert agent.call(install_and_measure, "10.1.1.50", 60.0) == 1
    assert agent.call(install_and_measure, "10.1.1.51", 60.0) == 0
    assert agent.call(sizes) == {1480}
    w.ha.sh("ip route add 10.1.2.0/24 via 10.1.1.1 mtu 1300")
    agent.call(notice_that_the_path_has_changed)
    assert agent.call(install_and_measure, "10.1.1.52", 60.0) == 0
    assert agent.call(sizes) == {1280}
    agent.call(forget_the_path)
    assert agent.call(install_and_measure, "10.1.1.53", -1.0) == 1
    assert agent.call(install_and_measure, "10.1.1.54", -1.0) == 1
    assert agent.call(sizes) == {1280}


async def look_at_no_links() -> None:
    """A link that has just come up would be a change of the path, too."""
    await driver()._stop_watch()
    if driver()._recheck_task is not None:
        await driver()._recheck_task


async def install_and_measure(home: str, good_s: float) -> int:
    """Return how often the kernel is asked for a path whose size holds good so long."""
    map_entries._GOOD_S = good_s
    paths, asked = driver()._paths, 0
    mtu = paths.mtu

    def counted(tunnel: Tunnel) -> int:
        nonlocal asked
        asked += 1
        return int(mtu(tunnel))

    paths.mtu = counted
    assert await driver().install_many([ha_tunnel(home_address=home)]) == [None]
    if driver()._measuring is not None:
        await driver()._measuring
    assert not driver()._unmeasured
    paths.mtu = mtu
    return asked


async def notice_that_the_path_has_changed() -> None:
    driver()._path_changed()
    await driver()._recheck_task


def forget_the_path() -> None:
    driver()._recent.forget()


def sizes() -> set[int]:
    """Return the sizes of all, after a look at the marks that stand for them."""
    found = set()
    for home, size in driver()._mtus.items():
        table = driver()._maps._bindings
        table.key[:] = socket.inet_aton(home)
        assert table.lookup()
        mark = int.from_bytes(table.value[12:16], "little")
        assert mark == driver()._marks.get(size)
        found.add(size)
    return found


@isolated
def test_memory_that_is_late_is_waited_for_and_none_is_refused_soon() -> None:
    w = World(driver="ebpf")
    agent = w.start_ha()
    assert agent.call(install_without_memory, 3) == ([], 3)
    refused, asked = agent.call(install_without_memory, 1000)
    assert len(refused) == 50
    assert "Cannot allocate memory" in refused[0]
    assert asked < 100


async def install_without_memory(times: int) -> tuple[list[str], int]:
    """Have the kernel say so many times that it has none; return what is refused."""
    table = driver()._maps._bindings
    asked = 0

    class Short:
        """The map, but with no memory at first."""

        key, value, definition = table.key, table.value, table.definition

        def update_many(self, keys: bytes, values: bytes) -> int:
            return table.update_many(keys, values) if asked >= times else 0

        def update(self) -> None:
            nonlocal asked
            if asked < times:
                asked += 1
                raise OSError(errno.ENOMEM, "map x: Cannot allocate memory")
            table.update()

    driver()._maps._bindings = Short()
    tunnels = [ha_tunnel(home_address=f"10.201.{times % 256}.{n}") for n in range(50)]
    refusals = await driver().install_many(tunnels)
    driver()._maps._bindings = table
    return [str(one) for one in refusals if one is not None], asked


@isolated
def test_many_removed_at_once_leave_no_counters_and_no_answers() -> None:
    """This host has our answer for a node, which is wrong from then on."""
    w = World(driver="ebpf")
    w.start(Encapsulation.IPIP, True)
    w.ha.sh(f"ping -c1 -W3 {HOME}")
    assert w.ha_agent.call(counters) == (1, 84, 1, 84)
    assert w.ha_agent.call(traffic_beside_a_silent_one) == [1, 0]
    w.ha_agent.call(use_no_batches)
    assert w.ha_agent.call(traffic_beside_a_silent_one) == [1, 0]
    assert HOME in w.ha.sh("ip neigh")
    w.ha_agent.call(remove_with_others)
    assert w.ha_agent.call(counters) == (0, 0, 0, 0)
    assert HOME not in w.ha.sh("ip neigh")


async def traffic_beside_a_silent_one() -> list[int]:
    await driver().install(ha_tunnel(home_address="10.1.1.11"))
    counted = driver().traffic()
    return [counted[home].received_packets for home in (HOME, "10.1.1.11")]


async def remove_with_others() -> None:
    """Remove more than are forgotten in one go, some of which are not there."""
    others = [f"10.200.{n // 250}.{n % 250}" for n in range(600)]
    tunnels = [ha_tunnel(home_address=home) for home in others[:500]]
    assert not any(await driver().install_many(tunnels))
    await driver().remove_many([*others[:300], HOME, *others[300:], "10.1.1.11"])
    assert not driver().tunnels()
    assert driver().undo_failures == []


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
    assert ha.call(come_and_go) == 0
    before = ha.call(calls)
    ha.call(remove)
    assert ha.call(calls) == before
    assert mn.call(install, mn_tunnel()) == 8  # two addresses and routes, four rules
    assert mn.call(install, mn_tunnel()) == 0
    assert mn.call(install, mn_tunnel(WLAN0, "wlan0")) == 0


async def come_and_go() -> int:
    """Return the netlink calls for many at once."""
    before = driver().netlink_calls
    homes = [f"10.200.0.{number}" for number in range(100)]
    for care_of in (ETH0, WLAN0):
        tunnels = [ha_tunnel(care_of, home_address=home) for home in homes]
        assert not any(await driver().install_many(tunnels))
    await driver().remove_many(homes)
    return int(driver().netlink_calls - before)


@isolated
def test_more_sizes_than_marks_share_the_smaller() -> None:
    w = World(driver="ebpf")
    marks = w.start_ha().call(marks_of, [*range(600, 1300, 10), 1300, 500])
    assert len(set(marks)) == MAX_SIZES
    assert marks[70] == marks[MAX_SIZES - 1]
    assert marks[71] == marks[0]


async def marks_of(sizes: list[int]) -> list[int]:
    return [await driver()._make_way(size) for size in sizes]


def calls() -> int:
    return driver().netlink_calls
