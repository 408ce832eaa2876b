# SPDX-License-Identifier: GPL-2.0-only
"""Each invariant, and a breach of it that is found: faults put in on purpose."""

import dataclasses

import pytest
from msgspec import structs

from mip_agents.protocol import (
    agents_heard,
    changes,
    home_agent,
    homecoming,
    reply_checks,
)
from mip_agents.protocol.bindings import BindingTable
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.freshness import ReplayGuard
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.replay import Freshness
from mip_agents.protocol.visitors import PendingList, VisitorList
from mip_agents.simulation import strangers
from mip_agents.simulation.script import (
    Crash,
    Flood,
    Forge,
    Move,
    Player,
    Script,
    Trouble,
    Wait,
    Weather,
)
from mip_agents.simulation.shell import Disk, Shell, SimulationError
from mip_agents.simulation.world import Plan, Site

PLAN = Plan(advertisement_interval=0.0, sites=(Site(), Site()))
"""Where no advertisement hides that a timer is missing."""
VISIT = Plan(sites=(Site(foreign_agent=True, dhcp=False),))
AWAY = (Move(0, 0, None), Move(0, 1, 1), Wait(10.0))
HOME = (Move(0, 1, None), Move(0, 0, 0), Wait(10.0))
DAMAGE = (Weather(0, corruption=1.0), Wait(60.0))


def breach(plan, *acts):
    """Return what the simulation says of a history."""
    with pytest.raises(SimulationError) as caught:
        Player(Script(1, plan, acts)).play()
    return str(caught.value)


@pytest.mark.parametrize("plan", [PLAN, VISIT])
def test_sound_agents_breach_nothing(plan):
    acts = (*AWAY, Forge(0, 5, False), Forge(0, 5, True), *DAMAGE, Flood(1, 40))
    Player(Script(1, plan, (*acts, Wait(10.0), Crash("ha", 1.0), *HOME))).play()


def test_identification_is_not_accepted_again_over_a_crash(monkeypatch):
    def lenient(self, asked, now):
        return Freshness.FRESH

    monkeypatch.setattr(ReplayGuard, "judge", lenient)
    acts = (*AWAY, Crash("ha", 1.0), Wait(2.0), Forge(0, 1, True), Wait(1.0))
    assert "an Identification was accepted twice" in breach(PLAN, *acts)


def test_binding_does_not_outlive_its_lifetime(monkeypatch):
    monkeypatch.setattr(BindingTable, "next_expiry", lambda self: None)
    assert "no timer that ends them" in breach(PLAN, *AWAY)


def test_binding_does_not_outlive_its_lifetime_over_a_crash(monkeypatch):
    restore = home_agent.restore

    def generous(kept, now):
        return restore(structs.replace(kept, ends=kept.ends + 60), now)

    monkeypatch.setattr(home_agent, "restore", generous)
    acts = (*AWAY, Move(0, 1, None), Crash("ha", 5.0), Wait(10.0))
    assert "a binding outlives its lifetime" in breach(PLAN, *acts)


def test_home_agent_tunnels_to_nobody_unauthenticated(monkeypatch):
    authenticate = home_agent.authenticate

    def credulous(*given):
        return authenticate(*given)[0], None

    monkeypatch.setattr(home_agent, "authenticate", credulous)
    told = breach(PLAN, *AWAY, Forge(0, 1, False), Wait(1.0))
    assert "bound, and no node has asked for it" in told
    monkeypatch.undo()

    def astray(*given):
        return dataclasses.replace(tunnel_of(*given), peers=("10.100.9.9",))

    tunnel_of = changes.tunnel_of
    monkeypatch.setattr(changes, "tunnel_of", astray)
    assert "10.0.1.0: tunnelled to 10.100.9.9, unasked" in breach(PLAN, *AWAY)


def test_stranger_ends_no_binding(monkeypatch):
    authenticate = home_agent.authenticate
    request = strangers.build_request

    def credulous(*given):
        return authenticate(*given)[0], None

    def deregistration(**given):
        given |= {"lifetime": 0, "care_of_address": given["home_address"]}
        return request(**given)

    monkeypatch.setattr(home_agent, "authenticate", credulous)
    monkeypatch.setattr(strangers, "build_request", deregistration)
    told = breach(PLAN, *AWAY, Forge(0, 1, False), Wait(1.0))
    assert "ha: what nobody with a key has sent changes state" in told


def test_reply_that_no_agent_has_sent_changes_nothing(monkeypatch):
    monkeypatch.setattr(reply_checks, "_authenticate", lambda *given: None)
    told = breach(PLAN, Weather(0, corruption=0.5), *(AWAY + HOME) * 20)
    assert "mn-0: a reply that no agent has sent changes state" in told


