# SPDX-License-Identifier: GPL-2.0-only
"""Both engines on one lossy link, with a journal, a data plane and a virtual clock.

What must hold at any moment is checked as it happens: no Identification is accepted
twice, no reply that grants leaves before its journal entry is durable, no binding
outlives its lifetime, and the data plane carries what the table says.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from mip_agents.protocol.effects import (
    AnnounceAddress,
    BindingRecord,
    DroppedBinding,
    Effect,
    Finished,
    IdentificationRecord,
    InstallTunnel,
    Journal,
    Noted,
    RemoveTunnel,
    RenewedBinding,
    Send,
    accepted_timestamp,
)
from mip_agents.protocol.events import (
    Event,
    JournalFailed,
    JournalWritten,
    Received,
    Restored,
    TimerFired,
    TunnelFailed,
    TunnelReady,
)
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.view import Reply, Request, parse
from scapy_mip.ident import difference
from support.agents import HA, HOME, home_agent, mobile_node
from support.scenario import instant


class Store:
    """What the home agent's disk holds."""

    def __init__(self) -> None:
        self.bindings: dict[tuple[str, str], BindingRecord] = {}
        self.identifications: dict[str, int] = {}
        self.accepted: list[int] = []
        """Every Identification that was ever made durable, in order."""
        self.ends: dict[tuple[str, str], int | None] = {}
        """The latest end that was ever made durable for a binding, as NTP time; None
        for an infinite lifetime."""

    def commit(self, journal: Journal) -> None:
        for change in journal.changes:
            if (newest := accepted_timestamp(change)) is not None:
                node, identification = newest.node, newest.identification
                known = self.identifications.get(node)
                fresh = known is None or difference(identification, known) > 0
                assert fresh, "an Identification was taken twice"
                self.identifications[node] = identification
                self.accepted.append(identification)
            match change:
                case (BindingRecord() as record) | RenewedBinding(record):
                    key = (record.home_address, record.care_of_address)
                    self.bindings[key] = record
                    infinite = record.lifetime == 65535
                    known = self.ends.get(key, record.expires)
                    if infinite or known is None:
                        self.ends[key] = None
                    elif difference(record.expires, known) >= 0:
                        self.ends[key] = record.expires
                case DroppedBinding():
                    key = (change.home_address, change.care_of_address)
                    self.bindings.pop(key, None)

    def restored(self) -> Restored:
        known = self.identifications.items()
        records = tuple(IdentificationRecord(h, i) for h, i in known)
        return Restored(tuple(self.bindings.values()), records)


class Node:
    """An engine with its timer and its data plane."""

    def __init__(self, engine: Any, clock_offset_s: int = 0) -> None:
        self.engine = engine
        self.clock_offset_s = clock_offset_s
        self.tunnel: Tunnel | None = None
        self.life = 0
        """Counts crashes: answers to a former life are lost."""


