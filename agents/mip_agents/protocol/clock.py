# SPDX-License-Identifier: GPL-2.0-only
"""A moment in time, as it is handed to an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instant:
    """Now, on the two clocks that Mobile IP needs."""

    mono: float
    """Monotonic seconds: for timers and lifetimes, never sent."""
    ntp: int
    """64-bit NTP time of day, an integer: for Identification (RFC 5944 5.7.1)."""
