# SPDX-License-Identifier: GPL-2.0-only
"""Histories without end: `python -m mip_agents.simulation.soak [FIRST-SEED]`.

A line every ten seconds says how many histories and events there were; a history that
fails is printed as Python that plays it again, and ends the soak with exit code 1.
"""

from __future__ import annotations

import itertools
import sys
import time

from mip_agents.simulation.script import Player, make_script
from mip_agents.simulation.shell import SimulationError

_REPORT_S = 10.0
_FIRST = 1_000_000
"""The seeds below are those of the test suite."""


def soak(first: int = _FIRST) -> int:
    """Play histories until one fails or Ctrl-C comes; return the exit code."""
    histories = events = 0
    begun, due = time.process_time(), time.monotonic() + _REPORT_S
    try:
        for seed in itertools.count(first):
            player = Player(make_script(seed))
            try:
                player.play()
            except SimulationError as error:
                _say(f"seed {seed}: {error}")
                _say("from mip_agents.simulation.script import *")
                _say(repr(player.script))
                return 1
            histories += 1
            events += sum(shell.events for shell in player.world.shells.values())
            if time.monotonic() >= due:
                rate = events / (time.process_time() - begun)
                _say(f"{histories} histories, {events} events, {rate:.0f} events/s")
                due += _REPORT_S
    except KeyboardInterrupt:
        _say(f"{histories} histories and {events} events, none has failed")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(soak(*map(int, sys.argv[1:2])))
