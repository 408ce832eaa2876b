# SPDX-License-Identifier: GPL-2.0-only
"""When a mobile node asks who is there."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mip_agents.protocol.discovery import Solicitation, parse_discovery
from mip_agents.protocol.effects import Finished, InstallTunnel, SendDiscovery
from mip_agents.protocol.events import DeregisterRequested, TimerFired
from mip_agents.protocol.policy import CareOf
from mip_agents.protocol.solicit import MAX_INTERVAL_S, Solicitations
from support.agents import HOME, ON_A, counting_bytes
from support.scenario import Scenario, Timer, Wait, instant, like, noted, scenario
from support.visiting import ALL_DOWN, BARE_A, BARE_BOTH, F, advertises, link, visitor


def moments(schedule: Solicitations, until: float) -> list[float]:
    """Return when one interface is solicited."""
    found = []
    while (due := schedule.next_timer()) is not None and due < until:
        found += [due] * len(schedule.take(due))
    return found


def solicits(interface: str = "eth0") -> object:
    return like(SendDiscovery, interface=interface)


def searching(**policy: object) -> Scenario:
    return scenario(visitor(**policy)) >> BARE_A


def test_a_solicitation_is_what_the_rfc_says():
    """MN-01: to agents alone, from the home address, so that they can answer it."""
    running = searching() >> Timer() << noted("agent_solicited", interface="eth0")
    [sent] = running.effects
    assert isinstance(parse_discovery(sent.data), Solicitation)
    expected = like(
        SendDiscovery,
        source=HOME,
        destination="224.0.0.11",
        interface="eth0",
        link_address=None,
    )
    assert running << expected


def test_three_quick_ones_then_longer_and_longer_waits():
    """MN-03."""
    schedule = Solicitations(counting_bytes())
    schedule.search(["eth0"], 10.0)
    found = moments(schedule, 10_000)
    assert 10 <= found[0] <= 11
    gaps = [b - a for a, b in itertools.pairwise(found)]
    nominal = [1, 1, 2, 4, 8, 16, 32, 64, 64, 64]
    for gap, wanted in zip(gaps, nominal, strict=False):
        assert wanted <= gap <= 1.25 * wanted
    assert max(gaps) >= MAX_INTERVAL_S >= 60
    assert len({round(gap / max(1, gap // 1), 6) for gap in gaps[:3]}) > 1


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_a_link_that_comes_and_goes_is_not_asked_more_than_once_a_second(steps):
    """MN-03, MN-04."""
    schedule = Solicitations(counting_bytes())
    now, found = 0.0, []
    for gap, moved in steps:
        schedule.search(["eth0"], now)
        found += moments(schedule, now + gap)
        now += gap
        if moved:
            schedule.moved("eth0")
    assert all(b - a >= 0.999 for a, b in itertools.pairwise(found))


def test_no_search_is_hurried_by_what_is_no_move():
    """MN-04: only a move, or an agent that was found and lost, begins anew."""
    running = searching()
    for _ in range(6):
        running = running >> Timer() << solicits()
    due = running.engine.next_timer()
    running >> link(home0=None, eth0="", wlan0=None, usb0="") >> Wait(due - 1) >> BARE_A
    assert running.engine.next_timer() == due
    running >> Timer() << solicits() >> ALL_DOWN >> BARE_A
    assert running.engine.next_timer() <= running.time + 1.25
    assert running


def test_who_hears_an_agent_does_not_ask():
    """MN-02, MN-04: and asks quickly when it is lost."""
    running = searching() >> Timer() << solicits() >> advertises(lifetime=30)
    running << like(InstallTunnel)
    asked = running.time
    while running.time < asked + 29:
        running = running >> Timer()
        assert not any(isinstance(e, SendDiscovery) for e in running.effects)
        running.effects = []
    running = running >> Wait(asked + 30) >> TimerFired()
    assert running.engine.next_timer() <= running.time + 1
    running.effects = []
    assert running >> Timer() << solicits()


def test_who_has_an_address_does_not_ask():
    """MN-02."""
    running = scenario(visitor()) >> ON_A << like(InstallTunnel)
    due = running.engine.next_timer()
    assert due is not None
    assert due > running.time + 5
    assert running


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        ({"care_of": CareOf.CO_LOCATED}, False),
        ({"care_of": CareOf.FOREIGN_AGENT}, True),
        ({"care_of": CareOf.AUTO}, False),
    ],
)
def test_an_address_is_of_no_use_to_who_wants_an_agents(policy, asks):
    """MN-02."""
    running = scenario(visitor(roam=False, **policy)) >> ON_A
    assert (running.engine.next_timer() is not None) is asks
    if asks:
        running >> Timer() << solicits()
    assert running


def test_an_interface_without_an_agent_is_searched_until_it_is_down():
    running = searching() >> BARE_BOTH
    while running.engine.next_timer() <= 2.0:
        running = running >> Timer()
        running.effects = []
    running >> ALL_DOWN
    assert running.engine.next_timer() is None
    assert running


def test_a_node_that_was_told_to_deregister_does_not_ask():
    running = searching() >> DeregisterRequested(7) << like(Finished, token=7)
    assert running.engine.next_timer() is None
    assert running


def test_a_busy_agent_is_an_agent():
    """MN-02: there are advertisements; AG-15."""
    running = searching() >> advertises(flags=F | F.B, lifetime=9000)
    assert running.engine.next_timer() == pytest.approx(9001)
    engine = running.engine
    assert engine.handle(TimerFired(), instant(5000.0)) == []
    assert running
