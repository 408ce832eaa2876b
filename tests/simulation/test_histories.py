# SPDX-License-Identifier: GPL-2.0-only
"""Many histories with faults, and every invariant checked after every event.

A history that fails prints its seed and, shrunk, a test that plays it again.
"""

import pytest

from mip_agents.simulation.agenda import Agenda
from mip_agents.simulation.capture import write_capture
from mip_agents.simulation.replay import as_test
from mip_agents.simulation.script import Player, Script, Wait, make_script
from mip_agents.simulation.shell import SimulationError
from mip_agents.simulation.shrink import shrink
from mip_agents.simulation.soak import soak
from mip_agents.simulation.world import Plan

HISTORIES = 2000
PARTS = 20
LEAST_EVENTS = 100


def play(script):
    player = Player(script)
    try:
        player.play()
    except SimulationError as error:
        pytest.fail(f"seed {script.seed}: {error}\n\n{as_test(shrink(script))}")
    return player


def events(player):
    return sum(shell.events for shell in player.world.shells.values())


@pytest.mark.parametrize("part", range(PARTS))
def test_histories_break_no_invariant(part):
    size = HISTORIES // PARTS
    counts = [
        events(play(make_script(seed)))
        for seed in range(part * size, (part + 1) * size)
    ]
    assert min(counts) >= LEAST_EVENTS


def trace(seed):
    player = Player(make_script(seed))
    lines = []
    player.world.internet.record = lambda packet: lines.append(repr(packet))
    player.play()
    return lines


def test_same_seed_is_the_same_history_byte_for_byte():
    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_history_is_a_capture(tmp_path):
    from mip_agents.captures.check import check_files

    player = Player(Script(1, Plan(), (Wait(5.0),)))
    packets = []
    player.world.internet.record = packets.append
    player.world.start()
    player.world.run(3.0)
    player.world.move(0, "eth0", None)
    player.world.move(0, "wlan0", "site-1")
    player.world.run(5.0)
    write_capture(tmp_path / "history.pcapng", packets)
    found = list(check_files([tmp_path / "history.pcapng"]))
    assert found == []
    assert len(packets) > 5


def test_of_two_things_at_one_moment_the_older_goes_first():
    agenda, done = Agenda(), []
    agenda.at(2.0, lambda: done.append("b"))
    agenda.at(2.0, lambda: done.append("c"))
    agenda.at(1.0, lambda: done.append("a"))
    agenda.run(5.0)
    assert done == ["a", "b", "c"]
    assert agenda.now == 5.0


def test_soak_ends_by_ctrl_c_with_a_count(monkeypatch, capsys):
    played = []

    def play(self):
        if played:
            raise KeyboardInterrupt
        played.append(self)

    monkeypatch.setattr(Player, "play", play)
    assert soak(7) == 0
    assert capsys.readouterr().out == "1 histories and 0 events, none has failed\n"
