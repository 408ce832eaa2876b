# SPDX-License-Identifier: GPL-2.0-only
"""The parts of the engines one by one."""

from __future__ import annotations

import itertools
import random
import sys
import tracemalloc
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mip_agents.protocol.attempts import STATES, State, refresh_after
from mip_agents.protocol.backoff import Backoff, for_denials, for_replies
from mip_agents.protocol.bindings import NEVER, TICKS, Binding, BindingTable, expiry
from mip_agents.protocol.changes import Ledger
from mip_agents.protocol.effects import IdentificationRecord
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.freshness import ReplayGuard
from mip_agents.protocol.fsm import Machine, Transitions
from mip_agents.protocol.limits import RateLimiter, TokenBucket
from mip_agents.protocol.replay import Freshness, Timestamps, judge, resynchronisation
from scapy_mip.ident import difference
from support.agents import FA, HOME, A, B, counting_bytes, home_agent
from support.scenario import instant

NOW = instant(100.0).ntp


# Transition tables


def test_an_undeclared_transition_raises():
    machine = Machine(STATES)
    assert machine.state is State.DETACHED
    with pytest.raises(MipError, match="DETACHED -> REGISTERED"):
        machine.state = State.REGISTERED


def test_a_table_without_a_row_raises():
    rows = {state: {} for state in State if state is not State.AT_HOME}
    with pytest.raises(MipError, match="no transitions declared for AT_HOME"):
        Transitions(State.DETACHED, rows)


def test_a_table_can_be_drawn():
    drawn = STATES.to_dot("mobile_node")
    assert drawn.startswith("digraph mobile_node {")
    assert '"AT_HOME" -> "PREPARING" [label="left home"];' in drawn
    assert drawn.count("->") == sum(len(row) for row in STATES.table.values())


def test_every_state_can_be_reached_and_left():
    reached = {new for row in STATES.table.values() for new in row}
    assert reached == set(STATES.table)
    assert all(STATES.table.values())


# Timestamps


@pytest.mark.parametrize(
    ("identification", "last", "expected"),
    [
        (NOW, None, Freshness.FRESH),
        (NOW, NOW - 1, Freshness.FRESH),
        (NOW, NOW, Freshness.NOT_INCREASING),
        (NOW, NOW + 1, Freshness.NOT_INCREASING),
        (NOW + (7 << 32), None, Freshness.FRESH),
        (NOW + (7 << 32) + 1, None, Freshness.TOO_FAR),
        (NOW - (7 << 32) - 1, None, Freshness.TOO_FAR),
    ],
)
def test_freshness(identification, last, expected):
    """HA-30, to the last bit."""
    assert judge(identification, last, NOW, 7) is expected


def test_freshness_across_the_era_change():
    """HA-30 in 2036."""
    late = (1 << 64) - (2 << 32)
    assert judge(1 << 32, late, 1 << 32, 7) is Freshness.FRESH
    assert judge(late, None, 1 << 32, 7) is Freshness.FRESH


_NEAR = st.integers(-2, 2)
_APART = st.one_of(
    *[_NEAR.map(edge.__add__) for edge in (0, 7 << 32, -7 << 32, 1 << 63)],
    st.integers(-8 << 32, 8 << 32),
)


@given(
    st.integers(0, (1 << 64) - 1),
    _APART,
    st.none() | _APART,
    st.sampled_from([7, None]),
)
def test_freshness_is_a_matter_of_differences(clock, ahead, ahead_of_last, tolerance):
    """HA-30."""
    identification = (clock + ahead) % (1 << 64)
    last = None
    expected = Freshness.FRESH
    if ahead_of_last is not None:
        last = (identification - ahead_of_last) % (1 << 64)
        if difference(identification, last) <= 0:
            expected = Freshness.NOT_INCREASING
    if tolerance is not None and abs(difference(identification, clock)) > 7 << 32:
        expected = Freshness.TOO_FAR
    assert judge(identification, last, clock, tolerance) is expected


def test_resynchronisation_joins_our_time_and_their_low_half():
    """HA-29, HA-31."""
    found = resynchronisation(0x11111111_22222222, 0x33333333_44444444)
    assert found == 0x33333333_22222222


