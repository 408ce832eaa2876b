# SPDX-License-Identifier: GPL-2.0-only
"""A log that nobody can fill from outside: floods of one kind become a number.

Every warning and error is counted by name and rule. The first of a kind within some
seconds pass; of the rest one line says how many they were. Counters see them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mip_agents.protocol.effects import Noted, Severity
from mip_agents.runtime.events import Sink, Stamped

Kind = tuple[str, str | None]
"""Name and rule of an event."""

WINDOW_S = 10.0
PASSED = 20
"""Lines of a kind that pass within a window."""
_KINDS = 256
"""Kinds that are told apart; there are fewer names and rules than that."""


class FloodGuard:
    """Stands before a log; a sink of `Notes`.

    Inside an event loop the numbers come when a window ends, elsewhere with the first
    event after that.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._least: int = getattr(sink, "least", Severity.DEBUG)
        self._began = 0.0
        self._seen: dict[Kind, int] = {}
        self._last: Stamped | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, stamped: Stamped) -> None:
        """Hand on what is not too much."""
        noted = stamped.noted
        if noted.severity < self._least:
            return
        if not 0 <= stamped.time - self._began < WINDOW_S or noted.event in _LAST_WORDS:
            self.flush()
            self._began = stamped.time
        if noted.severity >= Severity.WARNING:
            kind = noted.event, noted.rule
            count = self._seen.get(kind, 0) + 1
            if count > 1 or len(self._seen) < _KINDS:
                self._seen[kind] = count
            if count > PASSED:
                self._last = stamped
                self._arm()
                return
        self._sink(stamped)

    def flush(self) -> None:
        """Say how many lines were held back, and begin a new window."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        last, self._last = self._last, None
        seen, self._seen = self._seen, {}
        if last is None:
            return
        for (event, rule), count in seen.items():
            if count > PASSED:
                noted = Noted(
                    event="log_held_back",
                    severity=Severity.WARNING,
                    rule=rule,
                    fields={"of": event, "count": count - PASSED},
                )
                self._sink(Stamped(last.number, last.time, noted))

    def _arm(self) -> None:
        if self._timer is not None:
            return
        call_later = _running_loop()
        if call_later is not None:
            self._timer = call_later(WINDOW_S, self.flush)


_LAST_WORDS = ("agent_stopping", "agent_stopped")


def _running_loop() -> Callable[..., asyncio.TimerHandle] | None:
    try:
        return asyncio.get_running_loop().call_later
    except RuntimeError:
        return None
