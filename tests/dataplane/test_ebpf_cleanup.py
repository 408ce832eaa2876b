# SPDX-License-Identifier: GPL-2.0-only
"""The `ebpf` driver leaves no program, filter, qdisc or map behind."""

import ctypes
import os
import tempfile
from pathlib import Path

import pytest

from dataplane.world import (
    HOME,
    WLAN0,
    World,
    close,
    differences,
    driver,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
    state,
)
from mip_agents.dataplane import bpf
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.port import set_gro
from scapy_mip.const import Encapsulation
from support.netns import isolated

FOREIGN = "tc qdisc add dev {0} clsact; tc filter add dev {0} ingress prio 9 bpf bytecode '1,6 0 0 0,'"  # noqa: E501
BPF_MAP_GET_FD_BY_ID = 14


def map_ids() -> set[int]:
    """Return the numbers of the maps that this process holds."""
    found = set()
    for entry in os.scandir("/proc/self/fdinfo"):
        try:
            lines = Path(entry.path).read_text().splitlines()
        except FileNotFoundError:  # that of the folder itself
            continue
        found |= {int(line.split()[1]) for line in lines if line.startswith("map_id")}
    return found


def there_is(number: int) -> bool:
    """Tell whether the kernel still has a map."""
    buffer = (ctypes.c_uint32 * 3)(number)
    descriptor = bpf._syscall(
        bpf._number, BPF_MAP_GET_FD_BY_ID, ctypes.addressof(buffer), 12
    )
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


def wait_until_gone(w: World, numbers: set[int]) -> None:
    """Programs, and the maps that they hold, are freed a moment after their filter."""
    for _ in range(100):
        if not any(map(there_is, numbers)):
            return
        w.cn.sh("sleep 0.02")
    pytest.fail(f"maps {numbers} are still there")


def world() -> World:
    w = World(driver="ebpf")
    # Values that are not the defaults, so that restoring them shows.
    w.ha.sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    w.ha.call(set_gro, "home0", True)
    return w


def same(w: World, before: tuple[dict[str, str], dict[str, str]]) -> None:
    assert not differences(before[0], state(w.ha))
    assert not differences(before[1], state(w.mn))


@pytest.mark.parametrize("form", list(Encapsulation), ids=lambda form: form.title)
@isolated
def test_close_leaves_nothing(form: Encapsulation) -> None:
    w = world()
    before = state(w.ha), state(w.mn)
    w.start(form, True)
    w.ha_agent.call(install, ha_tunnel(home_address="10.1.1.11"))
    w.ha.sh(f"ping -c1 -W3 {HOME}")  # this host has a neighbour by our answer
    maps = w.ha_agent.call(map_ids) | w.mn_agent.call(map_ids)
    assert len(maps) == 12
    assert all(map(there_is, maps))
    filters = w.ha.sh(
        "tc filter show dev home0 ingress; tc filter show dev home0 egress"
    )
    assert "mip_ha_link_in" in filters
    assert "mip_ha_link_out" in filters
    for agent in (w.ha_agent, w.mn_agent):
        agent.call(close)
        agent.call(close)
        assert agent.call(map_ids) == set()
    same(w, before)
    assert HOME not in w.ha.sh("ip neigh")
    wait_until_gone(w, maps)


@isolated
def test_successor_of_a_killed_process_cleans_up() -> None:
    w = world()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "ha.state"), Path(folder, "mn.state")
        before = state(w.ha), state(w.mn)
        w.start_ha(state_file=files[0]).call(install, ha_tunnel())
        w.start_mn(state_file=files[1]).call(install, mn_tunnel())
        w.ha.sh(f"ping -c1 -W3 {HOME}")
        maps = w.ha_agent.call(map_ids) | w.mn_agent.call(map_ids)
        w.ha_agent.kill()
        w.mn_agent.kill()
        # Until then, packets go on as they did.
        w.cn.sh(f"ping -c1 -W3 {HOME}")
        w.start_ha(state_file=files[0])
        assert HOME not in w.ha.sh("ip neigh")
        maps |= w.ha_agent.call(map_ids)
        w.ha_agent.call(close)
        w.start_mn(state_file=files[1]).call(close)
        same(w, before)
        assert not any(file.exists() for file in files)
        wait_until_gone(w, maps)


@isolated
def test_remove_undoes_install() -> None:
    w = world()
    w.start_ha()
    w.start_mn()
    before = state(w.mn)
    # A route and a rule for the size of its packets stay for the next one.
    w.ha_agent.call(install, ha_tunnel())
    w.ha_agent.call(remove)
    first = state(w.ha)
    w.ha_agent.call(install, ha_tunnel())
    w.mn_agent.call(install, mn_tunnel())
    w.ha.sh(f"ping -c1 -W3 {HOME}")
    w.ha_agent.call(remove)
    w.mn_agent.call(remove)
    same(w, (first, before))
    assert HOME not in w.ha.sh("ip neigh")
    assert w.ha_agent.call(driver_counts) == 0
    w.ha_agent.call(remove, "10.1.1.77")


def driver_counts() -> int:
    return driver().counters(HOME).sent_packets


@isolated
def test_filters_of_others_stay() -> None:
    w = world()
    w.ha.sh(FOREIGN.format("home0"))
    before = state(w.ha)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "ha.state")
        w.start_ha(state_file=file).call(close)
        assert not differences(before, state(w.ha))
        w.start_ha(state_file=file)
        w.ha_agent.kill()
        w.start_ha(state_file=file).call(close)
        assert not differences(before, state(w.ha))


@isolated
def test_a_filter_added_meanwhile_stays() -> None:
    w = world()
    w.start_ha()
    w.ha.sh(FOREIGN.format("home0").split(";")[1])
    w.ha_agent.call(close)
    assert "bytecode" in w.ha.sh("tc filter show dev home0 ingress")
    assert "mip_" not in w.ha.sh("tc filter show dev home0 ingress")


@isolated
def test_a_place_that_is_taken_says_so() -> None:
    w = world()
    w.ha.sh(FOREIGN.format("home0").replace("prio 9", "prio 434 protocol all handle 1"))
    before = state(w.ha)
    with pytest.raises(DataplaneError, match="preference 434"):
        w.start_ha()
    assert not differences(before, state(w.ha))


@isolated
def test_interfaces_that_appear_later_are_used_too() -> None:
    w = world()
    w.start(Encapsulation.IPIP, True)
    w.mn.sh(f"ip link add new0 netns {w.mn.pid} type veth peer name to_new")
    w.mn.sh(f"ip link set to_new netns {w.rt.pid}")
    w.rt.sh("ip addr add 10.1.4.1/24 dev to_new; ip link set to_new up")
    w.mn.sh("ip addr add 10.1.4.5/24 dev new0; ip link set new0 up")
    w.mn.sh("ip route add default via 10.1.4.1 dev new0 metric 300")
    for _ in range(100):
        if "mip_mn_link_in" in w.mn.sh("tc filter show dev new0 ingress"):
            break
        w.mn.sh("sleep 0.02")
    assert "mip_mn_link_in" in w.mn.sh("tc filter show dev new0 ingress")
    w.ha_agent.call(install, ha_tunnel("10.1.4.5"))
    w.mn_agent.call(install, mn_tunnel("10.1.4.5", "new0"))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.mn.sh("ip link del new0")
    w.ha_agent.call(install, ha_tunnel(WLAN0))
    w.mn_agent.call(install, mn_tunnel(WLAN0, "wlan0"))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.mn_agent.call(close)
    assert "mip_" not in w.mn.sh("tc filter show dev wlan0 ingress")
