# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong in a world, as a list of acts that a seed makes and anybody can edit.

A `Script` is plain values: its `repr` is Python that plays it again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from mip_agents.protocol.effects import Send
from mip_agents.protocol.view import build_request
from mip_agents.simulation.invariants import Invariants
from mip_agents.simulation.shell import Shell, SimulationError
from mip_agents.simulation.world import (
    HOME,
    HOME_AGENT,
    HOME_AGENT_ADDRESS,
    INTERFACES,
    Plan,
    Site,
    World,
    home_address,
    site_name,
)
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import MIP_PORT

_FORGED = SecurityAssociation(256, b"not the right key")


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
    loss: float = 0.0
    jitter: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    cut: bool = False


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


Act = Wait | Move | Weather | Crash | SetClock | Trouble | Forge


@dataclass(frozen=True, slots=True)
class Script:
    """A history: the world, its seed, and what happens in it."""

    seed: int
    plan: Plan
    acts: tuple[Act, ...]


def make_script(seed: int) -> Script:
    """Make up a history."""
    chance = random.Random(seed)
    sites = tuple(
        chance.choice(
            (
                Site(),
                Site(foreign_agent=True, dhcp=False),
                Site(foreign_agent=True),
            )
        )
        for _ in range(chance.randrange(1, 4))
    )
    plan = Plan(
        nodes=chance.randrange(1, 4),
        sites=sites,
        lifetime=chance.choice((20, 60, 300)),
        simultaneous=chance.random() < 0.3,
        # Advertisements need timers that would hide the lack of others.
        advertisement_interval=(
            3.0 if any(site.foreign_agent for site in sites) else 0.0
        ),
    )
    agents = [HOME_AGENT]
    agents += [f"fa-{n}" for n, site in enumerate(sites, 1) if site.foreign_agent]
    agents += [f"mn-{n}" for n in range(plan.nodes)]
    made: list[Act] = []
    # Where nobody advertises, less happens by itself.
    for _ in range(12 if plan.advertisement_interval else 60):
        made += [_make_act(chance, plan, agents), Wait(round(chance.random() * 6, 3))]
    return Script(seed, plan, tuple(made))


def _make_act(chance: random.Random, plan: Plan, agents: list[str]) -> Act:
    places = len(plan.sites) + 1
    kind = chance.choices(
        (Move, Weather, Crash, SetClock, Trouble, Forge), (10, 3, 2, 1, 1, 2)
    )[0]
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
        )
    if kind is Crash:
        return Crash(chance.choice(agents), round(chance.random() * 5, 3))
    if kind is SetClock:
        return SetClock(chance.choice(agents), round(chance.uniform(-100, 100), 1))
    if kind is Trouble:
        full = chance.random() < 0.3
        return Trouble(chance.choice(agents), round(chance.random() * 0.5, 2), full)
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
        self._requests: dict[int, Send] = {}
        for number, shell in enumerate(self.world.nodes):
            self._remember(number, shell)

    def _remember(self, number: int, node: Shell) -> None:
        """Keep what a node sent last, for those who replay it."""
        account = node.on_send

        def sent(shell: Shell, send: Send) -> None:
            self._requests[number] = send
            if account is not None:
                account(shell, send)

        node.on_send = sent

    def play(self) -> World:
        """Play it to its end, then let everything calm down.

        :raises mip_agents.simulation.shell.SimulationError: an invariant is broken.
        """
        world = self.world
        world.start()
        world.run(2.0)
        for act in self.script.acts:
            self.perform(act)
        self.calm_down()
        return world

    def perform(self, act: Act) -> None:
        """Carry out one act."""
        world = self.world
        match act:
            case Wait(seconds):
                world.run(seconds)
            case Move(node, interface, place):
                world.move(node, INTERFACES[interface], _link(place))
            case Weather():
                link = world.internet.links[_link(act.place) or HOME]
                link.conditions.loss = act.loss
                link.conditions.jitter = act.jitter
                link.conditions.duplication = act.duplication
                link.conditions.corruption = act.corruption
                link.conditions.cut = act.cut
            case Crash(agent, seconds):
                shell = world.shells[agent]
                if shell.runs:
                    shell.kill()
                    world.agenda.after(seconds, lambda: world.boot(shell))
            case SetClock(agent, offset):
                world.shells[agent].clock.offset = offset
            case Trouble(agent, refuses, full):
                shell = world.shells[agent]
                shell.refuses, shell.disk.full = refuses, full
            case Forge(node, count, replay):
                for _ in range(count):
                    self._forge(node, replay)

    def _forge(self, node: int, replay: bool) -> None:
        """Let a stranger, somewhere on the Internet, send a request for a node."""
        world = self.world
        known = self._requests.get(node)
        if replay and known is not None:
            data = known.data
        else:
            data = build_request(
                flags=0x20,
                lifetime=600,
                home_address=home_address(node),
                home_agent=HOME_AGENT_ADDRESS,
                care_of_address="10.9.9.9",
                identification=world.shells[HOME_AGENT].clock.now().ntp,
                mobile_home=_FORGED,
            )
        port = world.shells[HOME_AGENT].ports["lan0"]
        world.internet.inject(port, data, "10.9.9.9", MIP_PORT)

    def calm_down(self) -> None:
        """End all faults, wait, and check that everybody agrees."""
        world = self.world
        for link in world.internet.links.values():
            conditions = link.conditions
            conditions.loss = conditions.duplication = conditions.corruption = 0.0
            conditions.jitter, conditions.cut = 0.0, False
        for shell in world.shells.values():
            shell.refuses, shell.disk.full = 0.0, False
            shell.clock.offset = 0.0
        world.run(self.calm_s)
        for _ in range(3):  # a refresh may just be on its way
            try:
                self.invariants.check_settled()
            except SimulationError:
                world.run(2.3)
            else:
                return
        self.invariants.check_settled()


def _link(place: int | None) -> str | None:
    if place is None:
        return None
    return HOME if place == 0 else site_name(place)
