# SPDX-License-Identifier: GPL-2.0-only
"""The mobile node: leaving, moving, refreshing, coming home, and being told no."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from mip_agents.protocol.attempts import State
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Finished,
    InstallTunnel,
    RemoveTunnel,
)
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    RegisterRequested,
    TimerFired,
)
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.all import MIPGREKey
from scapy_mip.const import Encapsulation
from support.agents import (
    AT_HOME,
    FHAE,
    HA,
    HOME,
    KEY,
    NOWHERE,
    ON_A,
    ON_B,
    ON_BOTH,
    WRONG,
    A,
    B,
    answers,
    extension,
    interfaces,
    last_request,
    mobile_node,
    received,
)
from support.scenario import (
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

TO_A = like(Tunnel, local=A, peers=(HA,), interface="eth0", receive_only=False)
TO_B = like(Tunnel, local=B, peers=(HA,), interface="wlan0", receive_only=False)
RECEIVE_A = like(Tunnel, local=A, interface="eth0", receive_only=True)
RECEIVE_B = like(Tunnel, local=B, interface="wlan0", receive_only=True)


def asking(**policy: object) -> Scenario:
    """A node on A whose first request is on its way."""
    return (
        scenario(mobile_node(**policy))
        >> ON_A
        << like(InstallTunnel, tunnel=RECEIVE_A)
        >> TUNNEL_READY
        << sends(care_of_address=A)
    )


def registered(**policy: object) -> Scenario:
    """A node registered on A since second 1."""
    running = asking(**policy) >> answers() << like(InstallTunnel, tunnel=TO_A)
    return running >> TUNNEL_READY


def by_hand(**policy: object) -> Scenario:
    """A node on A that goes nowhere by itself."""
    return scenario(mobile_node(roam=False, **policy)) >> ON_A


def state(running: Scenario) -> State:
    return running.engine.state


def test_leaving_home_listens_first_then_asks_then_sends():
    """MN-18, MN-19, MN-20, MN-24, MN-33, ARP-03."""
    running = scenario(mobile_node(encapsulation=Encapsulation.GRE)) >> ON_A
    running << like(InstallTunnel, tunnel=RECEIVE_A)
    assert state(running) is State.PREPARING
    (
        running
        >> TUNNEL_READY
        << sends(
            flags=0x2A,
            lifetime=600,
            home_address=HOME,
            home_agent=HA,
            care_of_address=A,
            source=A,
            source_port=434,
            destination=HA,
            destination_port=434,
            interface="eth0",
            ttl=255,
        )
    )
    assert state(running) is State.REGISTERING
    running >> answers() << like(InstallTunnel, tunnel=TO_A)
    running << noted("registration_accepted", "MN-33", code=0)
    assert state(running) is State.REGISTERED
    assert running >> TUNNEL_READY


@pytest.mark.parametrize(
    ("policy", "flags", "ttl"),
    [
        ({"reverse_tunnel": False}, 0x20, 64),
        ({"encapsulation": Encapsulation.MINIMAL}, 0x32, 255),
    ],
)
def test_flags_and_ttl_follow_what_is_asked_for(policy, flags, ttl):
    """C-6, RT-02, MN-22."""
    running = scenario(mobile_node(**policy)) >> ON_A << like(InstallTunnel)
    assert running >> TUNNEL_READY << sends(flags=flags, ttl=ttl)


def test_code_1_is_an_acceptance():
    assert asking() >> answers(1) << like(InstallTunnel, tunnel=TO_A)


def test_lifetime_counts_from_the_request():
    """MN-33."""
    running = asking() >> Wait(1.8) >> answers(lifetime=300) << like(InstallTunnel)
    running >> TUNNEL_READY
    assert running.engine.status(running.now)["remaining"] == 299
    assert running >> Timer(at=201) << sends(lifetime=600)


def test_a_reply_cannot_raise_the_lifetime():
    """COM-18."""
    running = asking() >> answers(lifetime=3000) << like(InstallTunnel)
    assert running.engine.status(running.now)["lifetime"] == 600
    assert running


def test_a_refresh_does_not_touch_the_tunnel():
    """MN-33: at two thirds of the lifetime."""
    running = registered() >> Timer(at=401) << sends(care_of_address=A)
    assert state(running) is State.REFRESHING
    assert running >> answers() << noted("registration_refreshed")
    assert state(running) is State.REGISTERED
    assert running >> Timer(at=801) << sends()


def test_an_infinite_lifetime_is_never_refreshed():
    """COM-16."""
    running = registered(lifetime=65535)
    assert running.engine.next_timer() is None
    assert running.engine.status(running.now)["remaining"] is None
    assert running


def test_a_move_asks_over_the_new_interface_at_once_and_then_switches():
    """The tunnel of A stays until B is accepted: it receives for both."""
    running = (
        registered()
        >> Wait(10)
        >> ON_B
        << sends(care_of_address=B, source=B, interface="wlan0")
    )
    assert state(running) is State.REGISTERING
    running >> answers() << like(InstallTunnel, tunnel=TO_B)
    assert running >> TUNNEL_READY
    assert running.engine.status(running.now)["care_of_address"] == B


def test_a_preferred_interface_is_taken_and_a_lesser_one_ignored():
    running = scenario(mobile_node()) >> ON_B << like(InstallTunnel, tunnel=RECEIVE_B)
    running >> TUNNEL_READY << sends() >> answers() << like(InstallTunnel)
    running >> TUNNEL_READY >> Wait(5) >> ON_BOTH << sends(care_of_address=A)
    running >> answers() << like(InstallTunnel, tunnel=TO_A) >> TUNNEL_READY
    assert running >> ON_BOTH


def test_coming_home_restores_routing_then_announces_then_deregisters():
    """MN-13, MN-24, ARP-04: in this order; D, T and G are clear."""
    running = registered() >> Wait(10) >> AT_HOME << like(RemoveTunnel)
    (
        running
        >> TUNNEL_READY
        << AnnounceAddress(HOME, "home0")
        << sends(
            flags=0,
            lifetime=0,
            care_of_address=HOME,
            source=HOME,
            interface="home0",
            ttl=64,
        )
    )
    assert state(running) is State.RETURNING
    running >> answers() << AnnounceAddress(HOME, "home0")
    assert running << noted("deregistration_accepted")
    assert state(running) is State.AT_HOME
    assert running.engine.next_timer() is None


def test_at_home_from_the_start_an_earlier_life_is_deregistered():
    """A crash may have left a binding behind; no answer is no harm."""
    running = scenario(mobile_node()) >> AT_HOME << AnnounceAddress(HOME, "home0")
    running << sends(lifetime=0)
    for _ in range(6):
        running = running >> Timer() << sends(lifetime=0)
    assert running >> Timer() << noted("gave_up")
    assert state(running) is State.AT_HOME
    assert running.engine.next_timer() is None


def test_at_home_it_asks_until_the_binding_has_ended_by_itself():
    running = registered() >> Wait(500) >> AT_HOME << like(RemoveTunnel)
    running >> TUNNEL_READY << AnnounceAddress(HOME, "home0") << sends()
    while running.engine.next_timer() < 601:
        running = running >> Timer() << sends(lifetime=0)
    assert running >> Timer(at=601) << noted("registration_expired")
    assert state(running) is State.AT_HOME


def test_home_needs_the_home_address_with_a_network():
    """As a host address it is only parked."""
    parked = interfaces(home0="10.1.1.10/32", eth0="10.1.2.50/24", wlan0=None)
    assert scenario(mobile_node()) >> parked << like(InstallTunnel, tunnel=RECEIVE_A)


def test_an_unlisted_home_link_is_still_home():
    node = mobile_node(interfaces=("eth0",))
    links = interfaces(eth0="10.1.2.50/24", lan9="10.1.1.10/24")
    running = scenario(node) >> links << AnnounceAddress(HOME, "lan9")
    assert running << sends(lifetime=0)


def test_a_fixed_care_of_address_is_used_once_it_is_there():
    node = mobile_node(care_of_addresses={"eth0": "10.1.2.77"})
    assert scenario(node) >> ON_A
    there = interfaces(eth0="10.1.2.77/24")
    assert (
        scenario(node)
        >> there
        << like(InstallTunnel, tunnel=like(Tunnel, local="10.1.2.77"))
    )


def test_a_lost_interface_keeps_the_registration_for_its_return():
    running = registered() >> Wait(10) >> NOWHERE << noted("interface_lost")
    assert state(running) is State.DETACHED
    running >> Wait(20) >> ON_A << sends(care_of_address=A)
    assert state(running) is State.REFRESHING
    assert running >> answers()


def test_a_lost_interface_that_stays_lost_ends_with_its_lifetime():
    running = registered() >> Wait(10) >> NOWHERE
    running >> Timer(at=601) << like(RemoveTunnel) << noted("registration_expired")
    assert running >> TUNNEL_READY
    assert running.engine.next_timer() is None


def test_flapping_while_asking_starts_over():
    running = asking() >> NOWHERE << like(RemoveTunnel)
    running >> TUNNEL_READY >> Wait(5) >> ON_A << like(InstallTunnel, tunnel=RECEIVE_A)
    assert running >> TUNNEL_READY << sends()


def test_moving_before_the_first_answer_listens_on_the_new_address():
    running = asking() >> Wait(5) >> ON_B << like(InstallTunnel, tunnel=RECEIVE_B)
    assert running >> TUNNEL_READY << sends(care_of_address=B)


# Unanswered


def test_retransmissions_are_new_requests_at_growing_distances():
    """MN-25, MN-37, MN-38."""
    running = asking()
    times, seen = [running.time], [last_request(running).identification]
    for _ in range(8):
        running = running >> Timer() << sends(care_of_address=A)
        times.append(running.time)
        seen.append(last_request(running).identification)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps) >= 1
    assert all(b >= 2 * a - 1e-6 for a, b in itertools.pairwise(gaps[:5]))
    assert max(gaps) < 37
    assert seen == sorted(set(seen))
    assert running


def test_only_the_latest_request_may_be_answered():
    """MN-29."""
    running = asking()
    old = answers()(running)
    running >> Timer() << sends() >> old << noted("message_dropped", "MN-29")
    assert running >> answers() << like(InstallTunnel)


def test_an_explicit_request_gives_up_and_says_so():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends()
    for _ in range(6):
        running = running >> Timer() << sends()
    running >> Timer() << Finished(token=7, error=f"no reply from {HA}")
    assert running << like(RemoveTunnel) >> TUNNEL_READY
    assert state(running) is State.DETACHED
    assert running.engine.next_timer() is None


def test_roaming_goes_on_after_who_asked_was_told():
    running = scenario(mobile_node()) >> NOWHERE >> ON_A << like(InstallTunnel)
    running >> TUNNEL_READY << sends() >> Wait(3)
    running >> RegisterRequested(token=7, interface="eth0") << sends()
    for _ in range(6):
        running = running >> Timer() << sends()
    running >> Timer() << like(Finished, token=7) << sends()
    assert state(running) is State.REGISTERING
    assert running


def test_on_average_one_request_per_second():
    """MN-15: whatever the interfaces do; a first handover goes out at once."""
    running = registered() >> Wait(10)
    for step in range(200):
        running.time = 10 + step / 20
        running = running >> (ON_B if step % 2 else ON_A)
        running.effects = []
        due = running.engine.next_timer()
        if due is not None and due <= running.time:
            running = running >> TimerFired()
            running.effects = []
    assert len(running.sent) <= 2 + 12
    assert running


# Replies that are not believed


@pytest.mark.parametrize(
    "reply",
    [
        answers(mobile_home=None),
        answers(mobile_home=WRONG),
        answers(131, mobile_home=WRONG),
        answers(tail=lambda data: data + extension(32, KEY, data)),
        answers(mobile_home=None, foreign_home=KEY),
        answers(65),
        answers(194, mobile_home=None),
        answers(78, mobile_home=None),
        answers(home_address="10.1.1.11"),
    ],
)
def test_a_reply_without_one_valid_mhae_is_dropped(reply):
    """MN-31, C-14; codes of foreign agents are none of a co-located node's."""
    running = asking() >> reply << noted("message_dropped")
    assert state(running) is State.REGISTERING
    assert running >> answers() << like(InstallTunnel)


