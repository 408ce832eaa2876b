# SPDX-License-Identifier: GPL-2.0-only
"""Messages to the service manager: ready, alive, stopping. See sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Talks to `$NOTIFY_SOCKET`; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._path = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog(environment)
        """Seconds within which the manager wants a sign of life; None: it does not."""

    def ready(self) -> None:
        """Say that start-up is complete."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that shutdown has begun."""
        self._send("STOPPING=1")

    async def keep_alive(self) -> None:
        """Feed the watchdog from the event loop, twice as often as it asks for."""
        while self.watchdog_s is not None:
            self.alive()
            await asyncio.sleep(self.watchdog_s / 2)

    def _send(self, message: str) -> None:
        if not self._path.startswith(("/", "@")):
            return
        # An abstract name is written with @ and sent with a zero byte.
        address = "\0" + self._path[1:] if self._path[0] == "@" else self._path
        # A manager that is gone or slow must not hold an agent up.
        with (
            contextlib.suppress(OSError),
            socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            ) as sock,
        ):
            sock.sendto(message.encode(), address)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Read WATCHDOG_USEC, unless WATCHDOG_PID names another process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None
