# SPDX-License-Identifier: GPL-2.0-only
"""A home agent on a real link: what its kernel lets through to it, and what not."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from ipaddress import IPv4Network

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.view import Reply, parse
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.options import AgentOptions
from support.netns import Node, connect, isolated
from support.requests import ASSOCIATION, request

HOME_AGENT, NEIGHBOUR, PORT = "10.1.1.20", "10.1.1.5", 434
NETWORK = IPv4Network("10.1.1.0/24")

_running = AsyncExitStack()


async def start_agent() -> None:
    """Run a home agent on the wildcard address, as `mip ha` does."""
    policy = HomeAgentPolicy(
        address=HOME_AGENT,
        home_network=NETWORK,
        mobile_nodes=SecurityTable.for_network(NETWORK, [ASSOCIATION]),
    )
    agent = Agent(policy, AgentOptions(), dataplane=RecorderDataplane())
    await _running.enter_async_context(agent.running())


async def ask(destination: str, data: bytes) -> tuple[str, int, str]:
    """Send a request; return who answered, the code and the home agent's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((NEIGHBOUR, 0))
        sock.sendto(data, (destination, PORT))
        async with asyncio.timeout(10):
            answer, (source, port) = await asyncio.get_running_loop().sock_recvfrom(
                sock, 2048
            )
    reply = parse(answer)
    assert isinstance(reply, Reply)
    assert port == PORT
    return source, reply.code, reply.home_agent


async def send_frames(frames: list[bytes], wanted: int) -> tuple[list[int], list[int]]:
    """Send frames; return Identifications and UDP checksums of `wanted` replies."""
    loop = asyncio.get_running_loop()
    found = []
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken,
    ):
        taken.bind((NEIGHBOUR, 5000))  # so that the kernel refuses no reply
        sock.setblocking(False)
        sock.bind(("eth0", 0x0800))
        for frame in frames:
            sock.send(frame)
        async with asyncio.timeout(10):
            while len(found) < wanted:
                packet = Ether(await loop.sock_recv(sock, 2048))
                if UDP in packet and packet[UDP].sport == PORT:
                    found.append(packet)
    replies = [parse(bytes(packet[UDP].payload)) for packet in found]
    assert all(isinstance(reply, Reply) and reply.code == 0 for reply in replies)
    return (
        [reply.identification for reply in replies if isinstance(reply, Reply)],
        [packet[UDP].chksum for packet in found],
    )


def home_link() -> Node:
    """Start a home agent; return a node on the same link."""
    agent, neighbour = Node("ha"), Node("neighbour")
    connect(agent, "home0", neighbour, "eth0")
    agent.sh(f"ip address add {HOME_AGENT}/24 broadcast + dev home0")
    neighbour.sh(f"ip address add {NEIGHBOUR}/24 broadcast + dev eth0")
    agent.call(start_agent)
    return neighbour


@pytest.mark.parametrize("destination", ["10.1.1.255", "255.255.255.255"])
@isolated
def test_a_broadcast_on_the_home_link_finds_the_home_agent(destination: str) -> None:
    """HA-13, HA-25: 136, from our address, in both kinds of broadcast."""
    data = request(destination, NEIGHBOUR)
    answer = home_link().call(ask, destination, data)
    assert answer == (HOME_AGENT, 136, HOME_AGENT)


@isolated
def test_a_wrong_udp_checksum_is_silently_discarded_and_none_is_accepted() -> None:
    """HA-05, COM-07, COM-06: of three requests the one with a wrong sum is lost."""
    neighbour = home_link()
    # A request by socket first, so that both know each other's link-layer address.
    first = request(HOME_AGENT, NEIGHBOUR)
    assert neighbour.call(ask, HOME_AGENT, first)[1] == 0
    mac = neighbour.sh(f"ip neigh show {HOME_AGENT}").split("lladdr ")[1].split()[0]
    own = neighbour.sh("ip -o link show eth0").split("ether ")[1].split()[0]
    frames, sent = [], []
    for checksum in (0xBAD, 0, None):
        data = request(HOME_AGENT, NEIGHBOUR)
        sent.append(parse(data).identification)
        frames.append(
            bytes(
                Ether(src=own, dst=mac)
                / IP(src=NEIGHBOUR, dst=HOME_AGENT)
                / UDP(sport=5000, dport=PORT, chksum=checksum)
                / Raw(data)
            )
        )
    answered, checksums = neighbour.call(send_frames, frames, 2)
    assert answered == sent[1:]
    assert 0 not in checksums
