# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha` with a real data plane, seen from the wires on both sides of it."""

import asyncio
import socket
import time

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from mip_agents.protocol.view import build_request, parse
from scapy_mip.const import MIP_PORT, RequestFlag
from scapy_mip.ident import from_unix_ns
from support.daemons import KEY_HEX, Daemon
from support.netns import Node, connect, isolated, need_driver
from support.requests import ASSOCIATION, HOME_ADDRESS

HOME_AGENT, NEIGHBOUR = "10.1.1.20", "10.1.1.30"
CARE_OF, OTHER, NOWHERE = "10.1.2.5", "10.1.2.6", "10.1.2.77"
PORT, WAIT_S = 9999, 10

CONFIG = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.1.0/24"
state_dir = "state"
control_socket = "ha.sock"
[[mobile_node]]
home_address = "{HOME_ADDRESS}"
spi = 256
key_hex = "{KEY_HEX}"
"""


async def hear(protocol, wanted, count):
    """Return the first frames on eth0 that are wanted."""
    loop, heard = asyncio.get_running_loop(), []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setblocking(False)
        sock.bind(("eth0", protocol))
        async with asyncio.timeout(WAIT_S):
            while len(heard) < count:
                frame = await loop.sock_recv(sock, 2000)
                if wanted(Ether(frame)):
                    heard.append(frame)
    return heard


def announces(frame):
    return frame[ARP].psrc == frame[ARP].pdst == HOME_ADDRESS


def is_tunnelled(frame):
    return frame[IP].proto == 4


async def register(care_of_address):
    """Ask for a binding beside the others; return the reply's code."""
    data = build_request(
        flags=RequestFlag.S | RequestFlag.D | RequestFlag.T,
        lifetime=600,
        home_address=HOME_ADDRESS,
        home_agent=HOME_AGENT,
        care_of_address=care_of_address,
        identification=from_unix_ns(time.time_ns()),
        mobile_home=ASSOCIATION,
    )
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((care_of_address, 0))
        await loop.sock_sendto(sock, data, (HOME_AGENT, MIP_PORT))
        async with asyncio.timeout(WAIT_S):
            return parse(await loop.sock_recv(sock, 2000)).code


def say(text, inner=HOME_ADDRESS, outer=CARE_OF):
    """Send a datagram to the neighbour through the reverse tunnel."""
    packet = IP(src=inner, dst=NEIGHBOUR) / UDP(sport=PORT, dport=PORT) / Raw(text)
    tunnelled = IP(src=outer, dst=HOME_AGENT) / packet
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        sock.sendto(bytes(tunnelled), (HOME_AGENT, 0))


async def listen():
    """Return the next datagram and its sender."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((NEIGHBOUR, PORT))
        async with asyncio.timeout(WAIT_S):
            data, (source, _) = await loop.sock_recvfrom(sock, 2000)
    return data, source


def begin(node, function, *arguments):
    """Start a listener and return when it listens."""
    result = node.start(function, *arguments)
    node.call(asyncio.sleep, 0)
    return result


@isolated
def test_what_the_wires_see_of_a_home_agent(tmp_path):
    """ARP-01, ARP-02, HA-33, RT-07: announced, copied, reverse, and nothing forged."""
    need_driver("tun")
    here, lan, away = Node("here"), Node("lan"), Node("away")
    connect(here, "home0", lan, "eth0")
    connect(here, "eth9", away, "eth0")
    here.sh(f"ip address add {HOME_AGENT}/24 dev home0")
    here.sh("ip address add 10.1.2.1/24 dev eth9")
    lan.sh(f"ip address add {NEIGHBOUR}/24 dev eth0")
    for address in (CARE_OF, OTHER, NOWHERE):
        away.sh(f"ip address add {address}/24 dev eth0")
    away.sh("ip route add default via 10.1.2.1")
    config = tmp_path / "ha.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    ha = Daemon("ha", config, tmp_path / "ha.sock", here)
    ha.wait_ready()
    own = here.sh("ip -o link show home0").split("ether ")[1].split()[0]

    announced = begin(lan, hear, 0x0806, announces, 1)
    assert away.call(register, CARE_OF) == 0
    (frame,) = announced()
    assert Ether(frame)[ARP].hwsrc == Ether(frame).src == own
    assert away.call(register, OTHER) == 0

    copies = begin(away, hear, 0x0800, is_tunnelled, 2)
    lan.sh(f"ping -c 1 -W 1 {HOME_ADDRESS} || true")
    packets = [Ether(copy)[IP] for copy in copies()]
    assert {packet.dst for packet in packets} == {CARE_OF, OTHER}
    for packet in packets:
        assert packet.src == HOME_AGENT
        assert (packet.payload.src, packet.payload.dst) == (NEIGHBOUR, HOME_ADDRESS)
    assert own in lan.sh(f"ip neigh show {HOME_ADDRESS}")

    heard = begin(lan, listen)
    away.call(say, b"forged inside", "10.1.1.99")
    away.call(say, b"forged outside", HOME_ADDRESS, NOWHERE)
    away.call(say, b"real")
    # Nothing overtakes on a wire: what is heard first is the first that came through.
    assert heard() == (b"real", HOME_ADDRESS)
    assert sum(ha.status()["drops"].values()) >= 2
    assert ha.stop() == 0
