# SPDX-License-Identifier: GPL-2.0-only
"""A language for what an engine does: events in with `>>`, expected effects with `<<`.

    assert (
        scenario(home_agent())
        >> asks(lifetime=600)
        << like(Journal) << like(InstallTunnel)
        >> JOURNAL_WRITTEN
        >> TUNNEL_READY
        << replies(code=0, lifetime=600)
        << AnnounceAddress("10.1.1.10")
    )

Each step runs at once. Every effect must be named, in order, before the next event;
a `Noted` may go unmentioned, and its place among the others does not matter. `assert`
checks that nothing is left over; a scenario that is never asserted fails its test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    InstallTunnel,
    Journal,
    Noted,
    RemoveTunnel,
    Send,
)
from mip_agents.protocol.events import (
    JournalFailed,
    JournalWritten,
    TimerFired,
    TunnelFailed,
    TunnelReady,
)
from mip_agents.protocol.view import parse

EPOCH = 0xEEAE4141_00000000
"""NTP time at monotonic second 0."""

running: list[Scenario] = []
"""Scenarios that are not asserted yet; the fixture of the folder looks into it."""


def instant(mono: float, clock_offset_s: int = 0) -> Instant:
    """Return the moment `mono` seconds after `EPOCH`."""
    ntp = EPOCH + (int(mono * 2**20) << 12) + (clock_offset_s << 32)
    return Instant(mono, ntp % (1 << 64))


@dataclasses.dataclass
class Wait:
    """Let time go by until a monotonic second, without any event."""

    until: float


@dataclasses.dataclass
class Timer:
    """Let time go by until the engine's timer, which fires then."""

    at: float | None = None
    """The second at which it is expected to fire, to a tenth."""


@dataclasses.dataclass
class Answer:
    """The answer to the oldest unanswered order of its kind."""

    orders: tuple[type, ...]
    make: Callable[[int], Any]


TUNNELS = (InstallTunnel, RemoveTunnel)
JOURNAL_WRITTEN = Answer((Journal,), JournalWritten)
JOURNAL_FAILED = Answer((Journal,), lambda token: JournalFailed(token, "disk full"))
TUNNEL_READY = Answer(TUNNELS, TunnelReady)
TUNNEL_FAILED = Answer(TUNNELS, lambda token: TunnelFailed(token, "no device"))


class Like:
    """An effect or value of a type, of which only the named fields count."""

    def __init__(self, kind: type, fields: dict[str, Any]) -> None:
        self.kind = kind
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, self.kind):
            return False
        return all(getattr(other, k) == v for k, v in self.fields.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in self.fields.items())
        return f"{self.kind.__name__}({inside}, ...)"


