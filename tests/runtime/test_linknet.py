# SPDX-License-Identifier: GPL-2.0-only
"""Frames of a real link as events, and events of an engine as frames."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from mip_agents.dataplane import linkwatch
from mip_agents.dataplane.port import settle_link
from mip_agents.protocol.discovery import build_solicitation
from mip_agents.protocol.effects import Noted, SendDiscovery
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import DiscoveryReceived, Received, Undelivered
from mip_agents.protocol.links import InterfaceState
from mip_agents.runtime.linknet import AGENT_GROUPS, LinkNeeds
from mip_agents.runtime.net import AgentNet
from scapy_mip.all import MIPAgentAdvertisement, MIPAgentSolicitation
from support.netns import Node, ash, connect, isolated, sh
from support.shell import ListNotes, send

AGENT, NODE, FAR = "10.1.2.1", "10.1.1.10", "10.9.9.9"
AGENT_MAC, NODE_MAC = "02:00:00:00:00:01", "02:00:00:00:00:0a"
VISITED = LinkNeeds(
    wanted=lambda link: link.name == "eth1",
    groups=AGENT_GROUPS,
    own_addresses=True,
)
AWAY = LinkNeeds(
    wanted=lambda link: link.name == "eth1", addresses=frozenset(("10.1.1.77",))
)
DISCOVERY = LinkNeeds(wanted=lambda link: link.name == "eth1", groups=AGENT_GROUPS)


@dataclass
class Opened:
    """A net that follows the links of its namespace, and what comes through it."""

    net: AgentNet
    notes: ListNotes = field(default_factory=ListNotes)
    events: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    async def next(self, count: int = 1) -> list[Any]:
        async with asyncio.timeout(10):
            return [await self.events.get() for _ in range(count)]

    async def noted(self, event: str) -> Noted:
        async with asyncio.timeout(10):
            while event not in self.notes.names:
                await asyncio.sleep(0.01)
        return self.notes.noted[self.notes.names.index(event)]


opened: list[Opened] = []


@asynccontextmanager
async def following(needs: LinkNeeds, errors: bool = False) -> AsyncIterator[Opened]:
    notes = ListNotes()
    net = AgentNet(notes, needs, errors=errors)
    net.open()
    parts = Opened(net, notes)
    looked = asyncio.Event()

    def changed(links: Any) -> None:
        net.follow(links)
        looked.set()

    watch = asyncio.create_task(linkwatch.follow(changed))
    try:
        await looked.wait()
        net.start(lambda batch: [parts.events.put_nowait(one) for one in batch])
        yield parts
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        net.close()


_stack = contextlib.AsyncExitStack()


async def start(kind: str, errors: bool = False) -> None:
    """Open a net with needs that go by name: functions do not travel to a process."""
    needs = {"visited": VISITED, "away": AWAY, "discovery": DISCOVERY}[kind]
    opened.append(await _stack.enter_async_context(following(needs, errors)))


async def events(count: int) -> list[Any]:
    return await opened[0].next(count)


async def quiet() -> bool:
    return opened[0].events.empty()


async def noted(event: str) -> dict[str, Any]:
    found = await opened[0].noted(event)
    return {"rule": found.rule, **found.fields}


async def say(order: Any) -> None:
    net = opened[0].net
    if isinstance(order, SendDiscovery):
        net.send_discovery(order)
    else:
        net.send(order)


def put(*frames: bytes) -> None:
    """Send frames from the node's end of the link."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("eth0", 0x0800))
        for frame in frames:
            sock.send(frame)


async def capture(count: int) -> list[bytes]:
    """Hear frames at the node's end of the link."""
    loop = asyncio.get_running_loop()
    found: list[bytes] = []
    with _listening[0] as sock:
        async with asyncio.timeout(10):
            while len(found) < count:
                frame = await loop.sock_recv(sock, 4096)
                packet = Ether(frame)
                if IP in packet and packet.src == AGENT_MAC and packet[IP].proto != 2:
                    found.append(frame)
    return found


_listening: list[socket.socket] = []


def listen() -> None:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.bind(("eth0", 0x0003))
    _listening.append(sock)


