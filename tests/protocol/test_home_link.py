# SPDX-License-Identifier: GPL-2.0-only
"""A home agent that makes itself known on its home link."""

import pytest

from mip_agents.protocol.discovery import (
    AgentAdvertisement,
    build_solicitation,
    parse_discovery,
)
from mip_agents.protocol.effects import (
    AnnounceAddress,
    InstallTunnel,
    Journal,
    SendDiscovery,
)
from mip_agents.protocol.events import (
    DiscoveryReceived,
    InterfacesChanged,
    Stopping,
    Undelivered,
)
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import AdvertisementPolicy, ReverseTunnel
from scapy_mip.const import AgentFlag, Encapsulation
from support.agents import HA, HOME, asks, home_agent
from support.scenario import (
    JOURNAL_WRITTEN,
    TUNNEL_READY,
    Scenario,
    Timer,
    like,
    scenario,
    sends,
)

NODE_MAC = "02:00:00:00:00:0a"


def agent(policy: AdvertisementPolicy | None = None, **more: object) -> Scenario:
    return scenario(home_agent(advertisement=policy or AdvertisementPolicy(), **more))


def links(*found: InterfaceState) -> InterfacesChanged:
    return InterfacesChanged({link.name: link for link in found})


def home(name: str = "home0", up: bool = True) -> InterfaceState:
    return InterfaceState(name, up, ("192.0.2.1/24", f"{HA}/24"))


def solicits(interface: str = "home0") -> DiscoveryReceived:
    return DiscoveryReceived(
        data=build_solicitation(),
        source=HOME,
        destination="224.0.0.11",
        interface=interface,
        ttl=1,
        link_address=NODE_MAC,
    )


def last(running: Scenario) -> AgentAdvertisement:
    """Return the advertisement that the latest event brought."""
    (effect,) = running.effects
    running.effects.clear()
    found = parse_discovery(effect.data)
    assert isinstance(found, AgentAdvertisement)
    return found


@pytest.mark.parametrize(
    ("policy", "flags"),
    [
        ({}, "HGT"),
        ({"reverse_tunnel": ReverseTunnel.OFF}, "HG"),
        ({"encapsulations": frozenset({Encapsulation.IPIP})}, "HT"),
        ({"encapsulations": frozenset(Encapsulation)}, "HMGT"),
    ],
)
def test_a_home_agent_advertises_on_the_link_of_its_address(policy, flags):
    """AG-01, AG-12, AG-14, AG-19: itself, and what it offers."""
    running = agent(**policy)
    running >> links(InterfaceState("eth9", True, ("10.9.0.1/24",)), home())
    (send,) = running.effects
    assert (send.interface, send.source) == ("home0", HA)
    assert last(running) == AgentAdvertisement(
        code=0,
        lifetime=9,
        router_addresses=(HA,),
        flags=AgentFlag(sum(AgentFlag[letter] for letter in flags)),
        sequence_number=0,
        registration_lifetime=36000,
        care_of_addresses=(),
        prefix_lengths=(),
    )
    assert running


def test_advertisements_go_on_while_the_link_is_up():
    """AG-04, AG-11: and their timer is one beside that of the bindings."""
    running = agent() >> links(home()) << like(SendDiscovery)
    running >> asks(lifetime=600) << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN
    running >> TUNNEL_READY << sends(code=0) << AnnounceAddress(HOME)
    for number in (1, 2, 3):
        assert last(running >> Timer()).sequence_number == number
    assert running.time < 10
    running >> links(home(up=False))
    assert running.engine.next_timer() > 600, "that of the binding"
    running >> links(home())
    assert last(running >> Timer()).sequence_number == 4
    assert running


def test_an_address_that_moves_to_another_link_is_advertised_there():
    """AG-14."""
    running = agent() >> links(home()) << like(SendDiscovery)
    running >> links(home("home1")) << like(SendDiscovery, interface="home1")
    running >> solicits("home0")
    running >> solicits("home1") << like(SendDiscovery, interface="home1")
    assert running


def test_a_solicitation_is_answered_on_the_home_link():
    """AG-03, AG-07, AG-14."""
    running = agent() >> solicits()
    running >> links(home()) << like(SendDiscovery)
    (
        running
        >> solicits()
        << like(SendDiscovery, destination=HOME, link_address=NODE_MAC)
    )
    running >> solicits("eth9")
    assert running


def test_a_home_agent_that_stops_says_so():
    """AG-20."""
    running = agent() >> links(home()) << like(SendDiscovery)
    assert last(running >> Stopping()).lifetime == 0
    running >> links() >> links(home())
    assert running.engine.next_timer() is None
    assert running


def test_without_a_policy_nothing_is_advertised():
    running = scenario(home_agent()) >> links(home())
    running >> solicits()
    running >> Stopping()
    running >> Undelivered(data=b"", destination=HOME, icmp_code=1)
    assert running.engine.status(running.now)["advertisement"] is None
    assert running


def test_the_status_says_where_and_what_is_advertised():
    running = agent(AdvertisementPolicy(interval=60)) >> links()
    status = {
        "interface": None,
        "interval": 60,
        "lifetime": 180,
        "destination": "224.0.0.1",
        "flags": "GTH",
        "sent": 0,
    }

    def shown() -> dict[str, object]:
        found = running.engine.status(running.now)["advertisement"]
        return found | {"flags": "".join(sorted(found["flags"], key="GTH".index))}

    assert shown() == status
    running >> links(home()) << like(SendDiscovery)
    assert shown() == status | {"interface": "home0", "sent": 1}
    running >> links(home(up=False))
    assert shown() == status | {"sent": 1}
    assert running
