# SPDX-License-Identifier: GPL-2.0-only
"""The unix socket of the control interface, and the HTTP server on it.

uvicorn would set the socket to mode 0666 and take over the signal handlers; so the
socket is bound here and signals stay with the agent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from mip_agents.protocol.errors import MipError

_MODE = 0o660
_BACKLOG = 64
_PROBE_S = 1.0


class _Server(uvicorn.Server):
    """A server that leaves the signal handlers alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing, unlike the base class."""
        yield


class ControlServer:
    """Serves an application on a unix socket of mode 0660."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._socket: socket.socket | None = None
        self._server: _Server | None = None

    def open(self) -> None:
        """Bind the socket; a stale one, on which nobody answers, is replaced.

        :raises MipError: in one line that says what to do.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self._path)
            self._socket = _bind(self._path)
            found = self._path.stat()
        except OSError as error:
            raise MipError(
                f"control socket {self._path}: {_reason(error)}: set control_socket to "
                "a path that this user may create"
            ) from None
        self._identity = (found.st_dev, found.st_ino)

    async def serve(self, app: Starlette) -> None:
        """Serve until `stop`."""
        assert self._socket is not None, "open() comes first"
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Ask `serve` to return; requests under way get a second."""
        if self._server is not None:
            self._server.should_exit = True

    def close(self) -> None:
        """Remove the socket, if it is still ours. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._identity is not None:
            with contextlib.suppress(OSError):
                found = self._path.stat()
                if (found.st_dev, found.st_ino) == self._identity:
                    self._path.unlink()
            self._identity = None


def _remove_stale(path: Path) -> None:
    """Remove a socket that a dead agent left.

    :raises MipError: an agent answers on it, or it is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise MipError(f"control socket {path}: exists and is no socket: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except (TimeoutError, BlockingIOError):
            pass  # its queue is full: somebody lives there
    raise MipError(
        f"control socket {path}: an agent answers on it: stop that one first, or set "
        "another control_socket"
    )


def _bind(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode before bind() keeps the socket from being open to all for a moment,
        # the one after it gives the group back what the umask took.
        os.fchmod(sock.fileno(), _MODE)
        sock.bind(str(path))
        path.chmod(_MODE)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _reason(error: OSError) -> str:
    if error.errno is None:
        return "the path is too long"  # raised by Python, not by the kernel
    return os.strerror(error.errno) if error.errno != errno.EEXIST else "exists"
