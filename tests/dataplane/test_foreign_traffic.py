# SPDX-License-Identifier: GPL-2.0-only
"""Packets of all sizes between a correspondent and a visitor of a foreign agent."""

import pytest

from dataplane.foreign import (
    ForeignWorld,
    counted,
    drop_counts,
)
from dataplane.traffic import tcp_both_ways, udp_both_ways
from dataplane.world import (
    CORRESPONDENT,
    FORMS,
    HOME,
    PORTS,
    counters,
    have_tun,
)
from support.netns import isolated

SIZES = [0, 1, 1448, 1472, 1473, 9000, 60000]
ROOM = {"ipip": 20, "gre": 24, "gre-key": 28, "minimal": 20}

every_port = pytest.mark.parametrize("port", PORTS)
every_form = pytest.mark.parametrize("form", list(ROOM))
every_way = pytest.mark.parametrize("reverse", [True, False], ids=["reverse", "direct"])


def world(port: str = "auto") -> ForeignWorld:
    if port == "tun" and not have_tun():
        pytest.skip("no /dev/net/tun for this user")
    return ForeignWorld(port)


@every_port
@every_form
@every_way
@isolated
def test_all_sizes_both_ways(port: str, form: str, reverse: bool) -> None:
    """FA-29, FA-31, FA-34, RT-01, RT-08: pings, UDP in fragments, full TCP."""
    w = world(port)
    w.visit(form=FORMS[form], reverse=reverse)
    w.plain_host()
    for size in (0, 56, 1424, 1448, 1452, 1472, 1473, 20000, 65000):
        w.cn.sh(f"ping -c1 -W3 -M dont -s {size} {HOME}")
        w.mn.sh(f"ping -c1 -W3 -M dont -s {size} {CORRESPONDENT}")
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    sent, _, received, _ = w.agents["fa"].call(counted)
    assert received > 100
    assert (sent > 100) is reverse
    assert (w.agents["ha"].call(counters)[2] > 100) is reverse
    assert not w.agents["fa"].call(drop_counts)
    assert not w.agents["ha"].call(drop_counts)
