# SPDX-License-Identifier: GPL-2.0-only
"""Moments at which something ends, by what ends; the next is known without a scan."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Deadlines(Generic[K]):
    """One moment for each key, in monotonic seconds.

    A key that gets another moment leaves its former entry in the heap, where it is
    skipped; when most entries are such, the heap is made anew.
    """

    def __init__(self) -> None:
        self._moments: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._moments)

    def set(self, key: K, moment: float) -> None:
        """Let `key` end at a moment, instead of when it would have; infinity: never."""
        if moment == math.inf:
            self.drop(key)
            return
        self._moments[key] = moment
        self._push(moment, key)
        if len(self._heap) > 2 * len(self._moments) + 64:
            self._heap = []
            for known, end in self._moments.items():
                self._push(end, known)

    def _push(self, moment: float, key: K) -> None:
        # The number keeps keys from being compared.
        self._serial += 1
        heapq.heappush(self._heap, (moment, self._serial, key))

    def drop(self, key: K) -> None:
        """Let `key` not end at all."""
        self._moments.pop(key, None)

    def next(self) -> float | None:
        """Return the earliest moment, if there is one."""
        while self._heap:
            moment, _, key = self._heap[0]
            if self._moments.get(key) == moment:
                return moment
            heapq.heappop(self._heap)
        return None

    def take_due(self, now: float) -> list[K]:
        """Take out the keys whose moment has come, the earliest first."""
        found = []
        while (moment := self.next()) is not None and moment <= now:
            key = heapq.heappop(self._heap)[2]
            del self._moments[key]
            found.append(key)
        return found
