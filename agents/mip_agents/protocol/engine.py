# SPDX-License-Identifier: GPL-2.0-only
"""What the driver knows of an engine, whatever its role."""

from __future__ import annotations

from typing import Any, Protocol

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Effect
from mip_agents.protocol.events import Event


class Engine(Protocol):
    """A role of Mobile IP as values in, values out."""

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Take in one event; return what is to be done, in order."""

    def next_timer(self) -> float | None:
        """Return the monotonic second at which `TimerFired` is wanted, if at all."""

    def status(self, now: Instant) -> dict[str, Any]:
        """Return the engine's state as JSON-able values, named as in the registry."""
