# SPDX-License-Identifier: GPL-2.0-only
"""Histories that once failed, as the shrinker has left them."""

from mip_agents.simulation.script import Crash, Move, Player, Script, SetClock, Wait
from mip_agents.simulation.world import Plan, Site


def test_node_at_home_waits_for_a_home_agent_whose_clock_was_set_back():
    """MN-35, MN-13: 133 for a minute and a half, from one that still has a binding."""
    script = Script(
        seed=1864,
        plan=Plan(sites=(Site(),), lifetime=300, advertisement_interval=0.0),
        acts=(
            Move(node=0, interface=1, place=0),
            SetClock(agent="ha", offset=95.6),
            Move(node=0, interface=0, place=1),
            Wait(seconds=3.0),
            Crash(agent="mn-0", seconds=0.558),
            Move(node=0, interface=0, place=None),
        ),
    )
    Player(script).play()