def test_a_reply_from_another_address_is_accepted():
    """Matched by authentication and Identification, not by its source."""

    def elsewhere(running: Scenario) -> object:
        return replace(answers()(running), source="10.9.9.9")

    assert asking() >> elsewhere << like(InstallTunnel)


def test_an_fhae_in_the_reply_does_not_disturb():
    assert asking() >> answers(foreign_home=KEY) << like(InstallTunnel)
    assert FHAE == 34


def test_a_reply_is_accepted_once():
    """MN-29."""
    running = asking()
    reply = answers()(running)
    running >> reply << like(InstallTunnel) >> TUNNEL_READY
    assert running >> reply << noted("message_dropped", "MN-29")


def test_an_acceptance_for_no_time_is_none():
    running = asking() >> answers(lifetime=0) << noted("registration_denied")
    assert running.engine.status(running.now)["lifetime"] is None
    assert running


# Denials


def test_133_sets_the_clock_and_asks_again_at_once():
    """MN-35."""
    running = asking()
    theirs = (running.now.ntp >> 32) + 1000
    running >> answers(133, high=theirs) << noted("identification_mismatch", "MN-35")
    running << sends()
    assert last_request(running).identification >> 32 in (theirs, theirs + 1)
    assert running.engine.status(running.now)["clock_offset"] in (1000, 1001)
    assert running >> answers() << like(InstallTunnel)


