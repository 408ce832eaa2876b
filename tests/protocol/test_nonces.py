# SPDX-License-Identifier: GPL-2.0-only
"""Replay protection with nonces: only what answers our latest random number counts."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import (
    AnnounceAddress,
    BindingRecord,
    InstallTunnel,
    Journal,
    NonceRecord,
    RenewedBinding,
)
from mip_agents.protocol.events import Restored
from mip_agents.protocol.nonces import MAX_OFFERED
from mip_agents.protocol.security import (
    NodeAssociation,
    ReplayStyle,
    SecurityTable,
)
from mip_agents.protocol.view import Reply, parse
from scapy_mip.auth import SecurityAssociation
from support.agents import HA, HOME, NETWORK, WRONG, A, B, asks, home_agent
from support.scenario import (
    JOURNAL_FAILED,
    JOURNAL_WRITTEN,
    TUNNEL_FAILED,
    TUNNEL_READY,
    Scenario,
    Wait,
    instant,
    like,
    noted,
    scenario,
    sends,
)

KEY = NodeAssociation(256, b"1234567812345678", replay=ReplayStyle.NONCE)
LOW = 0x1234_5678


def agent(*more: SecurityAssociation, **policy: object):
    nodes = SecurityTable.for_network(NETWORK, [KEY, *more])
    return home_agent(mobile_nodes=nodes, **policy)


def with_nonce(nonce: int, low: int = LOW, **fields: object) -> asks:
    return asks(identification=nonce << 32 | low, **fields)


def given(running: Scenario) -> tuple[int, int]:
    """Return both halves of the Identification of the latest reply."""
    reply = parse(running.sent[-1].data)
    assert isinstance(reply, Reply)
    return reply.identification >> 32, reply.identification & 0xFFFFFFFF


def synchronised(**policy: object) -> tuple[Scenario, int]:
    running = scenario(agent(**policy)) >> with_nonce(7) << sends(code=133)
    return running, given(running)[0]


def accepted(running: Scenario, request: asks) -> int:
    running >> request << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0) << AnnounceAddress(HOME)
    return given(running)[0]


def test_the_first_request_is_told_a_nonce():
    """HA-32: a random number that is not what the request had; HA-29: its low half."""
    running, nonce = synchronised()
    assert nonce not in (7, 0, LOW)
    assert given(running)[1] == LOW
    assert running << noted("registration_denied", "HA-09")


def test_a_nonce_that_was_given_out_is_accepted_and_a_new_one_given():
    """HA-32; HA-28: however far the number is from any time."""
    running, nonce = synchronised()
    running >> with_nonce(nonce)
    (journal,) = (order for order in running.orders if isinstance(order, Journal))
    record = journal.changes[-1]
    assert isinstance(record, NonceRecord)
    assert (record.node, record.identification) == (HOME, nonce << 32 | LOW)
    running << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    running << AnnounceAddress(HOME)
    assert given(running) == (record.nonce, LOW)
    assert record.nonce not in (nonce, LOW)
    # And the next one.
    running >> with_nonce(record.nonce, LOW + 1) << like(Journal)
    assert running >> JOURNAL_WRITTEN << sends(code=0)
    assert given(running)[0] != record.nonce


def test_a_nonce_is_good_once():
    """HA-32, HA-09: 133 with a new one."""
    running, nonce = synchronised()
    accepted(running, with_nonce(nonce))
    again = with_nonce(nonce, LOW + 1, care_of_address=B)
    assert running >> again << sends(code=133)
    assert given(running)[0] != nonce
    assert given(running)[1] == LOW + 1


def test_the_node_may_go_on_with_the_nonce_of_the_denial():
    """HA-32: the style synchronises itself."""
    running, nonce = synchronised()
    accepted(running, with_nonce(nonce))
    running >> with_nonce(99, 1) << sends(code=133)
    fresh = with_nonce(given(running)[0], 2)
    running >> fresh << like(Journal)
    assert running >> JOURNAL_WRITTEN << sends(code=0)


def test_a_replay_does_not_spoil_the_nonce_that_the_node_holds():
    """HA-32: whoever replays an old request makes us answer, and no more."""
    running, first = synchronised()
    second = accepted(running, with_nonce(first))
    running >> with_nonce(second, 5) << like(Journal) >> JOURNAL_WRITTEN << sends()
    held = given(running)[0]
    for step in range(3 * MAX_OFFERED):
        old = with_nonce(first, LOW, care_of_address=B)
        running >> Wait(10 * step + 10) >> old << sends(code=133)
    assert running >> with_nonce(held, 6) << like(Journal)


def test_only_the_latest_nonces_of_denials_are_remembered():
    """HA-32: what strangers can make us keep is bounded."""
    running, first = synchronised()
    for step in range(MAX_OFFERED):
        running >> Wait(10 * step + 10) >> with_nonce(99, step) << sends(code=133)
    assert running >> Wait(500) >> with_nonce(first) << sends(code=133)


def test_a_repeated_request_gets_the_same_reply_with_the_same_nonce():
    """HA-22: a mobile node with nonces repeats the identical message (MN-37)."""
    running, nonce = synchronised()
    request = with_nonce(nonce)
    accepted(running, request)
    running >> request << sends(code=0)
    assert running.sent[-1] == running.sent[-2]
    ended = with_nonce(given(running)[0], 9, lifetime=0, care_of_address=HOME)
    running >> ended
    running.effects = []
    running >> JOURNAL_WRITTEN >> TUNNEL_READY
    running.effects = []
    assert running >> ended << sends(code=0, lifetime=0)
    assert running.sent[-1] == running.sent[-2]


def test_a_denial_gives_a_nonce_and_uses_none_up():
    """HA-32: a new one in every reply."""
    running, nonce = synchronised()
    running >> with_nonce(nonce, flags=0x30) << sends(code=139)
    assert given(running)[0] not in (nonce, LOW)
    assert running >> with_nonce(nonce, 3) << like(Journal) << like(InstallTunnel)


def test_failed_authentication_gets_no_nonce():
    """HA-32: that of the node stays good, and strangers cannot fill our memory."""
    running, nonce = synchronised()
    running >> with_nonce(nonce, mobile_home=WRONG) << sends(code=131)
    assert given(running) == (nonce, LOW)
    assert running >> with_nonce(nonce) << like(Journal) << like(InstallTunnel)


def test_the_style_is_that_of_the_spi():
    """HA-28: the same node with another association uses timestamps."""
    other = SecurityAssociation(257, b"a key for timestamps")
    running = scenario(agent(other))
    first = accepted(running, asks(mobile_home=other))
    assert first == instant(1.0).ntp >> 32
    running >> with_nonce(7, 8) << sends(code=133)
    nonce = given(running)[0]
    running >> with_nonce(nonce, 9) << like(Journal) >> JOURNAL_WRITTEN << sends(code=0)
    # Neither forgets what the other accepted.
    replay = asks(mobile_home=other, identification=instant(1.0).ntp, care_of_address=B)
    assert running >> replay << sends(code=133)


def test_the_nonce_survives_a_restart():
    """HA-32: the node goes on, and a replay of what was accepted does not."""
    used = NonceRecord(HOME, 0x1111 << 32 | LOW, 0x2222)
    running = scenario(agent()) >> Restored((), (), (used,))
    assert running >> with_nonce(0x1111, care_of_address=B) << sends(code=133)
    assert running >> with_nonce(0x2222, 5) << like(Journal) << like(InstallTunnel)


def test_the_identification_of_a_restored_binding_is_taken_for_no_timestamp():
    """HA-28, HA-30: a random number must not lock out the node's timestamps."""
    other = SecurityAssociation(257, b"a key for timestamps")
    ahead = instant(5000).ntp
    kept = BindingRecord(
        home_address=HOME,
        care_of_address=A,
        home_agent=HA,
        flags=0x22,
        lifetime=600,
        expires=instant(300).ntp,
        identification=ahead,
        spi=256,
        source=A,
    )
    running = scenario(agent(other)) >> Restored(
        (kept,), (), (NonceRecord(HOME, ahead, 5),)
    )
    running << like(InstallTunnel) >> TUNNEL_READY
    assert (
        running
        >> asks(mobile_home=other)
        << like(Journal, changes=(like(RenewedBinding),))
    )