def datagram(data: bytes = b"\1ask", dst: str = AGENT, **udp: Any) -> Packet:
    ports = {"sport": 5000, "dport": 434} | udp
    return IP(src=NODE, dst=dst, ttl=255) / UDP(**ports) / Raw(data)


def frame(packet: Packet, **link: str) -> bytes:
    return bytes(Ether(**{"src": NODE_MAC, "dst": AGENT_MAC} | link) / packet)


def link(kind: str = "visited", errors: bool = False) -> tuple[Node, Node]:
    """A net with `eth1`, and a node with `eth0` on the same link."""
    agent, node = Node("agent"), Node("node")
    connect(agent, "eth1", node, "eth0")
    agent.sh(f"ip link set eth1 address {AGENT_MAC}")
    node.sh(f"ip link set eth0 address {NODE_MAC}")
    agent.sh(f"ip address add {AGENT}/24 dev eth1")
    agent.call(start, kind, errors)
    return agent, node


@isolated
def test_discovery_messages_come_with_their_link_layer_address() -> None:
    """AG-08, AG-21: also to the groups of agents, which the host has joined."""
    agent, node = link("discovery")
    groups = agent.sh("ip maddress show dev eth1")
    assert "224.0.0.11" in groups
    assert "224.0.0.2" in groups
    node.call(
        put,
        frame(
            IP(src=NODE, dst="224.0.0.11", ttl=1) / MIPAgentSolicitation(),
            dst="01:00:5e:00:00:0b",
        ),
        frame(
            IP(src=NODE, dst="255.255.255.255", ttl=7) / MIPAgentAdvertisement(),
            dst="ff:ff:ff:ff:ff:ff",
        ),
    )
    assert agent.call(events, 2) == [
        DiscoveryReceived(
            data=build_solicitation(),
            source=NODE,
            destination="224.0.0.11",
            interface="eth1",
            ttl=1,
            link_address=NODE_MAC,
        ),
        DiscoveryReceived(
            data=bytes(MIPAgentAdvertisement()),
            source=NODE,
            destination="255.255.255.255",
            interface="eth1",
            ttl=7,
            link_address=NODE_MAC,
        ),
    ]


@isolated
def test_only_discovery_is_heard_where_nothing_else_is_asked_for() -> None:
    """Control messages come by the UDP socket there, once."""
    agent, node = link("discovery")
    node.call(
        put,
        frame(IP(src="10.1.2.5", dst=AGENT) / ICMP()),
        frame(IP(src="10.1.2.5", dst=AGENT) / UDP(sport=1, dport=434) / b"x"),
        frame(IP(src=NODE, dst=AGENT, ttl=1) / MIPAgentSolicitation()),
    )
    by_udp, discovery = sorted(agent.call(events, 2), key=lambda one: len(one.data))
    assert isinstance(by_udp, Received)
    assert (by_udp.link_address, by_udp.ttl) == (None, None)
    assert isinstance(discovery, DiscoveryReceived)
    assert agent.call(quiet)


@isolated
def test_a_visitor_is_heard_once_with_ttl_and_link_layer_address() -> None:
    """FA-28, COM-06; a source that no route leads to is no obstacle."""
    agent, node = link("visited")
    for destination in (AGENT, "224.0.0.11", "255.255.255.255"):
        node.call(put, frame(datagram(dst=destination)))
        assert agent.call(events, 1) == [
            Received(
                data=b"\1ask",
                source=NODE,
                source_port=5000,
                destination=destination,
                destination_port=434,
                interface="eth1",
                ttl=255,
                link_address=NODE_MAC,
            )
        ]
    # A neighbour, whom the kernel would deliver to the UDP socket as well.
    node.sh("ip address add 10.1.2.5/24 dev eth0")
    node.call(put, frame(IP(src="10.1.2.5", dst=AGENT) / UDP(dport=434) / b"\1me"))
    node.call(put, frame(datagram(b"\1end")))
    assert [one.data for one in agent.call(events, 2)] == [b"\1me", b"\1end"]
    assert agent.call(quiet)


