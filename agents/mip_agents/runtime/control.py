# SPDX-License-Identifier: GPL-2.0-only
"""The control interface: HTTP/JSON on a unix socket, so that curl works.

`curl --unix-socket /run/mip/ha.sock http://mip/v1/status`. Who may use it is decided by
owner, group and mode (0660) of the socket. Errors are `{"error": "..."}`. What there is
and what it gives stands in `/v1/schema`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from ipaddress import IPv4Address
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.responses import StreamingResponse as Streaming
from starlette.routing import Route

from mip_agents.protocol.effects import Finished
from mip_agents.runtime.events import Broadcast
from mip_agents.runtime.metrics import CONTENT_TYPE
from mip_agents.runtime.schema import SCHEMA
from scapy_mip.const import LIFETIME_INFINITE

_BODY_MAX = 4096
_HEARTBEAT_S = 15.0


class Controllable(Protocol):
    """What the control interface needs of an agent."""

    role: str
    """`home_agent`, `foreign_agent` or `mobile_node`."""
    broadcast: Broadcast

    def status(self) -> dict[str, Any]:
        """Return everything worth knowing, JSON-able."""

    def binding_pages(self) -> Iterable[list[dict[str, Any]]]:
        """Home agent: return its bindings, some at a time."""

    def visitors(self) -> list[dict[str, Any]]:
        """Foreign agent: return its visitors."""

    def metrics(self) -> str:
        """Return the counters as Prometheus text."""

    async def register(self, interface: str, lifetime: int | None = None) -> Finished:
        """Mobile node: register through an interface."""

    async def deregister(self) -> Finished:
        """Mobile node: end the registration."""

    async def cancel(self) -> Finished:
        """Mobile node: give up the request that is under way."""

    async def clear(self, home_address: str) -> Finished:
        """Home agent: drop a node's bindings."""


Handler = Callable[[Request], Awaitable[Response]]


def make_app(agent: Controllable) -> Starlette:
    """Build the application of one agent."""
    api = _Api(agent)
    routes: list[tuple[str, str, Handler, str | None]] = [
        ("GET", "/v1/schema", api.schema, None),
        ("GET", "/v1/status", api.status, None),
        ("GET", "/v1/events", api.events, None),
        ("GET", "/metrics", api.metrics, None),
        ("GET", "/v1/bindings", api.bindings, "home_agent"),
        ("DELETE", "/v1/bindings/{home_address}", api.clear, "home_agent"),
        ("GET", "/v1/visitors", api.visitors, "foreign_agent"),
        ("POST", "/v1/register", api.register, "mobile_node"),
        ("POST", "/v1/deregister", api.deregister, "mobile_node"),
        ("POST", "/v1/cancel", api.cancel, "mobile_node"),
    ]
    app = Starlette(
        routes=[
            Route(path, _for_role(agent, role, handler), methods=[method])
            for method, path, handler, role in routes
        ],
        exception_handlers={HTTPException: _error, 500: _internal_error},
    )
    # A path that is almost right gets an error like any other, and no redirection.
    app.router.redirect_slashes = False
    return app


def _for_role(agent: Controllable, role: str | None, handler: Handler) -> Handler:
    """Refuse what an agent of another role has."""
    if role is None or role == agent.role:
        return handler

    async def refuse(_: Request) -> Response:
        raise HTTPException(
            404, f"this is a {_words(agent.role)}: only a {_words(role)} has that"
        )

    return refuse


def _words(role: str) -> str:
    return role.replace("_", " ")


