# SPDX-License-Identifier: GPL-2.0-only
"""Broadcasts and groups of the home network, with both agents as programs run them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from dataplane.test_broadcasts import (
    GROUP,
    LIMITED,
    SUBNET,
    heard,
    listen,
    send,
    wait_for_group,
)
from dataplane.world import CORRESPONDENT, ETH0, HOME, HOME_AGENT, World, combinations
from mip_agents import HomeAgent, MobileNode
from support.netns import isolated

CATEGORIES = ["limited", "multicast", "subnet"]
KEY = "1234567812345678"
_agents: dict[str, Any] = {}


def start_home_agent(**options: Any) -> dict[str, Any]:
    agent = _agents["ha"] = HomeAgent(
        address=HOME_AGENT, security={256: KEY}, **options
    )
    agent.start()
    return agent.status()


def register(**options: Any) -> dict[str, Any]:
    agent = _agents["mn"] = MobileNode(
        home_address=HOME,
        home_agent=HOME_AGENT,
        home_network="10.1.1.0/24",
        spi=256,
        key=KEY,
        interfaces={"eth0": ETH0},
        **options,
    )
    agent.register("eth0")
    return agent.status()


def bindings() -> list[dict[str, Any]]:
    return _agents["ha"].bindings()


def deregister() -> None:
    _agents["mn"].deregister()


def close() -> None:
    for agent in _agents.values():
        agent.close()


@pytest.mark.parametrize(
    ("driver", "encapsulation"), combinations(("tun", "ebpf"), ("ipip", "gre"))
)
@isolated
def test_a_node_away_hears_what_it_would_hear_at_home(
    driver: str, encapsulation: str
) -> None:
    """HA-40, HA-41, MN-21, MN-42: from the B flag to the program that listens."""
    w = World(driver=driver)
    options: dict[str, Any] = {"broadcasts": CATEGORIES, "dataplane": driver}
    status = w.ha.call(partial(start_home_agent, **options))
    assert status["broadcasts"] == CATEGORIES
    options |= {"broadcasts": True, "encapsulation": encapsulation}
    assert w.mn.call(partial(register, **options))["broadcasts"] is True
    assert "B" in w.ha.call(bindings)[0]["flags"]
    w.mn.call(listen, GROUP)
    wait_for_group(w.ha, "home0", GROUP)
    for size, destination in enumerate((LIMITED, SUBNET, GROUP), 1):
        w.rt.call(send, destination, [size], "to_ha")
        assert w.mn.call(heard, 1) == [(size, "10.1.1.1")]
    w.mn.call(deregister)
    wait_for_group(w.ha, "home0", GROUP, there=False)
    w.mn.call(close)
    w.ha.call(close)
    assert "mipha0" not in w.ha.sh("ip link show")
    assert SUBNET not in w.mn.sh("ip route show table local")


@pytest.mark.parametrize(
    ("configured", "asked"), [((), True), (("limited", "subnet"), False)]
)
@isolated
def test_it_takes_both_to_want_it(configured: tuple[str, ...], asked: bool) -> None:
    """HA-04, HA-40: B without configuration, and configuration without B."""
    w = World()
    w.ha.call(partial(start_home_agent, broadcasts=configured, dataplane="tun"))
    w.mn.call(partial(register, broadcasts=asked, dataplane="tun"))
    w.mn.call(listen)
    w.rt.call(send, LIMITED, [1], "to_ha")
    w.rt.call(send, SUBNET, [2], "to_ha")
    w.cn.call(send, HOME, [3])
    assert w.mn.call(heard, 1) == [(3, CORRESPONDENT)]