@isolated
def test_a_reply_to_a_home_address_is_heard_once_whether_the_kernel_has_it() -> None:
    """MN-19: by frame alone, or both ways; sent twice, it is heard twice."""
    agent, node = link("away")
    node.sh("ip address add 10.1.2.5/24 dev eth0")

    def reply(data: bytes, dst: str = "10.1.1.77") -> bytes:
        return frame(IP(src="10.1.2.5", dst=dst) / UDP(sport=434, dport=434) / data)

    node.call(put, reply(b"\3first"), reply(b"\3other", "10.1.1.78"))
    agent.call(events, 1)
    agent.sh("ip address add 10.1.1.77/32 dev lo")
    node.call(put, reply(b"\3both"), reply(b"\3again"), reply(b"\3again"))
    found = agent.call(events, 3)
    assert sorted(one.data for one in found) == [b"\3again", b"\3again", b"\3both"]
    # What comes to another address of the node comes by UDP alone.
    node.call(put, reply(b"\3end", AGENT))
    (last,) = agent.call(events, 1)
    assert (last.data, last.link_address) == (b"\3end", None)
    assert agent.call(quiet)


@isolated
def test_what_is_not_for_the_agent_passes_unheard() -> None:
    """Another's datagram, another port, Tunnel Data, a fragment, a frame to others."""
    agent, node = link("visited")
    fragment = datagram()
    fragment[IP].flags = "MF"
    node.call(
        put,
        frame(datagram(dst=FAR)),
        frame(datagram(dport=435)),
        frame(datagram(b"\4\4\0\0inner")),
        frame(fragment),
        frame(datagram(), dst="02:00:00:00:00:77"),
        frame(datagram(), src="03:00:00:00:00:0a"),
        frame(datagram(b"\1end")),
    )
    assert [one.data for one in agent.call(events, 1)] == [b"\1end"]
    assert agent.call(quiet)


@isolated
def test_a_wrong_udp_checksum_is_dropped_and_counted_and_none_is_accepted() -> None:
    """COM-06, COM-07, FA-08, FA-21."""
    agent, node = link("visited")
    node.call(
        put,
        frame(datagram(b"\1bad", chksum=0xBAD)),
        frame(datagram(b"\1none", chksum=0)),
        frame(datagram(b"\1good")),
    )
    assert [one.data for one in agent.call(events, 2)] == [b"\1none", b"\1good"]
    assert agent.call(noted, "message_dropped") == {
        "rule": "COM-07",
        "reason": "wrong checksum",
        "source": NODE,
        "link_address": NODE_MAC,
        "interface": "eth1",
    }


@isolated
def test_a_checksum_that_the_other_end_left_to_its_card_is_no_wrong_one() -> None:
    """COM-07: between the ends of a veth pair nobody fills it in."""
    agent, node = link("visited")
    node.sh("ip address add 10.1.2.5/24 dev eth0")
    node.call(ask_by_socket)
    (found,) = agent.call(events, 1)
    assert (found.data, found.source) == (b"\1local", "10.1.2.5")
    assert found.link_address == NODE_MAC


def ask_by_socket() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"\1local", (AGENT, 434))


@isolated
def test_padding_that_looks_like_discovery_costs_no_other_message() -> None:
    """An ICMP packet without content, whose frame's padding begins with type 10."""
    agent, node = link("discovery")
    good = frame(IP(src=NODE, dst=AGENT, ttl=1) / MIPAgentSolicitation())
    empty = frame(IP(src=NODE, dst=AGENT, ttl=1, proto=1)) + bytes([10]) + bytes(25)
    node.call(put, good, empty, good)
    assert len(agent.call(events, 2)) == 2


@isolated
def test_a_wrong_icmp_checksum_is_dropped_and_counted_by_its_rule() -> None:
    """AG-21."""
    agent, node = link("discovery")
    node.call(
        put,
        frame(IP(src=NODE, dst=AGENT, ttl=1) / MIPAgentSolicitation(checksum=1)),
        frame(IP(src=NODE, dst=AGENT, ttl=1) / MIPAgentSolicitation()),
    )
    assert len(agent.call(events, 1)) == 1
    assert agent.call(noted, "message_dropped")["rule"] == "AG-21"


