# SPDX-License-Identifier: GPL-2.0-only
"""Running agents in asyncio: what `async with HomeAgent(...)` gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mip_agents.protocol.effects import Finished, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.events import Stamped
from scapy_mip.const import LIFETIME_INFINITE

OnError = Callable[[MipError], object]
"""Called with what went wrong."""


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


class AsyncForeignAgent:
    """A running foreign agent in asyncio; see `ForeignAgent`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def status(self) -> dict[str, Any]:
        """Return everything worth knowing, as `mip status --json` shows it."""
        return self._agent.status()

    async def visitors(self) -> list[dict[str, Any]]:
        """Return visitors and pending requests, as `mip visitors --json` does."""
        return self._agent.visitors()

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
        self._calls = 0

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
        if not isinstance(interface, str):
            raise MipError("interface: give its name")
        if lifetime is not None and (
            type(lifetime) is not int or not 1 <= lifetime <= LIFETIME_INFINITE
        ):
            raise MipError(
                f"lifetime: allowed are seconds from 1 to {LIFETIME_INFINITE}"
            )
        self._report_to(None)
        self._calls += 1
        call = self._calls
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
            if call == self._calls:  # later trouble belongs to the latest call
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
            guarded(self._on_error, error)


def guarded(callback: Callable[[Any], object], value: Any) -> None:
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
