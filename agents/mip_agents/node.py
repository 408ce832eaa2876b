# SPDX-License-Identifier: GPL-2.0-only
"""`HomeAgent` and `MobileNode`: agents as objects of a program, blocking or asyncio.

Blocking, an agent runs in a thread of its own from its first use until `close()`.
In asyncio, `async with` runs it in the present loop and gives an object with the same
methods, to be awaited. Callbacks get called in the loop of the agent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from mip_agents.background import BackgroundAgent
from mip_agents.protocol.effects import Finished, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.policy import HomeAgentPolicy, MobileNodePolicy, ReverseTunnel
from mip_agents.protocol.security import SecurityTable, check_spi, parse_security
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.assembly import network_of
from mip_agents.runtime.events import Sink, Stamped
from mip_agents.runtime.options import QUIRKS, AgentOptions
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import LIFETIME_INFINITE, Encapsulation

OnEvent = Callable[[dict[str, Any]], object]
OnError = Callable[["MipError"], object]


class RegistrationFailed(MipError):  # noqa: N818 - part of the interface
    """A registration that was denied, or that nobody answered."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        """One line for people."""
        self.code = code
        """Code of the reply, where a reply decided."""


class AsyncHomeAgent:
    """A running home agent in asyncio; see `HomeAgent`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def status(self) -> dict[str, Any]:
        """Return everything worth knowing, as `mip status --json` shows it."""
        return self._agent.status()

    async def bindings(self) -> list[dict[str, Any]]:
        """Return the active bindings, as `mip bindings --json` shows them."""
        return self._agent.bindings()

    async def clear(self, home_address: str) -> None:
        """Drop the bindings of a node. :raises MipError: it has none."""
        finished = await self._agent.clear(home_address)
        if finished.error is not None:
            raise MipError(finished.error)

    async def stop(self) -> None:
        """End `serve`."""
        self._agent.stop()

    async def serve(self) -> None:
        """Wait until `stop`."""
        await self._agent.stopped()


class AsyncMobileNode:
    """A running mobile node in asyncio; see `MobileNode`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._errors: _ErrorSink | None = None

    async def status(self) -> dict[str, Any]:
        """Return everything worth knowing, as `mip status --json` shows it."""
        return self._agent.status()

    async def register(
        self,
        interface: str,
        lifetime: int | None = None,
        on_error: OnError | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """See `MobileNode.register`."""
        if lifetime is not None and not 1 <= lifetime <= LIFETIME_INFINITE:
            raise MipError(
                f"lifetime: allowed are seconds from 1 to {LIFETIME_INFINITE}"
            )
        self._report_to(None)
        try:
            async with asyncio.timeout(timeout):
                finished = await self._agent.register(interface, lifetime)
            return _granted(finished)
        except TimeoutError:
            await self._agent.cancel()
            error = RegistrationFailed(f"no answer within {timeout:g} s")
            if on_error is not None:
                on_error(error)
            raise error from None
        except RegistrationFailed as error:
            if on_error is not None:
                on_error(error)
            raise
        finally:
            self._report_to(on_error)

    def _report_to(self, on_error: OnError | None) -> None:
        """Call `on_error` for what goes wrong from now on."""
        sinks = self._agent.notes.sinks
        if self._errors is not None:
            sinks.remove(self._errors)
        self._errors = None if on_error is None else _ErrorSink(on_error)
        if self._errors is not None:
            sinks.append(self._errors)

    async def deregister(self) -> None:
        """See `MobileNode.deregister`."""
        _granted(await self._agent.deregister())

    async def cancel(self) -> None:
        """See `MobileNode.cancel`."""
        finished = await self._agent.cancel()
        if finished.error is not None:
            raise MipError(finished.error)

    async def close(self) -> None:
        """Ask the node to stop; leaving the `async with` block does that, too."""
        self._agent.stop()


_Facade = TypeVar("_Facade", AsyncHomeAgent, AsyncMobileNode)


class _Node(Generic[_Facade]):
    """What both agents have in common: life and thread."""

    _facade: type[_Facade]

    def __init__(self, options: AgentOptions, on_event: OnEvent | None) -> None:
        self._options = options
        self._sinks: list[Sink] = [] if on_event is None else [_event_sink(on_event)]
        self._background: BackgroundAgent | None = None
        self._facades: dict[int, _Facade] = {}
        self._stack = AsyncExitStack()
        self._lock = threading.Lock()

    async def _policy(self) -> HomeAgentPolicy | MobileNodePolicy:
        raise NotImplementedError

    async def _make(self) -> Agent:
        return Agent(await self._policy(), self._options, sinks=self._sinks)

    def start(self) -> None:
        """Start in a thread of its own, unless it runs; return when it is ready.

        :raises MipError: it cannot; the text says what to do.
        """
        with self._lock:
            if self._background is None:
                background = BackgroundAgent(self._make)
                background.start()
                self._background = background

    def close(self) -> None:
        """Stop and undo every change to the kernel. Safe to call twice."""
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            background.stop()

    def status(self) -> dict[str, Any]:
        """Return everything worth knowing, as `mip status --json` shows it."""
        status: dict[str, Any] = self._run(lambda agent: agent.status())
        return status

    def _run(self, work: Callable[[_Facade], Any]) -> Any:
        """Start if need be; run a method of the facade in the agent's loop."""
        self.start()
        background = self._background
        if background is None:
            raise MipError("the agent is not running")
        return background.call(lambda agent: work(self._facade_of(agent)))

    def _facade_of(self, agent: Agent) -> _Facade:
        known = self._facades.get(id(agent))
        if known is None:
            self._facades.clear()
            known = self._facades[id(agent)] = self._facade(agent)
        return known

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

    async def __aenter__(self) -> _Facade:
        agent = await self._make()
        await self._stack.enter_async_context(agent.running())
        return self._facade_of(agent)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()


