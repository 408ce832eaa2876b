# SPDX-License-Identifier: GPL-2.0-only
"""`ForeignAgent` as a program uses it, on a link of a network namespace."""

import asyncio

import pytest

from mip_agents import ForeignAgent, MipError
from support.netns import isolated, sh
from support.visitor import HandVisitor

KEY = "1234567812345678"
LINK = {"interfaces": ["eth1"], "care_of_addresses": ["10.1.2.1"], "dataplane": "none"}


def visited_link():
    """Make a link with both of its ends here."""
    sh("ip link add eth1 type veth peer name eth0; ip link set eth0 up")
    sh("ip address add 10.1.2.1/24 dev eth1; ip link set eth1 up")
    return HandVisitor("eth0", "10.1.1.10", "10.9.9.9", KEY)


@isolated
def test_a_foreign_agent_is_a_few_lines():
    """FA-20: it advertises, and answers 80 where no route leads to the home agent."""
    visitor, events = visited_link(), []
    with ForeignAgent(**LINK, on_event=events.append) as agent:
        heard = visitor.hear()
        assert heard.advertisement.care_of_addresses == ("10.1.2.1",)
        assert visitor.ask(heard, visitor.request(heard)).code == 80
        assert agent.status()["role"] == "foreign_agent"
        assert agent.visitors() == []
    assert "registration_denied" in [event["event"] for event in events]
    assert visitor.hear(lambda advertisement: advertisement.lifetime == 0)


@isolated
def test_a_foreign_agent_in_asyncio():
    async def body():
        async with ForeignAgent(**LINK) as agent:
            assert await agent.visitors() == []
            status = await agent.status()
            await agent.stop()
            await agent.serve()
        return status

    visited_link()
    assert asyncio.run(body())["care_of_addresses"] == ["10.1.2.1"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"interfaces": []}, "interfaces: allowed: a list with at least one"),
        ({"interfaces": "eth1"}, "interfaces: allowed: a list"),
        ({"care_of_addresses": []}, "care_of_addresses: allowed: a list"),
        ({"care_of_addresses": [KEY]}, "care_of_addresses: allowed: an IPv4 address"),
        ({"care_of_addresses": ["10.1.2.1"] * 63}, "care_of_addresses: allowed: up to"),
        ({"encapsulations": ["l2tp"]}, "encapsulations: allowed: ipip, gre, minimal"),
        ({"reverse_tunnel": "yes"}, "reverse_tunnel: allowed: off, optional, required"),
        ({"registration_lifetime": 0}, "registration_lifetime: allowed: 1 to 65535"),
        ({"advertisement_interval": -1}, "advertisement_interval: allowed: 0 to 1800"),
        ({"max_pending": 0}, "max_pending: allowed: 1 to 10000"),
        ({"mobile_nodes": {"10.1.1.10": {7: KEY}}}, "mobile_nodes: SPI 7 is reserved"),
        ({"home_agents": {"10.1.1.20": {300: ""}}}, "home_agents: the key is empty"),
        ({"home_agents": {"ha": {300: KEY}}}, "home_agents: "),
    ],
)
def test_arguments_that_cannot_be_are_one_line(more, words):
    """FA-01, COM-09."""
    with pytest.raises(MipError) as caught:
        ForeignAgent(**LINK | more)
    line = str(caught.value)
    assert line.startswith(words)
    assert "\n" not in line
    assert KEY not in line


def test_keys_are_those_of_a_peer():
    """COM-14."""
    agent = ForeignAgent(**LINK, mobile_nodes={"10.1.1.0/24": {400: KEY}})
    policy = asyncio.run(agent._policy())
    assert policy.mobile_nodes.serves("10.1.1.99")
    assert policy.home_agents.is_empty
