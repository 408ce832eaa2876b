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
    DiscoveryReceived,
    Event,
    Received,
    Restored,
    TimerFired,
    TunnelFailed,
    TunnelReady,
    Undelivered,
)
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.runtime import suspends
from mip_agents.runtime.dispatch import Dispatcher, Ports
from mip_agents.runtime.ports import Order, StoreError
from mip_agents.runtime.store import MemoryStore
from mip_agents.simulation.agenda import Agenda
from mip_agents.simulation.network import Internet, Port

BEGINNING = 3_900_000_000
"""NTP seconds at which every world begins."""
_HOLD_S = 0.002
"""Seconds that it takes to put an address on an interface."""
_ICMP_HOST_UNREACHABLE = 1


class SimulationError(AssertionError):
    """Something happened that must not; the text says what and when."""


@dataclass(slots=True)
class Clock:
    """A node's clocks.

    The monotonic one is the world's, but for the time that the machine slept; that of
    the day may be off, and run fast or slow.
    """

    agenda: Agenda
    asleep: float = 0.0
    """Seconds that the machine was suspended."""
    offset: float = 0.0
    """Seconds by which the time of day was ahead when it was set last."""
    drift: float = 0.0
    """Seconds that it gains in a second since then."""
    set_at: float = 0.0
    """Second of the world at which that was."""

    def now(self) -> Instant:
        """Return this moment, as the node sees it."""
        world = self.agenda.now
        gained = (world - self.set_at) * self.drift
        day = BEGINNING + world + self.offset + gained
        ntp = int(day * (1 << 32)) & 0xFFFFFFFFFFFFFFFF
        return Instant(world - self.asleep, ntp)

    def jump(self, offset: float) -> None:
        """Set the time of day, this many seconds ahead of the world's."""
        self.offset, self.set_at = offset, self.agenda.now

    def run(self, drift: float) -> None:
        """Let the time of day gain so much in a second from now on."""
        gained = (self.agenda.now - self.set_at) * self.drift
        self.jump(self.offset + gained)
        self.drift = drift


class Disk(MemoryStore):
    """A journal that outlives its agent, and may be full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.commits = 0
        self.watch: Callable[[Sequence[Change]], None] | None = None

    def commit(self, changes: Sequence[Change]) -> None:
        """See `Store.commit`."""
        if self.full:
            raise StoreError("disk full")
        super().commit(changes)
        self.commits += 1
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
        self._slept_at = 0.0
        self._kept: list[Event] = []
        """What the machine itself will tell of when it wakes up."""
        self.finished: list[Finished] = []
        self.events = 0
        self.on_note: Callable[[Shell, Noted], None] | None = None
        self.on_event: Callable[[Shell, Event], None] | None = None
        self.on_send: Callable[[Shell, Send], None] | None = None
        self.on_tunnel: Callable[[Shell, Tunnel], None] | None = None
        self.on_hold: Callable[[Shell, HoldAddress], None] | None = None
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
        self.ordered = 0
        """Orders that it was ever given."""
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
        self._wake()

    @property
    def runs(self) -> bool:
        """Whether the agent is up."""
        return self.engine is not None

    def hear(self, event: Received | DiscoveryReceived) -> None:
        """Hand over what came by the network; nobody hears it while the node sleeps."""
        if not self.suspended:
            self.post(event)

    def post(self, *events: Event) -> None:
        """Hand events to the engine, and carry out what follows."""
        if self.suspended:
            self._kept += events
        else:
            self._turn(events, self.clock.now())

    def _turn(self, events: Sequence[Event], now: Instant) -> None:
        if self.engine is None:
            return
        self.events += len(events)
        self._dispatcher.turn(events, now)
        self._arm()
        if self.on_event is not None:
            for event in events:
                self.on_event(self, event)

    def _arm(self) -> None:
        # An engine wants something else only after an event: it is asked once for each.
        self._wanted = due = None if self.engine is None else self.engine.next_timer()
        if due is None or due == self._due:
            return
        mono = self._agenda.now - self.clock.asleep
        if self._due is not None and self._due <= due and self._due > mono:
            return  # that one will see
        self._due = due
        life = self._life
        self._agenda.at(due + self.clock.asleep, lambda: self._fire(life, due))

    def _fire(self, life: int, due: float) -> None:
        if life != self._life or self.engine is None or self.suspended:
            return
        if self._due == due:
            self._due = None
        now, wanted = self.clock.now(), self._wanted
        if wanted is None:
            return
        if wanted > max(due, now.mono):
            self._arm()
            return
        # The agenda may be a rounding too early for a clock that was asleep.
        now = Instant(max(now.mono, wanted), now.ntp)
        self._turn([TimerFired()], now)
        again = self._wanted
        if again is not None and again <= now.mono:
            raise SimulationError(f"{self.name}: the timer fires and nothing happens")

    def suspend(self) -> None:
        """Put the machine to sleep: its monotonic clock stops, and it hears nothing."""
        if self.runs and not self.suspended:
            self.suspended, self._slept_at = True, self._agenda.now

    def resume(self) -> None:
        """Wake it up; what it was doing goes on."""
        if not self.suspended:
            return
        kept = tuple(self._kept)
        self._wake()
        self._turn(kept, self.clock.now())
        if isinstance(self.engine, MobileNodeEngine):
            # As its daemon does, which looks at the clocks now and then.
            self._later(suspends.INTERVAL_S, lambda: self.post(TimerFired()))

    def _wake(self) -> None:
        if self.suspended:
            self.clock.asleep += self._agenda.now - self._slept_at
            self.suspended = False
            self._due = None
        self._kept.clear()

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
        if isinstance(order, AnnounceAddress | GiveBackAddress):
            return
        if isinstance(order, HoldAddress):
            self._later(_HOLD_S, lambda: self._hold(order))
            return
        self.orders += 1
        self.ordered += 1
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

    def _hold(self, order: HoldAddress) -> None:
        if self.on_hold is not None:
            self.on_hold(self, order)

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