@isolated
def test_what_goes_to_a_link_layer_address_needs_no_route_and_no_arp() -> None:
    """AG-02, AG-03, FA-28, COM-06."""
    agent, node = link("visited")
    node.call(listen)
    common = {"data": build_solicitation(), "source": AGENT, "interface": "eth1"}
    heard = node.start(capture, 4)
    agent.call(
        say,
        send(
            b"\3reply",
            NODE,
            source=AGENT,
            destination_port=5000,
            interface="eth1",
            link_address=NODE_MAC,
            ttl=255,
        ),
    )
    agent.call(say, SendDiscovery(destination=NODE, link_address=NODE_MAC, **common))
    agent.call(say, SendDiscovery(destination="224.0.0.1", **common))
    agent.call(say, SendDiscovery(destination="255.255.255.255", **common))
    reply, *discovery = [Ether(one) for one in heard()]
    assert (reply.dst, reply[IP].src, reply[IP].dst) == (NODE_MAC, AGENT, NODE)
    assert (reply[UDP].sport, reply[UDP].dport, reply[IP].ttl) == (434, 5000, 255)
    assert reply[UDP].chksum == Ether(_without_checksums(reply))[UDP].chksum != 0
    assert bytes(reply[UDP].payload) == b"\3reply"
    assert [(one.dst, one[IP].dst, one[IP].ttl) for one in discovery] == [
        (NODE_MAC, NODE, 1),
        ("01:00:5e:00:00:01", "224.0.0.1", 1),
        ("ff:ff:ff:ff:ff:ff", "255.255.255.255", 1),
    ]
    assert "10.1.1.10" not in agent.sh("ip neigh show")


def _without_checksums(packet: Packet) -> bytes:
    copy = packet.copy()
    del copy[UDP].chksum
    return bytes(copy)


def send_after_a_break(order: Any) -> None:
    """Send when the link is up again, of which the loop had no chance to hear."""
    sh("ip link set eth1 down; ip link set eth1 up")
    settle_link("eth1")
    opened[0].net.send(order)


@isolated
def test_a_link_that_was_down_takes_the_first_frame_when_it_is_up_again() -> None:
    agent, node = link("visited")
    node.call(listen)
    heard = node.start(capture, 1)
    order = send(
        b"\3reply", NODE, source=AGENT, interface="eth1", link_address=NODE_MAC
    )
    agent.call(send_after_a_break, order)
    assert bytes(Ether(heard()[0])[UDP].payload) == b"\3reply"


@isolated
def test_trouble_with_sending_is_noted_and_not_raised() -> None:
    agent, _ = link("visited")
    agent.call(say, send(b"x", NODE, interface="eth7", link_address=NODE_MAC))
    assert "no packet socket on eth7" in agent.call(noted, "send_failed")["reason"]


async def links_come_and_go() -> None:
    async with following(VISITED) as parts:
        assert not parts.net._links.replaces_udp("eth1")

        async def until(there: bool, name: str = "eth1") -> None:
            async with asyncio.timeout(10):
                while parts.net._links.replaces_udp(name) is not there:
                    await asyncio.sleep(0.01)

        async def heard(name: str) -> None:
            """The agent hears at `eth1` what is sent at the other end."""
            await ash(f"ip link set {name} up; ip link set eth1 up")
            async with asyncio.timeout(10):
                while parts.events.empty():
                    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
                        sock.bind((name, 0x0800))
                        packet = IP(src=NODE, dst=AGENT, ttl=1) / MIPAgentSolicitation()
                        with contextlib.suppress(OSError):
                            sock.send(frame(packet, dst="ff:ff:ff:ff:ff:ff"))
                    await asyncio.sleep(0.05)
            while not parts.events.empty():
                assert parts.events.get_nowait().interface == "eth1"

        await ash("ip link add eth1 type veth peer name far1")
        await until(True)
        await heard("far1")
        await ash("ip link set eth1 down")
        await heard("far1")
        await ash("ip link set eth1 down; ip link set eth1 name old1")
        await until(False)
        await ash("ip link add eth1 type veth peer name far2")
        await until(True)
        await heard("far2")
        await ash("ip link del eth1")
        await until(False)
        assert parts.notes.names == []


@isolated
def test_links_that_come_go_and_are_renamed_are_followed() -> None:
    asyncio.run(links_come_and_go())


