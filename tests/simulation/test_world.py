# SPDX-License-Identifier: GPL-2.0-only
"""What a simulated world does to agents: boxes, clocks, sleep, several homes."""

import pytest

from mip_agents.protocol.events import DiscoveryReceived, Received, TimerFired
from mip_agents.simulation import nat as nat_module
from mip_agents.simulation.nat import FIRST_PORT, Nat
from mip_agents.simulation.script import (
    Crash,
    Drift,
    Move,
    Player,
    Rebind,
    Script,
    SetClock,
    Suspend,
    Wait,
    Weather,
)
from mip_agents.simulation.shell import BEGINNING
from mip_agents.simulation.world import Plan, Site

OUTSIDE = "198.51.100.1"
HIDDEN = Plan(sites=(Site(nat=True),), advertisement_interval=0.0)
AWAY = (Move(0, 0, None), Move(0, 1, 1), Wait(10.0))


def player(plan, *acts):
    made = Player(Script(1, plan, acts))
    made.world.start()
    for act in acts:
        made.perform(act)
    return made


def sources(world):
    """Return where the home agent's bindings were asked for from, by home address."""
    agent = world.shells["ha"]
    found = agent.engine.bindings(agent.clock.now())
    return {entry["home_address"]: entry["source"] for entry in found}


def state(world, node=0):
    return world.nodes[node].engine.state.value


@pytest.mark.parametrize("agent", [False, True])
def test_registrations_go_through_a_nat(agent):
    site = Site(nat=True, foreign_agent=agent, dhcp=not agent)
    made = player(Plan(nodes=2, sites=(site,)), *AWAY, Move(1, 0, None), Move(1, 1, 1))
    packets = []
    made.world.internet.record = packets.append
    made.world.run(120.0)
    assert state(made.world) == "registered"
    assert sources(made.world) == {"10.0.1.0": OUTSIDE, "10.0.1.1": OUTSIDE}
    asked = {p.source_port for p in packets if p.source == OUTSIDE}
    answered = {p.destination_port for p in packets if p.destination == OUTSIDE}
    assert asked == answered
    assert min(asked) >= FIRST_PORT


def test_mapping_that_lapses_or_is_forgotten_is_made_anew_at_another_port():
    made = player(HIDDEN, *AWAY)
    packets = []
    made.world.internet.record = packets.append

    def port():
        return [p.source_port for p in packets if p.source == OUTSIDE][-1]

    made.world.run(50.0)  # nodes ask again after 45 s, the box forgets after 30
    lapsed = port()
    made.perform(Rebind(1))
    assert len(made.world.internet.links["site-1"].nat) == 0
    made.world.run(50.0)
    assert port() > lapsed > FIRST_PORT
    assert state(made.world) == "registered"


def test_box_lets_in_only_whom_was_spoken_to():
    nat = Nat(OUTSIDE, 30.0)
    inside = "10.1.1.0", 434
    port = nat.leave(inside, "10.0.0.1", 0.0)
    assert nat.leave(inside, "10.0.0.2", 1.0) == port
    assert nat.leave(("10.1.1.1", 434), "10.0.0.1", 1.0) != port
    assert nat.enter(port, "10.0.0.2", 2.0) == inside
    assert nat.enter(port, "10.0.0.3", 2.0) is None
    assert nat.enter(port, "10.0.0.1", 31.0) is None  # what comes in keeps no mapping


def test_ports_of_a_box_are_used_again_when_all_were(monkeypatch):
    monkeypatch.setattr(nat_module, "LAST_PORT", FIRST_PORT + 2)
    nat = Nat(OUTSIDE, 30.0)
    asked = [(number, float(number)) for number in range(3)] + [(0, 20.0)]
    ports = [nat.leave(("10.1.1.0", n), "10.0.0.1", now) for n, now in asked]
    assert [port - FIRST_PORT for port in ports] == [0, 1, 2, 0]
    # The first to lapse gives way; where none has, the next in turn.
    assert nat.leave(("10.1.1.0", 9), "10.0.0.1", 31.5) == FIRST_PORT + 1
    assert nat.leave(("10.1.1.0", 8), "10.0.0.1", 31.6) == FIRST_PORT + 2
    assert nat.enter(FIRST_PORT + 2, "10.0.0.1", 31.7) == ("10.1.1.0", 8)
    assert len(nat) == 3


