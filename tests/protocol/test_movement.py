# SPDX-License-Identifier: GPL-2.0-only
"""Where a mobile node goes: agents that come and go, interfaces that are better."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.attempts import OVERLAP_S, State
from mip_agents.protocol.effects import (
    AnnounceAddress,
    HoldAddress,
    InstallTunnel,
    RemoveTunnel,
    SendDiscovery,
)
from mip_agents.protocol.events import RegisterRequested, TimerFired
from mip_agents.protocol.policy import CareOf
from mip_agents.protocol.setbacks import MAX_SETBACKS, Setbacks
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import AgentFlag
from support.agents import (
    HA,
    HOME,
    NOWHERE,
    ON_A,
    ON_B,
    ON_BOTH,
    A,
    B,
    answers,
    counting_bytes,
    last_request,
    mobile_node,
)
from support.scenario import (
    TUNNEL_READY,
    Scenario,
    Timer,
    Wait,
    like,
    noted,
    scenario,
    sends,
)
from support.visiting import (
    AGENT,
    ALL_DOWN,
    BARE_A,
    BARE_B,
    BARE_BOTH,
    FAR_AGENT,
    FAR_MAC,
    FT,
    MAC,
    OTHER_AGENT,
    OTHER_MAC,
    RFT,
    advertises,
    link,
    relays,
    visitor,
)

LONG = 9000
B_FLAG = FT.B


def on_wlan(source: str = FAR_AGENT, **fields: object) -> object:
    return advertises(source, "wlan0", **fields)


def registered(**fields: object) -> Scenario:
    """A node that is registered through an agent on eth0."""
    running = scenario(visitor()) >> BARE_A >> advertises(**fields)
    running << like(InstallTunnel) >> TUNNEL_READY << sends(destination=AGENT)
    running >> relays() << like(InstallTunnel)
    return running >> TUNNEL_READY


def agent_of(running: Scenario) -> str | None:
    agent: str | None = running.engine.status(running.now)["foreign_agent"]
    return agent


# Agents


def test_an_agent_that_is_silent_is_left_for_another_at_once():
    """MN-10, MN-14: not before."""
    running = registered(lifetime=9) >> Wait(5) >> advertises(OTHER_AGENT, lifetime=9)
    assert agent_of(running) == AGENT
    running >> Timer(at=10) << sends(destination=OTHER_AGENT, link_address=OTHER_MAC)
    running >> relays() << like(InstallTunnel, tunnel=like(Tunnel, local=OTHER_AGENT))
    assert running >> TUNNEL_READY


def test_an_agent_that_is_silent_is_searched_for_and_taken_again():
    """MN-10: the registration stays, and with it the tunnel, until its time is over."""
    running = registered(lifetime=9) >> Timer(at=10)
    running << noted("foreign_agent_lost", "MN-10")
    assert running.engine.state is State.DETACHED
    running >> Timer() << like(object) >> advertises() << sends(destination=AGENT)
    assert running.engine.state is State.REFRESHING
    assert running >> relays()


def test_an_agent_that_takes_leave_is_left():
    """MN-10: with a lifetime of zero."""
    running = registered(lifetime=LONG) >> Wait(5)
    running >> advertises(OTHER_AGENT, lifetime=LONG)
    running << noted("agent_heard", agent=OTHER_AGENT) >> advertises(lifetime=0)
    running << noted("agent_left", agent=AGENT)
    assert running << sends(destination=OTHER_AGENT)


def test_nobody_changes_agents_while_the_present_one_is_heard():
    """MN-14."""
    running = registered(lifetime=9, flags=FT)
    for moment in range(3, 60, 3):
        running = running >> Wait(moment) >> advertises("10.1.2.9", flags=FT | FT.G)
        running = running >> advertises(flags=FT, lifetime=9)
    assert len(running.sent) == 1
    assert running


def test_a_busy_agent_keeps_whom_it_has_and_gets_no_others():
    """MN-14, AG-15: B is for new ones."""
    running = registered(lifetime=9) >> Wait(5) >> advertises(flags=FT | B_FLAG)
    assert agent_of(running) == AGENT
    assert running
    other = scenario(visitor()) >> BARE_A >> advertises(flags=FT | B_FLAG)
    other >> advertises(OTHER_AGENT)
    assert other << like(InstallTunnel, tunnel=like(Tunnel, local=OTHER_AGENT))


def test_an_agent_that_began_anew_is_asked_again():
    """MN-12: it has forgotten its visitors."""
    running = registered(lifetime=LONG, sequence_number=700) >> Wait(5)
    running >> advertises(sequence_number=701, lifetime=LONG)
    running >> advertises(OTHER_AGENT, sequence_number=900, lifetime=LONG)
    running >> advertises(OTHER_AGENT, sequence_number=0, lifetime=LONG)
    running >> advertises(sequence_number=1, lifetime=LONG)
    running << noted("foreign_agent_restarted", "MN-12")
    assert running << sends(destination=AGENT)


def test_a_number_that_rolled_over_is_no_restart():
    """MN-12."""
    running = registered(lifetime=LONG, sequence_number=0xFFFF) >> Wait(5)
    assert running >> advertises(sequence_number=256, lifetime=LONG)


def test_another_link_layer_address_is_another_agent():
    running = registered(lifetime=LONG) >> Wait(5)
    running >> advertises(link_address="02:00:00:00:00:77", lifetime=LONG)
    assert running << sends(destination=AGENT, link_address="02:00:00:00:00:77")


def test_a_care_of_address_that_is_offered_no_more_is_left():
    """MN-07."""
    running = registered(lifetime=LONG) >> Wait(5)
    running >> advertises(care_of_addresses=["10.1.2.8"], lifetime=LONG)
    assert running << sends(care_of_address="10.1.2.8", destination=AGENT)


def test_an_agent_with_all_that_is_wanted_is_preferred():
    """MN-22: of two, the one that offers the reverse tunnel."""
    running = scenario(visitor(roam=False)) >> BARE_A >> advertises(flags=FT.F)
    running >> advertises(OTHER_AGENT)
    running >> RegisterRequested(token=7, interface="eth0")
    assert running << like(InstallTunnel, tunnel=like(Tunnel, local=OTHER_AGENT))


def test_who_is_registered_directly_goes_through_an_agent_that_demands_it():
    """MN-09; and past it again when it demands it no more."""
    running = scenario(visitor()) >> ON_A << like(InstallTunnel) >> TUNNEL_READY
    running << sends(destination=HA) >> answers() << like(InstallTunnel)
    running >> TUNNEL_READY >> Wait(5) >> advertises(flags=RFT, lifetime=LONG)
    running << sends(destination=AGENT, care_of_address=A) >> relays()
    assert agent_of(running) == AGENT
    running >> Wait(15) >> advertises(flags=FT, lifetime=LONG)
    assert running << sends(destination=HA, care_of_address=A, link_address=None)


def test_an_address_that_comes_later_does_not_end_what_works():
    """MN-14: neither does it when it goes."""
    running = registered(lifetime=LONG) >> Wait(5) >> ON_A >> Wait(9) >> BARE_A
    assert agent_of(running) == AGENT
    assert running


def test_by_hand_an_agent_that_demands_registration_changes_nothing():
    running = scenario(visitor(roam=False)) >> ON_A
    running >> RegisterRequested(token=7, interface="eth0") << like(InstallTunnel)
    running >> TUNNEL_READY << sends(destination=HA) >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY << like(object)
    running >> Wait(5) >> advertises(flags=RFT, lifetime=LONG)
    assert running.engine.state is State.REGISTERED
    assert running


def test_an_advertisement_on_an_interface_that_is_down_is_of_yesterday():
    running = scenario(visitor()) >> ALL_DOWN >> advertises()
    assert running.engine.status(running.now)["agents"] == []
    assert running


def test_a_link_that_was_down_may_be_another_one():
    """The agent must be heard again."""
    running = registered(lifetime=LONG) >> ALL_DOWN << noted("interface_lost")
    running >> Wait(5) >> BARE_A
    assert running.engine.state is State.DETACHED
    running >> advertises(lifetime=LONG) << sends(destination=AGENT)
    assert running.engine.state is State.REFRESHING
    assert running


# Interfaces


def test_a_better_interface_is_taken_when_it_has_been_usable_for_a_while():
    """Hysteresis."""
    running = scenario(mobile_node(hysteresis=1.0)) >> ON_B << like(InstallTunnel)
    running >> TUNNEL_READY << sends(care_of_address=B) >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY >> Wait(5) >> ON_BOTH
    assert running >> Timer(at=6) << sends(care_of_address=A)


def test_a_better_interface_that_goes_again_costs_nothing():
    running = scenario(mobile_node(hysteresis=1.0)) >> ON_B << like(InstallTunnel)
    running >> TUNNEL_READY << sends(care_of_address=B) >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY
    for moment in range(5, 15):
        running = running >> Wait(moment) >> ON_BOTH >> Wait(moment + 0.5) >> ON_B
    assert len(running.sent) == 1
    assert running.engine.next_timer() == pytest.approx(401)
    assert running


def test_who_has_lost_its_interface_does_not_wait():
    running = scenario(mobile_node(hysteresis=1.0)) >> ON_B << like(InstallTunnel)
    running >> TUNNEL_READY << sends(care_of_address=B) >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY >> Wait(5) >> ON_A
    assert running << sends(care_of_address=A)


def test_an_interface_with_an_agent_is_as_good_as_one_with_an_address():
    """In the configured order: eth0 with an agent before wlan0 with an address."""
    running = scenario(visitor(hysteresis=1.0)) >> ON_B << like(InstallTunnel)
    running >> TUNNEL_READY << sends(destination=HA) >> answers()
    running << like(InstallTunnel) >> TUNNEL_READY
    running >> Wait(5) >> link(home0=None, eth0="", wlan0="10.1.3.50/24")
    running >> Wait(7) >> advertises(lifetime=LONG)
    while running.time < 8:
        running = running >> Timer()
    running << sends(destination=AGENT, link_address=MAC, care_of_address=AGENT)
    assert running.time == pytest.approx(8)
    assert running


def test_between_agents_of_two_links_no_moment_is_without_a_tunnel():
    """Make before break: the old tunnel stays until the new registration stands."""
    running = registered(lifetime=9) >> BARE_BOTH >> on_wlan(lifetime=LONG)
    assert agent_of(running) == AGENT
    running >> Wait(5) >> BARE_B
    running << sends(destination=FAR_AGENT, link_address=FAR_MAC, interface="wlan0")
    new = like(Tunnel, local=FAR_AGENT, interface="wlan0", receive_only=False)
    assert running >> relays() << like(InstallTunnel, tunnel=new)


def test_from_an_agent_to_an_own_address_and_back():
    """Make before break, whoever ends the tunnel."""
    running = registered(lifetime=LONG) >> Wait(5) >> ON_B
    running << sends(destination=HA, care_of_address=B, flags=0x22, link_address=None)
    running >> answers()
    running << like(InstallTunnel, tunnel=like(Tunnel, local=B, agent=None))
    running >> TUNNEL_READY >> Wait(9) >> BARE_A >> advertises()
    running << sends(destination=AGENT, flags=0x02) >> relays()
    assert running << like(InstallTunnel, tunnel=like(Tunnel, local=AGENT))


def test_an_agent_that_refuses_leaves_the_next_interface():
    """And its own is tried again when the setback is over."""
    running = scenario(visitor()) >> BARE_BOTH >> on_wlan(lifetime=LONG)
    running << like(InstallTunnel) >> TUNNEL_READY << sends(destination=FAR_AGENT)
    running >> relays() << like(InstallTunnel) >> TUNNEL_READY
    running >> Wait(5) >> advertises(lifetime=LONG) << sends(destination=AGENT)
    running >> relays(65) << sends(destination=FAR_AGENT)
    running >> relays() >> advertises(lifetime=LONG)
    assert agent_of(running) == FAR_AGENT
    running >> Timer() << sends(destination=AGENT)
    assert running.time >= 65
    assert running


def test_setbacks_are_bounded_and_grow():
    setbacks = Setbacks(counting_bytes())
    ways = [Attachment(f"eth{n}", "10.1.2.1", False) for n in range(2 * MAX_SETBACKS)]
    setbacks.add(ways, 0.0)
    avoided = [way for way in ways if setbacks.avoids(way, 1.0)]
    assert avoided == ways[MAX_SETBACKS:]
    last = ways[-1]
    first_end = setbacks.next_end(1.0)
    assert first_end is not None
    assert 60 <= first_end < 70
    assert not setbacks.avoids(last, 70.0)
    setbacks.add([last], 100.0)
    assert setbacks.avoids(last, 215.0)
    setbacks.forget_interface(last.interface)
    assert not setbacks.avoids(last, 101.0)


# Two bindings at a time


def moving(**policy: object) -> Scenario:
    """A node on the way from B to A, while B still works."""
    running = scenario(mobile_node(simultaneous=True, **policy)) >> ON_B
    running << like(InstallTunnel) >> TUNNEL_READY << sends(flags=0x22)
    running >> answers() << like(InstallTunnel) >> TUNNEL_READY
    return running >> Wait(5) >> ON_BOTH


def test_on_the_move_the_old_binding_is_kept_for_a_moment():
    """S, while both interfaces work; the request that follows replaces the old one."""
    running = moving() << sends(flags=0xA2, care_of_address=A)
    running >> answers() << like(InstallTunnel) >> TUNNEL_READY
    running >> Timer(at=5 + OVERLAP_S) << sends(flags=0x22, care_of_address=A)
    running >> answers()
    assert running >> Timer(at=407) << sends(flags=0x22)


def test_a_home_agent_with_one_binding_is_not_asked_for_two_again():
    """C-5: code 1."""
    running = moving() << sends(flags=0xA2) >> answers(1) << like(InstallTunnel)
    running >> TUNNEL_READY
    assert running.engine.next_timer() == pytest.approx(405)
    running >> Wait(9) >> ON_B << sends(flags=0x22) >> answers(1)
    running << like(InstallTunnel) >> TUNNEL_READY >> Wait(20)
    assert running >> ON_BOTH << sends(flags=0x22, care_of_address=A)


def test_a_binding_that_no_longer_works_is_not_kept():
    running = scenario(mobile_node(simultaneous=True)) >> ON_B << like(InstallTunnel)
    running >> TUNNEL_READY << sends() >> answers() << like(InstallTunnel)
    running >> TUNNEL_READY >> Wait(5) >> NOWHERE >> ON_A
    assert running << sends(flags=0x22, care_of_address=A)
    assert last_request(running).lifetime == 600


def test_simultaneous_bindings_are_asked_for_through_agents_as_well():
    running = scenario(visitor(simultaneous=True, care_of=CareOf.FOREIGN_AGENT))
    running = running >> BARE_BOTH >> on_wlan(lifetime=LONG) << like(InstallTunnel)
    running >> TUNNEL_READY << sends(flags=0x02) >> relays() << like(InstallTunnel)
    running >> TUNNEL_READY >> Wait(5) >> advertises(lifetime=LONG)
    assert running << sends(flags=0x82, destination=AGENT)


def test_the_timer_gets_on_while_a_better_interface_settles():
    """Also where the node has been told not to move meanwhile."""
    running = scenario(mobile_node(hysteresis=5.0)) >> ON_B << like(InstallTunnel)
    running >> TUNNEL_READY << sends() >> answers() << like(InstallTunnel)
    running >> TUNNEL_READY >> Wait(5) >> ON_BOTH
    running >> RegisterRequested(token=7, interface="wlan0") << sends()
    running >> Wait(10) >> TimerFired()
    running.effects = []
    due = running.engine.next_timer()
    assert due is not None
    assert due > 10
    assert running


# Home by its home agent


def home_agent_on(interface: str = "home0", **fields: object) -> object:
    settings = {"flags": AgentFlag.H, "care_of_addresses": [], "lifetime": 9}
    return advertises(HA, interface, "02:00:00:00:00:20", **settings | fields)


BARE_HOME = link(home0="", eth0="", wlan0=None)
AT_HOME_LINK = link(home0="10.1.1.10/24", eth0="", wlan0=None)
HELD, RELEASED = HoldAddress("10.1.1.10/24", "home0"), HoldAddress("10.1.1.10/24", None)


def homecoming(**policy: object) -> Scenario:
    """A node that was registered through an agent and hears its home agent."""
    running = scenario(visitor(**policy)) >> BARE_HOME >> advertises(lifetime=LONG)
    running << like(InstallTunnel) >> TUNNEL_READY << sends() >> relays()
    running << like(InstallTunnel) >> TUNNEL_READY >> Wait(5)
    return running >> home_agent_on()


def test_where_the_home_agent_is_heard_is_home():
    """MN-13, ARP-04: the address, the routing, the announcement, the request."""
    running = homecoming() << HELD >> Wait(5.1) >> AT_HOME_LINK << like(RemoveTunnel)
    running >> TUNNEL_READY << AnnounceAddress(HOME, "home0")
    running << sends(lifetime=0, care_of_address=HOME, destination=HA)
    running >> answers() << AnnounceAddress(HOME, "home0")
    assert running.engine.state is State.AT_HOME
    assert running >> home_agent_on()


def test_the_prefix_is_that_of_the_home_network():
    network = IPv4Network("10.1.0.0/16")
    running = homecoming(home_network=network)
    assert running << HoldAddress("10.1.1.10/16", "home0")


def test_where_the_home_agent_is_silent_is_home_no_more():
    """MN-10, MN-13: even before the address has gone from there."""
    running = homecoming() << HELD >> AT_HOME_LINK << like(RemoveTunnel)
    running >> TUNNEL_READY << AnnounceAddress(HOME, "home0") << sends(lifetime=0)
    running >> answers() << AnnounceAddress(HOME, "home0")
    running >> Timer(at=14) << RELEASED
    (
        running
        << like(InstallTunnel, tunnel=like(Tunnel, local=AGENT))
        >> AT_HOME_LINK
        >> TUNNEL_READY
        << sends(destination=AGENT)
    )
    assert running >> BARE_HOME


def test_an_address_that_the_user_has_configured_is_the_users():
    """MN-13: it is neither put there nor taken away."""
    running = scenario(visitor()) >> AT_HOME_LINK << AnnounceAddress(HOME, "home0")
    running << sends(lifetime=0) >> home_agent_on() >> answers()
    running << AnnounceAddress(HOME, "home0") >> Wait(20) >> TimerFired()
    running.effects = [e for e in running.effects if not isinstance(e, SendDiscovery)]
    assert running.engine.state is State.AT_HOME
    assert running


def test_other_home_agents_and_other_agents_are_not_home():
    """MN-13."""
    running = scenario(visitor()) >> BARE_HOME
    running >> advertises("10.1.1.99", "home0", flags=AgentFlag.H, care_of_addresses=[])
    running >> advertises(HA, "home0", flags=FT) << like(InstallTunnel)
    assert running


def test_by_hand_home_is_left_to_who_asks():
    running = scenario(visitor(roam=False)) >> BARE_HOME >> home_agent_on()
    assert running
