# SPDX-License-Identifier: GPL-2.0-only
"""Who is in which multicast group, and until when. RFC 3376 section 6.2. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

MOST_GROUPS: Final = 256
"""Groups at one time; more would make reports a means to exhaust the home agent."""
MOST_PER_NODE: Final = 32


class Memberships:
    """The groups of all nodes; groups and home addresses are four bytes."""

    def __init__(self) -> None:
        self._ends: dict[bytes, dict[bytes, float]] = {}

    @property
    def groups(self) -> Collection[bytes]:
        """The groups that somebody is in."""
        return self._ends.keys()

    def members(self, group: bytes) -> Collection[bytes]:
        """Return the home addresses of the nodes in a group."""
        return self._ends.get(group, {}).keys()

    def of(self, node: bytes) -> list[bytes]:
        """Return the groups that a node is in."""
        return [group for group, ends in self._ends.items() if node in ends]

    def join(self, group: bytes, node: bytes, end: float) -> bool:
        """Let a node be in a group until `end`; return False if there are too many."""
        ends = self._ends.get(group)
        if (ends is None or node not in ends) and (
            (ends is None and len(self._ends) >= MOST_GROUPS)
            or len(self.of(node)) >= MOST_PER_NODE
        ):
            return False
        self._ends.setdefault(group, {})[node] = end
        return True

    def leave(self, group: bytes, node: bytes) -> None:
        """Take a node out of a group."""
        ends = self._ends.get(group)
        if ends is not None and ends.pop(node, None) is not None and not ends:
            del self._ends[group]

    def forget(self, node: bytes) -> None:
        """Take a node out of all groups."""
        for group in self.of(node):
            self.leave(group, node)

    def expire(self, now: float) -> None:
        """End the memberships whose time is over."""
        over = [
            (group, node)
            for group, ends in self._ends.items()
            for node, end in ends.items()
            if end <= now
        ]
        for group, node in over:
            self.leave(group, node)