def test_reply_leaves_behind_its_journal_entry(monkeypatch):
    monkeypatch.setattr(Disk, "commit", lambda self, changes: None)
    assert "a reply left before its journal entry" in breach(PLAN, *AWAY)


def test_tunnel_of_the_home_agent_goes_with_its_binding(monkeypatch):
    same_tunnel = changes.same_tunnel

    def forgetful(one, other, counting):
        return not other or same_tunnel(one, other, counting)

    monkeypatch.setattr(changes, "same_tunnel", forgetful)
    told = breach(PLAN, *AWAY, *HOME)
    assert "ha: 10.0.1.0 is left over, and no timer ends it" in told
    told = breach(dataclasses.replace(PLAN, advertisement_interval=3.0), *AWAY, *HOME)
    assert "ha: 10.0.1.0 is left over since" in told


def test_kernel_that_refuses_is_asked_again(monkeypatch):
    monkeypatch.setattr(changes, "RETRY_S", 1000.0)
    plan = dataclasses.replace(PLAN, advertisement_interval=3.0)
    acts = (*AWAY, Trouble("ha", 1.0, False), Move(0, 1, None), Wait(70.0))
    told = breach(plan, *acts, Trouble("ha", 0.0, False), Wait(60.0))
    assert "ha: 10.0.1.0 is left over since" in told


@pytest.mark.parametrize(
    ("plan", "agent", "left"),
    [
        (PLAN, "mn-0", "mn-0: 10.0.1.0 is left over"),
        (VISIT, "fa-1", "fa-1: 10.0.1.0%lan0 is left over"),
    ],
)
def test_tunnel_of_every_agent_goes_with_its_cause(monkeypatch, plan, agent, left):
    obey = Shell._obey

    def keep(self, order):
        kept = dict(self.tunnels)
        obey(self, order)
        if self.name == agent:
            self.tunnels = kept | self.tunnels

    monkeypatch.setattr(Shell, "_obey", keep)
    assert left in breach(plan, *AWAY, *HOME, Wait(120.0))


def test_home_address_is_taken_away_where_home_is_no_more(monkeypatch):
    place = homecoming.Homecoming.place

    def forgetful(self, *given, **asked):
        held = place(self, *given, **asked)
        return held if held is None or held.interface else None

    plan = dataclasses.replace(VISIT, configured=False)
    acts = (Wait(5.0), *AWAY, Move(0, 0, 1), Wait(5.0))
    Player(Script(1, plan, acts)).play()
    monkeypatch.setattr(homecoming.Homecoming, "place", forgetful)
    assert "mn-0 has its home address on site-1" in breach(plan, *acts)


def test_agents_agree_with_what_the_node_was_told(monkeypatch):
    monkeypatch.setattr(VisitorList, "put", lambda self, place, visitor: None)
    assert "visitor" in breach(VISIT, *AWAY)


def test_requests_that_wait_have_a_limit(monkeypatch):
    monkeypatch.setattr(PendingList, "has_room", lambda self, asker: True)
    told = breach(VISIT, *AWAY, Flood(1, 40), Wait(5.0))
    assert "fa-1: 6 requests wait" in told


def test_agents_that_are_remembered_have_a_limit(monkeypatch):
    monkeypatch.setattr(agents_heard, "MAX_AGENTS", 1000)
    told = breach(VISIT, *AWAY, Flood(1, 40), Wait(5.0))
    assert "mn-0 remembers too many agents" in told


@pytest.mark.parametrize(
    ("engine", "plan", "said"),
    [
        (HomeAgentEngine, PLAN, "bindings, and no timer that ends them"),
        (ForeignAgentEngine, VISIT, "fa-1: visitors without a timer"),
        (MobileNodeEngine, PLAN, "without a timer"),
    ],
)
def test_whatever_is_pending_has_a_timer(monkeypatch, engine, plan, said):
    next_timer = engine.next_timer

    def hidden(self):
        found = next_timer(self)
        idle = engine is ForeignAgentEngine and not self.status(None)["pending"]
        return found if idle else None

    monkeypatch.setattr(engine, "next_timer", hidden)
    assert said in breach(plan, *AWAY)


def test_every_node_is_where_it_belongs_when_the_faults_are_over(monkeypatch):
    monkeypatch.setattr(MobileNodeEngine, "_receive", lambda self, received, now: None)
    assert "mn-0 is registering, long after the last fault" in breach(PLAN, *AWAY)


def test_nothing_is_acknowledged_to_a_timer_that_changes_nothing(monkeypatch):
    monkeypatch.setattr(MobileNodeEngine, "next_timer", lambda self: 0.0)
    assert "the timer fires and nothing happens" in breach(PLAN, *AWAY)