def test_a_binding_without_its_nonce_is_no_trap():
    """HA-32: a bad row of the journal costs one number, not the agent."""
    request = with_nonce(0x1111)
    kept = BindingRecord(
        home_address=HOME,
        care_of_address=A,
        home_agent=HA,
        flags=0x22,
        lifetime=600,
        expires=instant(300).ntp,
        identification=0x1111 << 32 | LOW,
        spi=256,
        source=A,
    )
    running = scenario(agent()) >> Restored((kept,), ()) << like(InstallTunnel)
    running >> TUNNEL_READY >> request << sends(code=0)
    assert running >> with_nonce(given(running)[0], 3) << like(Journal)


def test_a_change_that_fails_gives_a_nonce_to_go_on_with():
    """HA-32, HA-17."""
    running, nonce = synchronised()
    running >> with_nonce(nonce) << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_FAILED << like(Journal) >> JOURNAL_FAILED
    running << sends(code=130)
    following = with_nonce(given(running)[0], 3)
    assert running >> following << like(Journal) << like(InstallTunnel)


@pytest.mark.parametrize("ahead", [-(10**9), 10**9])
def test_time_means_nothing_to_a_nonce(ahead):
    """HA-28."""
    running, nonce = synchronised()
    running.clock_offset_s = ahead
    assert running >> with_nonce(nonce) << like(Journal) << like(InstallTunnel)
