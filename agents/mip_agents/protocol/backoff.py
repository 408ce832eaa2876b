# SPDX-License-Identifier: GPL-2.0-only
"""When to send an unanswered request again. RFC 5944 section 3.6.3 (MN-37, MN-38)."""

from __future__ import annotations

from collections.abc import Callable

from scapy_mip.const import LIFETIME_DEREGISTER, MIN_REGISTRATION_INTERVAL

MAX_INTERVAL_S = 32.0
"""Longest wait for a reply before the next try."""

PROCESSING_S = 0.1
"""What the RFC adds to twice the round-trip time for processing."""

DENIED_FIRST_S = 60.0
"""Wait after a denial that only someone's action can cure."""

DENIED_MAX_S = 600.0
"""Longest wait after repeated denials."""


class Backoff:
    """Growing waits: each is twice the one before, up to a maximum.

    All waits of one schedule are stretched by the same random share of up to an
    eighth, so that nodes that lost their home agent together do not come back in
    step, while each still is exactly twice the one before.

    :param first: first wait in seconds; raised to one second (MN-38).
    :param maximum: longest wait in seconds, before stretching.
    """

    def __init__(
        self, first: float, maximum: float, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._next = max(first, float(MIN_REGISTRATION_INTERVAL))
        self._maximum = max(maximum, self._next)
        self._stretch = 1 + random_bytes(1)[0] / 2048

    def wait(self) -> float:
        """Return the seconds to wait now, and double the next wait."""
        current = self._next
        self._next = min(2 * current, self._maximum)
        return current * self._stretch


def for_replies(
    lifetime: int, round_trip: float, random_bytes: Callable[[int], bytes]
) -> Backoff:
    """Make the schedule of waits for a reply (MN-38).

    The first covers two round trips and processing, the longest stays within the
    requested lifetime.
    """
    maximum = MAX_INTERVAL_S
    if lifetime != LIFETIME_DEREGISTER:
        maximum = min(maximum, float(lifetime))
    return Backoff(2 * round_trip + PROCESSING_S, maximum, random_bytes)


def for_denials(random_bytes: Callable[[int], bytes]) -> Backoff:
    """Make the schedule of waits between requests that are denied each time."""
    return Backoff(DENIED_FIRST_S, DENIED_MAX_S, random_bytes)