def test_133_with_an_earlier_time_goes_back():
    """MN-35: a node whose clock is ahead must be able to follow."""
    running = asking()
    theirs = (running.now.ntp >> 32) - 1000
    running >> answers(133, high=theirs) << sends()
    assert last_request(running).identification >> 32 in (theirs, theirs + 1)
    assert running


def test_an_echoed_133_does_not_loop():
    """MN-35 with home agents that repeat the whole Identification."""
    running = asking()
    for _ in range(12):
        running = running >> Wait(running.time + 0.01) >> answers(133)
        running.effects = []
    assert running
    assert len(running.sent) <= 3
    assert running.engine.status(running.now)["clock_offset"] == 0
    running >> Timer() << sends()
    assert running.time > 1.9


def test_an_unauthenticated_133_does_not_touch_the_clock():
    """MN-31 before MN-35."""
    running = asking() >> answers(133, high=1, mobile_home=WRONG)
    assert running.engine.status(running.now)["clock_offset"] == 0
    assert running


def test_133_to_the_end_is_told_with_its_code():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends()
    for _ in range(6):
        running = running >> answers(133)
        if not running.effects:
            running = running >> Timer()
        running << sends()
    running >> answers(133) >> Timer() << like(Finished, token=7, code=133)
    assert running << like(RemoveTunnel)


