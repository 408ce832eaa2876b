# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong in a world, as a list of acts that a seed makes and anybody can edit.

A `Script` is plain values: its `repr` is Python that plays it again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from mip_agents.simulation.invariants import Invariants
from mip_agents.simulation.network import Link
from mip_agents.simulation.shell import SimulationError
from mip_agents.simulation.strangers import Strangers
from mip_agents.simulation.world import (
    INTERFACES,
    Plan,
    Site,
    World,
    agent_name,
    home_agent_name,
    home_name,
    node_name,
    site_name,
)


@dataclass(frozen=True, slots=True)
class Wait:
    """Let time go by."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Move:
    """Plug an interface of a node in elsewhere; None pulls it out."""

    node: int
    interface: int
    place: int | None
    """0 is home, others are visited networks."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Change what a link does to what passes it."""

    place: int
    """0 is every home network."""
    loss: float = 0.0
    jitter: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    cut: bool = False
    delay: float = 0.005


@dataclass(frozen=True, slots=True)
class Crash:
    """Kill an agent and start it again a while later with what its disk holds."""

    agent: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SetClock:
    """Set an agent's time of day off by seconds."""

    agent: str
    offset: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Let an agent's time of day run fast, or slow, from now on."""

    agent: str
    rate: float
    """Seconds that it gains in a second."""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Let a mobile node's machine sleep for a while."""

    node: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Rebind:
    """Let the NAT of a visited network forget its mappings, if it has one."""

    place: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Let an agent's kernel refuse orders, and its disk be full, for a while."""

    agent: str
    refuses: float
    full: bool


@dataclass(frozen=True, slots=True)
class Forge:
    """Send requests for a node with a wrong key, or an old one of its own again."""

    node: int
    count: int
    replay: bool


@dataclass(frozen=True, slots=True)
class Flood:
    """Send as many nodes and foreign agents that nobody knows, on a link."""

    place: int
    """0 is every home network."""
    count: int


Act = (
    Wait
    | Move
    | Weather
    | Crash
    | SetClock
    | Drift
    | Suspend
    | Rebind
    | Trouble
    | Forge
    | Flood
)
_WEIGHTS: dict[type[Act], int] = {
    Move: 10,
    Weather: 3,
    Crash: 2,
    SetClock: 1,
    Drift: 1,
    Suspend: 1,
    Rebind: 1,
    Trouble: 1,
    Forge: 2,
    Flood: 1,
}
"""How often each comes."""


@dataclass(frozen=True, slots=True)
class Script:
    """A history: the world, its seed, and what happens in it."""

    seed: int
    plan: Plan
    acts: tuple[Act, ...]


def make_script(seed: int) -> Script:
    """Make up a history."""
    chance = random.Random(seed)
    plan = make_plan(chance)
    made: list[Act] = []
    # Where nobody advertises, less happens by itself.
    for _ in range(12 if plan.advertisement_interval else 60):
        made += [make_act(chance, plan), Wait(round(chance.random() * 6, 3))]
    return Script(seed, plan, tuple(made))


def make_plan(chance: random.Random) -> Plan:
    """Make up a world."""
    sites = tuple(
        Site(
            foreign_agent=(foreign_agent := chance.random() < 2 / 3),
            dhcp=not foreign_agent or chance.random() < 0.5,
            nat=chance.random() < 0.25,
        )
        for _ in range(chance.randrange(1, 4))
    )
    # Advertisements need timers that would hide the lack of others.
    advertised = any(site.foreign_agent for site in sites)
    return Plan(
        nodes=chance.randrange(1, 4),
        homes=1 if chance.random() < 0.75 else 2,
        sites=sites,
        lifetime=chance.choice((20, 60, 300)),
        simultaneous=chance.random() < 0.3,
        advertisement_interval=3.0 if advertised else 0.0,
        configured=not advertised or chance.random() < 0.7,
    )


def agents_of(plan: Plan) -> list[str]:
    """Return the names of all agents of a world."""
    return [
        *map(home_agent_name, range(plan.homes)),
        *[agent_name(n) for n, site in enumerate(plan.sites, 1) if site.foreign_agent],
        *map(node_name, range(plan.nodes)),
    ]