def test_nobody_outside_reaches_the_addresses_behind_a_box():
    made = player(HIDDEN, *AWAY)
    assert made.world.internet.link_of("10.1.1.0") is None


def test_each_node_registers_with_its_own_home_agent():
    plan = Plan(nodes=2, homes=2, sites=(Site(),), advertisement_interval=0.0)
    made = player(plan, *AWAY, Move(1, 0, None), Move(1, 1, 1), Wait(10.0))
    bound = {
        shell.name: shell.engine.home_addresses() for shell in made.world.home_agents()
    }
    assert bound == {"ha": ["10.0.1.0"], "ha-2": ["10.254.1.1"]}


def test_damage_is_noticed_in_advertisements_alone():
    made = player(Plan(sites=(Site(foreign_agent=True),)), *AWAY)
    told = []
    made.world.nodes[0].on_event = lambda _shell, event: told.append(event)
    for place in (0, 1):
        made.perform(Weather(place, corruption=1.0))
    made.world.run(60.0)
    assert not [one for one in told if isinstance(one, DiscoveryReceived)]
    assert [one for one in told if isinstance(one, Received)]


def test_clock_drifts_from_where_it_was_and_jumps_back():
    made = player(HIDDEN, Wait(100.0), SetClock("mn-0", 5.0), Drift("mn-0", 0.01))
    clock = made.world.nodes[0].clock

    def ahead():
        now = clock.now()
        return round(now.ntp / (1 << 32) - BEGINNING - now.mono, 3)

    assert ahead() == 5.0
    made.world.run(100.0)
    assert ahead() == 6.0
    made.perform(Drift("mn-0", -0.01))
    made.world.run(50.0)
    assert ahead() == 5.5
    made.perform(SetClock("mn-0", 0.0))
    assert ahead() == 0.0


def test_node_that_sleeps_hears_nothing_and_registers_again_when_it_wakes():
    made = player(HIDDEN, *AWAY)
    node, world = made.world.nodes[0], made.world
    before = node.clock.now()
    made.perform(Suspend(0, 200.0))
    heard = node.events
    world.run(199.0)
    assert node.events == heard
    assert sources(world) == {}  # the binding has ended meanwhile
    world.run(20.0)
    assert state(world) == "registered"
    assert sources(world) == {"10.0.1.0": OUTSIDE}
    now = node.clock.now()
    assert round(now.mono - before.mono, 3) == 19.0
    assert round((now.ntp - before.ntp) / (1 << 32), 3) == 219.0


def test_what_the_machine_has_done_meanwhile_is_told_when_it_wakes():
    made = player(HIDDEN, *AWAY)
    node = made.world.nodes[0]
    told = []
    node.on_event = lambda _shell, event: told.append(type(event).__name__)
    made.perform(Suspend(0, 5.0))
    made.perform(Move(0, 1, None))
    made.world.run(4.9)
    assert told == []
    made.world.run(0.2)
    assert told[0] == "InterfacesChanged"
    assert state(made.world) == "detached"


def test_power_that_fails_ends_the_sleep():
    made = player(HIDDEN, *AWAY)
    node = made.world.nodes[0]
    node.suspend()
    made.world.run(30.0)
    node.kill()
    made.world.boot(node)
    node.post(TimerFired())
    made.world.run(5.0)
    assert not node.suspended
    assert state(made.world) == "registered"


def test_agent_sees_to_the_home_address_where_nobody_has_configured_it():
    plan = Plan(configured=False, sites=(Site(),))
    made = player(plan, Wait(5.0))
    eth0, wlan0 = made.world.nodes[0].ports.values()
    assert state(made.world) == "at-home"
    assert eth0.addresses == ("10.0.1.0",)
    for act in (Move(0, 1, 1), Move(0, 0, 1), Wait(20.0)):
        made.perform(act)
    assert state(made.world) == "registered"
    assert eth0.addresses == ("10.1.1.0",)
    assert "10.0.1.0" not in wlan0.addresses
    for act in (Move(0, 0, 0), Wait(20.0), Crash("mn-0", 1.0), Wait(20.0)):
        made.perform(act)
    assert state(made.world) == "at-home"
    assert eth0.addresses == ("10.0.1.0",)