class _Api:
    """The handlers."""

    def __init__(self, agent: Controllable) -> None:
        self._agent = agent

    async def schema(self, _: Request) -> Response:
        return JSONResponse(SCHEMA)

    async def status(self, _: Request) -> Response:
        return JSONResponse(self._agent.status())

    async def bindings(self, _: Request) -> Response:
        return Streaming(
            _json_list(self._agent.binding_pages()), media_type="application/json"
        )

    async def visitors(self, _: Request) -> Response:
        return JSONResponse(self._agent.visitors())

    async def metrics(self, _: Request) -> Response:
        return PlainTextResponse(self._agent.metrics(), media_type=CONTENT_TYPE)

    async def events(self, request: Request) -> Response:
        """Answer with server-sent events.

        `?after=0` or a `Last-Event-ID` header (what browsers send when they reconnect)
        begins with the kept events behind that number.
        """
        text = request.query_params.get("after", request.headers.get("last-event-id"))
        try:
            after = None if text is None else int(text)
        except ValueError:
            raise HTTPException(400, "after: allowed is the number of an event") from (
                None
            )
        return Streaming(
            self._stream(after),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    async def _stream(self, after: int | None) -> AsyncIterator[str]:
        events = self._agent.broadcast.watch(after=after, heartbeat_s=_HEARTBEAT_S)
        async for stamped in events:
            if stamped is None:
                yield ": still here\n\n"
            else:
                # JSON has no line ends of its own, so one data line holds it all.
                yield f"id: {stamped.number}\ndata: {json.dumps(stamped.as_json())}\n\n"

    async def register(self, request: Request) -> Response:
        body = await _body(request, {"interface", "lifetime"})
        interface, lifetime = body.get("interface"), body.get("lifetime")
        if not isinstance(interface, str) or not interface:
            raise HTTPException(400, "interface: allowed is the name of an interface")
        if lifetime is not None and (
            not isinstance(lifetime, int)
            or isinstance(lifetime, bool)
            or not 1 <= lifetime <= LIFETIME_INFINITE
        ):
            raise HTTPException(
                400, f"lifetime: allowed are seconds from 1 to {LIFETIME_INFINITE}"
            )
        return _finished(await self._agent.register(interface, lifetime))

    async def deregister(self, request: Request) -> Response:
        await _body(request, set())
        return _finished(await self._agent.deregister())

    async def cancel(self, request: Request) -> Response:
        await _body(request, set())
        return _finished(await self._agent.cancel())

    async def clear(self, request: Request) -> Response:
        home_address = request.path_params["home_address"]
        try:
            IPv4Address(home_address)
        except ValueError:
            raise HTTPException(400, "home_address: not an IPv4 address") from None
        return _finished(await self._agent.clear(home_address), refused=404)


async def _json_list(pages: Iterable[list[Any]]) -> AsyncIterator[str]:
    """Write pages of values as one list, with the agent at its work between them."""
    before = "["
    for page in pages:
        if page:
            yield before + json.dumps(page)[1:-1]
            before = ","
        await asyncio.sleep(0)
    yield "[]" if before == "[" else "]"


async def _body(request: Request, known: set[str]) -> dict[str, Any]:
    """Return the JSON object in the body; an empty body is an empty object."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _BODY_MAX:
            raise HTTPException(413, f"the body has more than {_BODY_MAX} bytes")
    if not content:
        return {}
    try:
        body = json.loads(content)
        # A lone surrogate is JSON, but no text that could be a name or be answered.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is no JSON object")
    unknown = sorted(body.keys() - known)
    if unknown:
        allowed = ", ".join(sorted(known)) or "no keys"
        raise HTTPException(400, f"{unknown[0]}: unknown key; allowed: {allowed}")
    return body


def _finished(finished: Finished, refused: int = 409) -> Response:
    """Answer with the end of a request: 200, or `refused` with the error."""
    content: dict[str, Any] = dict(finished.fields)
    if finished.code is not None:
        content["code"] = finished.code
    if finished.error is None:
        return JSONResponse(content)
    content["error"] = finished.error
    return JSONResponse(content, status_code=refused)


async def _error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"error": error.detail}, status_code=error.status_code, headers=error.headers
    )


async def _internal_error(_: Request, error: Exception) -> Response:
    # The server logs the traceback; a client gets no more than this.
    return JSONResponse(
        {"error": f"internal error: {type(error).__name__}; see the agent's log"},
        status_code=500,
    )
