# SPDX-License-Identifier: GPL-2.0-only
"""A client of the control interface, for the command line and for scripts."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from mip_agents.protocol.errors import MipError

_CONNECT_S = 5.0
_ANSWER_S = 60.0


class AgentUnreachableError(MipError):
    """No agent answers on the socket."""


class AgentRefusedError(MipError):
    """The agent answered that it cannot or will not."""

    def __init__(self, text: str, status: int, code: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        """HTTP status."""
        self.code = code
        """Reply code of the registration, where one decided."""


class AgentClient:
    """Talks to the agent behind a control socket; errors are `MipError`s.

    :param timeout: seconds to wait for an answer. A registration may take its time.
    """

    def __init__(self, path: Path | str, timeout: float = _ANSWER_S) -> None:
        self._path = Path(path)
        self._timeout = timeout
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(
                uds=str(path),
                # A connection for each request: one that is kept may be closed by the
                # agent in the very moment in which it is used again.
                limits=httpx.Limits(max_keepalive_connections=0),
            ),
            trust_env=False,  # no proxy stands between us and a local socket
            base_url="http://mip",
            timeout=httpx.Timeout(timeout, connect=_CONNECT_S),
        )

    def status(self) -> dict[str, Any]:
        """Return the agent's state."""
        return dict(self._call("GET", "/v1/status"))

    def bindings(self) -> list[dict[str, Any]]:
        """Return a home agent's bindings."""
        return list(self._call("GET", "/v1/bindings"))

    def visitors(self) -> list[dict[str, Any]]:
        """Return a foreign agent's visitors."""
        return list(self._call("GET", "/v1/visitors"))

    def clear(self, home_address: str) -> dict[str, Any]:
        """Drop the bindings of a node at a home agent."""
        return dict(self._call("DELETE", f"/v1/bindings/{home_address}"))

    def register(self, interface: str, lifetime: int | None = None) -> dict[str, Any]:
        """Let a mobile node register through an interface; return what was granted.

        :raises AgentRefusedError: it did not succeed; `code` is what the peer answered.
        """
        body: dict[str, Any] = {"interface": interface}
        if lifetime is not None:
            body["lifetime"] = lifetime
        return dict(self._call("POST", "/v1/register", body))

    def deregister(self) -> dict[str, Any]:
        """Let a mobile node end its registration."""
        return dict(self._call("POST", "/v1/deregister"))

    def cancel(self) -> dict[str, Any]:
        """Let a mobile node give up the request that is under way."""
        return dict(self._call("POST", "/v1/cancel"))

    def metrics(self) -> str:
        """Return the counters as Prometheus text."""
        return self._send("GET", "/metrics").text

    def events(self, after: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield events as they happen, until the agent stops.

        :param after: begin with the kept events behind this number (0: all of them).
        """
        query = {} if after is None else {"after": str(after)}
        try:
            with self._client.stream(
                "GET",
                "/v1/events",
                params=query,
                timeout=httpx.Timeout(None, connect=_CONNECT_S),
            ) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    self._check(response)
                for line in response.iter_lines():
                    field, _, value = line.partition(":")
                    if field == "data":
                        yield json.loads(value)
        except httpx.RemoteProtocolError:
            return  # the agent went away in the middle of the stream
        except httpx.TransportError as error:
            raise self._explain(error) from None

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            return self._send(method, path, body).json()
        except ValueError:
            raise AgentUnreachableError(
                f"what answers on {self._path} is not a Mobile IP agent"
            ) from None

    def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise self._explain(error) from None
        self._check(response)
        return response

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        try:
            answer = response.json()
            text, code = str(answer["error"]), answer.get("code")
        except (ValueError, KeyError, TypeError, AttributeError):
            text, code = f"HTTP status {response.status_code}", None
        raise AgentRefusedError(text, response.status_code, code)

    def _explain(self, error: httpx.TransportError) -> AgentUnreachableError:
        path = self._path
        if isinstance(error, httpx.ReadTimeout):
            return AgentUnreachableError(
                f"no answer from the agent within {self._timeout:g} s; "
                "it goes on trying (mip status shows how far it is)"
            )
        number = _errno_of(error)
        if isinstance(error, httpx.ConnectTimeout) or number == errno.EAGAIN:
            return AgentUnreachableError(
                f"{path}: the agent takes no more connections: it is busy or hangs"
            )
        if not isinstance(error, httpx.ConnectError):
            return AgentUnreachableError(
                f"{path}: the agent ended the connection ({type(error).__name__}): "
                "its log says whether it stopped"
            )
        if number in (errno.EACCES, errno.EPERM):
            return AgentUnreachableError(
                f"{path}: permission denied: run as root or join the socket's group"
            )
        if number == errno.ENOENT:
            why = "there is no such socket"
        elif number == errno.ECONNREFUSED:
            why = "nobody listens"
        else:
            why = str(error) if number is None else os.strerror(number)
        return AgentUnreachableError(
            f"no agent answers on {path} ({why}): is `mip ha` or `mip mn` running? "
            "--socket PATH or MIP_SOCKET names another socket"
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _errno_of(error: BaseException | None) -> int | None:
    """Return the number of the kernel's error behind an exception, if there is one."""
    while error is not None:
        if isinstance(error, OSError):
            return error.errno
        error = error.__cause__ or error.__context__
    return None
