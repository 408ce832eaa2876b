# SPDX-License-Identifier: GPL-2.0-only
"""Registrations as they should be, and what travels through their tunnels."""

from __future__ import annotations

from typing import Final

from mip_agents.lab import namespaces
from mip_agents.lab.topology import HOME_ADDRESS, HOME_AGENT, WAN
from scapy_mip.const import ReplyCode
from support.recordings.scene import (
    AGENTS_KEY,
    FOREIGN_AGENT,
    LEASE_A,
    LEASE_B,
    NODE_KEY,
    VISITOR_KEY,
    Document,
    Scene,
    association,
    foreign_agent,
    home_agent,
    mobile_node,
)
from support.recordings.stage import TO_ALL_PORT, Stage, request

_TO_ALL: Final = ("10.1.1.255", "255.255.255.255")
_FORMS: Final = ["ipip", "gre", "minimal"]


def co_located(stage: Stage) -> None:
    """Register from a link that gives addresses, refresh, and leave."""
    stage.start("ha")
    stage.topology.plug("eth0", "visited-a")
    stage.start("mn")
    stage.until("mn", state="registered")
    stage.echo()
    stage.pump.wait(1)
    with stage.client("mn") as node:
        node.register("eth0")
    stage.end("mn")


def two_links(stage: Stage) -> None:
    """Move from a link to a better one while both work."""
    stage.start("ha")
    stage.topology.plug("wlan0", "visited-a")
    stage.start("mn")
    stage.until("mn", state="registered", care_of_address=LEASE_A)
    stage.topology.plug("eth0", "visited-b")
    stage.until("mn", state="registered", care_of_address=LEASE_B)
    stage.echo()


def hear_broadcasts(stage: Stage) -> None:
    """Be told what is sent to all hosts of the home link."""
    stage.start("ha")
    stage.topology.plug("eth0", "visited-a")
    stage.start("mn")
    stage.until("mn", state="registered")
    ear = stage.listener("mn", "", TO_ALL_PORT)
    for address in _TO_ALL:
        stage.broadcast("home", address)
        assert ear.recv(2048)


def hear_nested_broadcasts(stage: Stage) -> None:
    """Ask for broadcasts through a foreign agent, which our mobile node never does."""
    stage.start("ha", "fa")
    stage.topology.plug("wlan0", "visited-a")
    visitor = stage.visitor()
    agent = visitor.hear()
    asked = request(flags="BT", care_of_address=FOREIGN_AGENT)
    assert visitor.ask(agent, asked).code == ReplyCode.ACCEPTED
    ear = stage.tunnel_ear("visited-a")
    for address in _TO_ALL:
        stage.broadcast("home", address)
        assert ear.recv(2048)


def discover_home_agent(stage: Stage) -> None:
    """Ask all hosts of the home network for a home agent."""
    for interface in ("all", WAN):
        key = f"net/ipv4/conf/{interface}/bc_forwarding"
        namespaces.set_sysctl("home", key, "1")
    co_located(stage)


def _own_address(name: str, holds: str, **settings: object) -> Scene:
    return Scene(
        name=name,
        holds=holds,
        links={name: "internet"},
        play=co_located,
        agents={
            "ha": home_agent(encapsulations=_FORMS),
            "mn": mobile_node(**settings),
        },
    )


def visiting(stage: Stage) -> None:
    """Register through a foreign agent without an address, and leave."""
    stage.start("ha", "fa")
    stage.topology.plug("wlan0", "visited-a")
    stage.start("mn")
    stage.until("mn", state="registered", foreign_agent=FOREIGN_AGENT)
    stage.echo()
    stage.end("mn")


def _two_links(name: str, holds: str, **settings: object) -> Scene:
    return Scene(
        name=name,
        holds=holds,
        links={name: "internet"},
        play=two_links,
        agents={
            "ha": home_agent(**settings),
            "mn": mobile_node(simultaneous_bindings=True),
        },
    )


_TELLS: Final = ["limited", "subnet"]


def _visit(name: str, holds: str, node: Document, foreign: Document) -> Scene:
    return Scene(
        name=name,
        holds=holds,
        links={f"{name}-visited": "visited-a", f"{name}-core": "internet"},
        play=visiting,
        agents={"ha": home_agent(), "fa": foreign, "mn": node},
        dhcp=False,
    )


SCENES = (
    _own_address(
        "co-located",
        "an address of the visited link: registration, refresh, deregistration, and an "
        "echo through IP-in-IP",
    ),
    _own_address(
        "gre",
        "an address of the visited link: an echo through GRE",
        encapsulation="gre",
    ),
    _own_address(
        "minimal",
        "an address of the visited link: an echo through minimal encapsulation",
        encapsulation="minimal",
    ),
    Scene(
        name="foreign-agent",
        holds="registration and deregistration through a foreign agent, with all three "
        "authentications; an echo through IP-in-IP",
        links={
            "foreign-agent-visited": "visited-a",
            "foreign-agent-core": "internet",
        },
        play=visiting,
        agents={
            "ha": home_agent(
                foreign_agents=[association(AGENTS_KEY, address=FOREIGN_AGENT)]
            ),
            "fa": foreign_agent(
                nodes=[association(VISITOR_KEY, home_address=HOME_ADDRESS)],
                home_agents=[association(AGENTS_KEY, address=HOME_AGENT)],
            ),
            "mn": mobile_node(
                foreign_agents=[association(VISITOR_KEY, address=FOREIGN_AGENT)]
            ),
        },
        dhcp=False,
        keys=(NODE_KEY, VISITOR_KEY, AGENTS_KEY),
    ),
    _visit(
        "encapsulating-delivery",
        "a foreign agent gets packets for the reverse tunnel in a tunnel",
        mobile_node(delivery_style="encapsulating"),
        foreign_agent(),
    ),
    _visit(
        "gre-keys",
        "GRE with keys between the agents (RFC 6245)",
        mobile_node(encapsulation="gre"),
        foreign_agent(gre_keys=True),
    ),
    Scene(
        name="co-located-at-foreign-agent",
        holds="an own address, registered through the agent that demands it (R)",
        links={
            "co-located-at-foreign-agent-visited": "visited-a",
            "co-located-at-foreign-agent-core": "internet",
        },
        play=visiting,
        agents={"ha": home_agent(), "fa": foreign_agent(), "mn": mobile_node()},
    ),
    _two_links("simultaneous-bindings", "two bindings (S): an echo comes by two ways"),
    _two_links(
        "one-binding",
        "S, where the home agent has one binding for a node: code 1",
        max_bindings_per_node=1,
    ),
    Scene(
        name="broadcasts",
        holds="broadcasts of the home link, tunnelled to a node's own address (B)",
        links={"broadcasts": "internet"},
        play=hear_broadcasts,
        agents={
            "ha": home_agent(broadcasts=_TELLS),
            "mn": mobile_node(broadcasts=True),
        },
    ),
    Scene(
        name="broadcasts-nested",
        holds="broadcasts to a node at a foreign agent: a tunnel in a tunnel",
        links={"broadcasts-nested": "internet"},
        play=hear_nested_broadcasts,
        agents={
            "ha": home_agent(broadcasts=_TELLS),
            "fa": foreign_agent(),
        },
        dhcp=False,
        by_hand=(HOME_ADDRESS,),
    ),
    Scene(
        name="home-agent-discovery",
        holds="a request to all hosts of the home network: 136 names the home agent",
        links={"home-agent-discovery": "internet"},
        play=discover_home_agent,
        agents={"ha": home_agent(), "mn": mobile_node(home_agent="10.1.1.255")},
    ),
)
