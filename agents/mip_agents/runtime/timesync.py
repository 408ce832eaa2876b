# SPDX-License-Identifier: GPL-2.0-only
"""The clock of the daemons, and its offset as NTP servers see it.

Identification is made from integer nanoseconds. Only ntplib's answer is a float; it is
turned into integer nanoseconds once, here, and never touches an Identification.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Sequence

import ntplib

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Noted, Severity
from mip_agents.runtime.ports import Notes
from scapy_mip.ident import from_unix_ns

_INTERVAL_S = 1024.0
_RETRY_S = 64.0
_TIMEOUT_S = 2.0
_UNSYNCHRONISED = 3
"""Leap indicator of a server whose own clock is not set. RFC 5905 section 7.3."""
_STRATUM_MAX = 15
_WARN_NS = 3_000_000_000
"""An offset that eats half of the usual 7 s of tolerance is worth a warning."""


class SystemClock:
    """Monotonic time, and the time of day corrected by a known offset."""

    def __init__(self, offset_ns: int = 0) -> None:
        self.offset_ns = offset_ns

    def now(self) -> Instant:
        """Return this moment on both clocks."""
        return Instant(
            mono=time.monotonic(), ntp=from_unix_ns(time.time_ns() + self.offset_ns)
        )


def query(server: str) -> int:
    """Ask one server; return the nanoseconds to add to the local clock. Blocks.

    :raises OSError: it does not answer. :raises ValueError: its clock is not set.
    """
    try:
        answer = ntplib.NTPClient().request(server, version=4, timeout=_TIMEOUT_S)
    except ntplib.NTPException as error:
        raise OSError(str(error)) from None
    if answer.leap == _UNSYNCHRONISED or not 1 <= answer.stratum <= _STRATUM_MAX:
        raise ValueError("its clock is not synchronised")
    # A float of seconds is exact to well below a microsecond here, as offsets are
    # small; from this line on it is an integer.
    return round(float(answer.offset) * 1_000_000_000)


class TimeSync:
    """Keeps the offset of a clock right, from the first server that answers."""

    def __init__(
        self,
        clock: SystemClock,
        servers: Sequence[str],
        notes: Notes,
        ask: Callable[[str], int] = query,
    ) -> None:
        self._clock = clock
        self._servers = tuple(servers)
        self._notes = notes
        self._ask = ask

    async def run(self) -> None:
        """Ask at once and then every 17 minutes; returns if there is no server."""
        while self._servers:
            ok = await self.once()
            await asyncio.sleep(_INTERVAL_S if ok else _RETRY_S)

    async def once(self) -> bool:
        """Ask the servers in order until one answers; return whether one did."""
        for server in self._servers:
            try:
                offset = await _in_thread(functools.partial(self._ask, server))
            except (OSError, ValueError) as error:
                self._note(
                    "time_server_failed",
                    Severity.WARNING,
                    {"server": server, "reason": str(error) or type(error).__name__},
                )
                continue
            loud = abs(offset) >= _WARN_NS
            self._clock.offset_ns = offset
            self._note(
                "time_synchronised",
                Severity.WARNING if loud else Severity.INFO,
                {"server": server, "offset_us": offset // 1000},
            )
            return True
        return False

    def _note(
        self, event: str, severity: Severity, fields: dict[str, str | int | None]
    ) -> None:
        self._notes.note(Noted(event=event, severity=severity, fields=fields))


async def _in_thread(work: Callable[[], int]) -> int:
    """Run blocking work in a thread that nobody has to wait for when the agent ends.

    The loop's own executor is joined at exit, which a slow name server would delay.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()

    def deliver(result: int | BaseException) -> None:
        if future.done():
            return
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)

    def body() -> None:
        result: int | BaseException
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - handed to the one who awaits
            result = error
        try:
            loop.call_soon_threadsafe(deliver, result)
        except RuntimeError:
            return  # the loop has ended meanwhile

    threading.Thread(target=body, name="ntp", daemon=True).start()
    return await future
