# SPDX-License-Identifier: GPL-2.0-only
"""The home agent: granting, refreshing, ending, and keeping it durable."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import (
    AnnounceAddress,
    BindingRecord,
    DroppedBinding,
    Finished,
    GiveBackAddress,
    IdentificationRecord,
    InstallTunnel,
    Journal,
    RemoveTunnel,
    RenewedBinding,
)
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    InterfacesChanged,
    JournalFailed,
    JournalWritten,
    RegisterRequested,
    Restored,
    TimerFired,
    TunnelFailed,
    TunnelReady,
)
from mip_agents.protocol.tunnel import Form, Tunnel
from mip_agents.protocol.view import build_request
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation
from support.agents import (
    FA,
    FA_KEY,
    FHAE,
    HA,
    HOME,
    KEY,
    MHAE,
    WRONG,
    A,
    B,
    asks,
    home_agent,
    received,
)
from support.scenario import (
    EPOCH,
    JOURNAL_FAILED,
    JOURNAL_WRITTEN,
    TUNNEL_FAILED,
    TUNNEL_READY,
    Scenario,
    Timer,
    Wait,
    instant,
    like,
    noted,
    scenario,
    sends,
)


def registered(**policy: object) -> Scenario:
    """A home agent with one binding, to A, until second 601."""
    return (
        scenario(home_agent(**policy))
        >> asks()
        << like(Journal)
        << like(InstallTunnel)
        >> JOURNAL_WRITTEN
        >> TUNNEL_READY
        << sends(code=0 if policy.get("max_bindings_per_node") != 1 else 1)
        << AnnounceAddress(HOME)
    )


def bindings(running: Scenario) -> list[tuple[str, int]]:
    found = running.engine.bindings(running.now)
    return [(entry["care_of_address"], entry["remaining"]) for entry in found]


def test_a_first_registration_is_durable_and_installed_before_its_reply():
    """HA-18, HA-21, HA-33, HA-35, ARP-02."""
    now = instant(1.0)
    record = like(
        BindingRecord,
        home_address=HOME,
        care_of_address=A,
        home_agent=HA,
        lifetime=600,
        expires=now.ntp + (600 << 32),
        identification=now.ntp,
        spi=256,
        source=A,
    )
    tunnel = Tunnel(
        home_address=HOME,
        local=HA,
        peers=(A,),
        encapsulation=Encapsulation.IPIP,
        reverse=True,
    )
    assert (
        scenario(home_agent())
        >> asks(lifetime=600)
        << like(Journal, changes=(record, IdentificationRecord(HOME, now.ntp)))
        << like(InstallTunnel, tunnel=tunnel)
        >> JOURNAL_WRITTEN
        >> TUNNEL_READY
        << sends(code=0, lifetime=600, identification=now.ntp, home_agent=HA)
        << AnnounceAddress(HOME)
        << noted("registration_accepted", care_of_address=A, lifetime=600, code=0)
    )


def test_the_order_of_the_two_answers_does_not_matter():
    assert (
        scenario(home_agent())
        >> asks()
        << like(Journal)
        << like(InstallTunnel)
        >> TUNNEL_READY
        >> JOURNAL_WRITTEN
        << sends(code=0)
        << AnnounceAddress(HOME)
    )


def test_a_pending_binding_does_not_count_yet():
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    assert bindings(running) == []
    assert running.engine.status(running.now)["pending"] == 1
    assert running


def test_the_reply_takes_the_way_of_the_request_back():
    """HA-25: source, ports and destination are exchanged."""
    running = scenario(home_agent()) >> asks(udp={"source_port": 41000})
    running << like(Journal) << like(InstallTunnel)
    running = running >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert (
        running
        << sends(
            source=HA,
            source_port=434,
            destination=A,
            destination_port=41000,
            interface=None,
            ttl=64,
        )
        << AnnounceAddress(HOME)
    )


def test_a_refresh_writes_the_journal_only():
    """HA-21, HA-30: one record of it; no gratuitous ARP either, ARP-02."""
    now = instant(400)
    record = like(
        BindingRecord,
        home_address=HOME,
        care_of_address=A,
        lifetime=300,
        expires=now.ntp + (300 << 32),
        identification=now.ntp,
    )
    renewed = like(RenewedBinding, binding=record)
    running = registered() >> Wait(400) >> asks(lifetime=300)
    running << like(Journal, changes=(renewed,))
    assert bindings(running) == [(A, 201)]
    assert running.engine.status(running.now)["pending"] == 1
    assert (
        running
        >> JOURNAL_WRITTEN
        << sends(code=0, lifetime=300)
        << noted("registration_refreshed")
    )
    assert bindings(running) == [(A, 300)]


def test_a_refresh_that_is_not_durable_changes_nothing():
    """HA-17, HA-30: 130; neither its lifetime counts nor its Identification."""
    running = registered() >> Wait(400) >> asks(lifetime=300) << like(Journal)
    running >> JOURNAL_FAILED << sends(code=130)
    running << noted("binding_change_failed", home_address=HOME)
    assert bindings(running) == [(A, 201)]
    assert running.engine.status(running.now)["pending"] == 0
    running >> asks(lifetime=300) << like(Journal) >> JOURNAL_WRITTEN << sends(code=0)
    assert bindings(running) == [(A, 300)]
    older = asks(identification=instant(399.9).ntp)
    assert running >> older << sends(code=133)


def test_a_refresh_makes_up_for_a_tunnel_that_is_missing():
    """HA-33: nobody is granted what does not stand, as after a start that failed."""
    record = BindingRecord(
        HOME, A, HA, 0x22, 600, instant(300).ntp, instant(0).ntp, 256, A
    )
    running = scenario(home_agent()) >> Restored((record,), ())
    running << like(InstallTunnel) >> TUNNEL_FAILED
    running >> Wait(3) >> asks() << like(Journal) << like(InstallTunnel)
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)


def test_a_refresh_makes_up_for_a_journal_that_says_something_else():
    """HA-02: as after a move that failed and could not be taken back."""
    running = registered() >> Wait(10) >> asks(care_of_address=B)
    running << like(Journal) << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_FAILED
    running << like(Journal) >> JOURNAL_FAILED << sends(code=130)
    running >> Wait(11) >> asks()
    running << like(
        Journal,
        changes=(
            DroppedBinding(HOME, B),
            like(BindingRecord, care_of_address=A),
            like(IdentificationRecord),
        ),
    )
    assert running >> JOURNAL_WRITTEN << sends(code=0)


def test_deregistering_what_is_not_bound_is_durable_too():
    """HA-19, HA-30: the Identification counts, and the binding with A stays."""
    running = registered() >> Wait(3) >> asks(care_of_address=B, lifetime=0)
    running << like(Journal, changes=(like(IdentificationRecord),))
    assert running >> JOURNAL_WRITTEN << sends(code=0, lifetime=0)
    assert bindings(running) == [(A, 598)]


def test_what_comes_during_a_refresh_waits_for_it():
    """HA-17, HA-30: the next request, an expiry and a clearing alike."""
    running = registered() >> Wait(600) >> asks(lifetime=300) << like(Journal)
    running >> Wait(600.5) >> asks(care_of_address=B) >> ClearRequested(7, HOME)
    running >> Wait(602) >> TimerFired()
    running >> JOURNAL_WRITTEN << sends(code=0, lifetime=300, destination=A)
    running << like(Journal) << like(InstallTunnel, tunnel=like(Tunnel, peers=(B,)))
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0, destination=B)
    running << like(Journal) << like(RemoveTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running << like(Finished, token=7, error=None)
    assert bindings(running) == []


def test_a_refresh_waits_for_nothing_of_another_node():
    """HA-17."""
    other = "10.1.1.11"
    running = scenario(home_agent())
    for home in (HOME, other):
        running >> asks(home_address=home) << like(Journal) << like(InstallTunnel)
        running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(home)
    running >> Wait(300)
    running >> asks(home_address=HOME) << like(Journal)
    running >> asks(home_address=other) << like(Journal)
    first, second = running.orders[-2:]
    running >> JournalWritten(second.token) << sends(code=0, home_address=other)
    running >> JournalFailed(first.token, "full") << sends(code=130, home_address=HOME)
    assert running
    remaining = [entry["remaining"] for entry in running.engine.bindings(running.now)]
    assert remaining == [301, 600]


def test_a_move_replaces_the_tunnel_in_one_step():
    """HA-19 without S; ARP-02 not again."""
    running = registered() >> Wait(10) >> asks(care_of_address=B)
    running << like(
        Journal,
        changes=(
            DroppedBinding(HOME, A),
            like(BindingRecord, care_of_address=B),
            like(IdentificationRecord),
        ),
    )
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(B,)))
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    assert bindings(running) == [(B, 600)]


@pytest.mark.parametrize(
    ("asked", "maximum", "granted"),
    [(600, 300, 300), (65535, 300, 300), (65535, 65535, 65535), (50000, 65535, 50000)],
)
def test_lifetime_is_reduced_but_never_raised(asked, maximum, granted):
    """HA-21, COM-16, COM-18."""
    running = scenario(home_agent(max_lifetime=maximum)) >> asks(lifetime=asked)
    running << like(Journal) << like(InstallTunnel)
    running = running >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running << sends(code=0, lifetime=granted) << AnnounceAddress(HOME)


def test_an_infinite_lifetime_never_expires():
    """COM-16."""
    running = scenario(home_agent(max_lifetime=65535)) >> asks(lifetime=65535)
    running << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(HOME)
    assert running.engine.next_timer() is None
    assert running >> Wait(1e9) >> TimerFired()
    assert bindings(running) == [(A, None)]


def test_code_1_without_simultaneous_bindings():
    """HA-18, C-5: also where S was not set; with S the old binding goes (HA-19)."""
    running = registered(max_bindings_per_node=1) >> Wait(2)
    running >> asks(care_of_address=B, flags=0x82)
    running << like(Journal) << like(InstallTunnel, tunnel=like(Tunnel, peers=(B,)))
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=1)


def test_the_reply_goes_to_the_sender_though_another_agent_loses_its_visitor():
    """HA-20: what replaces a binding with a foreign agent says nothing to that."""
    running = scenario(home_agent()) >> asks(source=FA, care_of_address=FA, flags=2)
    running << like(Journal) << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    running << sends(destination=FA) << AnnounceAddress(HOME) >> Wait(2) >> asks()
    running << like(
        Journal,
        changes=(
            DroppedBinding(HOME, FA),
            like(BindingRecord),
            like(IdentificationRecord),
        ),
    )
    running << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running << sends(code=0, destination=A)


def with_two_bindings() -> Scenario:
    running = (
        registered() >> Wait(2) >> asks(care_of_address=B, flags=0xA2, lifetime=300)
    )
    running << like(Journal) << like(InstallTunnel, tunnel=like(Tunnel, peers=(A, B)))
    return running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)


def test_s_keeps_the_other_bindings():
    """HA-19, HA-33: a copy goes to each."""
    running = with_two_bindings()
    assert bindings(running) == [(A, 599), (B, 300)]
    # A refresh of one keeps the other, and the tunnel.
    renewed = like(RenewedBinding, binding=like(BindingRecord, care_of_address=A))
    running >> Wait(100) >> asks(flags=0xA2) << like(Journal, changes=(renewed,))
    assert running >> JOURNAL_WRITTEN << sends(code=0)
    assert bindings(running) == [(A, 600), (B, 202)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Encapsulation.IPIP, Encapsulation.GRE),
        (Encapsulation.GRE, Encapsulation.IPIP),
    ],
)
def test_each_simultaneous_binding_has_its_own_encapsulation(first, second):
    """HA-44: a copy goes to each address in the form that its request asked for."""
    asked = {Encapsulation.IPIP: 0xA2, Encapsulation.GRE: 0xAA}
    running = scenario(home_agent()) >> asks(flags=asked[first]) << like(Journal)
    running << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    running << sends(code=0) << AnnounceAddress(HOME) >> Wait(2)
    running >> asks(care_of_address=B, flags=asked[second])
    tunnel = running.orders[-1].tunnel
    assert dict(tunnel.forms()) == {A: Form(first), B: Form(second)}
    running << like(Journal) << like(InstallTunnel, tunnel=tunnel)
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    # A refresh changes neither the place of a binding nor its form.
    running >> Wait(3) >> asks(flags=asked[first]) << like(Journal)
    assert running >> JOURNAL_WRITTEN << sends(code=0)


def test_too_many_bindings_are_denied_and_change_nothing():
    """HA-17: 135; ARP-06: no tunnel, no announcement."""
    running = registered(max_bindings_per_node=2) >> Wait(2)
    running >> asks(care_of_address=B, flags=0xA2) << like(Journal)
    running << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    third = asks(care_of_address="10.1.4.50", flags=0xA2)
    assert running >> Wait(3) >> third << sends(code=135)
    assert [address for address, _ in bindings(running)] == [A, B]
    # Without S the same address replaces both.
    running >> Wait(4) >> asks(care_of_address="10.1.4.50") << like(Journal)
    assert running << like(InstallTunnel)


def test_deregistering_one_care_of_address_keeps_the_others():
    """HA-19."""
    running = with_two_bindings() >> Wait(3) >> asks(care_of_address=B, lifetime=0)
    running << like(
        Journal, changes=(DroppedBinding(HOME, B), like(IdentificationRecord))
    )
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(A,)))
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0, lifetime=0)
    assert [address for address, _ in bindings(running)] == [A]


def test_deregistering_the_home_address_ends_everything():
    """HA-19, HA-26, HA-34: no tunnel left, the reply goes out on the home link.

    ARP-05: and its link is told who has the address, once proxy ARP has ended.
    """
    running = with_two_bindings() >> Wait(3)
    (
        running
        >> asks(care_of_address=HOME, lifetime=0, flags=0)
        << like(
            Journal,
            changes=(
                DroppedBinding(HOME, A),
                DroppedBinding(HOME, B),
                like(IdentificationRecord),
            ),
        )
    )
    running << like(RemoveTunnel, key=HOME)
    assert (
        running
        >> JOURNAL_WRITTEN
        >> TUNNEL_READY
        << sends(code=0, lifetime=0, destination=HOME, interface="eth9")
        << GiveBackAddress(HOME, "eth9")
        << noted("deregistration_accepted", "HA-19")
    )
    assert bindings(running) == []
    assert running.engine.status(running.now)["bindings"] == 0


def test_deregistering_without_a_binding_is_granted_and_journaled():
    """HA-19, HA-30: the Identification counts all the same."""
    running = scenario(home_agent()) >> asks(care_of_address=HOME, lifetime=0, flags=0)
    running << like(Journal, changes=(like(IdentificationRecord),))
    assert running >> JOURNAL_WRITTEN << sends(code=0, lifetime=0)


def test_an_address_is_given_back_only_to_who_is_at_home():
    """ARP-05: nothing is said of a node that deregisters from abroad."""
    running = (
        registered() >> Wait(2) >> asks(care_of_address=HOME, source=A, lifetime=0)
    )
    running << like(Journal) << like(RemoveTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running << sends(code=0, lifetime=0, destination=A)


def test_a_denied_deregistration_from_home_bypasses_the_binding():
    """HA-26."""
    request = asks(care_of_address=HOME, lifetime=0, flags=0, ahead_s=3600)
    assert registered() >> request << sends(code=133, interface="eth9")


def test_a_repetition_in_work_is_ignored_and_one_answered_gets_the_same_reply():
    """HA-22: nothing is extended."""
    request = asks()
    running = scenario(home_agent()) >> request << like(Journal)
    running << like(InstallTunnel) >> Wait(2) >> request << noted("request_repeated")
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(HOME)
    running >> Wait(3) >> request << sends(code=0, lifetime=600)
    assert running
    assert running.sent[0] == running.sent[1]
    assert bindings(running) == [(A, 598)]


def test_a_repeated_deregistration_gets_the_same_reply():
    """HA-22."""
    request = asks(care_of_address=HOME, lifetime=0, flags=0)
    running = registered() >> Wait(2) >> request << like(Journal) << like(RemoveTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(lifetime=0)
    running << GiveBackAddress(HOME, "eth9")
    assert running >> request << sends(code=0, lifetime=0)
    assert running.sent[-1] == running.sent[-2]


def test_requests_of_one_node_wait_for_each_other():
    """Two in one batch: both are answered, in order, none before its journal entry."""
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> Wait(1.5) >> asks(care_of_address=B)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    running << AnnounceAddress(HOME) << like(Journal)
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(B,)))
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    assert [address for address, _ in bindings(running)] == [B]


def test_an_older_request_that_waited_is_judged_after_the_newer_one():
    """HA-30: reordering on the way."""
    old = asks(care_of_address=B, identification=instant(0.5).ntp)
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> old
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
    assert running << AnnounceAddress(HOME) << sends(code=133)


def test_waiting_requests_are_bounded():
    """HA-17: what one node can occupy."""
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    for step in range(4):
        running >> Wait(1.1 + step / 10) >> asks()
    assert running >> Wait(2) >> asks() << noted("message_dropped", "HA-17")


def test_a_failed_journal_takes_the_tunnel_back():
    """HA-17: 130, and nothing stays."""
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> TUNNEL_READY >> JOURNAL_FAILED << like(RemoveTunnel)
    assert running >> TUNNEL_READY << sends(code=130)
    assert bindings(running) == []


def test_a_failed_tunnel_takes_the_journal_back():
    """HA-17: 130; the earlier binding is journaled again."""
    running = registered() >> Wait(11) >> asks(care_of_address=B)
    running << like(Journal) << like(InstallTunnel)
    (
        running
        >> TUNNEL_FAILED
        >> JOURNAL_WRITTEN
        << like(
            Journal,
            changes=(
                DroppedBinding(HOME, B),
                like(
                    BindingRecord,
                    care_of_address=A,
                    expires=instant(1).ntp + (600 << 32),
                ),
            ),
        )
    )
    assert running >> JOURNAL_WRITTEN << sends(code=130)
    assert bindings(running) == [(A, 590)]


def test_when_both_fail_there_is_nothing_to_take_back():
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    assert running >> TUNNEL_FAILED >> JOURNAL_FAILED << sends(code=130)


def test_a_request_that_never_became_durable_may_come_again():
    """HA-30."""
    request = asks()
    running = scenario(home_agent()) >> request << like(Journal) << like(InstallTunnel)
    running >> TUNNEL_FAILED >> JOURNAL_FAILED << sends(code=130)
    assert running >> request << like(Journal) << like(InstallTunnel)


def test_a_tunnel_that_cannot_be_taken_back_is_tried_again():
    """HA-34: no interception without a binding."""
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> TUNNEL_READY >> JOURNAL_FAILED << like(RemoveTunnel)
    running >> TUNNEL_FAILED << sends(code=130)
    assert running >> Timer(at=11) << like(RemoveTunnel) >> TUNNEL_READY
    assert running.engine.next_timer() is None


def test_expiry_ends_that_binding_only_and_sends_nothing():
    """HA-03, HA-23."""
    running = with_two_bindings() >> Timer(at=302)
    running << like(Journal, changes=(DroppedBinding(HOME, B),))
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(A,)))
    running << noted("binding_expired", "HA-23", care_of_address=B)
    assert [address for address, _ in bindings(running)] == [A]
    running >> JOURNAL_WRITTEN >> TUNNEL_READY
    running >> Timer(at=601) << like(Journal) << like(RemoveTunnel)
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running.engine.next_timer() is None


def test_a_refresh_moves_the_expiry():
    """HA-23: the entry of the first lifetime comes up and is put back."""
    running = registered() >> Wait(400) >> asks() << like(Journal)
    running >> JOURNAL_WRITTEN << sends()
    running >> Timer(at=601)
    assert bindings(running) == [(A, 399)]
    assert running >> Timer(at=1000) << like(Journal) << like(RemoveTunnel)


def test_an_expiry_waits_for_the_refresh_in_work():
    """A refresh that is accepted in time wins, though the disk is slow."""
    running = registered() >> Wait(600) >> asks() << like(Journal)
    running >> Timer(at=601)
    assert running >> Wait(602) >> JOURNAL_WRITTEN << sends(code=0)
    assert bindings(running) == [(A, 598)]
    assert running.engine.next_timer() == 1200


def test_an_expiry_follows_a_refresh_that_failed():
    """HA-23."""
    running = registered() >> Wait(600) >> asks() << like(Journal)
    running >> Timer(at=601)
    running >> JOURNAL_FAILED << sends(code=130) << like(Journal)
    assert running << like(RemoveTunnel)


def test_the_identification_outlives_the_binding():
    """HA-30: a replay after expiry is refused."""
    request = asks(lifetime=2)
    running = scenario(home_agent()) >> request << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(HOME)
    running >> Timer(at=3) << like(Journal) << like(RemoveTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running >> request << sends(code=133)


def stored(**changes: object) -> BindingRecord:
    fields = {
        "home_address": HOME,
        "care_of_address": A,
        "home_agent": HA,
        "flags": 0x22,
        "lifetime": 600,
        "expires": instant(301).ntp,
        "identification": instant(0.5).ntp,
        "spi": 256,
        "source": A,
    }
    return BindingRecord(**fields | changes)  # type: ignore[arg-type]


def test_restored_bindings_get_their_tunnels_and_no_replies():
    """HA-03 after a crash; the remaining lifetime goes on."""
    running = scenario(home_agent()) >> Restored((stored(),), ())
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(A,)))
    running << noted("bindings_restored", bindings=1) >> TUNNEL_READY
    assert bindings(running) == [(A, 300)]
    # Replays of what the former process accepted are refused or repeated (HA-22).
    replay = asks(identification=instant(0.5).ntp)
    assert running >> replay << sends(code=0, lifetime=600)
    assert running >> asks(identification=instant(0.4).ntp) << sends(code=133)
    assert running >> Timer(at=301) << like(Journal) << like(RemoveTunnel)


def test_what_has_expired_meanwhile_is_dropped_from_the_journal():
    """HA-23."""
    old = stored(care_of_address=B, expires=instant(0.9).ntp)
    running = scenario(home_agent()) >> Restored(
        (old, stored(expires=instant(0).ntp)), ()
    )
    running << like(Journal, changes=(DroppedBinding(HOME, B), DroppedBinding(HOME, A)))
    assert running >> JOURNAL_WRITTEN
    assert bindings(running) == []
    assert running.engine.next_timer() is None


@pytest.mark.parametrize("care_of_address", [HOME, HA, "10.1.1.255", "224.0.0.11"])
def test_what_is_unfit_for_a_tunnel_now_is_dropped_from_the_journal(care_of_address):
    """HA-17: such as the broadcast address of a home network that is smaller now."""
    old = stored(care_of_address=care_of_address)
    running = scenario(home_agent()) >> Restored((old,), ())
    running << like(Journal, changes=(DroppedBinding(HOME, care_of_address),))
    running << noted("bindings_restored", bindings=0, dropped=1)
    assert running >> JOURNAL_WRITTEN
    assert bindings(running) == []


def test_what_could_not_be_dropped_is_dropped_later_unless_it_is_good_again():
    """HA-23: a full disk at the start, and a registration meanwhile."""
    old = [stored(care_of_address=one, expires=instant(0).ntp) for one in (A, B)]
    running = scenario(home_agent()) >> Restored(tuple(old), ())
    running << like(Journal, changes=(DroppedBinding(HOME, A), DroppedBinding(HOME, B)))
    running >> JOURNAL_FAILED
    running >> asks(lifetime=600) << like(Journal) << like(InstallTunnel)
    # Never in the way of a change under way.
    running >> Timer(at=running.engine.next_timer())
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(HOME)
    running >> Timer(at=running.engine.next_timer())
    running << like(Journal, changes=(DroppedBinding(HOME, B),))
    assert running >> JOURNAL_WRITTEN
    assert bindings(running)[0][0] == A
    assert running.engine.next_timer() > 600


@pytest.mark.parametrize(
    "changes",
    [
        {"home_agent": "10.1.1.21"},
        {"home_address": "10.9.9.9"},
        {"spi": 257},
        {"flags": 0x32},
    ],
)
def test_what_the_configuration_no_longer_allows_is_not_restored(changes):
    entry = stored(**changes)
    running = scenario(home_agent()) >> Restored((entry,), ())
    assert running << like(Journal, changes=(like(DroppedBinding),))


def test_restored_identifications_are_not_accepted_again():
    """HA-30."""
    known = IdentificationRecord(HOME, instant(1.0).ntp)
    assert scenario(home_agent()) >> Restored((), (known,)) >> asks() << sends(code=133)


@pytest.mark.parametrize("binding_is_newer", [False, True])
def test_the_later_of_two_restored_identifications_counts_in_2036(binding_is_newer):
    """HA-30: the smaller number is the later one, and is not accepted again."""
    late, early = (1 << 64) - (2 << 32), 1 << 32
    offset = (1 << 32) - (EPOCH >> 32)
    bound, known = (early, late) if binding_is_newer else (late, early)
    running = scenario(home_agent(), at=2.0, clock_offset_s=offset)
    entry = stored(identification=bound, expires=300 << 32)
    running >> Restored((entry,), (IdentificationRecord(HOME, known),))
    running << like(InstallTunnel) >> TUNNEL_READY
    replay = asks(identification=early, care_of_address=B)
    assert running >> replay << sends(code=133)


def test_an_infinite_binding_is_restored_whatever_its_end():
    entry = stored(lifetime=65535, expires=0)
    running = scenario(home_agent(max_lifetime=65535)) >> Restored((entry,), ())
    assert running << like(InstallTunnel)
    assert bindings(running) == [(A, None)]


def test_a_clock_that_went_back_gives_no_more_than_was_granted():
    entry = stored(expires=instant(90000).ntp)
    running = scenario(home_agent()) >> Restored((entry,), ()) << like(InstallTunnel)
    assert running
    assert bindings(running) == [(A, 600)]


def test_on_the_same_boot_the_time_of_day_does_not_matter():
    """HA-22: the clock was set, ahead or back, and the agent started again."""
    wrong = [instant(moment).ntp for moment in (-90000, 90000)]
    for expires in wrong:
        entry = stored(expires=expires, ends=301.0)
        running = scenario(home_agent()) >> Restored((entry,), ())
        assert running << like(InstallTunnel)
        assert bindings(running) == [(A, 300)]
        over = stored(expires=expires, ends=1.0)
        running = scenario(home_agent()) >> Restored((over,), ())
        assert running << like(Journal, changes=(DroppedBinding(HOME, A),))


def test_a_monotonic_end_gives_no_more_than_was_granted_either():
    entry = stored(ends=90000.0)
    running = scenario(home_agent()) >> Restored((entry,), ()) << like(InstallTunnel)
    assert running
    assert bindings(running) == [(A, 600)]


def test_a_restored_tunnel_that_fails_is_tried_again():
    running = scenario(home_agent()) >> Restored((stored(),), ())
    running << like(InstallTunnel) >> TUNNEL_FAILED
    assert running >> Timer(at=11) << like(InstallTunnel)


def test_clearing_drops_the_bindings():
    running = registered() >> ClearRequested(7, HOME)
    running << like(Journal, changes=(DroppedBinding(HOME, A),)) << like(RemoveTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << Finished(token=7)
    assert running
    assert bindings(running) == []


def test_clearing_nothing_says_so():
    assert (
        scenario(home_agent())
        >> ClearRequested(7, HOME)
        << like(Finished, token=7, error=f"{HOME} has no binding")
    )


def test_clearing_waits_for_a_request_in_work():
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> ClearRequested(7, HOME) >> JOURNAL_WRITTEN >> TUNNEL_READY << sends()
    running << AnnounceAddress(HOME) << like(Journal) << like(RemoveTunnel)
    assert (
        running
        >> JOURNAL_FAILED
        >> TUNNEL_READY
        << like(Finished, token=7, error="journal: disk full")
    )


@pytest.mark.parametrize(
    "event",
    [
        DeregisterRequested(3),
        CancelRequested(3),
        RegisterRequested(token=3, interface="eth0"),
    ],
)
def test_who_asks_a_home_agent_for_what_only_nodes_do_is_told(event):
    assert scenario(home_agent()) >> event << like(Finished, token=3)


@pytest.mark.parametrize(
    "event",
    [
        InterfacesChanged({}),
        TimerFired(),
        JournalWritten(99),
        JournalFailed(99, "x"),
        TunnelReady(99),
        TunnelFailed(99, "x"),
    ],
    ids=repr,
)
def test_what_nobody_waits_for_is_ignored(event):
    running = registered() >> event
    assert bindings(running) == [(A, 600)]
    assert running


def test_repetitions_are_limited_too():
    """HA-22: a captured request is no tool to make us send."""
    running = scenario(home_agent())
    request = asks()
    running >> request << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(HOME)
    for _ in range(50):
        running = running >> request
        running.effects = []
    assert len(running.sent) == 1 + 5
    assert running


def test_fhae_is_last_in_the_reply_to_a_foreign_agent():
    """HA-27, HA-10."""

    def relayed(data: bytes) -> bytes:
        from support.agents import extension

        return data + extension(FHAE, FA_KEY, data)

    request = asks(tail=relayed, source=FA, care_of_address=FA, flags=2)
    running = scenario(home_agent(foreign_agent=True)) >> request
    running << like(Journal) << like(InstallTunnel) >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert (
        running
        << sends(code=0, destination=FA, extension_types=(MHAE, FHAE))
        << AnnounceAddress(HOME)
    )


def test_status_and_bindings_use_the_names_of_the_registry():
    running = registered()
    assert running.engine.bindings(running.now) == [
        {
            "home_address": HOME,
            "nai": None,
            "care_of_address": A,
            "home_agent": HA,
            "lifetime": 600,
            "remaining": 600,
            "flags": "DT",
            "encapsulation": "ipip",
            "identification": f"{instant(1).ntp:016x}",
            "spi": KEY.spi,
            "source": A,
        }
    ]
    status = running.engine.status(running.now)
    assert status["role"] == "home_agent"
    assert (status["address"], status["home_network"]) == (HA, "10.1.1.0/24")
    assert (status["bindings"], status["mobile_nodes"]) == (1, 1)
    assert running


def test_a_journal_that_cannot_be_put_right_is_tried_again():
    """A restart must not bring back what was denied."""
    running = scenario(home_agent()) >> asks() << like(Journal) << like(InstallTunnel)
    (
        running
        >> JOURNAL_WRITTEN
        >> TUNNEL_FAILED
        << like(Journal, changes=(DroppedBinding(HOME, A),))
    )
    running >> JOURNAL_FAILED << sends(code=130)
    running >> Timer(at=11) << like(Journal, changes=(DroppedBinding(HOME, A),))
    assert running >> JOURNAL_WRITTEN
    assert running.engine.next_timer() is None


def test_a_durable_identification_is_used_up_even_by_a_failure():
    """HA-30: before and after a restart alike."""
    request = asks()
    running = scenario(home_agent()) >> request << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_FAILED << like(Journal) >> JOURNAL_WRITTEN
    assert running << sends(code=130) >> request << sends(code=133)


def ask(running: Scenario, source: str, key: SecurityAssociation) -> list[str]:
    """Have a request come from `source`; return the kinds of what it leads to."""
    now = running.now
    data = build_request(
        flags=0x22,
        lifetime=600,
        home_address=HOME,
        home_agent=HA,
        care_of_address=source,
        identification=now.ntp + 1,
        mobile_home=key,
    )
    found = running.engine.handle(received(data, source), now)
    return [getattr(effect, "event", type(effect).__name__) for effect in found]


def test_who_fails_too_often_is_heard_no_more_but_for_a_known_node():
    """HA-07: an authenticator costs work, and a source is easily forged."""
    running = registered() << noted("registration_accepted")
    assert running
    for source in (A, B):
        kinds = [ask(running, source, WRONG) for _ in range(101)]
        assert all("registration_denied" in kind for kind in kinds[:100])
        if source == B:
            assert kinds[100] == ["message_dropped"]
    assert ask(running, B, KEY) == ["message_dropped"]
    assert "Journal" in ask(running, A, KEY)


def test_failures_from_one_part_of_the_internet_silence_no_other():
    """HA-07: a node that comes from a new place is heard, whoever floods us."""
    running = registered() << noted("registration_accepted")
    assert running
    for number in range(600):
        ask(running, f"10.66.{number >> 8}.{number & 255}", WRONG)
    assert ask(running, "10.66.200.1", KEY) == ["message_dropped"]
    assert "Journal" in ask(running, "10.67.200.1", KEY)
