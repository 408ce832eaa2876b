# SPDX-License-Identifier: GPL-2.0-only
"""Nothing is promised that the data plane cannot carry."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from mip_agents.dataplane import select
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.policy import (
    CareOf,
    DeliveryStyle,
    ForeignAgentPolicy,
    HomeAgentPolicy,
    MobileNodePolicy,
)
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.tunnel import BROADCASTS, Category
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.assembly import choose_dataplane
from mip_agents.runtime.fit import fit
from mip_agents.runtime.options import AgentOptions
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation

HOME_AGENT = HomeAgentPolicy(
    address="10.1.1.20",
    home_network=IPv4Network("10.1.1.0/24"),
    mobile_nodes=SecurityTable(),
    encapsulations=frozenset((Encapsulation.IPIP, Encapsulation.MINIMAL)),
)
MOBILE_NODE = MobileNodePolicy(
    home_address="10.1.1.10",
    home_agent="10.1.1.20",
    security=SecurityAssociation(256, b"k" * 16),
    interfaces=("eth0",),
    encapsulation=Encapsulation.MINIMAL,
)


def devices() -> RecorderDataplane:
    """A data plane that can do what tunnel devices can."""
    dataplane = RecorderDataplane()
    dataplane.encapsulations = frozenset((Encapsulation.IPIP, Encapsulation.GRE))
    dataplane.copies = False
    dataplane.categories = frozenset()
    dataplane.encapsulating = False
    return dataplane


def test_what_can_do_all_changes_nothing():
    for policy in (HOME_AGENT, MOBILE_NODE):
        assert fit(policy, RecorderDataplane()) == (policy, [])


def test_home_agent_promises_less():
    """RT-05: 139 for an encapsulation that cannot be. HA-18: code 1."""
    fitted, taken = fit(HOME_AGENT, devices())
    assert fitted == replace(
        HOME_AGENT,
        encapsulations=frozenset((Encapsulation.IPIP,)),
        max_bindings_per_node=1,
    )
    assert taken == ["encapsulation minimal", "simultaneous bindings"]


def test_what_cannot_be_carried_to_many_is_not_asked_for():
    """HA-04, HA-40, HA-41."""
    served = replace(HOME_AGENT, broadcasts=frozenset(Category))
    plane = RecorderDataplane()
    plane.categories = BROADCASTS
    fitted, taken = fit(served, plane)
    assert fitted == replace(served, broadcasts=BROADCASTS)
    assert taken == ["broadcasts of kind multicast"]
    listening = replace(MOBILE_NODE, broadcasts=True, encapsulation=Encapsulation.IPIP)
    assert fit(listening, plane) == (listening, [])
    fitted, taken = fit(listening, devices())
    assert fitted == replace(listening, broadcasts=False)
    assert taken == ["broadcasts"]


def test_packets_go_to_foreign_agents_as_the_data_plane_can():
    """RT-01: direct delivery is what every agent supports."""
    wanting = replace(
        MOBILE_NODE,
        encapsulation=Encapsulation.IPIP,
        reverse_tunnel=True,
        care_of=CareOf.AUTO,
        delivery_style=DeliveryStyle.ENCAPSULATING,
    )
    assert fit(wanting, RecorderDataplane()) == (wanting, [])
    fitted, taken = fit(wanting, devices())
    assert fitted == replace(wanting, delivery_style=DeliveryStyle.DIRECT)
    assert taken == ["encapsulating delivery"]
    for changes in ({"care_of": CareOf.CO_LOCATED}, {"reverse_tunnel": False}):
        unaffected = replace(wanting, **changes)
        assert fit(unaffected, devices()) == (unaffected, [])


@pytest.mark.parametrize(
    ("policy", "broadcasts"),
    [
        (
            replace(HOME_AGENT, encapsulations=frozenset((Encapsulation.IPIP,))),
            frozenset((Category.MULTICAST,)),
        ),
        (replace(MOBILE_NODE, encapsulation=Encapsulation.IPIP), True),
    ],
)
def test_auto_takes_a_driver_that_carries_what_is_for_many(
    policy, broadcasts, monkeypatch
):
    """HA-40, HA-41: rather than to do without."""
    for name, driver in select.DRIVERS.items():
        problem = "no CAP_BPF" if name == "ebpf" else None
        usable = driver._replace(problem=lambda _, problem=problem: problem)
        monkeypatch.setitem(select.DRIVERS, name, usable)
    auto = AgentOptions(dataplane="auto")
    assert choose_dataplane(policy, auto)[0].name == "kernel"
    policy = replace(policy, broadcasts=broadcasts)
    assert choose_dataplane(policy, auto)[0].name == "tun"


@pytest.mark.parametrize(
    "policy",
    [
        replace(HOME_AGENT, encapsulations=frozenset((Encapsulation.MINIMAL,))),
        MOBILE_NODE,
    ],
)
def test_where_nothing_is_left_it_is_said(policy):
    with pytest.raises(MipError, match=r'"none" cannot carry minimal; it can .* ipip'):
        fit(policy, devices())


def test_a_running_agent_warns_and_keeps_to_it():
    async def scenario():
        options = AgentOptions(listen="127.0.0.1", port=0)
        agent = Agent(HOME_AGENT, options, dataplane=devices())
        async with agent.running():
            return agent.status(), agent.counters.totals()

    status, counted = asyncio.run(scenario())
    assert status["max_bindings_per_node"] == 1
    assert status["encapsulations"] == ["ipip"]
    assert counted["dataplane_lacks"] == 2


def test_a_foreign_agent_offers_what_the_data_plane_can_carry():
    """FA-29, RT-04: other encapsulations are denied with 72 and not advertised."""
    policy = ForeignAgentPolicy(
        interfaces=("eth1",),
        care_of_addresses=("10.1.2.1",),
        encapsulations=frozenset(Encapsulation),
    )
    fitted, taken = fit(policy, devices())
    assert isinstance(fitted, ForeignAgentPolicy)
    assert fitted.encapsulations == {Encapsulation.IPIP, Encapsulation.GRE}
    assert taken == ["encapsulation minimal"]
    assert fit(policy, RecorderDataplane()) == (policy, [])
