# SPDX-License-Identifier: GPL-2.0-only
"""A kernel with tunnels of its own says nothing about those of raw sockets."""

import pytest
from scapy.layers.inet import IP, fragment

from dataplane.test_spoofing import seen, watch
from dataplane.traffic import begin_capture, captured, send_packets
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    WLAN0,
    World,
    close,
    differences,
    drops,
    ha_tunnel,
    install,
    reverse_tunnelled,
    state,
    with_devices,
)

ICMP = 1
DEVICES = ("ipip", "gre", "gre-key")
"""Forms for which such a kernel has devices."""


@pytest.mark.parametrize("driver", ["tun", "ebpf"])
@with_devices
def test_nobody_is_told_that_a_tunnel_does_not_exist(driver: str) -> None:
    """Each packet comes out once, whole or in fragments, and causes no ICMP error."""
    w = World(driver=driver)
    before = state(w.ha)
    w.start_ha()
    w.cn.call(watch, CORRESPONDENT, 7100)
    capture = w.mn.call(begin_capture, ETH0, ICMP)
    for name in DEVICES:
        form = FORMS[name]
        w.ha_agent.call(install, ha_tunnel(form=form))
        packets = []
        for number in range(3):
            one = reverse_tunnelled(form, ETH0, HOME, f"{name} {number} " + 96 * "-")
            packets += [one, *map(bytes, fragment(IP(one), 64))]
        spoof = reverse_tunnelled(form, WLAN0, HOME, f"{name} spoof")
        # In fragments, too: what the kernel has to put together comes later.
        mark = f"{name} last " + 96 * "-"
        last = fragment(IP(reverse_tunnelled(form, ETH0, HOME, mark)), 64)
        w.mn.call(send_packets, [*packets, spoof, *map(bytes, last)])
        arrived = w.cn.call(seen, mark[:64])
    expected = [f"{name} {number}" for name in DEVICES for number in "001122"]
    expected += [f"{name} last" for name in DEVICES]
    assert sorted(mark.rstrip(" -") for mark in arrived) == sorted(expected)
    assert w.mn.call(captured, capture) == 0
    assert w.ha_agent.call(drops) == {"reverse_wrong_outer_source": len(DEVICES)}
    shown = w.ha.sh("ip -o link show")
    assert "mipha-sink-ipip@NONE: <NOARP,UP" in shown
    assert "mipha-sink-gre@NONE: <NOARP,UP" in shown
    w.ha_agent.call(close)
    assert not differences(before, state(w.ha))


@with_devices
def test_what_someone_else_has_for_such_packets_is_left_alone() -> None:
    """The fallback device, if it is up, and an external one of any name."""
    w = World(driver="tun")
    w.ha.sh("ip link set tunl0 up; ip link add theirs type gre external")
    before = state(w.ha)
    w.start_ha().call(install, ha_tunnel())
    assert "sink" not in w.ha.sh("ip -o link show")
    w.ha_agent.call(close)
    assert not differences(before, state(w.ha))
