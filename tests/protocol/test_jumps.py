# SPDX-License-Identifier: GPL-2.0-only
"""Suspended machines and clocks that are set: time that no timer has seen."""

from __future__ import annotations

import pytest

from mip_agents.protocol.attempts import State
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import InstallTunnel
from mip_agents.protocol.events import TimerFired
from mip_agents.protocol.jumps import JumpDetector
from support.agents import ON_A, A, answers, last_request, mobile_node
from support.scenario import TUNNEL_READY, Scenario, Wait, like, noted, scenario, sends
from support.visiting import BARE_A, advertises, visitor


def moment(mono: float, ntp: float) -> Instant:
    return Instant(mono, (1_000_000 << 32) + int(ntp * 2**32))


@pytest.mark.parametrize(
    ("mono", "ntp", "missed"),
    [
        (10, 10, 0),
        (10, 11.9, 0),
        (10, 70, 60),
        (0, 3600, 3600),
        (10, -3600, 0),
        (36000, 36015, 0),
        (36000, 36100, 100),
    ],
)
def test_time_is_missed_where_the_time_of_day_runs_ahead(mono, ntp, missed):
    """A clock may be corrected slowly, and set back."""
    detector = JumpDetector()
    assert detector.missed(moment(0, 0)) == 0
    assert detector.missed(moment(mono, ntp)) == pytest.approx(missed)
    assert detector.missed(moment(mono + 1, ntp + 1)) == 0


def test_across_the_era_change_nothing_is_missed():
    detector = JumpDetector()
    detector.missed(Instant(0.0, (1 << 64) - (5 << 32)))
    assert detector.missed(Instant(10.0, 5 << 32)) == 0


def registered() -> Scenario:
    running = scenario(mobile_node()) >> ON_A << like(InstallTunnel) >> TUNNEL_READY
    running << sends() >> answers() << like(InstallTunnel) >> TUNNEL_READY
    return running


def test_a_node_that_wakes_up_registers_at_once():
    """MN-33: lifetimes go on while a machine is suspended."""
    running = registered() >> Wait(30)
    running.clock_offset_s = 100
    running >> TimerFired() << noted("clock_jumped", seconds=100)
    running << sends(care_of_address=A, lifetime=600)
    assert running.engine.state is State.REFRESHING
    assert running.engine.status(running.now)["remaining"] == 471
    assert running >> answers()


def test_a_registration_that_ended_in_the_sleep_is_no_longer_believed():
    """MN-33."""
    running = registered() >> Wait(30)
    running.clock_offset_s = 3600
    running >> TimerFired() << noted("registration_expired") << sends()
    assert running.engine.state is State.REGISTERING
    assert running


def test_a_clock_that_is_set_back_does_not_set_back_identification():
    """MN-25."""
    running = registered() >> Wait(30)
    before = last_request(running).identification
    running.clock_offset_s = -3600
    running >> TimerFired() >> Wait(401) >> TimerFired() << sends()
    assert last_request(running).identification > before
    assert running


def test_an_agent_that_was_heard_before_the_sleep_is_not_taken_for_granted():
    """MN-10."""
    running = scenario(visitor()) >> BARE_A >> advertises() << like(InstallTunnel)
    running.time = 3.0
    running.clock_offset_s = 60
    running >> TimerFired()
    running.effects = []
    assert running.engine.status(running.now)["agents"] == []
    assert running.engine.state is State.DETACHED
    assert running
