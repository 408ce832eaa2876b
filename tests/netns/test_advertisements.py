# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha` on its home link, as a host there hears it."""

from __future__ import annotations

import asyncio
import socket

from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from scapy_mip.all import MIPAgentAdvertisement, MIPAgentSolicitation
from support.daemons import KEY_HEX, Daemon, mip
from support.netns import Node, connect, isolated

HOME_AGENT, NODE, NODE_MAC = "10.1.1.20", "10.1.1.10", "02:00:00:00:00:0a"
GROUP_MAC = "01:00:5e:00:00:01"
WAIT_S = 20

CONFIG = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.1.0/24"
max_lifetime = 1200
encapsulations = ["ipip", "gre", "minimal"]
advertisement_interval = 600
prefix_lengths = true
icmp_code = 16
dataplane = "none"
state_dir = "state"
control_socket = "ha.sock"
[[mobile_node]]
home_address = "{NODE}"
spi = 256
key_hex = "{KEY_HEX}"
"""

_ears: list[socket.socket] = []


def prick_up_ears() -> None:
    """Open a packet socket: what comes from now on can be heard later."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.bind(("eth0", 0x0800))
    _ears.append(sock)


async def hear(count: int) -> list[bytes]:
    """Return the frames of the next advertisements."""
    loop = asyncio.get_running_loop()
    heard: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while len(heard) < count:
            frame = await loop.sock_recv(_ears[0], 2000)
            if MIPAgentAdvertisement in Ether(frame):
                heard.append(frame)
    return heard


def solicit(source: str) -> None:
    packet = IP(src=source, dst="224.0.0.11", ttl=1) / MIPAgentSolicitation()
    frame = Ether(src=NODE_MAC, dst="01:00:5e:00:00:0b") / packet
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("eth0", 0x0800))
        sock.send(bytes(frame))


@isolated
def test_a_host_on_the_home_link_hears_the_home_agent(tmp_path):
    """AG-01 to AG-05, AG-08, AG-11, AG-13, AG-14, AG-16, AG-18, AG-20, MN-05."""
    agent, host = Node("agent"), Node("host")
    connect(agent, "home0", host, "eth0")
    host.sh(f"ip link set eth0 address {NODE_MAC}")
    agent.sh(f"ip address add {HOME_AGENT}/24 dev home0")
    own = agent.sh("ip -o link show home0").split("ether ")[1].split()[0]
    config = tmp_path / "ha.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    host.call(prick_up_ears)
    ha = Daemon("ha", config, tmp_path / "ha.sock", agent)
    ha.wait_ready()

    # Three come long before the interval of ten minutes is over, the fourth does not.
    for number, frame in enumerate(map(Ether, host.call(hear, 3))):
        packet, advertisement = frame[IP], frame[MIPAgentAdvertisement]
        assert (frame.src, frame.dst) == (own, GROUP_MAC)
        assert (packet.src, packet.dst, packet.ttl) == (HOME_AGENT, "224.0.0.1", 1)
        assert (advertisement.code, advertisement.lifetime) == (16, 1800)
        (router,) = advertisement.entries
        assert router.router_address == HOME_AGENT
        offer, prefixes, padding = advertisement.extensions
        assert offer.sequence_number == number
        assert (str(offer.flags), offer.length) == ("TGMH", 6)
        assert offer.registration_lifetime == 1200
        assert offer.care_of_addresses == []
        assert prefixes.prefix_lengths == [24]
        assert (padding.type, len(advertisement) % 2) == (0, 0)

    # An answer goes to who asked, at home or not, by its link-layer address alone.
    for number, source in enumerate((NODE, "192.0.2.9"), start=3):
        host.call(solicit, source)
        (answer,) = map(Ether, host.call(hear, 1))
        assert (answer.dst, answer[IP].dst, answer[IP].ttl) == (NODE_MAC, source, 1)
        assert answer[MIPAgentAdvertisement].extensions[0].sequence_number == number

    shown = mip("status", "--socket", ha.socket).stdout
    assert "on home0 every 600 s, " in shown, shown
    assert ha.status()["advertisement"]["interface"] == "home0"
    assert ha.stop() == 0
    (last,) = map(Ether, host.call(hear, 1))
    assert (last.dst, last[MIPAgentAdvertisement].lifetime) == (GROUP_MAC, 0)
    assert last[MIPAgentAdvertisement].extensions[0].sequence_number == 5
    assert "224.0.0.11" not in agent.sh("ip maddress show dev home0")


@isolated
def test_a_home_agent_may_be_silent(tmp_path):
    """AG-06: without advertisements, it neither speaks nor answers."""
    agent, host = Node("agent"), Node("host")
    connect(agent, "home0", host, "eth0")
    agent.sh(f"ip address add {HOME_AGENT}/24 dev home0")
    config = tmp_path / "ha.toml"
    config.write_text(CONFIG.replace("[home_agent]", "[home_agent]\nadvertise = false"))
    config.chmod(0o600)
    host.call(prick_up_ears)
    ha = Daemon("ha", config, tmp_path / "ha.sock", agent)
    ha.wait_ready()
    host.call(solicit, NODE)
    assert ha.status()["advertisement"] is None
    assert "224.0.0.11" not in agent.sh("ip maddress show dev home0")
    assert ha.stop() == 0
    assert host.call(advertisements_waiting) == 0


def advertisements_waiting() -> int:
    """Count what has come and nobody has read."""
    count = 0
    while True:
        try:
            count += MIPAgentAdvertisement in Ether(_ears[0].recv(2000))
        except BlockingIOError:
            return count
