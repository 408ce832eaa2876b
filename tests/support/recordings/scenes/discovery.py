# SPDX-License-Identifier: GPL-2.0-only
"""Agents that make themselves known on a link."""

from __future__ import annotations

from mip_agents.dataplane.datagrams import make_icmp
from mip_agents.dataplane.linkport import LinkPort
from mip_agents.lab import namespaces
from mip_agents.lab.topology import HOME_ADDRESS, LAN
from mip_agents.protocol.policy import ALL_SYSTEMS
from scapy_mip.all import (
    MIPAgentAdvertisement,
    MIPChallenge,
    MIPMobilityAgentAdvertisement,
)
from scapy_mip.const import AgentFlag, ReplyCode
from support.recordings.scene import (
    FOREIGN_AGENT,
    Scene,
    foreign_agent,
    home_agent,
    mobile_node,
)
from support.recordings.stage import Stage, request

OTHER_ADDRESS = "10.1.1.11"


def come_home(stage: Stage) -> None:
    """Be reached from home while away, come home, and deregister there."""
    stage.start("ha")
    stage.topology.plug("eth0", "visited-a")
    stage.start("mn")
    stage.until("mn", state="registered")
    stage.echo("home")
    stage.topology.plug("eth0", "home")
    stage.until("mn", state="at-home")
    stage.echo("home")


def fill(stage: Stage) -> None:
    """Solicit, take the only place at a foreign agent, and see it busy, then gone."""
    stage.start("ha", "fa")
    stage.topology.plug("wlan0", "visited-a")
    visitor, other = stage.visitor(), stage.visitor(OTHER_ADDRESS)
    visitor.solicit()
    agent = visitor.hear(lambda heard: AgentFlag.B not in heard.flags)
    asked = request(care_of_address=FOREIGN_AGENT)
    assert visitor.ask(agent, asked).code == ReplyCode.ACCEPTED
    assert other.hear(lambda heard: AgentFlag.B in heard.flags)
    asked = request(care_of_address=FOREIGN_AGENT, home_address=OTHER_ADDRESS)
    assert other.ask(agent, asked).code == ReplyCode.FA_INSUFFICIENT_RESOURCES
    stage.end("fa")
    assert visitor.hear(lambda heard: heard.lifetime == 0)


def advertise_a_challenge(stage: Stage) -> None:
    """Advertise as a foreign agent with a challenge, and relay nothing."""
    with namespaces.inside("visited-a"):
        port = LinkPort(LAN)
    stage.topology.plug("wlan0", "visited-a")
    stage.start("mn")
    offer = MIPMobilityAgentAdvertisement(
        flags="FRT",
        sequence_number=1,
        registration_lifetime=300,
        care_of_addresses=[FOREIGN_AGENT],
    )
    challenge = MIPChallenge(challenge=bytes(range(32)))
    message = MIPAgentAdvertisement(
        lifetime=9, entries=[FOREIGN_AGENT], extensions=[offer, challenge]
    )
    packet = make_icmp(FOREIGN_AGENT, ALL_SYSTEMS, 1, bytes(message))
    port.send(packet, None)
    port.close()
    stage.until("mn", state="registering", foreign_agent=FOREIGN_AGENT)
    stage.pump.wait(1.5)  # until it asks again


SCENES = (
    Scene(
        name="coming-home",
        holds="the home link: advertisements with prefix lengths and code 16, proxy "
        "and gratuitous ARP, a deregistration at home",
        links={"coming-home": "home"},
        play=come_home,
        agents={
            "ha": home_agent(
                advertisement_interval=1.0,
                icmp_code=16,
                prefix_lengths=True,
                encapsulations=["ipip", "gre", "minimal"],
            ),
            "mn": mobile_node(),
        },
    ),
    Scene(
        name="busy-foreign-agent",
        holds="solicitation, advertisements with prefix lengths, R, then B, and the "
        "last one with lifetime 0; code 66",
        links={"busy-foreign-agent": "visited-a"},
        play=fill,
        agents={
            "ha": home_agent(),
            "fa": foreign_agent(prefix_lengths=True, max_visitors=1),
        },
        dhcp=False,
        by_hand=(HOME_ADDRESS, OTHER_ADDRESS),
    ),
    Scene(
        name="challenge",
        holds="an advertisement with a challenge, which our mobile node understands, "
        "and requests that nobody answers",
        links={"challenge": "visited-a"},
        play=advertise_a_challenge,
        agents={"mn": mobile_node()},
        dhcp=False,
        by_hand=(FOREIGN_AGENT,),
    ),
)
