# SPDX-License-Identifier: GPL-2.0-only
"""One engine, its ports and one timer, in an asyncio loop.

Everything that happens becomes an event and goes through `post`. Tasks exist in the
driver's task group only.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, assert_never

from mip_agents.dataplane.api import Dataplane, DataplaneError
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Finished,
    GiveBackAddress,
    HoldAddress,
    InstallTunnel,
    Noted,
    RemoveTunnel,
    Severity,
)
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import Event, TimerFired, TunnelFailed, TunnelReady
from mip_agents.runtime.dispatch import Dispatcher, Ports
from mip_agents.runtime.ports import Clock, Net, Notes, Order, Store

Work = Callable[[], Coroutine[Any, Any, None]]
"""What makes the coroutine of a task; it is not made if the task never starts."""


class Post(Protocol):
    """Takes events in that belong to one turn."""

    def __call__(self, *events: Event) -> None:
        """Handle them now."""


_TOGETHER = 1000
"""Orders that are carried out before others get their turn, for 50 ms at most."""

_MIN_PAUSE = 0.001
"""Seconds between two firings of the timer."""
_CRASH_PAUSE = 1.0
"""Seconds for which the timer rests after an exception in the engine."""


class Driver:
    """Runs an engine; use as `async with Driver(...) as driver`.

    On leaving the block all tasks are cancelled and every waiting request is answered
    with an error.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        net: Net,
        store: Store,
        dataplane: Dataplane,
        notes: Notes,
    ) -> None:
        self.engine = engine
        self.notes = notes
        self.clock = clock
        self._worker = DataplaneWorker(dataplane, self.post, notes)
        self._dispatcher = Dispatcher(
            engine,
            Ports(net=net, store=store, worker=self._worker, notes=notes, answers=self),
        )
        self._tokens = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Finished]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._rest_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self._group.__aenter__()
        self.spawn("data plane worker", self._worker.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for token in list(self._waiting):
            self.finish(Finished(token=token, error="the agent is stopping"))
        for task in self._tasks:
            task.cancel()
        # Nothing but this block raises, and what it raises shall come out as it is.
        await self._group.__aexit__(None, None, None)

    def spawn(self, name: str, work: Work) -> asyncio.Task[None]:
        """Run a coroutine as a task; if it fails that is noted and the rest goes on."""
        task = self._group.create_task(self._guard(name, work), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the daemon lives
            self.notes.crash(name, error)

    def post(self, *events: Event) -> None:
        """Handle a batch of events now, with one `now`, and re-arm the timer."""
        self.take(events)

    def take(self, events: Iterable[Event]) -> None:
        """Do the same with a batch that may grow while it is worked on."""
        if not self._closed:
            self._dispatch(events, self.clock.now())
            self._arm()

    def _dispatch(self, events: Iterable[Event], now: Instant) -> None:
        if not self._dispatcher.turn(events, now):
            self._rest_until = now.mono + _CRASH_PAUSE

    def _arm(self, earliest: float = 0.0) -> None:
        try:
            due = self.engine.next_timer()
        except Exception as error:  # noqa: BLE001 - the daemon lives
            self.notes.crash("engine: next_timer", error)
            due = None
        if due is not None:
            due = max(due, earliest, self._rest_until)
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        # The loop's clock is time.monotonic(), as is Instant.mono.
        self._timer = None if due is None else self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        due, self._due, self._timer = self._due, None, None
        now = self.clock.now()
        if due is not None and now.mono < due:
            # The loop may call up to its clock's resolution early; an engine that is
            # told "fired" must find its deadline reached.
            now = Instant(mono=due, ntp=now.ntp)
        if not self._closed:
            self._dispatch((TimerFired(),), now)
            # A deadline that its handling did not move must not become a busy loop.
            self._arm(earliest=now.mono + _MIN_PAUSE)

    def request(self, make: Callable[[int], Event]) -> asyncio.Future[Finished]:
        """Post the event that `make` builds around a fresh token; await its answer."""
        token = next(self._tokens)
        future: asyncio.Future[Finished] = self._loop.create_future()
        if self._closed:
            future.set_result(Finished(token=token, error="the agent is stopping"))
            return future
        self._waiting[token] = future
        future.add_done_callback(lambda _: self._waiting.pop(token, None))
        self.post(make(token))
        return future

    def finish(self, finished: Finished) -> None:
        """Answer the request that carries the token, if it still waits."""
        future = self._waiting.pop(finished.token, None)
        if future is not None and not future.done():
            future.set_result(finished)

    def abandon(self, error: str) -> None:
        """Answer every request that still waits with an error."""
        for token in list(self._waiting):
            self.finish(Finished(token=token, error=error))

    async def settle(self) -> None:
        """Wait until the data plane has carried out every order."""
        await self._worker.settle()


class DataplaneWorker:
    """Carries out orders to the data plane in order and answers them.

    What is asked of several tunnels in a row, as by all requests of one wake-up, or at
    a start with many bindings, is one call and one turn of the engine.
    """

    def __init__(self, dataplane: Dataplane, post: Post, notes: Notes) -> None:
        self._dataplane = dataplane
        self._post = post
        self._notes = notes
        self._orders: asyncio.Queue[Order] = asyncio.Queue()

    def submit(self, order: Order) -> None:
        """Queue an order."""
        self._orders.put_nowait(order)

    async def settle(self) -> None:
        """Wait until the queue is empty and the last order is answered."""
        await self._orders.join()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            orders = [await self._orders.get()]
            while len(orders) < _TOGETHER and not self._orders.empty():
                orders.append(self._orders.get_nowait())
            try:
                for some in _alike(orders):
                    await self._do_all(some)
            finally:
                for _ in orders:
                    self._orders.task_done()
            if not self._orders.empty():
                await asyncio.sleep(0)  # let others have their turn

    async def _do_all(self, orders: list[Order]) -> None:
        """Carry out what may be one call."""
        first = orders[0]
        if len(orders) == 1:
            await self._do(first)
            return
        try:
            if isinstance(first, InstallTunnel):
                refusals = await self._dataplane.install_many(
                    [one.tunnel for one in orders if isinstance(one, InstallTunnel)]
                )
            else:
                await self._dataplane.remove_many(
                    [one.key for one in orders if isinstance(one, RemoveTunnel)]
                )
                refusals = [None] * len(orders)
        except Exception:  # noqa: BLE001 - one by one it shows whose fault it is
            for order in orders:
                await self._do(order)
            return
        self._post(
            *(
                _answer(order.token, None if refusal is None else str(refusal))
                for order, refusal in zip(orders, refusals, strict=True)
                if isinstance(order, InstallTunnel | RemoveTunnel)
            )
        )

    async def _do(self, order: Order) -> None:
        reason: str | None = None
        try:
            match order:
                case InstallTunnel():
                    await self._dataplane.install(order.tunnel)
                case RemoveTunnel():
                    await self._dataplane.remove(order.key)
                case AnnounceAddress():
                    await self._dataplane.announce(order.address, order.interface)
                case GiveBackAddress():
                    await self._dataplane.give_back(order.address, order.interface)
                case HoldAddress():
                    await self._dataplane.hold(order.address, order.interface)
                case _:
                    assert_never(order)
        except (DataplaneError, OSError) as error:
            # The latter where an interface goes between the looking and the doing.
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the daemon lives
            self._notes.crash(f"data plane: {type(order).__name__}", error)
            reason = f"internal error: {type(error).__name__}"
        if isinstance(order, InstallTunnel | RemoveTunnel):
            self._post(_answer(order.token, reason))
        elif reason is not None:
            holding = isinstance(order, HoldAddress)
            self._notes.note(
                Noted(
                    event="address_failed" if holding else "announcement_failed",
                    severity=Severity.WARNING,
                    fields={"address": order.address, "reason": reason},
                )
            )


def _alike(orders: Iterable[Order]) -> Iterator[list[Order]]:
    """Split orders where one is of another kind, or names a tunnel again."""
    some: list[Order] = []
    kind: type[Order] | None = None
    named: set[str] = set()
    for order in orders:
        key = _key(order)
        if type(order) is not kind or key is None or key in named:
            if some:
                yield some
            some, kind, named = [], type(order), set()
        some.append(order)
        if key is not None:
            named.add(key)
    if some:
        yield some


def _key(order: Order) -> str | None:
    """Return whose tunnel is changed, where one is."""
    match order:
        case InstallTunnel():
            return order.tunnel.key
        case RemoveTunnel():
            return order.key
    return None


def _answer(token: int, reason: str | None) -> Event:
    return TunnelReady(token) if reason is None else TunnelFailed(token, reason)
