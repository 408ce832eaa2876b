# SPDX-License-Identifier: GPL-2.0-only
"""Stand-ins for the ports of a driver, and an engine that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    Change,
    Effect,
    Finished,
    Noted,
    Send,
    SendDiscovery,
)
from mip_agents.protocol.events import Event, Restored
from mip_agents.runtime.ports import Order, StoreError


class ScriptedEngine:
    """Answers each event by a function; notes what it was handed and when."""

    def __init__(self, answer: Callable[[Event], Sequence[Effect]] | None = None):
        self.answer = answer or (lambda event: [])
        self.seen: list[tuple[Event, Instant]] = []
        self.due: float | None = None

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.seen]

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        self.seen.append((event, now))
        return list(self.answer(event))

    def next_timer(self) -> float | None:
        return self.due

    def status(self, now: Instant) -> dict[str, Any]:
        return {}


class Journalling:
    """A store that writes into a common list, so that order can be judged."""

    def __init__(self, log: list[Any]):
        self.log = log
        self.failure: Exception | None = None

    def load(self) -> Restored:
        return Restored((), ())

    def commit(self, changes: Sequence[Change]) -> None:
        self.log.append(("commit", tuple(changes)))
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        pass


class Sending:
    """A net that writes into a common list."""

    def __init__(self, log: list[Any]):
        self.log = log

    def send(self, send: Send) -> None:
        self.log.append(("send", send.data))

    def send_discovery(self, send: SendDiscovery) -> None:
        self.log.append(("discovery", send.data))


class Working:
    """A worker that writes into a common list."""

    def __init__(self, log: list[Any]):
        self.log = log

    def submit(self, order: Order) -> None:
        self.log.append(("order", order))


class ListNotes:
    """Keeps what is noted; a crash fails the test unless it is expected."""

    def __init__(self) -> None:
        self.noted: list[Noted] = []
        self.crashes: list[tuple[str, BaseException]] = []

    @property
    def names(self) -> list[str]:
        return [noted.event for noted in self.noted]

    def note(self, noted: Noted) -> None:
        self.noted.append(noted)

    def crash(self, where: str, error: BaseException) -> None:
        self.crashes.append((where, error))


class ListAnswers:
    """Keeps the answers."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []
        self.abandoned: list[str] = []

    def finish(self, finished: Finished) -> None:
        self.finished.append(finished)

    def abandon(self, error: str) -> None:
        self.abandoned.append(error)


def send(data: bytes, destination: str = "127.0.0.1", **more: Any) -> Send:
    fields = {
        "data": data,
        "source": "",
        "source_port": 434,
        "destination": destination,
        "destination_port": 434,
    }
    return Send(**(fields | more))


FAILED = StoreError("disk full")
