# SPDX-License-Identifier: GPL-2.0-only
"""A machine that was suspended is noticed."""

import asyncio
import itertools
import time

from mip_agents.runtime.suspends import asleep, follow


def test_each_suspension_is_noticed_once_and_nothing_else_is():
    slept = itertools.chain(
        [10.0, 10.0, 10.9, 70.0, 70.0, 71.5], itertools.repeat(71.5)
    )
    looks = 0
    noticed: list[int] = []

    def look() -> float:
        nonlocal looks
        looks += 1
        return next(slept)

    async def run() -> None:
        task = asyncio.create_task(
            follow(lambda: noticed.append(looks), look, interval=0)
        )
        while looks < 9:
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    assert noticed == [4, 6]


def test_no_machine_was_asleep_for_longer_than_it_is_up():
    # The clocks are read one after the other.
    assert -0.001 < asleep() < time.clock_gettime(time.CLOCK_BOOTTIME)
