# SPDX-License-Identifier: GPL-2.0-only
"""Which nodes get what is sent to many on the home network, and how."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import (
    AnnounceAddress,
    InstallTunnel,
    Journal,
    RemoveTunnel,
)
from mip_agents.protocol.tunnel import BROADCASTS, Category, Delivery
from support.agents import AT_HOME, FA, HOME, ON_A, A, B, asks, home_agent, mobile_node
from support.scenario import (
    JOURNAL_WRITTEN,
    TUNNEL_READY,
    Scenario,
    Wait,
    like,
    scenario,
    sends,
)

ALL = frozenset(Category)
GROUPS = frozenset({Category.MULTICAST})


def deliveries(running: Scenario) -> tuple[Delivery, ...]:
    (order,) = (o for o in running.orders if isinstance(o, InstallTunnel))
    return order.tunnel.deliveries


def registered(running: Scenario, request: asks) -> tuple[Delivery, ...]:
    running >> request << like(Journal)
    found = deliveries(running)
    running << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    return found


@pytest.mark.parametrize(
    ("flags", "configured", "nested", "categories"),
    [
        # With D the node takes a broadcast out of the tunnel itself.
        (0x60, BROADCASTS, False, BROADCASTS),
        # Without, its foreign agent could not tell for whom it is.
        (0x40, BROADCASTS, True, BROADCASTS),
        # Categories are configured.
        (0x60, {Category.SUBNET}, False, {Category.SUBNET}),
        (0x60, ALL, False, BROADCASTS),
        # Groups are joined through the reverse tunnel, with B or without (HA-41).
        (0x22, ALL, False, GROUPS),
        (0x02, ALL, True, GROUPS),
        (0x62, ALL, False, ALL),
    ],
)
def test_who_asks_gets_what_is_configured(flags, configured, nested, categories):
    """HA-40, HA-41: D=1 into the tunnel, D=0 wrapped for the home address before."""
    running = scenario(home_agent(broadcasts=frozenset(configured)))
    expected = Delivery(A, nested, frozenset(categories))
    assert registered(running, asks(flags=flags)) == (expected,)
    assert running << AnnounceAddress(HOME)


@pytest.mark.parametrize(
    ("flags", "configured"),
    [(0x20, BROADCASTS), (0x22, BROADCASTS), (0x20, ALL), (0x62, frozenset())],
)
def test_nobody_else_gets_anything(flags, configured):
    """HA-40: only with B; HA-04: where it is switched off B is ignored."""
    running = scenario(home_agent(broadcasts=configured))
    assert registered(running, asks(flags=flags)) == ()
    assert running << AnnounceAddress(HOME)


def test_each_of_several_bindings_is_served_in_its_own_way():
    """HA-40, HA-44."""
    running = scenario(home_agent(broadcasts=BROADCASTS))
    registered(running, asks(flags=0x60))
    running << AnnounceAddress(HOME) >> Wait(2)
    relayed = asks(flags=0xC0, care_of_address=FA, source=FA)
    both = (Delivery(A, False, BROADCASTS), Delivery(FA, True, BROADCASTS))
    assert registered(running, relayed) == both
    running >> Wait(3)
    assert registered(running, asks(flags=0xA0, care_of_address=B)) == both
    assert running


def test_a_refresh_that_takes_b_back_changes_the_tunnel():
    """HA-40."""
    running = scenario(home_agent(broadcasts=BROADCASTS))
    registered(running, asks(flags=0x60))
    running << AnnounceAddress(HOME) >> Wait(2)
    assert registered(running, asks(flags=0x20)) == ()
    assert running


def test_a_refresh_with_another_b_costs_nothing_where_it_means_nothing():
    """HA-04."""
    running = scenario(home_agent())
    registered(running, asks(flags=0x60))
    running << AnnounceAddress(HOME) >> Wait(2) >> asks(flags=0x20) << like(Journal)
    assert running >> JOURNAL_WRITTEN << sends(code=0)


@pytest.mark.parametrize(("broadcasts", "flags"), [(True, 0x62), (False, 0x22)])
def test_a_mobile_node_asks_only_if_it_is_told_to(broadcasts, flags):
    """MN-21: it decapsulates itself (D), so that it may always ask."""
    running = scenario(mobile_node(broadcasts=broadcasts)) >> ON_A
    running << like(InstallTunnel) >> TUNNEL_READY << sends(flags=flags)
    running = running >> AT_HOME << like(RemoveTunnel) >> TUNNEL_READY
    assert running << AnnounceAddress(HOME, "home0") << sends(flags=0)
