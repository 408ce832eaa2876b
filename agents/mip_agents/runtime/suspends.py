# SPDX-License-Identifier: GPL-2.0-only
"""Noticing that the machine was suspended: timers wait for as long as it slept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

INTERVAL_S = 5.0
"""Seconds awake until a suspension is noticed, at most."""

LEAST_S = 1.0
"""A shorter one does not matter."""


def asleep() -> float:
    """Return the seconds since boot that the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(
        time.CLOCK_MONOTONIC
    )


async def follow(
    woke: Callable[[], None],
    slept: Callable[[], float] = asleep,
    interval: float = INTERVAL_S,
) -> None:
    """Call `woke` soon after each suspension, until cancelled."""
    before = slept()
    while True:
        await asyncio.sleep(interval)
        now = slept()
        if now - before >= LEAST_S:
            woke()
        before = now
