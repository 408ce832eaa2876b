# SPDX-License-Identifier: GPL-2.0-only
"""Virtual time: what happens when, in an order that a seed decides alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]


class Agenda:
    """What is still to happen. Of two things at one moment the older goes first."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the world began."""
        self._serial = 0
        self._due: list[tuple[float, int, Action]] = []

    def at(self, time: float, action: Action) -> None:
        """Let something happen at a moment, which is now if that is over."""
        self._serial += 1
        heapq.heappush(self._due, (max(time, self.now), self._serial, action))

    def after(self, seconds: float, action: Action) -> None:
        """Let something happen in a while."""
        self.at(self.now + seconds, action)

    def step(self, until: float) -> bool:
        """Do what comes next; False where nothing does before `until`."""
        if not self._due or self._due[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action = heapq.heappop(self._due)
        action()
        return True

    def run(self, until: float) -> None:
        """Let time go by."""
        while self.step(until):
            pass
