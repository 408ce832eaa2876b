# SPDX-License-Identifier: GPL-2.0-only
"""What must hold after every event, whatever happened before.

Accounts are kept of what was really asked and granted, beside the engines, and each
event's agent is held against them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NoReturn

from mip_agents.protocol.agents_heard import MAX_AGENTS
from mip_agents.protocol.effects import (
    BindingRecord,
    Change,
    RenewedBinding,
    Send,
    accepted_timestamp,
)
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import DiscoveryReceived, Event, Received
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.view import Reply, Request, parse
from mip_agents.simulation.shell import Shell, SimulationError
from mip_agents.simulation.world import World
from scapy_mip.const import LIFETIME_INFINITE, REPLY_CODES, Issuer
from scapy_mip.ident import difference

_SETTLED = {"registered", "at-home"}
_RESTING = {"at-home", "detached"}
_LOW = 0xFFFFFFFF
_LEFT_OVER_S = 45.0
"""Seconds after which what nobody needs any more must be gone from a kernel that obeys:
agents try again after up to 30."""


class Invariants:
    """Watches a world from its beginning; raises when something is wrong."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._accepted: dict[str, int] = {}
        """The newest Identification that was ever accepted, by node."""
        self._ends: dict[tuple[str, str], float] = {}
        """The latest second of the world that was ever made durable as an end."""
        self._asked: set[tuple[str, str]] = set()
        """Home and care-of addresses that a node itself has asked for."""
        self._awaited: set[tuple[str, int]] = set()
        """Home addresses, and what nodes know answers by: low halves of
        Identifications."""
        self._misled: set[str] = set()
        """Home addresses of nodes that got an honest answer to a damaged request."""
        self._met: set[tuple[str, str]] = set()
        """Who has advertised itself to a node."""
        self._said: set[bytes] = set()
        """Every datagram that an agent has made."""
        self._done: dict[str, tuple[int, int]] = {}
        """Commits and orders of an agent, before the event that is looked at."""
        self._idle_since: dict[tuple[str, str], float] = {}
        """Since when an agent's kernel holds a tunnel that nobody needs."""
        for shell in world.shells.values():
            shell.on_event = self._after
            shell.on_send = self._sent
        for agent in world.home_agents():
            agent.on_tunnel = self._tunnelled
            agent.disk.watch = self._committed
            agent.on_send = self._answered

    # Accounts

    def _sent(self, shell: Shell, send: Send) -> None:
        view = parse(send.data)
        if isinstance(shell.engine, ForeignAgentEngine):
            # It relays what it gets, damaged or not; only its denials are its own.
            if isinstance(view, Reply) and _is_of_foreign_agent(view):
                self._said.add(send.data)
            return
        self._said.add(send.data)
        if shell in self._world.nodes and isinstance(view, Request):
            self._asked.add((view.home_address, view.care_of_address))
            self._awaited.add((view.home_address, view.identification & _LOW))

    def _committed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if (newest := accepted_timestamp(change)) is not None:
                node, identification = newest.node, newest.identification
                known = self._accepted.get(node)
                if known is not None and difference(identification, known) <= 0:
                    self._fail(f"{node}: an Identification was accepted twice")
                self._accepted[node] = identification
            match change:
                case (BindingRecord() as record) | RenewedBinding(record):
                    key = record.home_address, record.care_of_address
                    if key not in self._asked:
                        self._fail(f"{key}: bound, and no node has asked for it")
                    end = self._world.agenda.now + record.lifetime
                    if record.lifetime == LIFETIME_INFINITE:
                        end = math.inf
                    self._ends[key] = max(end, self._ends.get(key, 0.0))

    def _answered(self, shell: Shell, send: Send) -> None:
        self._sent(shell, send)
        view = parse(send.data)
        if not isinstance(view, Reply) or view.code not in (0, 1):
            return
        newest = self._accepted.get(view.home_address)
        if newest is None or difference(view.identification, newest) > 0:
            self._fail(f"{view.home_address}: a reply left before its journal entry")

    def _tunnelled(self, _shell: Shell, tunnel: Tunnel) -> None:
        for peer in tunnel.peers:
            if (tunnel.home_address, peer) not in self._asked:
                self._fail(f"{tunnel.home_address}: tunnelled to {peer}, unasked")

    # After each event

    def _after(self, shell: Shell, event: Event) -> None:
        engine = shell.engine
        if isinstance(engine, HomeAgentEngine):
            self._check_home_agent(shell, engine, event)
            needed: Iterable[str] = engine.home_addresses()
        elif isinstance(engine, MobileNodeEngine):
            self._check_mobile_node(shell, engine, event)
            needed = [] if engine.state.value == "at-home" else shell.tunnels
        elif isinstance(engine, ForeignAgentEngine):
            if isinstance(event, DiscoveryReceived):
                return  # it only advertises
            visitors = self._check_foreign_agent(shell, engine)
            # Which one is left over does not matter.
            needed = shell.tunnels if len(shell.tunnels) <= visitors else ()
        else:
            return
        if isinstance(event, Received):
            self._check_stranger(shell, event.data)
        self._done[shell.name] = shell.disk.commits, shell.ordered
        if shell.tunnels:
            self._check_left_over(shell, engine, needed)

    def _check_stranger(self, shell: Shell, data: bytes) -> None:
        """Check that what no agent has said changes nothing."""
        if data in self._said:
            return
        view = parse(data)
        if isinstance(view, Request) and (
            (view.home_address, view.identification & _LOW) in self._awaited
        ):
            self._misled.add(view.home_address)
        done = shell.disk.commits, shell.ordered
        if done == self._done.get(shell.name, (0, 0)):
            return
        if isinstance(shell.engine, HomeAgentEngine):
            self._fail(f"{shell.name}: what nobody with a key has sent changes state")
        if not isinstance(shell.engine, MobileNodeEngine) or not isinstance(
            view, Reply
        ):
            return
        if not _is_of_foreign_agent(view):
            # A foreign agent has no key here: it may deny, and it believes its links.
            self._fail(f"{shell.name}: a reply that no agent has sent changes state")

    def _check_left_over(
        self, shell: Shell, engine: Engine, needed: Iterable[str]
    ) -> None:
        """Check that what is in the kernel goes when its cause has gone."""
        now = self._world.agenda.now
        for key in shell.tunnels.keys() - set(needed):
            since = self._idle_since.setdefault((shell.name, key), now)
            if shell.refuses or shell.orders:
                self._idle_since[shell.name, key] = now
            elif engine.next_timer() is None:
                self._fail(f"{shell.name}: {key} is left over, and no timer ends it")
            elif now > since + _LEFT_OVER_S:
                self._fail(f"{shell.name}: {key} is left over since {since:.3f} s")
        for key in needed:
            self._idle_since.pop((shell.name, key), None)

    def _check_home_agent(
        self, shell: Shell, engine: HomeAgentEngine, event: Event
    ) -> None:
        now = shell.clock.now()
        only = None
        if isinstance(event, Received):
            view = parse(event.data)
            only = [view.home_address] if isinstance(view, Request) else []
        for entry in engine.bindings(now, only):
            key = entry["home_address"], entry["care_of_address"]
            if key not in self._ends:
                self._fail(f"{key}: a binding that was never durable")
            remaining = entry["remaining"]
            end = math.inf if remaining is None else now.mono + remaining
            if end > self._ends[key] + 1:
                self._fail(f"{key}: a binding outlives its lifetime")
        if not engine.home_addresses() or engine.next_timer() is not None:
            return
        if math.inf not in self._ends.values():
            self._fail("bindings, and no timer that ends them")

    def _check_mobile_node(
        self, shell: Shell, engine: MobileNodeEngine, event: Event
    ) -> None:
        state = engine.state.value
        if state not in _RESTING and engine.next_timer() is None:
            self._fail(f"{shell.name} is {state} without a timer")
        if (
            isinstance(event, DiscoveryReceived)
            and (shell.name, event.source) not in self._met
        ):
            self._met.add((shell.name, event.source))
            heard = Counter(
                one["interface"] for one in engine.status(shell.clock.now())["agents"]
            )
            if max(heard.values(), default=0) > MAX_AGENTS:
                self._fail(f"{shell.name} remembers too many agents: {heard}")

    def _check_foreign_agent(self, shell: Shell, engine: ForeignAgentEngine) -> int:
        """Return how many visitors it has."""
        status = engine.status(shell.clock.now())
        if (status["pending"] or status["visitors"]) and engine.next_timer() is None:
            self._fail(f"{shell.name}: visitors without a timer")
        if status["pending"] > engine.policy.max_pending:
            self._fail(f"{shell.name}: {status['pending']} requests wait")
        if status["visitors"] > engine.policy.max_visitors:
            self._fail(f"{shell.name}: {status['visitors']} visitors")
        return int(status["visitors"])

    # When all is quiet again

    def check_settled(self) -> None:
        """Check that everybody agrees, some time after the last fault."""
        bound: dict[str, list[str]] = {}
        for agent in self._world.home_agents():
            bound |= self._check_bindings(agent)
        visits = self._check_visitors()
        for shell in self._world.nodes:
            self._check_node(shell, bound, visits)

    def _check_bindings(self, agent: Shell) -> dict[str, list[str]]:
        """Check that table, kernel and journal agree; return the table."""
        engine = agent.engine
        if not isinstance(engine, HomeAgentEngine):
            self._fail(f"{agent.name} does not run")
        bound: dict[str, list[str]] = {}
        for entry in engine.bindings(agent.clock.now()):
            bound.setdefault(entry["home_address"], []).append(entry["care_of_address"])
        carried = {key: list(one.peers) for key, one in agent.tunnels.items()}
        if {k: sorted(v) for k, v in carried.items()} != {
            k: sorted(v) for k, v in bound.items()
        }:
            self._fail(f"{agent.name} tunnels {carried} and has bound {bound}")
        kept: dict[str, list[str]] = {}
        for home, care_of in agent.disk.bindings:
            kept.setdefault(home, []).append(care_of)
        if not bound.keys() <= kept.keys():
            self._fail(f"the journal of {agent.name} holds {kept}, the table {bound}")
        return bound

    def _check_visitors(self) -> set[tuple[str, str]]:
        visits = set()
        for shell in self._world.shells.values():
            engine = shell.engine
            if isinstance(engine, ForeignAgentEngine):
                active = engine.status(shell.clock.now())["visitors"]
                if len(shell.tunnels) > active:
                    self._fail(f"{shell.name} carries more than it has visitors")
                for tunnel in shell.tunnels.values():
                    visits.add((tunnel.home_address, tunnel.local))
        return visits

    def _check_node(
        self, shell: Shell, bound: dict[str, list[str]], visits: set[tuple[str, str]]
    ) -> None:
        engine = shell.engine
        if not isinstance(engine, MobileNodeEngine):
            return
        status = engine.status(shell.clock.now())
        home, state = status["home_address"], status["state"]
        for port in shell.ports.values():
            link = None if port.link is None else port.link.name
            if home in port.addresses and link != self._world.home_link_of(shell):
                self._fail(f"{shell.name} has its home address on {link}")
        there = any(port.link is not None for port in shell.ports.values())
        if there and state not in _SETTLED:
            self._fail(f"{shell.name} is {state}, long after the last fault")
        # A node that was told 131 has no reason to go on: its binding ends in time.
        forgotten = home in bound and home not in self._misled
        if state == "at-home" and (forgotten or shell.tunnels):
            self._fail(f"{shell.name} is at home, bound {bound.get(home)}")
        if state == "registered":
            care_of = status["registered_care_of_address"]
            if care_of not in bound.get(home, []):
                self._fail(f"{shell.name} is at {care_of}, bound {bound.get(home)}")
            if home not in shell.tunnels:
                self._fail(f"{shell.name} is registered without a tunnel")
            tunnel = shell.tunnels[home]
            if tunnel.agent is not None and (home, care_of) not in visits:
                self._fail(f"{shell.name}: no visitor of its foreign agent")

    def _fail(self, text: str) -> NoReturn:
        raise SimulationError(f"at {self._world.agenda.now:.3f} s: {text}")


def _is_of_foreign_agent(reply: Reply) -> bool:
    known = REPLY_CODES.get(reply.code)
    return known is not None and known.issuer is Issuer.FA