@pytest.mark.parametrize("code", [128, 129, 130, 131, 134, 135, 137, 138, 139, 200])
def test_a_denial_is_told_and_tried_again_much_later(code):
    """No storm of requests against a home agent that says no."""
    running = scenario(mobile_node()) >> ON_A << like(InstallTunnel)
    running >> TUNNEL_READY << sends() >> Wait(3)
    running >> RegisterRequested(token=7, interface="eth0") << sends()
    running >> answers(code) << like(Finished, token=7, code=code)
    assert running.engine.status(running.now)["last_code"] == code
    assert running.engine.next_timer() - running.time >= 60
    first = running.time
    running >> Timer() << sends() >> answers(code)
    assert running >> Timer() << sends()
    assert running.time - first >= 180


def test_a_denial_ends_what_was_asked_by_hand():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends()
    running >> answers(129) << like(Finished, token=7, code=129) << like(RemoveTunnel)
    assert "administratively prohibited" in running.history[-3]
    assert running >> TUNNEL_READY
    assert state(running) is State.DETACHED


def test_a_denied_move_by_hand_falls_back_on_what_stands():
    running = by_hand() >> ON_BOTH >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY << like(Finished, error=None)
    running >> Wait(9) >> RegisterRequested(token=8, interface="wlan0") << sends()
    running >> answers(130) << like(Finished, token=8, code=130)
    assert state(running) is State.REGISTERED
    # The home agent is asked soon whether it sees that alike.
    assert running >> Timer(at=9) << sends(care_of_address=A)


def test_a_denied_refresh_lasts_until_the_lifetime_ends():
    running = registered() >> Timer(at=401) << sends() >> answers(130)
    assert state(running) is State.REFRESHING
    running.effects = []
    while running.engine.next_timer() < 600:
        running = running >> Timer() << sends() >> answers(130)
    assert running >> Timer(at=601) << noted("registration_expired")
    assert state(running) is State.REGISTERING