class LocalLink:
    """The world of one mobile node and its home agent.

    :param loss: share of datagrams that are lost; as many are duplicated.
    :param delay: longest time of a datagram on its way, so that they overtake.
    :param failures: share of orders to journal and data plane that fail.
    """

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        delay: float = 0.05,
        failures: float = 0.0,
        clock_offset_s: int = 0,
        ha_policy: dict[str, Any] | None = None,
        mn_policy: dict[str, Any] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.loss, self.delay, self.failures = loss, delay, failures
        self.reliable = not failures
        self.ha_policy = ha_policy or {}
        self.time = 0.0
        self.store = Store()
        self.ha = Node(home_agent(**self.ha_policy))
        self.mn = Node(mobile_node(**mn_policy or {}), clock_offset_s)
        self.finished: list[Finished] = []
        self.notes: list[Noted] = []
        self.announced: list[AnnounceAddress] = []
        self.requests: list[tuple[float, Request]] = []
        self._serial = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    def nodes(self) -> list[Node]:
        """Return all engines that take part."""
        return [self.ha, self.mn]

    def later(self, delay: float, what: Callable[[], None]) -> None:
        """Let something happen after a time."""
        self._serial += 1
        heapq.heappush(self._due, (self.time + delay, self._serial, what))

    def run(self, until: float) -> None:
        """Let time go by."""
        while True:
            timers = [
                (moment, node)
                for node in self.nodes()
                if (moment := node.engine.next_timer()) is not None
            ]
            moment, node = min(timers, key=lambda t: t[0], default=(until + 1, None))
            if self._due and self._due[0][0] <= moment:
                if self._due[0][0] > until:
                    break
                self.time, _, what = heapq.heappop(self._due)
                what()
            elif node is not None and moment <= until:
                late = moment <= self.time
                self.time = max(self.time, moment)
                self.feed(node, TimerFired())
                following = node.engine.next_timer()
                stuck = late and following is not None and following <= moment
                assert not stuck, "the timer fires and nothing happens"
            else:
                break
        self.time = until

    def feed(self, node: Node, event: Event) -> None:
        """Hand an event to an engine, carry out what it asks for, and look at it."""
        now = instant(self.time, node.clock_offset_s)
        for effect in node.engine.handle(event, now):
            self._carry_out(node, effect)
        self._check()

    def crash(self) -> None:
        """Kill the home agent at once and start another with the same disk."""
        life = self.ha.life + 1
        self.ha = Node(home_agent(**self.ha_policy))
        self.ha.life = life
        self.feed(self.ha, self.store.restored())

    def _answer(self, node: Node, good: Event, bad: Event, done: Any) -> None:
        life = node.life
        failed = self.random.random() < self.failures

        def answer() -> None:
            if node.life != life or node not in self.nodes():
                return
            if not failed:
                done()
            self.feed(node, bad if failed else good)

        self.later(self.random.uniform(0, 0.02), answer)

    def _carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case Send():
                self._send(node, effect)
            case Journal(token):
                good, bad = JournalWritten(token), JournalFailed(token, "disk full")
                self._answer(node, good, bad, lambda: self.store.commit(effect))
            case InstallTunnel(token) | RemoveTunnel(token):
                tunnel = effect.tunnel if isinstance(effect, InstallTunnel) else None

                def done() -> None:
                    node.tunnel = tunnel

                good, bad2 = TunnelReady(token), TunnelFailed(token, "no device")
                self._answer(node, good, bad2, done)
            case AnnounceAddress():
                self.announced.append(effect)
            case Noted():
                self.notes.append(effect)
            case Finished():
                self.finished.append(effect)

    def _send(self, node: Node, send: Send) -> None:
        view = parse(send.data)
        if isinstance(view, Request):
            self.requests.append((self.time, view))
        elif isinstance(view, Reply) and view.code in (0, 1):
            durable = view.identification in self.store.accepted
            assert durable, "a reply left before its journal entry"
        copies = self.random.choices((0, 1, 2), (self.loss, 1, self.loss))[0]
        for _ in range(copies):
            self.later(self.random.uniform(0, self.delay), self._arrival(node, send))

    def _arrival(self, node: Node, send: Send) -> Callable[[], None]:
        event = Received(
            data=send.data,
            source=send.source,
            source_port=send.source_port,
            destination=send.destination,
            destination_port=send.destination_port,
        )
        if node is self.mn:
            return lambda: self.feed(self.ha, event)
        return lambda: self.feed(self.mn, event)

    def _check(self) -> None:
        now = instant(self.time)
        for entry in self.ha.engine.bindings(now):
            assert entry["remaining"] is None or entry["remaining"] >= 0
            key = (entry["home_address"], entry["care_of_address"])
            assert key in self.store.ends, "a binding counts that was never durable"
            end = self.store.ends[key]
            # What a double of monotonic seconds rounds off is far below 4 ms.
            in_time = end is None or difference(now.ntp, end) <= 1 << 24
            assert in_time, "a binding outlives its lifetime"
            if self.reliable and not self.ha.engine.status(now)["pending"]:
                assert key in self.store.bindings, "a binding counts that is dropped"

    def settled(self) -> dict[str, Any]:
        """Check that both sides agree, and return the mobile node's status."""
        now = instant(self.time)
        status = self.mn.engine.status(now)
        bound = [entry["care_of_address"] for entry in self.ha.engine.bindings(now)]
        carried = list(self.ha.tunnel.peers) if self.ha.tunnel else []
        assert carried == bound, "the home agent's tunnel is not that of its bindings"
        kept = [care_of_address for _, care_of_address in self.store.bindings]
        assert kept == bound, "the journal does not hold what the table says"
        if status["state"] == "registered":
            assert bound == [status["care_of_address"]]
            assert self.mn.tunnel is not None
            assert self.mn.tunnel.local == status["care_of_address"]
            assert not self.mn.tunnel.receive_only
        elif status["state"] == "at-home":
            assert bound == []
            assert self.mn.tunnel is None
        assert status["home_address"] == HOME
        assert status["home_agent"] == HA
        return status
