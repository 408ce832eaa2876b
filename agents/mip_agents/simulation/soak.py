# SPDX-License-Identifier: GPL-2.0-only
"""Histories without end: `python -m mip_agents.simulation.soak [FIRST-SEED]`.

A line every ten seconds says how many histories and events there were. A history that
fails ends the soak with exit code 1: its seed is printed, and what is left of it when
all is taken away that does not matter, as a test to paste and as a capture.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from mip_agents.simulation.replay import as_test, record
from mip_agents.simulation.script import Player, Script, make_script
from mip_agents.simulation.shell import SimulationError
from mip_agents.simulation.shrink import failure, shrink

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
                _tell(player.script)
                return 1
            histories += 1
            events += sum(shell.events for shell in player.world.shells.values())
            if time.monotonic() >= due:
                rate = events / (time.process_time() - begun)
                _say(
                    f"{histories} histories, {events} events, "
                    f"{rate:.0f} events per second of processor time"
                )
                due += _REPORT_S
    except KeyboardInterrupt:
        _say(f"{histories} histories and {events} events, none has failed")
    return 0


def _tell(script: Script) -> None:
    """Tell of a history that fails, as short as can be."""
    _say(f"shrinking {len(script.acts)} acts ...")
    short = shrink(script)
    _say(f"{len(short.acts)} acts are left: {failure(short)}")
    path = Path(f"history-{script.seed}.pcapng")
    try:
        record(short, path)
    except OSError as trouble:
        _say(f"{path}: {trouble.strerror}")
    else:
        _say(f"{path} has what was sent")
    _say("")
    _say(as_test(short))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(soak(*map(int, sys.argv[1:2])))
