# SPDX-License-Identifier: GPL-2.0-only
"""`HomeAgent` and `MobileNode`: agents as objects of a program.

Blocking, an agent runs in a thread of its own from its first use until `close()`.
In asyncio, `async with` runs it in the present loop and gives an object with the same
methods, to be awaited. Callbacks get called in the loop of the agent: there `status()`
and `bindings()` answer at once, and `stop()` asks; everything else needs a thread.
"""

from __future__ import annotations

import abc
import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mip_agents.node import arguments
from mip_agents.node.aio import (
    AsyncForeignAgent,
    AsyncHomeAgent,
    AsyncMobileNode,
    OnError,
    guarded,
)
from mip_agents.node.background import BackgroundAgent, Running
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.policy import (
    HYSTERESIS_S,
    AdvertisementPolicy,
    AgentPolicy,
    HomeAgentPolicy,
    MobileNodePolicy,
)
from mip_agents.protocol.security import SecurityTable, check_spi, parse_security
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.assembly import network_of
from mip_agents.runtime.events import Sink
from mip_agents.runtime.options import AgentOptions
from scapy_mip.auth import Algorithm, SecurityAssociation
from scapy_mip.const import LIFETIME_INFINITE

OnEvent = Callable[[dict[str, Any]], object]
"""Called with each event, as `mip watch --json` shows it."""


Facade = TypeVar("Facade", AsyncHomeAgent, AsyncForeignAgent, AsyncMobileNode)