def make_act(chance: random.Random, plan: Plan) -> Act:
    """Make up something that happens in a world."""
    places, agents = len(plan.sites) + 1, agents_of(plan)
    kind = chance.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
    if kind is Move:
        place = chance.choice([None, *range(places)])
        return Move(chance.randrange(plan.nodes), chance.randrange(2), place)
    if kind is Weather:
        bad = chance.random() * 0.4
        return Weather(
            chance.randrange(places),
            loss=round(bad, 2),
            jitter=round(chance.random() * 0.2, 3),
            duplication=round(chance.random() * 0.2, 2),
            corruption=round(chance.random() * 0.1, 2),
            cut=chance.random() < 0.2,
            delay=chance.choice((0.005, 0.005, 0.1, 1.0)),
        )
    if kind is Crash:
        return Crash(chance.choice(agents), round(chance.random() * 5, 3))
    if kind is SetClock:
        return SetClock(chance.choice(agents), round(chance.uniform(-100, 100), 1))
    if kind is Drift:
        return Drift(chance.choice(agents), round(chance.uniform(-0.02, 0.02), 4))
    if kind is Suspend:
        seconds = round(chance.random() * 2 * plan.lifetime, 1)
        return Suspend(chance.randrange(plan.nodes), seconds)
    if kind is Rebind:
        return Rebind(chance.randrange(1, places))
    if kind is Trouble:
        full = chance.random() < 0.3
        return Trouble(chance.choice(agents), round(chance.random() * 0.5, 2), full)
    if kind is Flood:
        return Flood(chance.randrange(places), chance.randrange(1, 40))
    return Forge(
        chance.randrange(plan.nodes), chance.randrange(1, 20), chance.random() < 0.5
    )


class Player:
    """Plays a script, with all invariants checked."""

    calm_s = 200.0
    """Seconds after the last fault within which every node must be where it belongs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.world = World(script.plan, script.seed)
        self.invariants = Invariants(self.world)
        self._strangers = Strangers(self.world)
        self._homes = script.plan.homes

    def play(self) -> World:
        """Play it to its end, then let everything calm down.

        :raises mip_agents.simulation.shell.SimulationError: an invariant is broken.
        """
        self.begin()
        for act in self.script.acts:
            self.perform(act)
        self.calm_down()
        return self.world

    def begin(self) -> None:
        """Start all agents, and let them find each other."""
        self.world.start()
        self.world.run(2.0)

    def perform(self, act: Act) -> None:
        """Carry out one act."""
        world = self.world
        match act:
            case Wait(seconds):
                world.run(seconds)
            case Move(node, interface, place):
                link = None if place is None else world.place_name(node, place)
                world.move(node, INTERFACES[interface], link)
            case Weather():
                for one in self._links(act.place):
                    one.conditions.loss = act.loss
                    one.conditions.jitter = act.jitter
                    one.conditions.duplication = act.duplication
                    one.conditions.corruption = act.corruption
                    one.conditions.cut = act.cut
                    one.conditions.delay = act.delay
            case Crash(agent, seconds):
                shell = world.shells[agent]
                if shell.runs:
                    shell.kill()
                    world.agenda.after(seconds, lambda: world.boot(shell))
            case SetClock(agent, offset):
                world.shells[agent].clock.jump(offset)
            case Drift(agent, rate):
                world.shells[agent].clock.run(rate)
            case Suspend(node, seconds):
                shell = world.nodes[node]
                shell.suspend()
                world.agenda.after(seconds, shell.resume)
            case Rebind(place):
                for one in self._links(place):
                    if one.nat is not None:
                        one.nat.rebind()
            case Trouble(agent, refuses, full):
                shell = world.shells[agent]
                shell.refuses, shell.disk.full = refuses, full
            case Forge(node, count, replay):
                forge = self._strangers.replay if replay else self._strangers.forge
                for _ in range(count):
                    forge(node)
            case Flood(place, count):
                for one in self._links(place):
                    self._strangers.flood(one.name, count)

    def _links(self, place: int) -> list[Link]:
        names = [site_name(place)] if place else map(home_name, range(self._homes))
        return [self.world.internet.links[name] for name in names]

    def calm_down(self) -> None:
        """End all faults, wait, and check that everybody agrees."""
        world = self.world
        for link in world.internet.links.values():
            conditions = link.conditions
            conditions.loss = conditions.duplication = conditions.corruption = 0.0
            conditions.jitter, conditions.cut = 0.0, False
            conditions.delay = self.script.plan.conditions.delay
        for shell in world.shells.values():
            shell.refuses, shell.disk.full = 0.0, False
            shell.resume()
            shell.clock.run(0.0)
            shell.clock.jump(0.0)
        world.run(self.calm_s)
        for _ in range(3):  # a refresh may just be on its way
            try:
                self.invariants.check_settled()
            except SimulationError:
                world.run(2.3)
            else:
                return
        self.invariants.check_settled()
