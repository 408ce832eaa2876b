# SPDX-License-Identifier: GPL-2.0-only
"""A running agent: an engine with everything around it, started and stopped in order.

Start: journal, port 434, control socket, data plane (which removes what a dead
predecessor left in the kernel), restored bindings, links, and only then datagrams and
requests. Stop: the same backwards, so that nothing of the agent stays in the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from mip_agents.dataplane.api import Counters, Dataplane, DataplaneError
from mip_agents.protocol.effects import Finished, Noted, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    InterfacesChanged,
    RegisterRequested,
    Stopping,
    TimerFired,
)
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import (
    FOREIGN_AGENT,
    MOBILE_NODE,
    AgentPolicy,
    role_of,
)
from mip_agents.runtime import suspends
from mip_agents.runtime.assembly import (
    choose_dataplane,
    link_needs,
    make_engine,
    open_store,
    watch_links,
)
from mip_agents.runtime.collector import patient_collector, resting_collector
from mip_agents.runtime.control import make_app
from mip_agents.runtime.driver import Driver
from mip_agents.runtime.events import Broadcast, Notes, Sink
from mip_agents.runtime.fit import fit
from mip_agents.runtime.metrics import EventCounters, exposition
from mip_agents.runtime.net import AgentNet
from mip_agents.runtime.options import AgentOptions
from mip_agents.runtime.ports import Store
from mip_agents.runtime.sdnotify import ServiceManager
from mip_agents.runtime.timesync import SystemClock, TimeSync
from mip_agents.runtime.unixserver import ControlServer
from scapy_mip import __version__

_FAREWELL_S = 1.0
"""How long a mobile node waits for the answer to its deregistration at the end."""
_SETTLE_S = 3.0
_LINKS_RETRY_S = 1.0
_PAGE = 200
"""Home addresses whose bindings are shown in one go: some milliseconds."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Agent:
    """A home agent, foreign agent or mobile node, by the policy it is given.

    `run` does all; `running` is the same as a context for a program of its own.

    :param sinks: further readers of what is noted, such as a log.
    :param store: instead of the one that the options name.
    :param dataplane: instead of the one that the options name.
    """

    def __init__(
        self,
        policy: AgentPolicy,
        options: AgentOptions | None = None,
        *,
        sinks: Iterable[Sink] = (),
        store: Store | None = None,
        dataplane: Dataplane | None = None,
    ) -> None:
        self.role = role_of(policy)
        self.options = options or AgentOptions()
        self.clock = SystemClock()
        self.counters = EventCounters()
        self.broadcast = Broadcast()
        self.notes = Notes(self.counters, self.broadcast, *sinks)
        self._policy = policy
        self._engine = make_engine(policy)
        self._store = store
        self._given_dataplane = dataplane
        self._passed_over: Mapping[str, str] = {}
        self._net = AgentNet(
            self.notes,
            link_needs(policy),
            address=self.options.listen,
            port=self.options.port,
            errors=self.role == FOREIGN_AGENT,
        )
        self._driver: Driver | None = None
        self._dataplane: Dataplane | None = None
        self._started = time.monotonic()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    # Life

    async def run(self, *, signals: bool = True) -> None:
        """Run as the daemon that this process is, until `stop` or a signal.

        SIGTERM, SIGINT and SIGHUP stop the agent; a second one makes it hurry: it still
        undoes its changes, but waits for nobody.
        :raises MipError: it cannot start; one line that says what to do.
        """
        manager = ServiceManager()
        with self._signals() if signals else contextlib.nullcontext():
            async with self.running():
                with patient_collector():
                    keeper = asyncio.create_task(manager.keep_alive())
                    try:
                        manager.ready()
                        await self._stop.wait()
                        manager.stopping()
                    finally:
                        keeper.cancel()

    def stop(self) -> None:
        """End `run`. From another thread, by `loop.call_soon_threadsafe`."""
        self._stop.set()

    async def stopped(self) -> None:
        """Wait for `stop`."""
        await self._stop.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the agent run inside the block.

        :raises MipError: it cannot start; one line that says what to do.
        """
        async with AsyncExitStack() as stack:
            store = self._store or open_store(self.options, self.role, self.notes)
            stack.callback(store.close)
            stack.callback(self._net.close)
            self._net.open()
            control = self._open_control(stack)
            dataplane = self._choose_dataplane()
            # Closing is safe after a failed open, which may have got half-way.
            stack.push_async_callback(dataplane.close)
            await dataplane.open()
            driver = Driver(
                self._engine,
                clock=self.clock,
                net=self._net,
                store=store,
                dataplane=dataplane,
                notes=self.notes,
            )
            stack.callback(setattr, self, "_driver", None)
            self._driver = await stack.enter_async_context(driver)
            with resting_collector():
                driver.post(store.load())
                await driver.settle()
            await self._start_links(driver)
            self._net.start(driver.take)
            sync = TimeSync(self.clock, self.options.ntp_servers, self.notes)
            driver.spawn("time", sync.run)
            if self.role == MOBILE_NODE:
                awake = partial(driver.post, TimerFired())
                driver.spawn("suspends", partial(suspends.follow, awake))
            serving = None
            if control is not None:
                app = make_app(self)
                serving = driver.spawn("control", partial(control.serve, app))
            self._note("agent_started", dataplane=dataplane.name)
            try:
                yield
            finally:
                self._note("agent_stopping")
                driver.post(Stopping())
                await self._say_farewell()
                self._net.stop()
                self.broadcast.close()
                if control is not None and serving is not None:
                    control.stop()
                    await self._patiently(asyncio.wait([serving]), _SETTLE_S)
                await self._patiently(driver.settle(), _SETTLE_S)
        self._note("agent_stopped")

    def _open_control(self, stack: AsyncExitStack) -> ControlServer | None:
        if self.options.control_socket is None:
            return None
        control = ControlServer(self.options.control_socket)
        control.open()
        stack.callback(control.close)
        return control

    def _choose_dataplane(self) -> Dataplane:
        if self._given_dataplane is not None:
            dataplane = self._given_dataplane
        else:
            chosen = choose_dataplane(self._policy, self.options)
            dataplane, self._passed_over = chosen
        self._dataplane = dataplane
        fitted, taken = fit(self._policy, dataplane)
        if taken:
            self._engine = make_engine(fitted)
        for what in taken:
            self.notes.note(
                Noted(
                    event="dataplane_lacks",
                    severity=Severity.WARNING,
                    fields={"dataplane": dataplane.name, "what": what},
                )
            )
        return dataplane

    async def _start_links(self, driver: Driver) -> None:
        """Tell the engine of the interfaces as they are, and of every change.

        The first look is part of the start. A watch that fails is begun anew, and until
        it works the agent goes on with what it knows.
        """
        looked = asyncio.Event()

        def changed(interfaces: Mapping[str, InterfaceState]) -> None:
            # First: the engine may speak on a link at once.
            self._net.follow(interfaces)
            driver.post(InterfacesChanged(self._with_gateways(interfaces)))
            looked.set()

        async def follow() -> None:
            while True:
                try:
                    await watch_links(changed)
                except DataplaneError as error:
                    # Such as too little memory for an answer, or an interface that
                    # went while it was asked for.
                    self.notes.note(
                        Noted(
                            event="links_unknown",
                            severity=Severity.WARNING,
                            fields={"reason": str(error)},
                        )
                    )
                except Exception as error:  # noqa: BLE001 - the daemon lives
                    self.notes.crash("links", error)
                looked.set()
                await asyncio.sleep(_LINKS_RETRY_S)

        driver.spawn("links", follow)
        await looked.wait()

    def _with_gateways(
        self, interfaces: Mapping[str, InterfaceState]
    ) -> dict[str, InterfaceState]:
        """Put the configured next hops in the place of the kernel's."""
        gateways = self.options.gateways
        return {
            name: replace(state, gateway=gateways.get(name, state.gateway))
            for name, state in interfaces.items()
        }

    async def _say_farewell(self) -> None:
        """Deregister a mobile node, if its home agent answers soon."""
        if self.role == MOBILE_NODE:
            await self._patiently(self.deregister(), _FAREWELL_S)

    async def _patiently(self, work: Awaitable[object], seconds: float) -> None:
        """Wait for `work`, but no longer than `seconds` nor when in a hurry."""
        task = asyncio.ensure_future(work)
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait(
                {task, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            task.cancel()
            hurry.cancel()
        if task.done() and not task.cancelled() and (error := task.exception()):
            self.notes.crash("stop", error)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _note(self, event: str, **fields: str | int | None) -> None:
        self.notes.note(Noted(event=event, fields={"role": self.role} | fields))

    # Control

    def _running_driver(self) -> Driver:
        if self._driver is None:
            raise MipError("the agent is not running")
        return self._driver

    def status(self) -> dict[str, Any]:
        """Return everything worth knowing, JSON-able; see `Engine.status`."""
        own: dict[str, Any] = {
            "role": self.role,
            "version": __version__,
            "pid": os.getpid(),
            "uptime": round(time.monotonic() - self._started, 3),
        }
        dataplane = self._dataplane
        rest: dict[str, Any] = {
            "dataplane": {
                "name": None if dataplane is None else dataplane.name,
                "passed_over": dict(self._passed_over),
            },
            "counters": self.counters.totals(),
            "drops": self._drops(),
        }
        if self.options.ntp_servers:
            rest["ntp_server"] = ", ".join(self.options.ntp_servers)
            rest["ntp_offset_ns"] = self.clock.offset_ns
        if self.role == MOBILE_NODE:
            rest["traffic"] = {
                address: counters.as_json()
                for address, counters in self._traffic().items()
            }
        return own | self._engine.status(self.clock.now()) | own | rest

    def bindings(self) -> list[dict[str, Any]]:
        """Return a home agent's bindings, each with the traffic of its tunnel."""
        return [binding for page in self.binding_pages() for binding in page]

    def binding_pages(self) -> Iterator[list[dict[str, Any]]]:
        """Return the same some hundred at a time, each as it is when it is asked for.

        Who does other work between them keeps a hundred thousand from being in its way.
        """
        engine = self._engine
        if not isinstance(engine, HomeAgentEngine):
            raise MipError("only a home agent has bindings")
        home_addresses = engine.home_addresses()
        return (
            self._page(engine, home_addresses[start : start + _PAGE])
            for start in range(0, len(home_addresses), _PAGE)
        )

    def _page(
        self, engine: HomeAgentEngine, home_addresses: Iterable[str]
    ) -> list[dict[str, Any]]:
        bindings = engine.bindings(self.clock.now(), home_addresses)
        if self._dataplane is not None:
            for binding in bindings:
                counters = self._dataplane.counters(binding["home_address"])
                binding |= counters.as_json()
        return bindings

    def visitors(self) -> list[dict[str, Any]]:
        """Return a foreign agent's visitors, each with the traffic of its tunnel."""
        engine, dataplane = self._engine, self._dataplane
        if not isinstance(engine, ForeignAgentEngine):
            raise MipError("only a foreign agent has visitors")
        visitors = engine.visitors(self.clock.now())
        for visitor in visitors:
            counters = Counters()
            if dataplane is not None and visitor["tunnel"] is not None:
                counters = dataplane.counters(visitor["tunnel"])
            visitor |= counters.as_json()
        return visitors

    def _traffic(self) -> dict[str, Counters]:
        return {} if self._dataplane is None else self._dataplane.traffic()

    def _drops(self) -> dict[str, int]:
        control = dict(self._net.drops)
        return control | (self._dataplane.drops().reasons if self._dataplane else {})

    def metrics(self) -> str:
        """Return the counters as Prometheus text."""
        state = self._engine.status(self.clock.now())
        name = "none" if self._dataplane is None else self._dataplane.name
        return exposition(
            info={"version": __version__, "role": self.role, "dataplane": name},
            uptime_s=round(time.monotonic() - self._started, 3),
            events=self.counters,
            drops=self._drops(),
            traffic=self._traffic(),
            gauges={
                name: int(value)
                for name, value in state.items()
                if isinstance(value, int)
            },
        )

    async def register(self, interface: str, lifetime: int | None = None) -> Finished:
        """Mobile node: register through an interface; None: the usual lifetime."""
        return await self._running_driver().request(
            lambda token: RegisterRequested(
                token=token, interface=interface, lifetime=lifetime
            )
        )

    async def deregister(self) -> Finished:
        """Mobile node: end the registration."""
        return await self._running_driver().request(DeregisterRequested)

    async def cancel(self) -> Finished:
        """Mobile node: give up the request that is under way."""
        return await self._running_driver().request(CancelRequested)

    async def clear(self, home_address: str) -> Finished:
        """Home agent: drop a node's bindings."""
        return await self._running_driver().request(
            lambda token: ClearRequested(token, home_address)
        )
