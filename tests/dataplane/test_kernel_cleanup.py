# SPDX-License-Identifier: GPL-2.0-only
"""Nothing of the kernel driver stays behind, and nothing of others goes."""

import ctypes
import errno
import struct
import tempfile
from pathlib import Path

import pytest

from dataplane.world import (
    World,
    close,
    differences,
    ha_tunnel,
    install,
    mn_tunnel,
    remove,
    state,
    with_devices,
)
from mip_agents.dataplane.api import DataplaneError

_NEXT_PROGRAM, _NEXT_MAP = 11, 12
_BPF = 321  # x86-64


def bpf_objects() -> tuple[int, int]:
    """Count all eBPF programs and maps that this kernel holds."""
    libc = ctypes.CDLL(None, use_errno=True)

    def count(command: int) -> int:
        found, last = 0, 0
        while True:
            attributes = ctypes.create_string_buffer(struct.pack("=III", last, 0, 0))
            if libc.syscall(_BPF, command, attributes, 12) != 0:
                assert ctypes.get_errno() == errno.ENOENT
                return found
            last = struct.unpack_from("=II", attributes)[1]
            found += 1

    return count(_NEXT_PROGRAM), count(_NEXT_MAP)


def foreign(w: World) -> None:
    """Set up what an administrator may have: a tunnel, a filter, routes and rules."""
    w.ha.sh(
        "ip link add other type ipip local 10.1.1.20 remote 10.9.9.9;"
        "ip link set other up;"
        "ip route add 10.77.0.0/16 dev other metric 434;"
        "ip route add 10.1.1.10/32 dev other metric 4000000000;"
        "ip rule add from 10.77.0.0/16 table 434 priority 4340;"
        "ip neigh add proxy 10.1.1.77 dev home0;"
        "tc qdisc add dev other clsact"
    )
    w.mn.sh("ip link add other type gre local 10.1.2.5 remote 10.9.9.9 key 5")


@with_devices
def test_close_leaves_nothing() -> None:
    w = World(driver="kernel")
    foreign(w)
    objects = bpf_objects()
    before = state(w.ha), state(w.mn)
    w.start_ha().call(install, ha_tunnel())
    w.ha_agent.call(install, ha_tunnel(home_address="10.1.1.11"))
    w.start_mn().call(install, mn_tunnel())
    assert bpf_objects() == (objects[0] + 2, objects[1] + 3)
    during = state(w.ha), state(w.mn)
    assert all(
        a[key] != b[key]
        for a, b in zip(before, during, strict=True)
        for key in ("ip link show", "ip route show table all")
    )
    w.ha_agent.call(remove)
    w.ha_agent.call(install, ha_tunnel())
    for agent in (w.ha_agent, w.mn_agent):
        agent.call(close)
        agent.call(close)
    assert not differences(before[0], state(w.ha))
    assert not differences(before[1], state(w.mn))
    assert bpf_objects() == objects


@with_devices
def test_successor_of_a_killed_process_cleans_up() -> None:
    w = World(driver="kernel")
    foreign(w)
    w.ha.sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    objects = bpf_objects()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "ha.state"), Path(folder, "mn.state")
        before = state(w.ha), state(w.mn)
        w.start_ha(state_file=files[0]).call(install, ha_tunnel())
        w.start_mn(state_file=files[1]).call(install, mn_tunnel(reverse=False))
        w.ha_agent.kill()
        w.mn_agent.kill()
        assert files[0].exists()
        assert state(w.ha) != before[0]
        assert state(w.mn) != before[1]
        # Whatever driver comes next, here one that makes no devices.
        w.port = "veth"
        w.start_ha(state_file=files[0]).call(close)
        w.start_mn(state_file=files[1]).call(close)
        assert not differences(before[0], state(w.ha))
        assert not differences(before[1], state(w.mn))
        assert not files[0].exists()
    assert bpf_objects() == objects


@with_devices
def test_someone_elses_external_device_is_named_and_left() -> None:
    w = World(driver="kernel")
    w.ha.sh("ip link add theirs type ipip external")
    before = state(w.ha)
    with pytest.raises(DataplaneError, match="another ipip device"):
        w.start_ha()
    assert not differences(before, state(w.ha))
