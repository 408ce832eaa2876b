# SPDX-License-Identifier: GPL-2.0-only
"""Mobile node, foreign agents and home agent on links that lose and delay."""

from __future__ import annotations

import pytest

from mip_agents.protocol.policy import DeliveryStyle
from support.visited import (
    AT_HOME,
    NOWHERE,
    VISITING_A,
    VISITING_B,
    VISITING_BOTH,
    VisitedLinks,
)

PLACES = [AT_HOME, VISITING_A, VISITING_B, VISITING_BOTH, NOWHERE]


def test_the_round_trip_through_foreign_agents():
    """MN-17, FA-17, FA-24: home, one agent, the other, both, and home again."""
    world = VisitedLinks(1)
    for moment, place, state in [
        (10, AT_HOME, "at-home"),
        (20, VISITING_A, "registered"),
        (40, VISITING_B, "registered"),
        (60, VISITING_BOTH, "registered"),
        (1000, AT_HOME, "at-home"),
    ]:
        world.run(moment)
        world.feed(world.mn, place)
        world.run(moment + 5)
        assert world.settled()["state"] == state


def test_a_visit_lives_on_by_its_refreshes():
    """MN-33, FA-24: on a link that loses; neither agent forgets first."""
    world = VisitedLinks(2, loss=0.1)
    world.feed(world.mn, VISITING_A)
    world.run(3000)
    assert world.settled()["state"] == "registered"
    noted = {note.event for note in world.notes}
    assert not noted & {"registration_expired", "binding_expired", "visitor_expired"}


@pytest.mark.parametrize("style", DeliveryStyle)
@pytest.mark.parametrize("reverse", [True, False])
def test_both_ends_of_the_link_agree_on_the_delivery(style, reverse):
    """RT-03, RT-09."""
    policy = {"delivery_style": style, "reverse_tunnel": reverse}
    world = VisitedLinks(3, mn_policy=policy)
    world.feed(world.mn, VISITING_A)
    world.run(10)
    assert world.settled()["state"] == "registered"
    tunnel = world.fas["eth0"].tunnel
    assert tunnel.reverse is reverse
    wanted = reverse and style is DeliveryStyle.ENCAPSULATING
    assert tunnel.visitor.encapsulating is wanted


def test_a_foreign_agent_that_begins_anew_is_registered_with_again():
    """MN-12, AG-11: its sequence numbers tell."""
    world = VisitedLinks(4)
    world.feed(world.mn, VISITING_A)
    world.run(100)
    world.restart("eth0")
    assert world.fas["eth0"].tunnel is None
    world.run(115)
    assert world.settled()["state"] == "registered"


def test_a_clock_that_is_wrong_is_put_right_through_a_foreign_agent():
    """MN-35, FA-22."""
    world = VisitedLinks(5, clock_offset_s=-3600)
    world.feed(world.mn, VISITING_A)
    world.run(15)
    status = world.settled()
    assert status["state"] == "registered"
    assert abs(status["clock_offset"] - 3600) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_all_agree_in_the_end(seed):
    """FA-05, FA-24: loss, delay, failures of disk and kernel, crashes and moves."""
    world = VisitedLinks(seed, loss=0.3, delay=0.5, failures=0.1)
    for step in range(30):
        world.feed(world.mn, world.random.choice(PLACES))
        world.run(world.time + world.random.uniform(0.1, 40))
        if step % 10 == 9:
            world.crash()
        if step % 10 == 4:
            world.restart(world.random.choice(["eth0", "wlan0"]))
    world.loss = world.failures = 0
    world.run(world.time + 700)  # what was left behind has expired by then
    for place in (VISITING_A, VISITING_B):
        world.feed(world.mn, place)
        world.run(world.time + 30)
        assert world.settled()["state"] == "registered"
    world.feed(world.mn, AT_HOME)
    world.run(world.time + 300)
    assert world.settled()["state"] == "at-home"
    assert all(agent.tunnel is None for agent in world.fas.values())
