# SPDX-License-Identifier: GPL-2.0-only
"""Histories that hypothesis makes up, act by act, and shrinks when they fail."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from mip_agents.simulation.replay import as_test
from mip_agents.simulation.script import (
    Act,
    Crash,
    Drift,
    Flood,
    Forge,
    Move,
    Player,
    Rebind,
    Script,
    SetClock,
    Suspend,
    Trouble,
    Wait,
    Weather,
    agents_of,
)
from mip_agents.simulation.shell import SimulationError
from mip_agents.simulation.world import Plan, Site

SITES = st.builds(
    Site, foreign_agent=st.booleans(), dhcp=st.just(True), nat=st.booleans()
)
PLANS = st.builds(
    Plan,
    nodes=st.integers(1, 2),
    homes=st.integers(1, 2),
    sites=st.lists(SITES, min_size=1, max_size=2).map(tuple),
    simultaneous=st.booleans(),
    lifetime=st.sampled_from((20, 60)),
    advertisement_interval=st.sampled_from((0.0, 3.0)),
)
NUMBERS = st.integers(0, 7)
"""Of whom there is; counted around where there are fewer."""
SHARES = st.sampled_from((0.0, 0.1, 0.4))
TIMES = st.sampled_from((1.0, 5.0, 20.0, 70.0))


class Histories(RuleBasedStateMachine):
    """Acts in a world, with every invariant checked after every event."""

    failed: Script | None = None
    """The last history that failed: after a run, the shortest one."""

    def __init__(self) -> None:
        super().__init__()
        self.over = False

    @initialize(seed=st.integers(0, 3), plan=PLANS)
    def begin(self, seed: int, plan: Plan) -> None:
        """Begin in any world."""
        self.enter(seed, plan)

    def enter(self, seed: int, plan: Plan) -> None:
        """Begin in a world."""
        self.script = Script(seed, plan, ())
        self.player = Player(self.script)
        with self.told():
            self.player.begin()

    def perform(self, act: Act) -> None:
        """Carry out an act, and add it to the script."""
        acts = (*self.script.acts, act)
        self.script = dataclasses.replace(self.script, acts=acts)
        with self.told():
            self.player.perform(act)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Add a test that plays the same again to what goes wrong."""
        try:
            yield
        except SimulationError as error:
            self.over = True
            type(self).failed = self.script
            error.add_note(as_test(self.script))
            raise

    def node(self, number: int) -> int:
        """Return a node that there is."""
        return number % self.script.plan.nodes

    def place(self, number: int) -> int:
        """Return a place that there is."""
        return number % (len(self.script.plan.sites) + 1)

    def agent(self, number: int) -> str:
        """Return an agent that there is."""
        agents = agents_of(self.script.plan)
        return agents[number % len(agents)]

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.perform(Wait(seconds))

    @rule(node=NUMBERS, interface=st.integers(0, 1), place=st.none() | NUMBERS)
    def move(self, node: int, interface: int, place: int | None) -> None:
        """Plug an interface in elsewhere."""
        where = None if place is None else self.place(place)
        self.perform(Move(self.node(node), interface, where))

    @rule(node=NUMBERS, place=NUMBERS)
    def hand_over(self, node: int, place: int) -> None:
        """Go to one place alone, and have time to register there."""
        number = self.node(node)
        self.perform(Move(number, 0, None))
        self.perform(Move(number, 1, self.place(place)))
        self.perform(Wait(5.0))

    @rule(place=NUMBERS, loss=SHARES, jitter=SHARES, twice=SHARES, damage=SHARES)
    def weather(
        self, place: int, loss: float, jitter: float, twice: float, damage: float
    ) -> None:
        """Change what a link does."""
        self.perform(Weather(self.place(place), loss, jitter, twice, damage))

    @rule(place=NUMBERS, delay=st.sampled_from((0.1, 1.0, 4.0)))
    def be_far(self, place: int, delay: float) -> None:
        """Let a link take its time."""
        self.perform(Weather(self.place(place), delay=delay))

    @rule(place=NUMBERS, cut=st.booleans())
    def cut(self, place: int, cut: bool) -> None:
        """Part a link from the others, or join it to them again."""
        self.perform(Weather(self.place(place), cut=cut))

    @rule(agent=NUMBERS, seconds=TIMES)
    def crash(self, agent: int, seconds: float) -> None:
        """Kill an agent for a while."""
        self.perform(Crash(self.agent(agent), seconds))

    @rule(agent=NUMBERS, offset=st.sampled_from((0.0, -50.0, 50.0)))
    def set_clock(self, agent: int, offset: float) -> None:
        """Set a clock."""
        self.perform(SetClock(self.agent(agent), offset))

    @rule(agent=NUMBERS, rate=st.sampled_from((0.0, -0.02, 0.02)))
    def drift(self, agent: int, rate: float) -> None:
        """Let a clock run fast or slow."""
        self.perform(Drift(self.agent(agent), rate))

    @rule(node=NUMBERS, seconds=TIMES)
    def suspend(self, node: int, seconds: float) -> None:
        """Let a node sleep."""
        self.perform(Suspend(self.node(node), seconds))

    @rule(place=NUMBERS)
    def rebind(self, place: int) -> None:
        """Let a NAT forget."""
        self.perform(Rebind(self.place(place)))

    @rule(agent=NUMBERS, refuses=SHARES, full=st.booleans())
    def trouble(self, agent: int, refuses: float, full: bool) -> None:
        """Let a kernel refuse, and a disk be full."""
        self.perform(Trouble(self.agent(agent), refuses, full))

    @rule(node=NUMBERS, count=st.integers(1, 5), replay=st.booleans())
    def forge(self, node: int, count: int, replay: bool) -> None:
        """Speak for a node."""
        self.perform(Forge(self.node(node), count, replay))

    @rule(place=NUMBERS, count=st.integers(1, 20))
    def flood(self, place: int, count: int) -> None:
        """Be many."""
        self.perform(Flood(self.place(place), count))

    def teardown(self) -> None:
        """End all faults: everybody comes to where he belongs."""
        if not self.over:
            with self.told():
                self.player.calm_down()
