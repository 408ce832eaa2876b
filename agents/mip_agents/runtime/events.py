# SPDX-License-Identifier: GPL-2.0-only
"""What was noted, on its way to everyone who is told: one stamp, three readers.

`Notes` gives each `Noted` a number and a time and hands it to the log, the counters and
the watchers, so that the three never disagree.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from mip_agents.protocol.effects import Noted, Severity
from mip_agents.protocol.values import Value

_RING = 256
"""Events kept for watchers that come later."""
_QUEUE = 1024
"""Events that a slow watcher may be behind; then its oldest are lost."""


class Stamped(Value, frozen=True):
    """Something noted, with its number and its time of day."""

    number: int
    time: float
    """Seconds since 1970, for people and programs; never part of an Identification."""
    noted: Noted
    error: BaseException | None = None
    """The exception behind it, for the log alone."""

    def as_json(self) -> dict[str, Any]:
        """Return the event as the control interface shows it."""
        noted = self.noted
        event: dict[str, Any] = {
            "time": round(self.time, 6),
            "event": noted.event,
            "severity": noted.severity.name.lower(),
        }
        if noted.rule is not None:
            event["rule"] = noted.rule
        return event | {
            name: value for name, value in noted.fields.items() if name not in event
        }


Sink = Callable[[Stamped], None]


class Notes:
    """Hands what is noted to every sink; the port `Notes` of a driver."""

    def __init__(self, *sinks: Sink) -> None:
        self.sinks = list(sinks)
        self._number = 0

    def note(self, noted: Noted) -> None:
        """Stamp and hand on."""
        self._hand_on(noted, None)

    def crash(self, where: str, error: BaseException) -> None:
        """Note an exception that nobody expected."""
        noted = Noted(
            event="internal_error",
            severity=Severity.ERROR,
            fields={"where": where, "error": type(error).__name__},
        )
        self._hand_on(noted, error)

    def _hand_on(self, noted: Noted, error: BaseException | None) -> None:
        self._number = number = self._number + 1
        stamped = Stamped(number, time.time(), noted, error)
        for sink in self.sinks:
            # A log that cannot be written, say a closed pipe, must not stop an agent,
            # and there is nowhere left to report it.
            try:  # noqa: SIM105 - for every registration several times
                sink(stamped)
            except Exception:  # noqa: BLE001
                pass


class Broadcast:
    """Keeps the newest events and passes them to watchers; a sink of `Notes`."""

    def __init__(self) -> None:
        self._ring: deque[Stamped] = deque(maxlen=_RING)
        self._watchers: set[asyncio.Queue[Stamped | None]] = set()
        self._closed = False

    def __call__(self, stamped: Stamped) -> None:
        """Take one event in."""
        self._ring.append(stamped)
        if not self._watchers:
            return
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(stamped)

    async def watch(
        self, *, after: int | None = None, heartbeat_s: float = 15.0
    ) -> AsyncIterator[Stamped | None]:
        """Yield events as they come, and None after each quiet `heartbeat_s`.

        Ends when the agent stops.
        :param after: begin with kept events behind this number; None: new ones only.
        """
        queue: asyncio.Queue[Stamped | None] = asyncio.Queue(_QUEUE)
        self._watchers.add(queue)
        try:
            missed = (
                [] if after is None else [e for e in self._ring if e.number > after]
            )
            for stamped in missed:
                yield stamped
            while not (self._closed and queue.empty()):
                try:
                    got = await asyncio.wait_for(queue.get(), heartbeat_s)
                except TimeoutError:
                    yield None
                    continue
                if got is not None:
                    yield got
        finally:
            self._watchers.discard(queue)

    def close(self) -> None:
        """End every watcher after what it has not read yet."""
        self._closed = True
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
