# SPDX-License-Identifier: GPL-2.0-only
"""ARP on the home link: the home agent answers, and announces."""

import asyncio
import socket

import pytest
from scapy.layers.l2 import ARP, Ether

from dataplane.world import (
    HOME,
    World,
    announce,
    driver,
    give_back,
    ha_tunnel,
    install,
    remove,
)
from mip_agents.dataplane import arp, owner
from mip_agents.dataplane.api import DataplaneError
from support.netns import Node, isolated

MAC = bytes.fromhex("020000000001")


@pytest.mark.parametrize("operation", [1, 2])
def test_frame_equals_scapys(operation: int) -> None:
    """ARP-07: both addresses are the one announced; a reply names the target too."""
    target = "02:00:00:00:00:01" if operation == 2 else "00:00:00:00:00:00"
    expected = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=operation,
        hwsrc="02:00:00:00:00:01",
        psrc=HOME,
        hwdst=target,
        pdst=HOME,
    )
    frame = arp.gratuitous(operation, MAC, socket.inet_aton(HOME))
    assert frame == bytes(expected)


async def hear(interface: str, count: int) -> list[bytes]:
    """Return the next ARP frames on an interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setblocking(False)
        sock.bind((interface, 0x0806))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            return [await loop.sock_recv(sock, 2000) for _ in range(count)]


@isolated
def test_announcement_is_seen_on_the_link() -> None:
    """ARP-02, ARP-07: request and reply, by link broadcast, a few times."""
    w = World()
    agent = w.start_ha()
    mac = w.ha.sh("cat /proc/net/arp >/dev/null; ip -o link show home0").split(
        "ether "
    )[1]
    mac = mac.split()[0]
    hearing = w.rt.start(hear, "to_ha", 6)
    w.rt.call(asyncio.sleep, 0)
    agent.call(announce, HOME)
    frames = [Ether(frame) for frame in hearing()]
    assert [frame[ARP].op for frame in frames] == [1, 2] * len(arp.REPEAT_AFTER)
    for frame in frames:
        assert frame.dst == "ff:ff:ff:ff:ff:ff"
        assert frame[ARP].hwsrc == frame.src == mac
        assert frame[ARP].psrc == frame[ARP].pdst == HOME
    assert agent.call(remembered) == 0


def remembered() -> int:
    """Return of how many addresses the announcer still knows."""
    return len(driver()._announcer._due)


@isolated
def test_neighbours_follow_announcements() -> None:
    """ARP-02 and ARP-05: to the home agent, and back to the mobile node's address."""
    w = World()
    agent = w.start_ha()
    w.rt.sh(f"ip neigh replace {HOME} lladdr 02:00:00:00:00:01 dev to_ha nud reachable")
    w.rt.sh("echo 1 > /proc/sys/net/ipv4/conf/to_ha/arp_accept")
    w.rt.sh("sleep 1.1")  # the kernel holds new entries for a second (locktime)
    agent.call(install, ha_tunnel())
    agent.call(announce, HOME)
    own = w.ha.sh("ip -o link show home0").split("ether ")[1].split()[0]
    entry = "timeout 5 sh -c 'until ip neigh show {} | grep -q {}; do sleep .05; done'"
    w.rt.sh(entry.format(HOME, own))
    agent.call(remove)
    agent.call(announce, HOME, None, "02:00:00:00:00:01")
    w.rt.sh(entry.format(HOME, "02:00:00:00:00:01"))


def link_address(node: Node, interface: str) -> str:
    return node.sh(f"ip -o link show {interface}").split("ether ")[1].split()[0]


@isolated
def test_the_address_of_a_returned_node_is_announced_with_its_own() -> None:
    """ARP-05, ARP-07: the link says who has it; no switch is misled on the way."""
    w = World()
    agent = w.start_ha()
    agent.call(install, ha_tunnel())
    own, node = link_address(w.ha, "home0"), link_address(w.rt, "to_ha")
    w.rt.sh(f"ip addr add {HOME}/32 dev to_ha")  # the node is at home again
    agent.call(remove)
    hearing = w.rt.start(hear, "to_ha", 3)
    w.rt.call(asyncio.sleep, 0)
    agent.call(give_back, HOME)
    frames = [Ether(frame) for frame in hearing()]
    probe, *announced = frames
    assert (probe[ARP].op, probe[ARP].psrc, probe[ARP].pdst) == (1, "0.0.0.0", HOME)
    assert [frame[ARP].op for frame in announced] == [1, 2]
    for frame in announced:
        assert frame[ARP].hwsrc == node
        assert frame[ARP].psrc == frame[ARP].pdst == HOME
        assert (frame.src, frame.dst) == (own, "ff:ff:ff:ff:ff:ff")


@isolated
def test_an_address_that_nobody_has_is_not_announced() -> None:
    """ARP-05: the link is asked a few times, and that is all."""
    w = World()
    agent = w.start_ha()
    hearing = w.rt.start(hear, "to_ha", len(owner.ASK_AFTER))
    w.rt.call(asyncio.sleep, 0)
    agent.call(give_back, HOME)
    assert {Ether(frame)[ARP].psrc for frame in hearing()} == {"0.0.0.0"}


@isolated
def test_an_address_cannot_be_given_back_on_a_link_without_arp() -> None:
    """ARP-05: what does not work is one line."""
    agent = World().start_ha()
    with pytest.raises(DataplaneError, match="cannot ask on lo") as caught:
        agent.call(give_back, HOME, "lo")
    assert "\n" not in str(caught.value)


@isolated
def test_a_node_that_leaves_again_ends_the_search() -> None:
    """ARP-02 after ARP-05: the last word is that of the last registration."""
    w = World()
    agent = w.start_ha()
    agent.call(give_back, HOME)
    agent.call(install, ha_tunnel())
    hearing = w.rt.start(hear, "to_ha", 2 * len(arp.REPEAT_AFTER))
    w.rt.call(asyncio.sleep, 0)
    agent.call(announce, HOME)
    own = link_address(w.ha, "home0")
    w.rt.sh(f"ip addr add {HOME}/32 dev to_ha")
    frames = [Ether(frame)[ARP] for frame in hearing()]
    assert {(frame.hwsrc, frame.psrc) for frame in frames} == {(own, HOME)}


@isolated
def test_home_agent_answers_for_the_absent_node_at_once() -> None:
    """ARP-01: and no longer after `remove` (ARP-05)."""
    w = World()
    agent = w.start_ha()
    agent.call(install, ha_tunnel())
    w.rt.sh(f"ping -c1 -W1 {HOME} || true; ip neigh flush dev to_ha")
    answer = w.rt.call(ask, HOME)
    assert answer is not None
    assert answer < 0.3, "the kernel's delay for proxies is up to 0.8 s"
    agent.call(remove)
    assert w.rt.call(ask, HOME, 1.0) is None


async def ask(address: str, patience: float = 5.0) -> float | None:
    """Return the seconds until the first answer to an ARP request."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.setblocking(False)
        sock.bind(("to_ha", 0x0806))
        own = sock.getsockname()[4]
        request = Ether(src=own, dst="ff:ff:ff:ff:ff:ff") / ARP(
            op=1, hwsrc=own, psrc="10.1.1.1", pdst=address
        )
        begin = loop.time()
        sock.send(bytes(request))
        try:
            async with asyncio.timeout(patience):
                while True:
                    heard = Ether(await loop.sock_recv(sock, 2000))
                    if heard[ARP].op == 2 and heard[ARP].psrc == address:
                        return loop.time() - begin
        except TimeoutError:
            return None
