# SPDX-License-Identifier: GPL-2.0-only
"""The three engines together: a node that wanders between two foreign agents."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mip_agents.protocol.events import (
    CancelRequested,
    DeregisterRequested,
    RegisterRequested,
)
from mip_agents.protocol.policy import (
    AdvertisementPolicy,
    CareOf,
    DeliveryStyle,
    ReverseTunnel,
)
from scapy_mip.const import Encapsulation
from support.roaming import LINKS, Roaming

EVERYTHING = frozenset(Encapsulation)


def test_a_node_without_addresses_wanders_from_agent_to_agent():
    """MN-02, MN-10, MN-17: each move is settled within a second."""
    world = Roaming()
    world.run(1)
    world.plug(eth0="")
    world.run(5)
    assert world.settled()["foreign_agent"] == LINKS["eth0"]
    world.plug(wlan0="")
    world.run(10)
    assert world.settled()["foreign_agent"] == LINKS["wlan0"]
    world.run(2000)
    assert world.settled()["foreign_agent"] == LINKS["wlan0"]
    assert "registration_expired" not in {note.event for note in world.notes}


@pytest.mark.parametrize("encapsulation", list(Encapsulation))
@pytest.mark.parametrize("style", list(DeliveryStyle))
@pytest.mark.parametrize("reverse", [True, False])
def test_whatever_the_node_wants_all_three_agree(encapsulation, style, reverse):
    """MN-22, MN-26, MN-30, RT-03: with keys between all of them."""
    offer = {name: {"encapsulations": EVERYTHING} for name in LINKS}
    world = Roaming(
        shared=True,
        agents=offer,
        ha_policy={"encapsulations": EVERYTHING, "foreign_agent": True},
        encapsulation=encapsulation,
        delivery_style=style,
        reverse_tunnel=reverse,
    )
    world.plug(eth0="")
    world.run(5)
    assert world.settled()["foreign_agent"] == LINKS["eth0"]
    (tunnel,) = world.agents["eth0"].tunnels.values()
    assert tunnel.encapsulation is encapsulation
    wrapped = reverse and style is DeliveryStyle.ENCAPSULATING
    assert tunnel.visitor.encapsulating is wrapped
    (agent,) = (one.agent for one in world.mn.tunnels.values())
    assert agent.encapsulating is wrapped


@pytest.mark.parametrize(
    ("agent", "node"),
    [
        ({"reverse_tunnel": ReverseTunnel.OFF}, {}),
        ({"reverse_tunnel": ReverseTunnel.REQUIRED}, {"reverse_tunnel": False}),
        ({"registration_lifetime": 60}, {"lifetime": 6000}),
        (
            {"encapsulations": frozenset({Encapsulation.IPIP})},
            {"encapsulation": Encapsulation.GRE},
        ),
        (
            {"encapsulating_delivery": False},
            {"delivery_style": DeliveryStyle.ENCAPSULATING},
        ),
    ],
)
def test_what_an_agent_does_not_give_the_node_does_without(agent, node):
    """MN-23, MN-34, RT-06: 69, 72, 74, 75 and 79 end in a registration."""
    world = Roaming(agents={"eth0": agent}, **node)
    world.plug(eth0="")
    world.run(8)
    assert world.settled()["last_code"] == 0


def test_a_full_agent_is_passed_by():
    """MN-07, AG-15: busy; the other one is on the other interface."""
    world = Roaming(agents={"eth0": {"max_pending": 0, "max_visitors": 0}})
    world.plug(eth0="", wlan0="")
    world.run(8)
    assert world.settled()["foreign_agent"] == LINKS["wlan0"]


def test_an_own_address_goes_through_an_agent_that_demands_it():
    """MN-09: FA registration of a co-located care-of address."""
    world = Roaming()
    world.plug(eth0="10.1.2.50")
    world.run(8)
    status = world.settled()
    assert status["foreign_agent"] == LINKS["eth0"]
    assert status["care_of_address"] == "10.1.2.50"


def test_an_agent_that_demands_nothing_is_passed_by_with_an_own_address():
    """MN-17."""
    free = {name: {"registration_required": False} for name in LINKS}
    world = Roaming(agents=free)
    world.plug(eth0="10.1.2.50")
    world.run(8)
    assert world.settled()["foreign_agent"] is None
    assert world.solicited == 0


def test_an_agent_that_waits_to_be_asked_is_asked():
    """MN-01, AG-06: no advertisement without a solicitation."""
    silent = {
        name: {"advertisement": AdvertisementPolicy(interval=0)} for name in LINKS
    }
    world = Roaming(agents=silent)
    world.plug(eth0="")
    world.run(5)
    assert world.settled()["foreign_agent"] == LINKS["eth0"]
    assert world.solicited >= 1


def test_a_restarted_agent_is_asked_again():
    """MN-12: it has forgotten its visitor."""
    world = Roaming()
    world.run(1)
    world.plug(eth0="")
    world.run(2000)
    world.settled()
    world.agents["eth0"] = world.agent("eth0", False, {})
    world.run(2005)
    world.settled()
    assert "foreign_agent_restarted" in {note.event for note in world.notes}


def test_two_bindings_overlap_on_the_move():
    """S: and the old one is gone some seconds later."""
    world = Roaming(simultaneous=True, hysteresis=1.0)
    world.plug(wlan0="")
    world.run(5)
    world.settled()
    world.plug(eth0="", wlan0="")
    seen = set()
    for tenth in range(50, 150):
        world.run(tenth / 10)
        seen.add(tuple(sorted(world.bound())))
    assert (LINKS["eth0"], LINKS["wlan0"]) in seen
    assert world.settled()["foreign_agent"] == LINKS["eth0"]
    moments = [moment for moment, _ in world.sent]
    assert min(b - a for a, b in itertools.pairwise(moments)) > 0.9


def test_deregistering_through_an_agent_ends_it_everywhere():
    """MN-17, MN-24."""
    world = Roaming()
    world.plug(eth0="")
    world.run(5)
    world.feed(world.mn, DeregisterRequested(7))
    world.run(6)
    assert [finished.error for finished in world.finished] == [None]
    assert world.bound() == []
    assert not world.mn.tunnels
    assert not world.agents["eth0"].tunnels
    assert not world.ha.tunnels


PLACES = st.fixed_dictionaries(
    {},
    optional={
        "eth0": st.sampled_from(["", "10.1.2.50"]),
        "wlan0": st.sampled_from(["", "10.1.3.50"]),
    },
)
MOVES = st.lists(
    st.tuples(
        st.floats(0.01, 30),
        st.one_of(PLACES, st.sampled_from(["register", "deregister", "cancel"])),
    ),
    max_size=20,
)
SELDOM = AdvertisementPolicy(interval=20)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    MOVES,
    st.sampled_from([0.0, 0.2, 0.5]),
    st.sampled_from(list(CareOf)),
    st.booleans(),
    st.booleans(),
)
def test_wherever_it_goes_all_agree_in_the_end(
    seed, moves, loss, care_of, shared, simultaneous
):
    """MN-15: and no more than one request a second on average."""
    world = Roaming(
        seed,
        loss=loss,
        shared=shared,
        agents={name: {"advertisement": SELDOM} for name in LINKS},
        ha_policy={"foreign_agent": shared},
        care_of=care_of,
        simultaneous=simultaneous,
        hysteresis=1.0,
        lifetime=60,
    )
    asked = 0
    for token, (gap, move) in enumerate(moves):
        world.run(world.time + gap)
        if isinstance(move, dict):
            world.plug(**move)
            continue
        asked += 1
        if move == "register":
            event = RegisterRequested(token=token, interface="eth0")
            world.feed(world.mn, event)
        elif move == "deregister":
            world.feed(world.mn, DeregisterRequested(token))
        else:
            world.feed(world.mn, CancelRequested(token))
    world.loss = 0.0
    world.plug(eth0="10.1.2.50")
    # Longer than the longest wait after denials.
    world.run(world.time + 700)
    world.feed(world.mn, RegisterRequested(token=1000, interface="eth0"))
    world.run(world.time + 70)
    status = world.settled()
    through = None if care_of is CareOf.CO_LOCATED else LINKS["eth0"]
    assert status["foreign_agent"] == through
    tokens = [finished.token for finished in world.finished]
    assert len(tokens) == len(set(tokens)) == asked + 1
    moments = [moment for moment, _ in world.sent]
    for first, last in itertools.combinations(range(len(moments)), 2):
        assert last - first <= moments[last] - moments[first] + 2