@given(st.lists(st.integers(-(10**12), 10**12), max_size=30), st.booleans())
def test_timestamps_always_increase(steps, coarse):
    """MN-25: even if the clock steps back."""
    source = Timestamps(counting_bytes(), coarse=coarse)
    clock, last = NOW, 0
    for step in steps:
        clock += step
        value = source.next(clock)
        assert value > last
        assert not coarse or value % 2048 == 0
        last = value


def test_timestamps_follow_the_clock_closely():
    """HA-30: a home agent that is in time accepts them."""
    value = Timestamps(random.Random(1).randbytes).next(NOW)
    assert abs(value - NOW) < 1 << 16


def test_the_low_bits_cannot_be_foreseen():
    """RFC 5944 section 5.7.1."""
    found = {Timestamps(random.Random(n).randbytes).next(NOW) for n in range(50)}
    assert len(found) > 45


def test_resynchronisation_takes_over_the_home_agents_clock():
    """MN-35, both ways."""
    for ahead in (-3600, 3600):
        source = Timestamps(counting_bytes())
        sent = source.next(NOW)
        reply = resynchronisation(sent, NOW + (ahead << 32))
        assert source.resynchronise(sent, reply, NOW)
        assert abs(source.next(NOW) - NOW - (ahead << 32)) <= 1 << 32


def test_an_echo_tells_no_time():
    """MN-35 with home agents that repeat the whole Identification in 133."""
    source = Timestamps(counting_bytes())
    sent = source.next(NOW)
    assert not source.resynchronise(sent, sent, NOW)
    assert source.offset == 0


# Waiting


def test_waits_double_up_to_a_maximum():
    """MN-38."""
    schedule = Backoff(0.2, 10, lambda size: bytes(size))
    assert [schedule.wait() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


@given(st.integers(0, 65535), st.floats(0, 5), st.binary(min_size=1, max_size=1))
def test_no_wait_is_below_a_second_and_each_is_at_least_doubled(lifetime, rtt, random1):
    """MN-38."""
    schedule = for_replies(lifetime, rtt, lambda _: random1)
    waits = [schedule.wait() for _ in range(8)]
    assert waits[0] >= max(1, 2 * rtt + 0.1)
    assert all(a <= b <= 2 * a + 1e-9 for a, b in itertools.pairwise(waits))
    assert max(waits) <= 32 * 1.125


def test_waits_for_a_reply_stay_within_the_lifetime():
    """MN-38."""
    schedule = for_replies(5, 0, lambda size: bytes(size))
    assert [schedule.wait() for _ in range(4)] == [1, 2, 4, 5]


def test_waits_after_denials_are_long():
    schedule = for_denials(lambda size: bytes(size))
    assert [schedule.wait() for _ in range(5)] == [60, 120, 240, 480, 600]


@pytest.mark.parametrize(
    ("lifetime", "after"), [(600, 400), (30, 20), (20, 12.5), (10, 5), (2, 1)]
)
def test_refresh_after_two_thirds_with_time_for_retries(lifetime, after):
    """MN-33."""
    assert refresh_after(lifetime) == after


def test_an_infinite_lifetime_is_never_refreshed():
    """COM-16."""
    assert refresh_after(65535) == NEVER


# Limits


def test_a_bucket_gives_a_burst_and_then_its_rate():
    bucket = TokenBucket(rate=1, burst=2)
    assert [bucket.take(0), bucket.take(0), bucket.take(0.5)] == [True, True, False]
    assert bucket.ready_at(0.5) == 1.0
    assert bucket.take(1.0)
    assert not bucket.take(1.9)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=40))
def test_what_is_ready_can_be_taken(gaps):
    bucket, now = TokenBucket(rate=3, burst=1), 1e9
    for gap in gaps:
        now = bucket.ready_at(now + gap)
        assert bucket.take(now)


def test_a_limiter_keeps_keys_apart_and_bounds_their_number():
    limiter = RateLimiter(rate=1, burst=1, total=1000, keys=10)
    assert limiter.allow("a", 0)
    assert not limiter.allow("a", 0)
    assert all(limiter.allow(n, 0) for n in range(20))
    assert len(limiter) == 10


def test_all_keys_together_are_limited():
    limiter = RateLimiter(rate=1, burst=1, total=5)
    assert sum(limiter.allow(n, 0) for n in range(100)) == 5


# Bindings


def binding(address: str, expires: float) -> Binding:
    return Binding(address, address, 0, 600, expires, 1, 256)