class Sends(Like):
    """A datagram whose message has the named fields; `ip` fields are those of Send."""

    def __init__(self, fields: dict[str, Any], ip: dict[str, Any]) -> None:
        super().__init__(Send, ip)
        self.message = fields

    def __eq__(self, other: object) -> bool:
        if not super().__eq__(other):
            return False
        assert isinstance(other, Send)
        view = parse(other.data)
        return all(getattr(view, k, None) == v for k, v in self.message.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inside = {**self.message, **self.fields}
        return f"Send({', '.join(f'{k}={v!r}' for k, v in inside.items())}, ...)"


_IP = set(Send.__struct_fields__)


def like(kind: type, **fields: Any) -> Like:
    """Expect an effect, or a value within one, by some of its fields."""
    return Like(kind, fields)


def sends(**fields: Any) -> Sends:
    """Expect a datagram by fields of its message and of its addressing."""
    ip = {k: v for k, v in fields.items() if k in _IP}
    return Sends({k: v for k, v in fields.items() if k not in _IP}, ip)


def noted(event: str, rule: str | None = None, **fields: Any) -> Like:
    """Expect a note by its event, its rule and some of its fields."""
    expected: dict[str, Any] = {"event": event}
    if rule is not None:
        expected["rule"] = rule
    if fields:
        expected["fields"] = _Within(fields)
    return Like(Noted, expected)


class _Within(dict[str, Any]):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and all(
            other.get(k, "missing") == v for k, v in self.items()
        )

    __hash__ = None  # type: ignore[assignment]


def describe(effect: object) -> str:
    """Show an effect in one line, a datagram by its message."""
    if isinstance(effect, Send):
        view = parse(effect.data)
        fields = {
            name: getattr(view, name)
            for name in ("code", "flags", "lifetime", "home_agent", "care_of_address")
            if hasattr(view, name)
        }
        inside = ", ".join(f"{k}={v!r}" for k, v in fields.items())
        where = f"{effect.source} > {effect.destination}"
        return f"Send({type(view).__name__} {inside}, {where})"
    if isinstance(effect, Noted):
        return f"Noted({effect.event!r}, {effect.rule}, {dict(effect.fields)})"
    return repr(effect)


class Scenario:
    """An engine, its clock, and what it has asked for."""

    def __init__(self, engine: Any, at: float = 1.0, clock_offset_s: int = 0) -> None:
        self.engine = engine
        self.time = at
        self.clock_offset_s = clock_offset_s
        self.effects: list[Any] = []
        """What the latest event brought and is not expected yet."""
        self.notes: list[Noted] = []
        """What the latest event brought to be noted, and is not mentioned yet."""
        self.sent: list[Send] = []
        """Every datagram so far."""
        self.orders: list[Any] = []
        """Orders that are not answered yet."""
        self.history: list[str] = []
        running.append(self)

    @property
    def now(self) -> Instant:
        """The present moment on the engine's clocks."""
        return instant(self.time, self.clock_offset_s)

    def __rshift__(self, step: Any) -> Scenario:
        self._nothing_left(f"before {step!r}")
        if isinstance(step, Wait):
            self.time = step.until
            return self
        event = self._event(step)
        self.history.append(f"{self.time:8.2f}  >> {_short(event)}")
        effects = self.engine.handle(event, self.now)
        self.history += [f"          << {describe(e)}" for e in effects]
        self.notes = [e for e in effects if isinstance(e, Noted)]
        self.effects = [e for e in effects if not isinstance(e, Noted)]
        self.sent += [e for e in self.effects if isinstance(e, Send)]
        self.orders += [e for e in self.effects if isinstance(e, (Journal, *TUNNELS))]
        return self

    def _event(self, step: Any) -> Any:
        if isinstance(step, Answer):
            found = [order for order in self.orders if isinstance(order, step.orders)]
            assert found, self._story(f"nothing asked for that {step} could answer")
            self.orders.remove(found[0])
            return step.make(found[0].token)
        if isinstance(step, Timer):
            due = self.engine.next_timer()
            assert due is not None, self._story("the engine wants no timer")
            if step.at is not None:
                wrong = f"timer at {due}, not at {step.at}"
                assert abs(due - step.at) < 0.1, self._story(wrong)
            self.time = max(self.time, due)
            return TimerFired()
        return step(self) if callable(step) else step

    def __lshift__(self, expected: Any) -> Scenario:
        if getattr(expected, "kind", type(expected)) is Noted:
            found = [note for note in self.notes if expected == note]
            assert found, self._story(f"expected {expected!r}, but it was not noted")
            self.notes.remove(found[0])
            return self
        got = describe(self.effects[0]) if self.effects else "nothing more"
        if not self.effects or not expected == self.effects[0]:
            raise AssertionError(
                self._story(f"expected {expected!r}\n     but got {got}")
            )
        del self.effects[0]
        return self

    def __bool__(self) -> bool:
        if self in running:
            running.remove(self)
        assert self.history, "this scenario has no event"
        self._nothing_left("at the end")
        return True

    def _nothing_left(self, when: str) -> None:
        shown = "\n".join(f"       {describe(effect)}" for effect in self.effects)
        assert not self.effects, self._story(f"unexpected, {when}:\n{shown}")

    def _story(self, problem: str) -> str:
        """Say what went wrong, after which the scenario counts as judged."""
        if self in running:
            running.remove(self)
        return "\n".join([problem, "what happened:", *self.history])


def _short(event: Any) -> str:
    text = repr(event)
    data = getattr(event, "data", None)
    if data is not None:
        text = f"{type(event).__name__}({parse(data)!r}"
    return text if len(text) < 300 else f"{text[:300]}..."


def scenario(engine: Any, at: float = 1.0, clock_offset_s: int = 0) -> Scenario:
    """Start a scenario at a monotonic second."""
    return Scenario(engine, at, clock_offset_s)
