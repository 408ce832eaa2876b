# SPDX-License-Identifier: GPL-2.0-only
"""An agent of the simulation: engine and real dispatcher over ports in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Change,
    Finished,
    GiveBackAddress,
    HoldAddress,
    InstallTunnel,
    Noted,
    RemoveTunnel,
    Send,
    SendDiscovery,
)
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import (
    Event,
    Restored,
    TimerFired,
    TunnelFailed,
    TunnelReady,
    Undelivered,
)
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.runtime.dispatch import Dispatcher, Ports
from mip_agents.runtime.ports import Order, StoreError
from mip_agents.runtime.store import MemoryStore
from mip_agents.simulation.agenda import Agenda
from mip_agents.simulation.network import Internet, Port

BEGINNING = 3_900_000_000
"""NTP seconds at which every world begins."""
_ICMP_HOST_UNREACHABLE = 1


class SimulationError(AssertionError):
    """Something happened that must not; the text says what and when."""


@dataclass(slots=True)
class Clock:
    """A node's clocks. The monotonic one is the world's; that of the day may be off."""

    agenda: Agenda
    offset: float = 0.0
    """Seconds by which the time of day is ahead."""
    drift: float = 0.0
    """Seconds that it gains in a second."""

    def now(self) -> Instant:
        """Return this moment, as the node sees it."""
        mono = self.agenda.now
        day = BEGINNING + mono * (1 + self.drift) + self.offset
        return Instant(mono, int(day * (1 << 32)) & 0xFFFFFFFFFFFFFFFF)


class Disk(MemoryStore):
    """A journal that outlives its agent, and may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.watch: Callable[[Sequence[Change]], None] | None = None

    def commit(self, changes: Sequence[Change]) -> None:
        """See `Store.commit`."""
        if self.full:
            raise StoreError("disk full")
        super().commit(changes)
        if self.watch is not None:
            self.watch(changes)

    def close(self) -> None:
        """See `Store.close`."""


class Shell:
    """One agent: engine, ports, timer; it can crash and be started again.

    :param make: makes the engine anew
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Engine],
        agenda: Agenda,
        internet: Internet,
        chance: random.Random,
    ) -> None:
        self.name = name
        self.clock = Clock(agenda)
        self.disk = Disk()
        self.ports: dict[str, Port] = {}
        self.tunnels: dict[str, Tunnel] = {}
        """What the kernel has, by key."""
        self.refuses = 0.0
        """Share of orders that the kernel refuses."""
        self.suspended = False
        self.finished: list[Finished] = []
        self.events = 0
        self.on_note: Callable[[Shell, Noted], None] | None = None
        self.on_event: Callable[[Shell, Event], None] | None = None
        self.on_send: Callable[[Shell, Send], None] | None = None
        self.on_tunnel: Callable[[Shell, Tunnel], None] | None = None
        self._make = make
        self._agenda = agenda
        self._internet = internet
        self._chance = chance
        self._life = 0
        self._due: float | None = None
        self._wanted: float | None = None
        self._busy_until = 0.0
        self.orders = 0
        """Orders that the data plane has not answered yet."""
        self.engine: Engine | None = None

    # Life

    def start(self, *events: Event) -> None:
        """Start the agent with what its disk holds, and tell it `events`."""
        self._life += 1
        self._due = None
        self.orders = 0
        self.tunnels.clear()  # what a dead one left behind is removed at the start
        self.engine = self._make()
        self._dispatcher = Dispatcher(
            self.engine,
            Ports(
                net=self, store=self.disk, worker=self, notes=_Notes(self), answers=self
            ),
        )
        restored: Restored = self.disk.load()
        self.post(restored, *events)

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        self._life += 1
        self.engine = None

    @property
    def runs(self) -> bool:
        """Whether the agent is up."""
        return self.engine is not None

    def post(self, *events: Event) -> None:
        """Hand events to the engine, and carry out what follows."""
        if self.engine is None or self.suspended:
            return
        self.events += len(events)
        self._dispatcher.turn(events, self.clock.now())
        self._arm()
        if self.on_event is not None:
            for event in events:
                self.on_event(self, event)

    def _arm(self) -> None:
        # An engine wants something else only after an event: it is asked once for each.
        self._wanted = due = None if self.engine is None else self.engine.next_timer()
        if due is None or due == self._due:
            return
        if self._due is not None and self._due <= due and self._due > self._agenda.now:
            return  # that one will see
        self._due = due
        life = self._life
        self._agenda.at(due, lambda: self._fire(life, due))

    def _fire(self, life: int, due: float) -> None:
        if life != self._life or self.engine is None:
            return
        if self._due == due:
            self._due = None
        wanted = self._wanted
        if wanted is None:
            return
        if self.suspended or wanted > self._agenda.now:
            self._arm()
            return
        self.post(TimerFired())
        again = self._wanted
        if again is not None and again <= self._agenda.now:
            raise SimulationError(f"{self.name}: the timer fires and nothing happens")

    def resume(self) -> None:
        """Wake up from a suspend."""
        self.suspended = False
        self._due = None
        self._arm()

    # Ports of the dispatcher

    def send(self, send: Send) -> None:
        """See `Net.send`."""
        if self.on_send is not None:
            self.on_send(self, send)
        port = self._port_for(send.source, send.interface)
        if port is None:
            return
        if not self._internet.send(port, send):
            event = Undelivered(
                data=send.data,
                destination=send.destination,
                icmp_code=_ICMP_HOST_UNREACHABLE,
            )
            self._later(0.02, lambda: self.post(event))

    def send_discovery(self, send: SendDiscovery) -> None:
        """See `Net.send_discovery`."""
        port = self.ports.get(send.interface)
        if port is not None:
            self._internet.discover(port, send)

    def _port_for(self, source: str, interface: str | None) -> Port | None:
        if interface is not None:
            return self.ports.get(interface)
        for port in self.ports.values():
            if source in port.addresses:
                return port
        return next(iter(self.ports.values()), None)

    def submit(self, order: Order) -> None:
        """See `Worker.submit`: one order after the other, each takes a moment."""
        if isinstance(order, AnnounceAddress | GiveBackAddress | HoldAddress):
            return
        self.orders += 1
        took = self._chance.random() * 0.004
        self._busy_until = max(self._busy_until, self._agenda.now) + took
        self._later(self._busy_until - self._agenda.now, lambda: self._obey(order))

    def _obey(self, order: InstallTunnel | RemoveTunnel) -> None:
        self.orders -= 1
        if self.refuses and self._chance.random() < self.refuses:
            self.post(TunnelFailed(order.token, "refused"))
            return
        if isinstance(order, InstallTunnel):
            self.tunnels[order.tunnel.key] = order.tunnel
            if self.on_tunnel is not None:
                self.on_tunnel(self, order.tunnel)
        else:
            self.tunnels.pop(order.key, None)
        self.post(TunnelReady(order.token))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in a while, unless the agent has ended by then."""
        life = self._life

        def act() -> None:
            if life == self._life:
                action()

        self._agenda.after(seconds, act)

    def finish(self, finished: Finished) -> None:
        """See `Answers.finish`."""
        self.finished.append(finished)

    def abandon(self, error: str) -> None:
        """See `Answers.abandon`."""


class _Notes:
    """The notes of one agent: passed on, and what nobody expected is raised."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def note(self, noted: Noted) -> None:
        """See `Notes.note`."""
        if self._shell.on_note is not None:
            self._shell.on_note(self._shell, noted)

    def crash(self, where: str, error: BaseException) -> None:
        """See `Notes.crash`."""
        raise SimulationError(f"{self._shell.name}: {where}: {error!r}") from error
