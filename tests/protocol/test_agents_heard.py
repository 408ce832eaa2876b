# SPDX-License-Identifier: GPL-2.0-only
"""The list of agents that a mobile node hears: what enters it and what leaves it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mip_agents.protocol.agents_heard import MAX_AGENTS, AgentsHeard, News
from mip_agents.protocol.discovery import AgentAdvertisement, parse_discovery
from mip_agents.protocol.events import TimerFired
from scapy_mip.const import AgentFlag
from support.agents import HA, HOME
from support.scenario import instant
from support.visiting import (
    AGENT,
    BARE_BOTH,
    FAR_AGENT,
    MAC,
    OTHER_AGENT,
    F,
    advertises,
    visitor,
)


def hear(table: AgentsHeard, now: float, *args: str, **fields: object) -> News:
    event = advertises(*args, **fields)
    advertisement = parse_discovery(event.data)
    assert isinstance(advertisement, AgentAdvertisement)
    return table.hear(event, advertisement, now, AGENT)


def addresses(table: AgentsHeard, interface: str = "eth0") -> list[str]:
    return [agent.address for agent in table.foreign_agents(interface)]


def test_an_agent_is_known_by_where_its_advertisement_came_from():
    """MN-05, MN-07, MN-19."""
    table = AgentsHeard()
    hear(table, 1, care_of_addresses=["10.1.2.7", "10.1.2.1", "10.1.2.7"])
    [agent] = table.foreign_agents("eth0")
    assert (agent.address, agent.link_address) == (AGENT, MAC)
    assert agent.care_of_addresses == ("10.1.2.7", "10.1.2.1")
    assert table.foreign_agents("wlan0") == []


def test_an_agent_counts_for_the_lifetime_of_its_advertisement():
    """MN-10."""
    table = AgentsHeard()
    hear(table, 1, lifetime=9)
    hear(table, 4, lifetime=9)
    assert table.next_expiry() == 13
    assert not table.expire(12.9)
    assert table.expire(13)
    assert addresses(table) == []
    assert table.next_expiry() is None


def test_a_lifetime_of_zero_takes_leave():
    """AG-20: the last advertisement of an agent that stops."""
    table = AgentsHeard()
    hear(table, 1)
    assert hear(table, 2, lifetime=0) is News.LEFT
    assert hear(table, 3, lifetime=0) is News.NOTHING
    assert not table.hears_any("eth0")


@pytest.mark.parametrize(
    ("before", "after", "restarted"),
    [
        (700, 3, True),
        (200, 0, True),
        (255, 255, False),
        (7, 8, False),
        (0xFFFF, 256, False),
        (700, 300, False),
        (700, 255, True),
    ],
)
def test_a_sequence_number_near_zero_tells_of_a_restart(before, after, restarted):
    """MN-12: from 256 on it has rolled over."""
    table = AgentsHeard()
    assert hear(table, 1, sequence_number=before) is News.NEW
    news = hear(table, 2, sequence_number=after)
    assert news is (News.RESTARTED if restarted else News.NOTHING)


def prefixes(router: str, length: int) -> dict[str, object]:
    return {"router_addresses": [router], "prefix_lengths": [length]}


def test_another_prefix_makes_an_agent_doubtful_that_is_silent():
    """MN-11: half of its lifetime is enough then."""
    table = AgentsHeard()
    hear(table, 1, AGENT, **prefixes("10.1.2.1", 24))
    hear(table, 2, FAR_AGENT, **prefixes("10.1.3.1", 24))
    assert table.next_expiry() == 1 + 4.5
    table.expire(5.5)
    assert addresses(table) == [FAR_AGENT]


def test_where_links_overlap_no_agent_is_given_up():
    """MN-11: both are heard."""
    table = AgentsHeard()
    for now in range(1, 60, 3):
        table.expire(now)
        hear(table, now, AGENT, **prefixes("10.1.2.1", 24))
        hear(table, now + 1, FAR_AGENT, **prefixes("10.1.3.1", 24))
        assert addresses(table) == [AGENT, FAR_AGENT]


@pytest.mark.parametrize(
    "other", [{}, prefixes("10.1.2.2", 24), prefixes("10.1.3.1", 0)]
)
def test_prefixes_are_compared_only_where_both_tell_them(other):
    """MN-11."""
    table = AgentsHeard()
    hear(table, 1, AGENT, **prefixes("10.1.2.1", 24))
    hear(table, 2, OTHER_AGENT, **other)
    assert table.next_expiry() == 10


def test_only_usable_foreign_agents_are_offered():
    table = AgentsHeard()
    hear(table, 1, HA, flags=AgentFlag.H, care_of_addresses=[])
    hear(table, 1, AGENT, registration_lifetime=0)
    hear(table, 1, OTHER_AGENT, care_of_addresses=["224.0.0.1", "0.0.0.0"])
    hear(table, 1, "0.0.0.0", flags=F)
    hear(table, 1, "255.255.255.255", flags=F)
    assert addresses(table) == []
    assert table.hears_any("eth0")
    assert table.hears_home_agent("eth0", HA)
    assert not table.hears_home_agent("eth0", AGENT)
    assert not table.hears_home_agent("wlan0", HA)


def test_too_many_agents_push_out_the_silent_ones_but_not_the_one_in_use():
    table = AgentsHeard()
    hear(table, 1)
    first = ipaddress.IPv4Address("10.9.0.1")
    for number in range(200):
        hear(table, 2 + number / 100, str(first + number))
    kept = addresses(table)
    assert len(kept) == MAX_AGENTS
    assert AGENT in kept
    assert str(first + 199) in kept


def test_unseen_time_counts():
    table = AgentsHeard()
    hear(table, 1, lifetime=9)
    table.age(5)
    assert table.next_expiry() == 5


def test_status_uses_the_names_of_the_registry():
    table = AgentsHeard()
    hear(table, 1)
    assert table.status(3.5) == [
        {
            "interface": "eth0",
            "address": AGENT,
            "flags": "FT",
            "care_of_addresses": [AGENT],
            "registration_lifetime": 1800,
            "remaining": 6,
        }
    ]


unicast = st.integers(1 << 24, (1 << 32) - 1).map(
    lambda number: str(ipaddress.IPv4Address(number))
)
FLAGS = st.sampled_from(
    [F, AgentFlag.H, F | AgentFlag.B, F | AgentFlag.R | AgentFlag.T]
)
advertised = st.builds(
    advertises,
    unicast,
    st.sampled_from(["eth0", "wlan0", "none"]),
    lifetime=st.integers(0, 65535),
    flags=FLAGS,
    sequence_number=st.integers(0, 65535),
    registration_lifetime=st.integers(0, 65535),
    care_of_addresses=st.lists(unicast, min_size=1, max_size=3),
    router_addresses=st.lists(unicast, min_size=2, max_size=2),
    prefix_lengths=st.lists(st.integers(0, 32), min_size=2, max_size=2),
)
hostile = st.one_of(
    advertised,
    st.tuples(advertised, st.integers(0, 60), st.binary(max_size=40)).map(
        lambda made: replace(made[0], data=made[0].data[: made[1]] + made[2])
    ),
    st.binary(max_size=80).map(lambda data: replace(advertises(), data=data)),
)


@given(st.lists(st.tuples(hostile, st.floats(0, 30)), max_size=60))
def test_whatever_is_advertised_never_raises_and_fills_no_memory(events):
    """MN-05: a link may be full of liars."""
    engine = visitor()
    now = 1.0
    engine.handle(BARE_BOTH, instant(now))
    for event, gap in events:
        now += gap
        engine.handle(event, instant(now))
        for _ in range(20):
            due = engine.next_timer()
            if due is None or due > now:
                break
            engine.handle(TimerFired(), instant(now))
        else:
            pytest.fail("the timer fires and nothing happens")
        status = engine.status(instant(now))
        assert len(status["agents"]) <= 2 * MAX_AGENTS
        assert status["home_address"] == HOME


def test_changes_are_counted_where_the_choice_of_agents_changes_and_nowhere_else():
    table = AgentsHeard()
    counts = []
    for act in (
        lambda: hear(table, 1, lifetime=9, care_of_addresses=["10.1.2.7"]),
        lambda: hear(table, 2, lifetime=9, care_of_addresses=["10.1.2.7"]),
        lambda: table.expire(3),
        lambda: hear(table, 3, lifetime=9, care_of_addresses=["10.1.2.8"]),
        lambda: hear(table, 4, lifetime=0),
        lambda: hear(table, 5, lifetime=9),
        lambda: table.expire(14),
        lambda: hear(table, 15),
        lambda: table.forget("eth0"),
    ):
        before = table.changes
        act()
        counts.append(table.changes - before)
    assert counts == [1, 0, 0, 1, 1, 1, 1, 1, 1]
