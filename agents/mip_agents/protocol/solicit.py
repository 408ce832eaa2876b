# SPDX-License-Identifier: GPL-2.0-only
"""When a mobile node that finds no agent asks for one. RFC 5944 section 2.4 (MN-03)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

INITIAL = 3
"""Solicitations at about one a second, before the waits grow."""

MIN_INTERVAL_S = 1.0
MAX_INTERVAL_S = 64.0
"""Longest wait between two of them; at least a minute."""

MAX_DELAY_S = 1.0
"""Longest wait before the first: many nodes may have lost their agent together."""


@dataclass(slots=True)
class _Search:
    due: float
    sent: int = 0
    earliest: float = 0.0
    """Not before, whatever happens: a link that comes and goes is no reason to ask
    more than once a second."""
    active: bool = True


class Solicitations:
    """A schedule for each interface that is searched. Times are monotonic seconds.

    :param random_bytes: source of what spreads the waits.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._searches: dict[str, _Search] = {}

    def search(self, interfaces: Collection[str], now: float) -> None:
        """Search these interfaces and no others.

        A search that is under way goes on with its waits (MN-04); one that begins, as
        after an agent was found and lost, is quick at first.
        """
        for name, search in self._searches.items():
            search.active = search.active and name in interfaces
        for name in interfaces:
            known = self._searches.get(name)
            if known is None or not known.active:
                earliest = known.earliest if known else now
                due = max(now + MAX_DELAY_S * self._share(), earliest)
                self._searches[name] = _Search(due, earliest=earliest)

    def moved(self, interface: str) -> None:
        """Take note that an interface is on another link: its next search is quick."""
        if interface in self._searches:
            self._searches[interface].active = False

    def take(self, now: float) -> list[str]:
        """Return the interfaces on which it is time to solicit, and count that."""
        found = []
        for name, search in self._searches.items():
            if search.active and search.due <= now:
                search.sent += 1
                doublings = min(max(0, search.sent - INITIAL + 1), 16)
                wait = min(MIN_INTERVAL_S * 2**doublings, MAX_INTERVAL_S)
                search.due = now + wait * (1 + self._share() / 4)
                search.earliest = now + MIN_INTERVAL_S
                found.append(name)
        return found

    def next_timer(self) -> float | None:
        """Return the second at which `take` has something to do."""
        dues = (search.due for search in self._searches.values() if search.active)
        return min(dues, default=None)

    def _share(self) -> float:
        return self._random_bytes(1)[0] / 256
