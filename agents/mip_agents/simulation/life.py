# SPDX-License-Identifier: GPL-2.0-only
"""Many nodes for a long time: how much signalling, how long nobody reaches a node."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mip_agents.protocol.effects import Noted, Send
from mip_agents.runtime.collector import resting_collector
from mip_agents.simulation.network import Conditions
from mip_agents.simulation.shell import Shell
from mip_agents.simulation.world import HOME, INTERFACES, Plan, Site, World, site_name
from scapy_mip.const import REPLY_CODES, Issuer, MessageType

_AT_REST = ("registration_accepted", "deregistration_accepted")
_ASSOCIATION_S = (0.05, 0.5)
"""Shortest and longest time between two links, as a Wi-Fi association takes."""
_AT_HOME = 0.2
"""Share of moves that lead home."""
_TICKS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeOptions:
    """What `mip simulate` can be told."""

    nodes: int = 100
    hours: float = 1.0
    loss: float = 0.0
    """Share of datagrams that are lost on each link."""
    handovers_per_hour: float = 6.0
    """Of each node, on average."""
    seed: int = 1
    sites: int = 8
    foreign_agents: int = 0
    """How many of the sites have a foreign agent, and give no addresses."""
    lifetime: int = 1800
    """Seconds that nodes ask for."""


@dataclass(slots=True)
class LifeResults:
    """What came of it."""

    options: LifeOptions
    registrations: int = 0
    """Accepted by the home agent, refreshes included."""
    deregistrations: int = 0
    handovers: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    """Replies by code, of all agents."""
    messages: int = 0
    signalling_bytes: int = 0
    """UDP and ICMP with their IP headers."""
    outages: list[float] = field(default_factory=list)
    """Seconds from the end of a link to the next registration that stands."""
    unfinished: int = 0
    """Nodes that had none at the end."""
    events: int = 0
    seconds: float = 0.0
    """Of processor time."""
    per_hour: list[int] = field(default_factory=list)
    """Registrations in each hour."""

    def outage(self, share: float) -> float:
        """Return the outage that a share of all do not exceed."""
        ranked = sorted(self.outages)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the results for programs."""
        options = self.options
        return {
            "nodes": options.nodes,
            "hours": options.hours,
            "loss": options.loss,
            "handovers_per_hour": options.handovers_per_hour,
            "seed": options.seed,
            "sites": options.sites,
            "foreign_agents": options.foreign_agents,
            "lifetime": options.lifetime,
            "registrations": self.registrations,
            "deregistrations": self.deregistrations,
            "handovers": self.handovers,
            "codes": {str(code): n for code, n in sorted(self.codes.items())},
            "messages": self.messages,
            "signalling_bytes": self.signalling_bytes,
            "outage_median": round(self.outage(0.5), 3),
            "outage_99": round(self.outage(0.99), 3),
            "outage_longest": round(max(self.outages, default=0.0), 3),
            "unfinished": self.unfinished,
            "events": self.events,
            "seconds": round(self.seconds, 1),
            "events_per_second": round(self.events / max(self.seconds, 1e-9)),
        }


class Life:
    """Runs it."""

    def __init__(self, options: LifeOptions) -> None:
        self.options = options
        self.results = LifeResults(options)
        plan = Plan(
            nodes=options.nodes,
            sites=tuple(
                Site(foreign_agent=True, dhcp=False)
                if number < options.foreign_agents
                else Site()
                for number in range(options.sites)
            ),
            conditions=Conditions(delay=0.005, jitter=0.01, loss=options.loss),
            lifetime=options.lifetime,
            # Nobody hears hundreds of advertisements an hour for nothing.
            advertisement_interval=60.0 if options.foreign_agents else 0.0,
        )
        self.world = World(plan, options.seed)
        self.world.on_note = self._noted
        self._away_since: dict[str, float] = {}
        for shell in self.world.shells.values():
            shell.on_send = self._sent

    def run(self, progress: Callable[[float], None] | None = None) -> LifeResults:
        """Let time go by.

        :param progress: called now and then with the share that is done
        """
        # No garbage here is in cycles, and it would look through millions of objects.
        with resting_collector():
            return self._run(progress)

    def _run(self, progress: Callable[[float], None] | None) -> LifeResults:
        world, results = self.world, self.results
        begun = time.process_time()
        world.start()
        for number in range(self.options.nodes):
            self._plan_move(number)
        end = self.options.hours * 3600
        hour = 3600.0
        before = 0
        for tick in range(1, _TICKS + 1):
            until = end * tick / _TICKS
            while hour <= until:
                world.agenda.run(hour)
                results.per_hour.append(results.registrations - before)
                before, hour = results.registrations, hour + 3600
            world.agenda.run(until)
            if progress is not None:
                progress(tick / _TICKS)
        results.seconds = time.process_time() - begun
        results.messages = world.internet.sent
        results.signalling_bytes = world.internet.bytes
        results.events = sum(shell.events for shell in world.shells.values())
        results.unfinished = len(self._away_since)
        return results

    def _plan_move(self, number: int) -> None:
        rate = self.options.handovers_per_hour
        if rate <= 0:
            return
        pause = self.world.chance.expovariate(rate / 3600)
        self.world.agenda.after(pause, lambda: self._leave(number))

    def _leave(self, number: int) -> None:
        """End a node's link; the next one comes a little later."""
        world = self.world
        shell = world.nodes[number]
        here = next(
            (name for name in INTERFACES if shell.ports[name].link is not None), None
        )
        if here is not None:
            world.move(number, here, None)
        self.results.handovers += 1
        self._away_since.setdefault(shell.name, world.agenda.now)
        world.agenda.after(
            world.chance.uniform(*_ASSOCIATION_S), lambda: self._arrive(number)
        )

    def _arrive(self, number: int) -> None:
        world, chance = self.world, self.world.chance
        place = HOME
        if chance.random() >= _AT_HOME:
            place = site_name(chance.randrange(self.options.sites) + 1)
        world.move(number, chance.choice(INTERFACES), place)
        self._plan_move(number)

    def _noted(self, shell: Shell, noted: Noted) -> None:
        if noted.event not in (*_AT_REST, "registration_refreshed"):
            return
        if shell.name == "ha":
            if noted.event == "deregistration_accepted":
                self.results.deregistrations += 1
            else:
                self.results.registrations += 1
            return
        since = self._away_since.pop(shell.name, None)
        if since is not None:
            self.results.outages.append(self.world.agenda.now - since)

    def _sent(self, shell: Shell, send: Send) -> None:
        kind, code = send.data[:2]
        if kind != MessageType.REGISTRATION_REPLY:
            return
        if shell.name == "ha" or REPLY_CODES[code].issuer is Issuer.FA:
            self.results.codes[code] += 1  # what is relayed was counted before