class HomeAgent(_Node[AsyncHomeAgent]):
    """A home agent: `HomeAgent(address="10.1.1.20", security={256: "key"}).run()`.

    :param address: served unicast address, which one of our interfaces has.
    :param security: keys by SPI; each serves any home address of the home network.
    :param home_network: a prefix; None: that of the interface with `address`.
    :param state_dir: where bindings outlive the process; None: in memory.
    :param control_socket: for `mip status --socket`; None: no control interface.
    :param dataplane: `auto`, `tun` or `none` (no packets are carried).
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
        timestamp_tolerance: int = 7,
        state_dir: Path | str | None = None,
        control_socket: Path | str | None = None,
        dataplane: str = "auto",
        ntp_server: str | None = None,
        on_event: OnEvent | None = None,
        listen: str = "0.0.0.0",
    ) -> None:
        options = _options(state_dir, control_socket, dataplane, ntp_server, listen)
        super().__init__(options, on_event)
        self._address = _address("address", address)
        self._home_network = _network(home_network)
        try:
            self._security = parse_security(security)
            self._reverse_tunnel = ReverseTunnel(reverse_tunnel)
        except ValueError as error:
            raise MipError(str(error)) from None
        if not self._security:
            raise MipError("security: give at least one SPI with its key")
        self._encapsulations = frozenset(map(_encapsulation, encapsulations))
        self._limits = (max_lifetime, max_bindings_per_node, timestamp_tolerance)
        self._running: tuple[asyncio.AbstractEventLoop, Agent] | None = None
        self._stop_asked = False

    async def _policy(self) -> HomeAgentPolicy:
        network = self._home_network or await network_of(self._address)
        max_lifetime, max_bindings, tolerance = self._limits
        return HomeAgentPolicy(
            address=self._address,
            home_network=network,
            mobile_nodes=SecurityTable.for_network(network, self._security),
            max_lifetime=max_lifetime,
            max_bindings_per_node=max_bindings,
            encapsulations=self._encapsulations,
            reverse_tunnel=self._reverse_tunnel,
            timestamp_tolerance=tolerance,
        )

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
        self._running = (asyncio.get_running_loop(), agent)
        if self._stop_asked:
            return
        try:
            main = threading.current_thread() is threading.main_thread()
            await agent.run(signals=main)
        finally:
            self._running = None

    def stop(self) -> None:
        """End `run()` from another thread or a callback, or what `start()` began."""
        self._stop_asked = True  # for a run() that is only just beginning
        running = self._running
        if running is not None:
            loop, agent = running
            loop.call_soon_threadsafe(agent.stop)
        self.close()

    def bindings(self) -> list[dict[str, Any]]:
        """Return the active bindings, as `mip bindings --json` shows them."""
        bindings: list[dict[str, Any]] = self._run(lambda agent: agent.bindings())
        return bindings

    def clear(self, home_address: str) -> None:
        """Drop the bindings of a node. :raises MipError: it has none."""
        self._run(lambda agent: agent.clear(home_address))


class MobileNode(_Node[AsyncMobileNode]):
    """A mobile node with co-located care-of addresses.

    :param interfaces: care-of address by interface, or names alone, whose addresses are
        read from the kernel.
    :param gateways: next hop by interface, where the routing table does not tell.
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
        roam: bool = False,
        quirks: Iterable[str] = (),
        state_dir: Path | str | None = None,
        control_socket: Path | str | None = None,
        dataplane: str = "auto",
        ntp_server: str | None = None,
        on_event: OnEvent | None = None,
        listen: str = "0.0.0.0",
    ) -> None:
        options = _options(
            state_dir, control_socket, dataplane, ntp_server, listen, gateways
        )
        super().__init__(options, on_event)
        quirks = set(quirks)
        if not quirks <= set(QUIRKS):
            raise MipError(f"quirks: allowed are {', '.join(QUIRKS)}")
        try:
            association = SecurityAssociation(check_spi(spi), key, algorithm)
        except ValueError as error:
            raise MipError(str(error)) from None
        named = dict(interfaces) if isinstance(interfaces, Mapping) else {}
        self._node_policy = MobileNodePolicy(
            home_address=_address("home_address", home_address),
            home_agent=_address("home_agent", home_agent),
            security=association,
            home_network=_network(home_network),
            lifetime=lifetime,
            reverse_tunnel=reverse_tunnel,
            encapsulation=_encapsulation(encapsulation),
            interfaces=tuple(interfaces),
            care_of_addresses={
                name: _address(f"interfaces: {name}", address)
                for name, address in named.items()
            },
            roam=roam,
            coarse_timestamps="coarse_timestamps" in quirks,
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
        :param timeout: seconds after which to give up; None: as the protocol says.
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


class _ErrorSink:
    """Tells a callback of everything that is at least a warning."""

    def __init__(self, on_error: OnError) -> None:
        self._on_error = on_error

    def __call__(self, stamped: Stamped) -> None:
        noted = stamped.noted
        if noted.severity >= Severity.WARNING:
            reason = noted.fields.get("reason") or noted.fields.get("error")
            text = noted.event.replace("_", " ")
            code = noted.fields.get("code")
            error = RegistrationFailed(
                f"{text}: {reason}" if reason else text,
                code if isinstance(code, int) else None,
            )
            _guarded(self._on_error, error)


def _event_sink(on_event: OnEvent) -> Sink:
    return lambda stamped: _guarded(on_event, stamped.as_json())


def _guarded(callback: Callable[[Any], object], value: Any) -> None:
    """Call a user's callback; what it raises goes where asyncio reports such things."""
    try:
        callback(value)
    except Exception as error:  # noqa: BLE001 - the agent lives
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a callback of mip_agents raised", "exception": error}
        )


def _granted(finished: Finished) -> dict[str, Any]:
    if finished.error is not None:
        raise RegistrationFailed(finished.error, finished.code)
    return dict(finished.fields)


def _options(
    state_dir: Path | str | None,
    control_socket: Path | str | None,
    dataplane: str,
    ntp_server: str | None,
    listen: str,
    gateways: Mapping[str, str] | None = None,
) -> AgentOptions:
    return AgentOptions(
        state_dir=None if state_dir is None else Path(state_dir),
        control_socket=None if control_socket is None else Path(control_socket),
        dataplane=dataplane,
        ntp_servers=() if ntp_server is None else (ntp_server,),
        listen=listen,
        gateways=dict(gateways or {}),
    )


def _address(name: str, text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise MipError(f"{name}: not an IPv4 address") from None


def _network(text: str | None) -> IPv4Network | None:
    try:
        return None if text is None else IPv4Network(text)
    except ValueError as error:
        raise MipError(f"home_network: {error}") from None


def _encapsulation(name: str) -> Encapsulation:
    for member in (Encapsulation.IPIP, Encapsulation.GRE):
        if member.title == name:
            return member
    raise MipError("encapsulation: allowed are ipip, gre")
