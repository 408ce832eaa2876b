# SPDX-License-Identifier: GPL-2.0-only
"""What a foreign agent makes known on its links, and when it says that it is full."""

from __future__ import annotations

import pytest

from mip_agents.protocol.discovery import (
    AgentAdvertisement,
    build_solicitation,
    parse_discovery,
)
from mip_agents.protocol.effects import InstallTunnel, RemoveTunnel, SendDiscovery
from mip_agents.protocol.events import (
    DiscoveryReceived,
    InterfacesChanged,
    Stopping,
)
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import (
    AdvertisementPolicy,
    ForeignAgentPolicy,
    ReverseTunnel,
)
from scapy_mip.const import AgentFlag, Encapsulation
from support.agents import counting_bytes
from support.foreign import CARE_OF, LINK, NODE, OTHER_LINK, grants, visits
from support.scenario import (
    TUNNEL_READY,
    Timer,
    Wait,
    like,
    noted,
    scenario,
    sends,
)


def links(*addresses: str, up: bool = True, other: bool = False) -> InterfacesChanged:
    """Say what the first visited link has; the other one is up if wanted."""
    states = [InterfaceState(LINK, up, addresses, None, "02:00:00:00:01:01")]
    if other:
        states.append(InterfaceState(OTHER_LINK, True, ("10.1.4.1/24",)))
    return InterfacesChanged({state.name: state for state in states})


UP = links("10.1.2.1/24")


def advertising(**policy) -> ForeignAgentEngine:
    """Make a foreign agent that advertises every three seconds."""
    settings = {
        "interfaces": (LINK, OTHER_LINK),
        "care_of_addresses": (CARE_OF,),
        "advertisement": AdvertisementPolicy(interval=3.0),
    }
    return ForeignAgentEngine(ForeignAgentPolicy(**settings | policy), counting_bytes())


class Advertises:
    """An advertisement to all of a link, by its fields."""

    def __init__(self, interface: str = LINK, **fields: object) -> None:
        self.interface, self.fields = interface, fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SendDiscovery) or other.interface != self.interface:
            return False
        message = parse_discovery(other.data)
        assert isinstance(message, AgentAdvertisement)
        return all(getattr(message, k) == v for k, v in self.fields.items())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Advertises({self.interface}, {self.fields})"


def solicitation(**changes) -> DiscoveryReceived:
    """A node asks who is there."""
    settings = {
        "source": "10.1.1.10",
        "destination": "224.0.0.11",
        "interface": LINK,
        "ttl": 1,
        "link_address": NODE,
    }
    return DiscoveryReceived(data=build_solicitation(), **settings | changes)


FLAGS = AgentFlag.F | AgentFlag.R | AgentFlag.G | AgentFlag.T


def test_a_link_that_comes_up_hears_what_is_offered():
    """AG-01, AG-11, AG-12: care-of address, lifetime and flags; sequence number 0."""
    assert (
        scenario(advertising())
        >> UP
        << Advertises(
            flags=FLAGS,
            care_of_addresses=(CARE_OF,),
            registration_lifetime=1800,
            sequence_number=0,
            router_addresses=("10.1.2.1",),
            code=0,
        )
        << noted("advertising_started", interface=LINK)
    )


@pytest.mark.parametrize(
    ("policy", "flags"),
    [
        ({"registration_required": False}, FLAGS & ~AgentFlag.R),
        ({"reverse_tunnel": ReverseTunnel.OFF}, FLAGS & ~AgentFlag.T),
        ({"encapsulations": frozenset({Encapsulation.IPIP})}, FLAGS & ~AgentFlag.G),
        ({"encapsulations": frozenset(Encapsulation)}, FLAGS | AgentFlag.M),
    ],
)
def test_the_flags_are_those_of_the_policy(policy, flags):
    """AG-12, MN-22: a node asks for what is advertised."""
    assert scenario(advertising(**policy)) >> UP << Advertises(flags=flags)


def test_each_link_has_its_own_schedule():
    """AG-04, AG-14."""
    both = links("10.1.2.1/24", other=True)
    running = scenario(advertising()) >> both
    assert running << Advertises(LINK) << Advertises(OTHER_LINK)
    running = running >> Timer() << Advertises(OTHER_LINK, sequence_number=1)
    assert running >> Timer() << Advertises(LINK, sequence_number=1)


def test_a_solicitation_is_answered_alone():
    """AG-03, AG-07: by the link-layer address that it came from."""
    running = scenario(advertising()) >> UP << Advertises()
    assert (
        running
        >> solicitation()
        << like(SendDiscovery, destination="10.1.1.10", link_address=NODE)
        >> solicitation(interface="eth7")
    )


def test_a_full_agent_says_so_and_goes_on():
    """AG-15: B is set while there is no room, at once, and advertising goes on."""
    running = scenario(advertising(max_visitors=1), at=1.0) >> UP
    running = running << Advertises(flags=FLAGS) >> Wait(5.0)
    assert (
        running
        >> Timer()
        << Advertises(flags=FLAGS)
        >> Wait(6.5)
        >> visits(lifetime=60)
        << sends(lifetime=60)
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << sends(code=0)
        << Advertises(flags=FLAGS | AgentFlag.B)
        << noted("busy", "AG-15")
        >> Timer()
        << Advertises(flags=FLAGS | AgentFlag.B)
        >> Wait(20.0)
        >> visits(lifetime=0)
        << sends(lifetime=0)
        >> grants()
        << sends(code=0)
        << like(RemoveTunnel)
        << Advertises(flags=FLAGS)
        << noted("not_busy", "AG-15")
    )


def test_a_link_without_us_is_not_advertised_on():
    """FA-01, AG-12: it is down, has no address of ours, or the care-of address is gone;
    when it is back, the sequence goes on."""
    running = scenario(advertising()) >> UP << Advertises(sequence_number=0)
    for away in (links("10.1.2.1/24", up=False), links(), links("10.1.2.9/24")):
        running = running >> away << noted("advertising_stopped", interface=LINK)
        assert running.engine.next_timer() is None
        running = running >> Wait(running.time + 5) >> UP
        running = running << like(SendDiscovery) << noted("advertising_started")
    assert running
    assert running.engine.status(running.now)["interfaces"][0]["advertisements"] == 4


def test_a_missing_care_of_address_is_told_of_once():
    """FA-01."""
    two = advertising(care_of_addresses=("10.1.9.9", CARE_OF))
    running = scenario(two) >> UP << Advertises(care_of_addresses=(CARE_OF,))
    assert running << noted("care_of_address_missing", care_of_address="10.1.9.9")
    running = running >> UP
    assert not [note for note in running.notes if "missing" in note.event]
    assert bool(running)


def test_the_last_word_is_a_lifetime_of_zero():
    """AG-20: on every link on which something was said."""
    both = links("10.1.2.1/24", other=True)
    running = scenario(advertising()) >> both << Advertises() << Advertises(OTHER_LINK)
    assert (
        running
        >> Stopping()
        << Advertises(LINK, lifetime=0)
        << Advertises(OTHER_LINK, lifetime=0)
        >> links("10.1.2.1/24", "10.1.2.2/24")
    )
    assert running.engine.next_timer() is None
