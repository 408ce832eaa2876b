# SPDX-License-Identifier: GPL-2.0-only
"""The home address on a home link that nobody has configured (MN-13)."""

from __future__ import annotations

import pytest

from dataplane.world import (
    HOME,
    World,
    close,
    differences,
    install,
    mn_tunnel,
    remove,
    state,
)
from mip_agents.dataplane.api import DataplaneError
from support.netns import isolated


async def hold(*args: object) -> None:
    from dataplane.world import driver

    await driver().hold(*args)


def holders(w: World) -> list[str]:
    """Return the interfaces of the node that have the home address as at home."""
    lines = w.mn.sh("ip -o -4 address show").splitlines()
    return [line.split()[1] for line in lines if f" {HOME}/24 " in line]


@isolated
def test_the_address_is_on_one_link_at_a_time_and_on_none_in_the_end() -> None:
    """MN-13: with the route to the home network that comes with it."""
    w = World()
    before = state(w.mn)
    agent = w.start_mn()
    for name in ("wlan0", "eth0", "eth0"):
        agent.call(hold, f"{HOME}/24", name)
        assert holders(w) == [name]
        assert f"10.1.1.0/24 dev {name}" in w.mn.sh("ip route")
    agent.call(hold, f"{HOME}/24", None)
    assert holders(w) == []
    agent.call(hold, f"{HOME}/24", "wlan0")
    agent.call(close)
    assert not differences(before, state(w.mn))


@isolated
def test_the_address_outlives_the_tunnel_that_ends_at_home() -> None:
    """MN-13: the address comes first, then the tunnel goes."""
    w = World()
    agent = w.start_mn()
    agent.call(install, mn_tunnel())
    agent.call(hold, f"{HOME}/24", "wlan0")
    agent.call(remove)
    assert holders(w) == ["wlan0"]
    assert f"{HOME}/32" not in w.mn.sh("ip address")


@isolated
def test_a_successor_takes_the_address_away() -> None:
    w = World()
    before = state(w.mn)
    w.start_mn().call(hold, f"{HOME}/24", "wlan0")
    w.mn_agent.kill()
    assert holders(w) == ["wlan0"]
    w.start_mn().call(close)
    assert not differences(before, state(w.mn))


@isolated
def test_an_interface_that_is_gone_is_named() -> None:
    w = World()
    with pytest.raises(DataplaneError, match="no interface eth7"):
        w.start_mn().call(hold, f"{HOME}/24", "eth7")