def test_136_is_followed_once():
    """MN-36: to a unicast address that is new, once."""
    other = "10.1.1.21"
    running = asking() >> answers(136, home_agent=other)
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(other,)))
    running >> TUNNEL_READY << sends(home_agent=other, destination=other)
    running >> answers(136, home_agent=HA) << noted("registration_denied", code=136)
    assert running.engine.next_timer() > running.time + 50
    assert running


def test_136_that_leads_to_success_is_remembered():
    """MN-36."""
    other = "10.1.1.21"
    running = asking() >> answers(136, home_agent=other) << like(InstallTunnel)
    running >> TUNNEL_READY << sends() >> answers() << like(InstallTunnel)
    running >> TUNNEL_READY
    assert running.engine.status(running.now)["home_agent"] == other
    assert running >> Timer() << sends(destination=other)


@pytest.mark.parametrize("named", [HA, "0.0.0.0", "255.255.255.255", "224.0.0.11"])
def test_136_that_names_nothing_new_is_a_denial(named):
    assert asking() >> answers(136, home_agent=named) << noted("registration_denied")


# Asked by hand


def test_nothing_happens_until_it_is_asked():
    running = by_hand()
    assert running.engine.next_timer() is None
    assert running


def test_register_finishes_when_the_tunnel_is_there():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0", lifetime=1000)
    running << like(InstallTunnel) >> TUNNEL_READY << sends(lifetime=1000)
    running >> answers() << like(InstallTunnel) >> TUNNEL_READY
    assert running << like(Finished, token=7, error=None, code=0)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("eth7", "no interface eth7"),
        ("wlan0", "wlan0 is down"),
        ("home0", "home0 has no IPv4"),
        ("fixed0", "does not have the care-of address 10.9.9.9"),
    ],
)
def test_an_unusable_interface_is_refused_with_the_reason(name, reason):
    node = mobile_node(roam=False, care_of_addresses={"fixed0": "10.9.9.9"})
    links = interfaces(
        home0="169.254.7.7/16", eth0="10.1.2.50/24", wlan0=None, fixed0="10.9.9.8/24"
    )
    running = scenario(node) >> links >> RegisterRequested(token=7, interface=name)
    assert reason in running.effects[0].error
    assert running << like(Finished, token=7)


@pytest.mark.parametrize("lifetime", [0, -1, 65536])
def test_an_impossible_lifetime_is_refused(lifetime):
    request = RegisterRequested(token=7, interface="eth0", lifetime=lifetime)
    assert by_hand() >> request << like(Finished, token=7)


def test_a_newer_request_replaces_the_older():
    running = by_hand() >> ON_BOTH >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> RegisterRequested(token=8, interface="wlan0")
    running << like(Finished, token=7) << like(InstallTunnel, tunnel=RECEIVE_B)
    running >> TUNNEL_READY >> TUNNEL_READY << sends(care_of_address=B)
    assert running


def test_deregistering_from_away_ends_tunnel_and_roaming():
    """MN-24: the care-of address, with its flags."""
    running = registered() >> Wait(9) >> DeregisterRequested(7)
    running << sends(lifetime=0, care_of_address=A, flags=0x22, source=A)
    assert state(running) is State.DEREGISTERING
    running >> answers() << like(RemoveTunnel) >> TUNNEL_READY
    running << Finished(
        token=7,
        code=0,
        fields={
            "interface": "eth0",
            "care_of_address": A,
            "home_agent": HA,
            "lifetime": 0,
        },
    )
    assert state(running) is State.DETACHED
    assert running >> Wait(20) >> ON_B
    assert running.engine.next_timer() is None


