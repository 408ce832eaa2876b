# SPDX-License-Identifier: GPL-2.0-only
"""Both engines together, and each with anything that a network can throw at it."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mip_agents.protocol.attempts import STATES, State
from mip_agents.protocol.effects import InstallTunnel, Journal, Send
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    JournalFailed,
    JournalWritten,
    RegisterRequested,
    Restored,
    TimerFired,
    TunnelFailed,
    TunnelReady,
)
from mip_agents.protocol.view import Request, parse
from support import scenario as language
from support.agents import (
    AT_HOME,
    HA,
    HOME,
    KEY,
    NOWHERE,
    ON_A,
    ON_B,
    ON_BOTH,
    A,
    answers,
    asks,
    home_agent,
    interfaces,
    mobile_node,
    received,
)
from support.link import LocalLink
from support.scenario import Scenario, instant, like, scenario, sends

PLACES = [AT_HOME, ON_A, ON_B, ON_BOTH, NOWHERE]


def test_the_round_trip_home_a_b_home():
    """The main job: each place is settled within a second."""
    link = LocalLink(1)
    for moment, place, state in [
        (10, AT_HOME, "at-home"),
        (20, ON_A, "registered"),
        (30, ON_B, "registered"),
        (1000, AT_HOME, "at-home"),
    ]:
        link.run(moment)
        link.feed(link.mn, place)
        link.run(moment + 1)
        assert link.settled()["state"] == state
    assert [a.interface for a in link.announced if a.address == HOME].count(None) == 1
    link.run(2000)
    assert link.ha.engine.next_timer() is None or link.settled()


def test_a_registration_lives_on_by_its_refreshes():
    """MN-33: for a day."""
    link = LocalLink(2, loss=0.2)
    link.feed(link.mn, ON_A)
    link.run(86400)
    assert link.settled()["state"] == "registered"
    assert "registration_expired" not in {note.event for note in link.notes}
    assert "binding_expired" not in {note.event for note in link.notes}


def test_registrations_go_on_across_the_era_change(monkeypatch):
    """HA-30, MN-25 in 2036, with a crash on either side of it."""
    monkeypatch.setattr(language, "EPOCH", ((1 << 32) - 1000) << 32)
    link = LocalLink(5, loss=0.1)
    link.feed(link.mn, ON_A)
    for moment in (990, 1010):
        link.run(moment)
        link.crash()
    link.run(3000)
    assert link.settled()["state"] == "registered"
    assert link.store.identifications[HOME] < 3000 << 32
    noted = {note.event for note in link.notes}
    assert not noted & {"registration_expired", "binding_expired"}
    assert "identification_mismatch" not in noted


@pytest.mark.parametrize("offset", [-3600, -20, -5, 5, 20, 3600])
def test_clocks_that_differ_are_brought_together(offset):
    """MN-35, HA-31."""
    link = LocalLink(3, clock_offset_s=offset)
    link.feed(link.mn, ON_A)
    link.run(2)
    status = link.settled()
    assert status["state"] == "registered"
    if abs(offset) > 7:
        assert abs(status["clock_offset"] + offset) <= 1


def test_a_crash_loses_no_binding():
    link = LocalLink(4)
    link.feed(link.mn, ON_A)
    link.run(5)
    link.crash()
    link.run(6)
    assert link.settled()["state"] == "registered"
    link.run(400)
    link.crash()
    link.run(1000)
    assert link.settled()["state"] == "registered"


def test_after_days_without_a_home_agent_all_is_well_soon():
    """MN-38: back-off has a maximum."""
    link = LocalLink(5)
    link.loss = 1e9
    link.feed(link.mn, ON_A)
    link.run(200_000)
    link.loss = 0
    link.run(200_040)
    assert link.settled()["state"] == "registered"


def test_requests_keep_their_rate_under_loss():
    """MN-15, MN-38."""
    link = LocalLink(6, loss=5.0)
    for step in range(200):
        link.feed(link.mn, link.random.choice(PLACES))
        link.run(step * 2.0)
    times = [moment for moment, _ in link.requests]
    for first, last in itertools.combinations(range(len(times)), 2):
        assert last - first <= times[last] - times[first] + 2


_MOVES = st.lists(
    st.tuples(
        st.floats(0.01, 40),
        st.sampled_from(
            [*PLACES, "crash", "register", "deregister", "cancel", "clear"]
        ),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    _MOVES,
    st.sampled_from([0.0, 0.3, 1.5]),
    st.sampled_from([0.05, 3.0]),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([-3600, 0, 3]),
)
def test_whatever_happens_the_two_agree_in_the_end(
    seed, moves, loss, delay, failures, offset
):
    """HA-22, HA-23, HA-30: loss, repetition, reordering, crashes, full disks."""
    link = LocalLink(
        seed,
        loss=loss,
        delay=delay,
        failures=failures,
        clock_offset_s=offset,
        mn_policy={"lifetime": 60},
    )
    asked, cleared = {1000}, set()
    for token, (gap, move) in enumerate(moves):
        link.run(link.time + gap)
        if move in ("register", "deregister", "cancel", "clear"):
            asked.add(token)
        if move == "crash":
            # Who has asked the agent that is killed gets no answer.
            asked -= cleared - {finished.token for finished in link.finished}
            link.crash()
        elif move == "register":
            link.feed(link.mn, RegisterRequested(token=token, interface="eth0"))
        elif move == "deregister":
            link.feed(link.mn, DeregisterRequested(token))
        elif move == "cancel":
            link.feed(link.mn, CancelRequested(token))
        elif move == "clear":
            cleared.add(token)
            link.feed(link.ha, ClearRequested(token, HOME))
        else:
            link.feed(link.mn, move)
    link.loss = link.failures = 0.0
    link.delay = 0.05
    # Long enough for the longest wait after denials with a full disk.
    link.run(link.time + 700)
    link.feed(link.mn, ON_A)
    link.feed(link.mn, RegisterRequested(token=1000, interface="eth0"))
    link.run(link.time + 130)
    assert link.settled()["state"] == "registered"
    assert sorted(finished.token for finished in link.finished) == sorted(asked)


# Every state with every event


def _registering() -> Scenario:
    running = scenario(mobile_node()) >> ON_A << like(InstallTunnel)
    from support.scenario import TUNNEL_READY

    return running >> TUNNEL_READY << sends()


def _registered() -> Scenario:
    from support.scenario import TUNNEL_READY

    running = _registering() >> answers() << like(InstallTunnel)
    return running >> TUNNEL_READY


def _refreshing() -> Scenario:
    from support.scenario import Timer

    return _registered() >> Timer() << sends()


def _returning() -> Scenario:
    running = scenario(mobile_node()) >> AT_HOME
    running.effects = []
    return running


def _at_home() -> Scenario:
    running = _returning() >> answers()
    running.effects = []
    return running


def _deregistering() -> Scenario:
    return _registered() >> DeregisterRequested(50) << sends()


REACHED = {
    State.DETACHED: lambda: scenario(mobile_node()) >> NOWHERE,
    State.AT_HOME: _at_home,
    State.PREPARING: lambda: scenario(mobile_node()) >> ON_A << like(InstallTunnel),
    State.REGISTERING: _registering,
    State.REGISTERED: _registered,
    State.REFRESHING: _refreshing,
    State.RETURNING: _returning,
    State.DEREGISTERING: _deregistering,
}

EVENTS = [
    *PLACES,
    interfaces(),
    interfaces(home0="10.1.1.10/24", eth0="10.1.2.50/24", wlan0="10.1.3.50/24"),
    interfaces(eth0="10.1.2.51/24"),
    TimerFired(),
    *[kind(token) for kind in (TunnelReady, JournalWritten) for token in range(4)],
    *[kind(n, "x") for kind in (TunnelFailed, JournalFailed) for n in range(4)],
    Restored((), ()),
    *[
        RegisterRequested(token=60, interface=name, lifetime=lifetime)
        for name in ("home0", "eth0", "wlan0", "none")
        for lifetime in (None, 0, 1, 65535)
    ],
    DeregisterRequested(61),
    CancelRequested(62),
    ClearRequested(63, HOME),
    received(b""),
    *[answers(code) for code in (0, 1, 69, 128, 130, 131, 133, 136, 194, 255)],
    answers(133, high=1),
    answers(136, home_agent="10.1.1.21"),
    answers(0, lifetime=0),
]


def test_every_state_is_walked():
    assert set(REACHED) == set(State) == set(STATES.table)
    for state, reach in REACHED.items():
        running = reach()
        assert running.engine.state is state
        assert running


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.name)
def test_every_pair_of_events_is_handled_in_every_state(state):
    """Handled or ignored on purpose, never raised; the timer always gets on."""
    running = REACHED[state]()
    assert running
    start = running.engine
    for first, second in itertools.product(EVENTS, repeat=2):
        engine = copy.deepcopy(start)
        for step, event in enumerate((first, second)):
            now = instant(running.time + step)
            made = event(running) if callable(event) and running.sent else event
            if callable(made):
                continue
            engine.handle(made, now)
            engine.status(now)
        for _ in range(3):
            due = engine.next_timer()
            if due is not None:
                engine.handle(TimerFired(), instant(max(due, running.time)))


# Anything from the network


@given(st.binary(max_size=300))
def test_noise_gets_no_answer(data):
    for engine in (home_agent(), mobile_node()):
        effects = engine.handle(received(data), instant(1.0))
        assert not [e for e in effects if isinstance(e, Send)]


@given(st.integers(0, 46), st.binary(max_size=80))
def test_a_valid_prefix_with_any_tail_changes_nothing(cut, tail):
    """HA-06, HA-07: never an exception, never a binding."""
    engine = home_agent()
    running = scenario(engine)
    whole = asks()(running).data
    data = whole[:cut] + tail
    running >> received(data)
    running.effects = [e for e in running.effects if not isinstance(e, Send)]
    if not data.startswith(whole):
        assert running.effects == []
        assert engine.status(running.now)["pending"] == 0
    running.effects = []
    assert running


@given(st.integers(0, 45), st.integers(1, 255))
def test_no_bit_of_a_request_can_be_changed(place, change):
    """HA-07."""
    running = scenario(home_agent())
    data = bytearray(asks()(running).data)
    data[place] ^= change
    running >> received(bytes(data))
    assert not [e for e in running.effects if isinstance(e, Journal | InstallTunnel)]
    running.effects = []
    assert running


@given(st.integers(0, 41), st.integers(1, 255))
def test_no_bit_of_a_reply_can_be_changed(place, change):
    """MN-31."""
    running = _registering()
    data = bytearray(answers()(running).data)
    data[place] ^= change
    before = running.engine.status(running.now)
    running >> received(bytes(data), HA)
    assert running.engine.status(running.now) == before
    assert running


@given(st.integers(0, 42), st.binary(max_size=80))
def test_a_valid_prefix_of_a_reply_with_any_tail_changes_nothing(cut, tail):
    running = _registering()
    whole = answers()(running).data
    data = whole[:cut] + tail
    before = running.engine.status(running.now)
    running >> received(data, HA)
    if not data.startswith(whole):
        assert running.engine.status(running.now) == before
    running.effects = []
    assert running


def test_the_registered_request_is_what_the_home_agent_understands():
    running = _registering()
    assert running
    view = parse(running.sent[0].data)
    assert isinstance(view, Request)
    assert (view.care_of_address, view.home_agent) == (A, HA)
    assert view.authentications[0].spi == KEY.spi