def drop_capabilities() -> None:
    """Be like an ordinary user from now on."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
    none = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capset(ctypes.byref(header), ctypes.byref(none)) == 0


@isolated
def test_without_permission_there_is_one_warning_and_no_more() -> None:
    """The UDP port works on."""
    sh("ip link add eth1 type veth peer name eth2")
    drop_capabilities()
    notes = ListNotes()
    net = AgentNet(notes, LinkNeeds(wanted=lambda link: True), port=50434)
    net.open()
    links = {
        name: InterfaceState(name, True, ("10.1.2.1/24",)) for name in ("eth1", "eth2")
    }
    order = SendDiscovery(
        data=build_solicitation(),
        source=AGENT,
        destination="224.0.0.1",
        interface="eth1",
    )
    try:
        for _ in range(2):
            net.follow(links)
            net.send_discovery(order)
    finally:
        net.close()
    assert notes.names == ["discovery_unavailable"]
    assert notes.noted[0].fields["reason"] == "Operation not permitted"


@isolated
def test_who_is_of_no_use_without_packet_sockets_says_what_to_do() -> None:
    drop_capabilities()
    needs = LinkNeeds(wanted=lambda link: True, required=True)
    net = AgentNet(ListNotes(), needs, port=50434)
    try:
        with pytest.raises(MipError, match="CAP_NET_RAW: run as root"):
            net.open()
    finally:
        net.close()


# What does not arrive


@isolated
def test_an_icmp_error_of_a_datagram_becomes_an_event() -> None:
    """FA-20: with its code, and as much of the datagram as came back."""
    agent, node = link("visited", errors=True)
    node.sh("ip address add 10.1.2.5/24 dev eth0")
    agent.call(say, send(b"\1request", "10.1.2.5"))  # nobody listens on port 434
    assert agent.call(events, 1) == [
        Undelivered(data=b"\1request", destination="10.1.2.5", icmp_code=3)
    ]


@isolated
def test_no_route_and_no_neighbour_are_told_like_icmp_errors() -> None:
    """FA-20: network unreachable at once, host unreachable after ARP."""
    agent, _ = link("visited", errors=True)
    agent.sh("echo 1 > /proc/sys/net/ipv4/neigh/eth1/mcast_solicit")
    agent.call(say, send(b"\1far", FAR))
    agent.call(say, send(b"\1near", "10.1.2.99"))
    assert agent.call(events, 2) == [
        Undelivered(data=b"\1far", destination=FAR, icmp_code=0),
        Undelivered(data=b"\1near", destination="10.1.2.99", icmp_code=1),
    ]


def send_in_spite_of_errors(*orders: Any) -> None:
    """Send one after the other, each when the error of the one before is there.

    The loop has no chance to read the errors in between.
    """
    for order in orders:
        opened[0].net.send(order)
        sock = opened[0].net._udp._socket
        assert sock is not None
        poll = select.poll()
        poll.register(sock, select.POLLERR)
        assert poll.poll(5000), "the error never came"


@isolated
def test_an_error_of_an_earlier_datagram_costs_no_later_one() -> None:
    """FA-20: the kernel reports it in place of sending; it is sent again."""
    agent, node = link("visited", errors=True)
    node.sh("ip address add 10.1.2.5/24 dev eth0")
    node.call(listen)
    heard = node.start(capture, 3)
    data = [b"\1one", b"\1two", b"\1three"]
    agent.call(send_in_spite_of_errors, *(send(one, "10.1.2.5") for one in data))
    assert [bytes(Ether(one)[UDP].payload) for one in heard()] == data
    assert [one.data for one in agent.call(events, 3)] == data


@isolated
def test_errors_are_no_events_where_nobody_asked_for_them() -> None:
    agent, node = link("discovery")
    node.sh("ip address add 10.1.2.5/24 dev eth0")
    agent.call(say, send(b"\1request", "10.1.2.5"))
    node.sh("ping -c 1 -W 5 10.1.2.1")
    node.call(put, frame(IP(src=NODE, dst=AGENT, ttl=1) / MIPAgentSolicitation()))
    assert isinstance(agent.call(events, 1)[0], DiscoveryReceived)
    assert agent.call(quiet)