def test_roaming_resumes_with_the_next_request_to_register():
    running = registered() >> Wait(9) >> DeregisterRequested(7) << sends()
    running >> answers() << like(RemoveTunnel) >> TUNNEL_READY << like(Finished)
    running >> Wait(20) >> RegisterRequested(token=8, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY << like(Finished, token=8)
    assert running >> Wait(30) >> ON_B << sends(care_of_address=B)


def test_an_interface_that_was_asked_for_is_kept():
    running = registered() >> Wait(5) >> ON_BOTH
    running >> RegisterRequested(token=7, interface="wlan0") << sends(care_of_address=B)
    running >> answers() << like(InstallTunnel) >> TUNNEL_READY << like(Finished)
    running >> Wait(9) >> ON_BOTH
    running >> Wait(20) >> ON_A << sends(care_of_address=A) >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY
    assert running >> Wait(30) >> ON_BOTH


def test_deregistering_on_the_move_ends_everything():
    """MN-24: the home agent may have either binding."""
    running = registered() >> Wait(9) >> ON_B << sends(care_of_address=B)
    running >> Wait(12) >> DeregisterRequested(7)
    assert running << sends(lifetime=0, care_of_address=HOME, source=B)


def test_deregistering_without_an_answer_still_ends_the_tunnel():
    running = registered() >> Wait(9) >> DeregisterRequested(7) << sends()
    for _ in range(6):
        running = running >> Timer() << sends(lifetime=0)
    running >> Timer() << like(Finished, token=7, error=f"no reply from {HA}")
    assert running << like(RemoveTunnel) >> TUNNEL_READY
    assert state(running) is State.DETACHED


def test_deregistering_nothing_succeeds():
    assert by_hand() >> DeregisterRequested(7) << Finished(token=7)
    running = by_hand() >> RegisterRequested(token=6, interface="eth0")
    running << like(InstallTunnel) >> DeregisterRequested(7) << like(Finished, token=6)
    assert running << like(RemoveTunnel) << Finished(token=7)


def test_deregistering_with_the_interface_gone_says_so():
    running = registered() >> Wait(9) >> NOWHERE >> DeregisterRequested(7)
    running << like(RemoveTunnel) >> TUNNEL_READY << like(Finished, token=7)
    assert "eth0 was lost" in running.history[-1]
    assert running.engine.next_timer() is None
    assert running


def test_deregistering_on_the_way_home_joins_it():
    running = registered() >> Wait(9) >> AT_HOME << like(RemoveTunnel)
    running >> DeregisterRequested(7) >> TUNNEL_READY << AnnounceAddress(HOME, "home0")
    running << sends() >> answers() << AnnounceAddress(HOME, "home0")
    assert running << like(Finished, token=7, error=None)


def test_losing_the_interface_while_deregistering_ends_it():
    running = registered() >> Wait(9) >> DeregisterRequested(7) << sends()
    running >> NOWHERE << like(Finished, token=7, error="eth0 was lost")
    assert running << like(RemoveTunnel)


def test_cancelling_ends_the_wait():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> CancelRequested(9)
    running << Finished(token=7, error="cancelled") << Finished(token=9)
    assert running << like(RemoveTunnel)
    assert state(running) is State.DETACHED


def test_cancelling_after_a_request_was_sent_takes_it_back():
    """The home agent may have granted it."""
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends()
    running >> CancelRequested(7) << Finished(token=7, error="cancelled")
    running << sends(lifetime=0, care_of_address=A) >> answers() << like(RemoveTunnel)
    assert running >> TUNNEL_READY
    assert state(running) is State.DETACHED


def test_cancelling_a_move_asserts_the_old_registration():
    running = by_hand() >> ON_BOTH >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY << like(Finished)
    running >> Wait(9) >> RegisterRequested(token=8, interface="wlan0") << sends()
    running >> CancelRequested(8) << like(Finished, token=8)
    assert running >> Timer(at=9) << sends(care_of_address=A)


def test_cancelling_nothing_says_so():
    assert (
        registered()
        >> CancelRequested(9)
        << Finished(token=9, error="nothing is under way")
    )


def test_by_hand_a_lost_interface_that_returns_is_refreshed():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY << like(Finished)
    running >> Wait(20) >> NOWHERE << noted("interface_lost")
    assert running >> Wait(30) >> ON_A << sends(care_of_address=A)


def test_by_hand_home_is_only_noticed():
    running = scenario(mobile_node(roam=False)) >> AT_HOME
    assert state(running) is State.AT_HOME
    running >> RegisterRequested(token=7, interface="home0")
    running << AnnounceAddress(HOME, "home0") << sends(lifetime=0) >> answers()
    assert running << AnnounceAddress(HOME, "home0") << like(Finished, token=7)


# The data plane says no


def test_a_tunnel_that_fails_before_the_request_is_tried_again():
    running = scenario(mobile_node()) >> ON_A << like(InstallTunnel) >> TUNNEL_FAILED
    running << noted("tunnel_failed")
    running >> Timer(at=11) << like(InstallTunnel, tunnel=RECEIVE_A)
    assert running >> TUNNEL_READY << sends()


def test_a_tunnel_that_fails_is_told_to_who_asked():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_FAILED
    assert running << Finished(token=7, error="tunnel: no device")
    assert state(running) is State.DETACHED


def test_a_tunnel_that_fails_after_acceptance_is_tried_with_an_early_refresh():
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> answers()
    running << like(InstallTunnel) >> TUNNEL_FAILED
    running << like(Finished, token=7, error="tunnel: no device")
    running >> Timer(at=11) << sends() >> answers() << like(InstallTunnel, tunnel=TO_A)
    assert running


def test_a_tunnel_that_is_not_removed_does_not_keep_the_node_from_home():
    """MN-13."""
    running = registered() >> Wait(9) >> AT_HOME << like(RemoveTunnel) >> TUNNEL_FAILED
    assert running << AnnounceAddress(HOME, "home0") << sends(lifetime=0)


def test_a_tunnel_that_is_left_over_at_home_is_removed_again():
    running = registered() >> Wait(9) >> AT_HOME << like(RemoveTunnel) >> TUNNEL_FAILED
    running << AnnounceAddress(HOME, "home0") << sends(lifetime=0) >> answers()
    running << AnnounceAddress(HOME, "home0")
    running >> Timer() << like(RemoveTunnel) >> TUNNEL_FAILED
    assert running >> Timer() << like(RemoveTunnel) >> TUNNEL_READY
    assert state(running) is State.AT_HOME
    assert running.engine.next_timer() is None


def test_a_silent_data_plane_does_not_stop_the_node():
    running = scenario(mobile_node()) >> ON_A << like(InstallTunnel)
    running >> Timer(at=11) << noted("tunnel_failed")
    assert running >> Timer(at=21) << like(InstallTunnel)
    running = by_hand() >> RegisterRequested(token=7, interface="eth0")
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> answers()
    assert running << like(InstallTunnel) >> Timer(at=11) << like(Finished, token=7)


def test_a_late_timer_finds_the_registration_expired():
    """MN-33: after a suspended machine wakes up."""
    running = registered() >> Wait(5000) >> TimerFired()
    assert running << noted("registration_expired") << sends(care_of_address=A)
    assert state(running) is State.REGISTERING


def test_coarse_timestamps_are_a_quirk():
    """For home agents that compute Identification in doubles."""
    running = asking(coarse_timestamps=True)
    assert last_request(running).identification % 2048 == 0
    assert running.engine.status(running.now)["quirks"] == ["coarse_timestamps"]
    assert running


def test_status_uses_the_names_of_the_registry():
    running = registered()
    assert running.engine.status(instant(101.0)) == {
        "role": "mobile_node",
        "state": "registered",
        "home_address": HOME,
        "home_agent": HA,
        "interface": "eth0",
        "foreign_agent": None,
        "care_of": "co-located",
        "care_of_address": A,
        "registered_care_of_address": A,
        "lifetime": 600,
        "remaining": 500,
        "encapsulation": "ipip",
        "reverse_tunnel": True,
        "broadcasts": False,
        "roam": True,
        "last_code": 0,
        "last_code_text": "registration accepted",
        "last_codes": [0],
        "clock_offset": 0,
        "replay": "timestamp",
        "quirks": [],
        "agents": [],
    }
    assert running


def test_a_request_is_not_for_a_mobile_node():
    running = asking()
    data = running.sent[-1].data
    assert running >> received(data, A) << noted("message_dropped", "MN-29")


def test_malformed_datagrams_are_noted_with_their_rule():
    """COM-01, COM-08."""
    running = asking() >> answers(tail=lambda data: data + b"\x63\x01\0")
    assert running << noted("message_dropped", "COM-01")


def test_a_mobile_node_has_no_bindings_to_clear():
    running = scenario(mobile_node()) >> ClearRequested(5, HOME)
    assert running << like(Finished, token=5)


def test_a_key_for_foreign_agents_is_not_understood():
    """COM-01: whoever relays a reply takes out what is for itself (TUN-08)."""
    key = bytes(MIPGREKey(key_identifier=5))
    running = asking() >> answers(tail=lambda data: data + key)
    assert running << noted("message_dropped", "COM-01")