def test_the_end_of_a_binding_keeps_nothing_of_the_moment():
    """COM-16; nothing may grow with the number of requests."""
    now = instant(5.0)
    before = sys.getrefcount(now)
    assert (expiry(600, now), expiry(65535, now)) == (605.0, NEVER)
    assert sys.getrefcount(now) == before


_HOSTS = [HOME, "10.1.1.11", "10.1.1.12"]
_PLACES = [A, B, FA]
_TIMES = st.integers(0, 99 * TICKS).map(lambda ticks: ticks / TICKS)
_STEPS = st.one_of(
    st.tuples(
        st.sampled_from(_HOSTS), st.dictionaries(st.sampled_from(_PLACES), _TIMES)
    ),
    _TIMES,
)


@given(st.lists(_STEPS, max_size=60))
def test_the_table_finds_every_expiry_and_nothing_else(steps):
    """HA-23: against the plain search through all bindings."""
    table, plain, now = BindingTable(), {}, 0.0
    for step in steps:
        if isinstance(step, tuple):
            home, ends = step
            plain[home] = {address: now + end for address, end in ends.items()}
            table.replace(home, tuple(binding(a, e) for a, e in plain[home].items()))
            continue
        now += step
        due = {h for h, ends in plain.items() if any(e <= now for e in ends.values())}
        assert set(table.overdue(now)) >= due
        for home in due:
            plain[home] = {a: e for a, e in plain[home].items() if e > now}
            lapsed = table.lapsed(home, now)
            left = tuple(b for b in table.get(home) if b not in lapsed)
            assert {b.care_of_address for b in left} == set(plain[home])
            table.replace(home, left)
        assert len(table) == sum(map(len, plain.values()))
        ends = [e for ends in plain.values() for e in ends.values()]
        following = table.next_expiry()
        assert not ends or (following is not None and following <= min(ends))


def test_many_refreshes_leave_no_heap_behind():
    table = BindingTable()
    for step in range(10_000):
        table.replace(HOME, (binding(A, 1000.0 - step % 500),))
        table.replace(HOME, (binding(A, 2000.0 + step),))
    assert len(table._heap) < 200


def test_many_bindings_that_go_leave_no_heap_behind():
    table = BindingTable()
    homes = [str(ip_address(0x0A000000 + number)) for number in range(1000)]
    for home in homes:
        table.replace(home, (binding(A, 1000.0),))
    for home in homes:
        table.replace(home, ())
    assert len(table._heap) < 200


def test_a_binding_ends_no_later_than_was_granted_and_no_tick_earlier():
    """HA-22."""
    for mono in (0.0, 1.0 / 3, 12345.6789):
        end = expiry(600, instant(mono))
        assert mono + 600 - 1 / TICKS < end <= mono + 600


def test_what_is_kept_of_a_binding_is_all_of_it():
    kept = (
        Binding(A, B, 0xFF, 65535, NEVER, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF),
        Binding(B, FA, 0, 1, 5.5, 0, 256, None, 7),
        Binding(FA, A, 0, 1, 5.5, 0, 256, 0xFFFFFFFF, None),
        Binding(HOME, A, 0, 1, 5.5, 0, 256, 0, 0),
    )
    table = BindingTable()
    table.replace(HOME, kept)
    table.get("10.1.1.99")
    assert table.get(HOME) == kept
    assert list(table) == [(HOME, binding) for binding in kept]


def test_a_binding_and_its_identification_cost_at_most_320_bytes():
    """Keys, heap and the dictionaries' own memory included."""
    guard = ReplayGuard(counting_bytes(), tolerance=7)
    ledger = Ledger(home_agent().policy, guard)

    def enter(numbers):
        for number in numbers:
            home_address = str(ip_address(0x0A000000 + number))
            care_of_address = str(ip_address(0x0B000000 + number))
            identification = NOW + number
            kept = Binding(care_of_address, A, 0, 600, number / 4, identification, 256)
            guard.accept(IdentificationRecord(home_address, identification))
            ledger.table.replace(home_address, (kept,))

    enter(range(1000))
    tracemalloc.start()
    try:
        enter(range(1000, 51000))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / 50000 <= 320


def test_a_binding_that_never_ends_has_no_entry():
    table = BindingTable()
    table.replace(HOME, (binding(A, NEVER),))
    assert table.next_expiry() is None
    table.replace(HOME, (binding(A, 5.0),))
    assert table.next_expiry() == 5.0
