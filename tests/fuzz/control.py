# SPDX-License-Identifier: GPL-2.0-only
"""Requests to the control interface: answered in JSON, never with an internal error."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from fuzz.choices import Choices, damaged
from mip_agents.protocol.effects import Finished, Noted
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    Event,
    RegisterRequested,
)
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.runtime.control import make_app
from mip_agents.runtime.events import Broadcast, Notes
from support.agents import ON_BOTH, home_agent, mobile_node
from support.foreign import foreign_agent
from support.scenario import instant

_NOW = instant(1.0)
_METHODS = ("GET", "POST", "DELETE", "HEAD", "PUT", "")
_PATHS = (
    b"/v1/schema",
    b"/v1/status",
    b"/v1/events",
    b"/metrics",
    b"/v1/bindings",
    b"/v1/bindings/10.1.1.10",
    b"/v1/visitors",
    b"/v1/register",
    b"/v1/deregister",
    b"/v1/cancel",
    b"/",
)
_BODIES = (
    b"",
    b'{"interface": "eth0", "lifetime": 600}',
    b'{"interface": "wlan0"}',
    b"{}",
    b'{"interface": "", "lifetime": 1e400}',
)
_QUERIES = (b"", b"after=0", b"after=-1")
_STATUSES = {200, 400, 404, 405, 409, 413}


class _Agent:
    """An engine behind the control interface, without anything else."""

    def __init__(self, role: str, engine: Engine) -> None:
        self.role = role
        self.broadcast = Broadcast()
        notes = Notes(self.broadcast)
        notes.note(Noted(event="agent_started"))
        self.broadcast.close()  # so that watchers end
        self._engine = engine
        self._tokens = itertools.count(1)

    def status(self) -> dict[str, Any]:
        return self._engine.status(_NOW)

    def binding_pages(self) -> Iterator[list[dict[str, Any]]]:
        assert isinstance(self._engine, HomeAgentEngine)
        yield self._engine.bindings(_NOW)

    def visitors(self) -> list[dict[str, Any]]:
        return []

    def metrics(self) -> str:
        return "mip_info 1\n"

    async def register(self, interface: str, lifetime: int | None = None) -> Finished:
        return self._ask(
            lambda token: RegisterRequested(
                token=token, interface=interface, lifetime=lifetime
            )
        )

    async def deregister(self) -> Finished:
        return self._ask(DeregisterRequested)

    async def cancel(self) -> Finished:
        return self._ask(CancelRequested)

    async def clear(self, home_address: str) -> Finished:
        return self._ask(lambda token: ClearRequested(token, home_address))

    def _ask(self, make: Callable[[int], Event]) -> Finished:
        token = next(self._tokens)
        for effect in self._engine.handle(make(token), _NOW):
            if isinstance(effect, Finished) and effect.token == token:
                return effect
        return Finished(token=token, error="still under way")


def _mobile_node() -> _Agent:
    engine = mobile_node(roam=False)
    engine.handle(ON_BOTH, _NOW)
    return _Agent("mobile_node", engine)


_ROLES = (
    _mobile_node,
    lambda: _Agent("home_agent", home_agent()),
    lambda: _Agent("foreign_agent", foreign_agent()),
)


def control(data: bytes) -> None:
    """Ask an agent up to four times, with any method, path, query and body."""
    choices = Choices(data)
    app: Any = make_app(choices.pick(_ROLES)())
    asyncio.run(_ask_some(app, choices))


async def _ask_some(app: Any, choices: Choices) -> None:
    for _request in range(4):
        if choices:
            await _ask(app, choices)


async def _ask(app: Any, choices: Choices) -> None:
    method = choices.pick(_METHODS)
    path = damaged(choices, choices.pick(_PATHS))
    query = damaged(choices, choices.pick(_QUERIES))
    body = damaged(choices, choices.pick(_BODIES)) * choices.pick((1, 1, 1, 200))
    half = choices.number(2) % (len(body) + 1)
    parts = iter(
        [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:], "more_body": False},
        ]
    )
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        # A stream of events listens for the end of the connection meanwhile.
        return next(parts, None) or await asyncio.Event().wait() or {}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.decode(errors="replace"),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"mip"), (b"last-event-id", choices.take(2))],
    }
    await app(scope, receive, send)
    start, *bodies = sent
    content = b"".join(message.get("body", b"") for message in bodies)
    kind = dict(start["headers"]).get(b"content-type", b"")
    assert start["status"] in _STATUSES, (start["status"], content)
    if kind == b"application/json" and method != "HEAD":
        answer = json.loads(content)
        if start["status"] != 200:
            assert answer["error"].strip()
    else:
        assert start["status"] == 200 or method == "HEAD", content