class Node(abc.ABC, Generic[Facade]):
    """What all agents have in common: life and thread."""

    _facade: type[Facade]

    def __init__(self, options: AgentOptions, on_event: OnEvent | None) -> None:
        self._options = options
        self._sinks: list[Sink] = [] if on_event is None else [_event_sink(on_event)]
        self._background: BackgroundAgent | None = None
        self._running: Running | None = None
        """What `run` or `async with` is running."""
        self._known: tuple[Agent, Facade] | None = None
        self._stack = AsyncExitStack()
        self._lock = threading.Lock()

    @abc.abstractmethod
    async def _policy(self) -> AgentPolicy:
        """Return what the agent is to do; it may take a look at the system first."""

    async def _make(self) -> Agent:
        return Agent(await self._policy(), self._options, sinks=self._sinks)

    def start(self) -> None:
        """Start in a thread of its own, unless it runs; return when it is ready.

        :raises MipError: it cannot; the text says what to do.
        """
        background = self._background
        if self._running is not None or (background is not None and background.here):
            return  # a callback may come from the very start that holds the lock
        with self._lock:
            background = self._background
            if background is not None:
                if not background.stopping:
                    return
                background.stop()  # a callback asked it to; wait for the end
            self._background = BackgroundAgent(self._make)
            try:
                self._background.start()
            except BaseException:
                self._background = None
                raise

    def close(self) -> None:
        """Stop and undo every change to the kernel. Safe to call twice."""
        background = self._background
        if background is not None and background.here:
            background.stop()
            return
        with self._lock:
            # It stays known until it has ended: its last callbacks still ask it, and
            # whoever starts another one meanwhile waits for the port to be free.
            if self._background is not None:
                self._background.stop()
                self._background = None

    def status(self) -> dict[str, Any]:
        """Return everything worth knowing, as `mip status --json` shows it."""
        return self._reach().read(Agent.status)

    def _reach(self) -> Running:
        """Return the way to the agent; start one if there is none."""
        if self._running is not None:
            return self._running
        self.start()
        background = self._background
        if background is None:
            raise MipError("the agent is not running")
        return background.running()

    def _run(self, work: Callable[[Facade], Any]) -> Any:
        """Start if need be; run a method of the facade in the agent's loop."""
        return self._reach().call(lambda agent: work(self._facade_of(agent)))

    def _facade_of(self, agent: Agent) -> Facade:
        if self._known is None or self._known[0] is not agent:
            self._known = agent, self._facade(agent)
        return self._known[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Facade:
        agent = await self._make()
        self._stack.callback(setattr, self, "_running", None)
        self._running = Running(agent)
        try:
            await self._stack.enter_async_context(agent.running())
        except BaseException:
            await self._stack.aclose()
            raise
        return self._facade_of(agent)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()


class Server(Node[Facade]):
    """An agent that serves others: it runs until it is told to stop."""

    def __init__(self, options: AgentOptions, on_event: OnEvent | None) -> None:
        super().__init__(options, on_event)
        self._stop_asked = False
        self._run_lock = threading.Lock()

    def run(self) -> None:
        """Run in this thread until `stop()`; in the main thread until a signal, too.

        :raises MipError: it cannot start; the text says what to do.
        """
        try:
            asyncio.run(self._run_here())
        finally:
            self._stop_asked = False

    async def _run_here(self) -> None:
        agent = await self._make()
        with self._run_lock:
            if self._stop_asked:
                return
            self._running = Running(agent)
        try:
            main = threading.current_thread() is threading.main_thread()
            await agent.run(signals=main)
        finally:
            self._running = None

    def stop(self) -> None:
        """End `run()` from another thread or a callback, or what `start()` began.

        Where nothing runs, it is for a `run()` that is only just beginning.
        """
        with self._run_lock:
            running = self._running
            self._stop_asked = running is None and self._background is None
        if running is not None:
            running.stop()
        self.close()


class HomeAgent(Server[AsyncHomeAgent]):
    """A home agent: `HomeAgent(address="10.1.1.20", security={256: "key"}).run()`.

    :param address: served unicast address, which one of our interfaces has.
    :param security: keys by SPI; each serves any home address of the home network.
    :param home_network: a prefix; None: that of the interface with `address`.
    :param broadcasts: what is passed on to nodes that are away: `limited`, `subnet`
        (for those who ask with B), `multicast` (the groups that they join).
    :param advertise: make itself known on the home link by agent advertisements.
    :param state_dir: where bindings outlive the process; None: in memory.
    :param control_socket: for `mip status --socket`; None: no control interface.
    :param dataplane: `auto`, `ebpf`, `kernel`, `tun`, or `none` to carry no packets.
    :param on_event: called with each event as a dictionary, as `mip watch` shows it.
    :param listen: local address of the UDP socket.
    :raises MipError: for arguments that cannot be.
    """

    _facade = AsyncHomeAgent

    def __init__(
        self,
        *,
        address: str,
        security: Mapping[int, str | bytes],
        home_network: str | None = None,
        encapsulations: Iterable[str] = ("ipip", "gre"),
        max_lifetime: int = 36000,
        max_bindings_per_node: int = 4,
        reverse_tunnel: str = "optional",
        broadcasts: Iterable[str] = (),
        timestamp_tolerance: int = 7,
        advertise: bool = True,
        state_dir: Path | str | None = None,
        control_socket: Path | str | None = None,
        dataplane: str = "auto",
        ntp_server: str | None = None,
        on_event: OnEvent | None = None,
        listen: str = "0.0.0.0",
    ) -> None:
        options = arguments.make_options(
            state_dir=state_dir,
            control_socket=control_socket,
            dataplane=dataplane,
            ntp_server=ntp_server,
            listen=listen,
        )
        super().__init__(options, on_event)
        try:
            associations = parse_security(security)
        except ValueError as error:
            raise MipError(f"security: {error}") from None
        if not associations:
            raise MipError("security: give at least one SPI with its key")
        self._security = associations
        # Stands for the home network until that is known.
        anywhere = IPv4Network("0.0.0.0/0")
        between = arguments.between
        self._given_network = arguments.network("home_network", home_network)
        self._template = HomeAgentPolicy(
            address=arguments.address("address", address),
            home_network=self._given_network or anywhere,
            mobile_nodes=SecurityTable(),
            max_lifetime=between("max_lifetime", max_lifetime, 1, LIFETIME_INFINITE),
            max_bindings_per_node=between(
                "max_bindings_per_node", max_bindings_per_node, 1, 64
            ),
            encapsulations=frozenset(
                arguments.encapsulation("encapsulations", name)
                for name in encapsulations
            ),
            reverse_tunnel=arguments.reverse_tunnel("reverse_tunnel", reverse_tunnel),
            broadcasts=arguments.broadcasts("broadcasts", broadcasts),
            timestamp_tolerance=between(
                "timestamp_tolerance", timestamp_tolerance, 1, 3600
            ),
            advertisement=AdvertisementPolicy() if advertise else None,
        )

    async def _policy(self) -> HomeAgentPolicy:
        template = self._template
        network = self._given_network or await network_of(template.address)
        return replace(
            template,
            home_network=network,
            mobile_nodes=SecurityTable.for_network(network, self._security),
        )

    def bindings(self) -> list[dict[str, Any]]:
        """Return the active bindings, as `mip bindings --json` shows them."""
        return self._reach().read(Agent.bindings)

    def clear(self, home_address: str) -> None:
        """Drop the bindings of a node. :raises MipError: it has none."""
        self._run(lambda agent: agent.clear(home_address))


class MobileNode(Node[AsyncMobileNode]):
    """A mobile node.

    :param interfaces: care-of address by interface, or names alone, whose addresses are
        read from the kernel; in order of preference.
    :param care_of: `co-located`; `foreign-agent`; or `auto`: a co-located one where the
        interface has an address and no agent demands registration, else an agent's.
    :param foreign_agents: keys by SPI, by the address of the foreign agent.
    :param delivery_style: `direct` or `encapsulating`, with a reverse tunnel through a
        foreign agent.
    :param simultaneous_bindings: ask the home agent to keep the binding before for a
        moment on the move, where that still works (S).
    :param gateways: next hop by interface, where the routing table does not tell.
    :param broadcasts: ask for the broadcasts of the home network (B).
    :param roam: move by itself as interfaces come and go; otherwise it registers when
        asked, and again in time for the lifetime.
    :param quirks: `coarse_timestamps` for home agents that keep Identification in a
        double.
    :param on_event: called with each event as a dictionary, as `mip watch` shows it.
    :raises MipError: for arguments that cannot be.
    """

    _facade = AsyncMobileNode

    def __init__(
        self,
        *,
        home_address: str,
        home_agent: str,
        spi: int,
        key: str | bytes,
        interfaces: Mapping[str, str] | Iterable[str],
        gateways: Mapping[str, str] | None = None,
        algorithm: str = "hmac-md5",
        home_network: str | None = None,
        lifetime: int = 600,
        encapsulation: str = "ipip",
        reverse_tunnel: bool = True,
        broadcasts: bool = False,
        care_of: str = "auto",
        foreign_agents: Mapping[str, Mapping[int, str | bytes]] | None = None,
        delivery_style: str = "direct",
        simultaneous_bindings: bool = False,
        roam: bool = False,
        quirks: Iterable[str] = (),
        state_dir: Path | str | None = None,
        control_socket: Path | str | None = None,
        dataplane: str = "auto",
        ntp_server: str | None = None,
        on_event: OnEvent | None = None,
        listen: str = "0.0.0.0",
    ) -> None:
        options = arguments.make_options(
            state_dir=state_dir,
            control_socket=control_socket,
            dataplane=dataplane,
            ntp_server=ntp_server,
            listen=listen,
            gateways=gateways,
        )
        super().__init__(options, on_event)
        arguments.one_of("algorithm", algorithm, Algorithm)
        try:
            association = SecurityAssociation(check_spi(spi), key, algorithm)
        except ValueError as error:
            raise MipError(str(error)) from None
        named = dict(interfaces) if isinstance(interfaces, Mapping) else {}
        self._node_policy = MobileNodePolicy(
            home_address=arguments.address("home_address", home_address),
            home_agent=arguments.address("home_agent", home_agent),
            security=association,
            home_network=arguments.network("home_network", home_network),
            lifetime=arguments.between("lifetime", lifetime, 1, LIFETIME_INFINITE),
            reverse_tunnel=reverse_tunnel,
            encapsulation=arguments.encapsulation("encapsulation", encapsulation),
            broadcasts=broadcasts,
            interfaces=tuple(interfaces),
            care_of_addresses={
                name: arguments.address(f"interfaces: {name}", address)
                for name, address in named.items()
            },
            care_of=arguments.care_of("care_of", care_of),
            foreign_agents=arguments.foreign_agents(
                "foreign_agents", foreign_agents or {}
            ),
            delivery_style=arguments.delivery_style("delivery_style", delivery_style),
            simultaneous=simultaneous_bindings,
            hysteresis=HYSTERESIS_S,
            roam=roam,
            coarse_timestamps="coarse_timestamps" in arguments.quirks("quirks", quirks),
        )

    async def _policy(self) -> MobileNodePolicy:
        return self._node_policy

    def register(
        self,
        interface: str,
        lifetime: int | None = None,
        on_error: OnError | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Register through an interface; return what was granted.

        From then on the registration is refreshed in time until `deregister`.
        :param lifetime: seconds to ask for, 65535 is infinite; None: the node's own.
        :param on_error: called with a `MipError` if this fails, and for whatever goes
            wrong later, such as a refresh that is denied.
        :param timeout: seconds after which to give up; None: when the protocol does,
            about two minutes with nobody there.
        :raises RegistrationFailed: with the code of the reply, where one decided.
        """
        granted: dict[str, Any] = self._run(
            lambda agent: agent.register(interface, lifetime, on_error, timeout)
        )
        return granted

    def deregister(self) -> None:
        """End the registration. :raises RegistrationFailed: the home agent objects."""
        self._run(lambda agent: agent.deregister())

    def cancel(self) -> None:
        """Give up the request that is under way. :raises MipError: there is none."""
        self._run(lambda agent: agent.cancel())


def _event_sink(on_event: OnEvent) -> Sink:
    return lambda stamped: guarded(on_event, stamped.as_json())
