# SPDX-License-Identifier: GPL-2.0-only
"""Ways to register that led nowhere, each of them avoided for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.backoff import Backoff, for_denials

MAX_SETBACKS = 64


class Setbacks:
    """Attachments that were denied or unanswered. Times are monotonic seconds.

    Each further time makes the wait longer. The table is bounded: what was noted first
    is forgotten first.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._until: dict[Attachment, tuple[float, Backoff]] = {}

    def add(self, attachments: Iterable[Attachment], now: float) -> None:
        """Avoid these, longer than the last time."""
        for attachment in attachments:
            _, backoff = self._until.pop(attachment, (0.0, None))
            backoff = backoff or for_denials(self._random_bytes)
            self._until[attachment] = now + backoff.wait(), backoff
            if len(self._until) > MAX_SETBACKS:
                del self._until[next(iter(self._until))]

    def avoids(self, attachment: Attachment, now: float) -> bool:
        """Return whether something else is to be tried before this."""
        return self._until.get(attachment, (now, None))[0] > now

    def forget(self, attachment: Attachment) -> None:
        """Take note that it works."""
        self._until.pop(attachment, None)

    def forget_interface(self, interface: str) -> None:
        """Forget all of an interface: it is on another link now, or on none."""
        for attachment in [a for a in self._until if a.interface == interface]:
            del self._until[attachment]

    def next_end(self, now: float) -> float | None:
        """Return the second at which one is worth trying again."""
        return min((end for end, _ in self._until.values() if end > now), default=None)
