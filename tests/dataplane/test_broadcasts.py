# SPDX-License-Identifier: GPL-2.0-only
"""What is sent to many on the home link, and mobile nodes that are away.

All of it holds for each driver that carries this, and what passes between two agents
also where each has its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from dataplane import world
from dataplane.traffic import send_packets
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    HOME_AGENT,
    WLAN0,
    World,
    close,
    differences,
    drops,
    ha_tunnel,
    install,
    mirrored,
    mn_tunnel,
    remove,
    state,
)
from mip_agents.dataplane import igmp
from mip_agents.dataplane.decap import decapsulate
from mip_agents.protocol.tunnel import BROADCASTS, Category, Delivery, Form
from scapy_mip.const import Encapsulation
from support.netns import Node, isolated

SUBNET, LIMITED, GROUP = "10.1.1.255", "255.255.255.255", "239.1.2.3"
PORT = 7200
ALL = frozenset(Category)
GROUPS = frozenset({Category.MULTICAST})

TUN, EBPF = ("tun", "tun"), ("ebpf", "ebpf")


@pytest.fixture(params=[TUN, EBPF], ids="-".join, autouse=True)
def drivers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make worlds with these drivers, the home agent's and the mobile node's."""
    ha, mn = request.param
    monkeypatch.setattr(world, "DRIVER", ha)
    monkeypatch.setattr(world, "MN_DRIVER", mn)


PAIRS = [TUN, EBPF, ("tun", "ebpf"), ("ebpf", "tun")]
every_pair = pytest.mark.parametrize("drivers", PAIRS, ids="-".join, indirect=True)
every_pair_and_port = pytest.mark.parametrize(
    ("drivers", "port"),
    [pytest.param(pair, "auto", id="-".join(pair)) for pair in PAIRS]
    + [pytest.param(TUN, "veth", id="tun-tun-veth")],
    indirect=["drivers"],
)

_ears: dict[str, socket.socket] = {}


def listen(group: str | None = None, interface: str | None = None) -> None:
    """Hold a UDP port as any program does that waits for broadcasts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.setblocking(False)
    sock.bind(("", PORT))
    _ears["udp"] = sock
    if group is not None:
        index = socket.if_nametoindex(interface) if interface else 0
        member = socket.inet_aton(group) + bytes(4) + struct.pack("=i", index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)


def stop_listening() -> None:
    """Let go of the port, and with it leave the group."""
    _ears.pop("udp").close()


async def heard(count: int) -> list[tuple[int, str]]:
    """Return length and source of the next datagrams."""
    loop, found = asyncio.get_running_loop(), []
    async with asyncio.timeout(10):
        for _ in range(count):
            data, (source, _) = await loop.sock_recvfrom(_ears["udp"], 65535)
            found.append((len(data), source))
    return found


def send(destination: str, sizes: list[int], interface: str | None = None) -> None:
    """Send datagrams to many, as any program does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # no DF
        if interface is not None:
            name = interface.encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        for size in sizes:
            sock.sendto(bytes(size), (destination, PORT))


def tap(interface: str) -> None:
    """Begin to note what arrives on an interface, whatever tc does to it there."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.setsockopt(263, 23, 1)  # PACKET_IGNORE_OUTGOING
    sock.bind((interface, 0x0003))  # ETH_P_ALL comes before tc
    sock.setblocking(False)
    _ears["tap"] = sock


async def tapped(size: int, depth: int) -> tuple[list[str], list[bytes]]:
    """Wait for a datagram of `size` octets inside of `depth` tunnels.

    Return the addresses in the headers around it, from the outside, and what came
    before it.
    """
    loop, before = asyncio.get_running_loop(), []
    async with asyncio.timeout(10):
        while True:
            packet, link = await loop.sock_recvfrom(_ears["tap"], 65535)
            if link[1] != 0x0800:
                continue
            first, around = packet, []
            for _ in range(depth):
                around += [_text(packet[12:16]), _text(packet[16:20])]
                result = decapsulate(packet)
                if isinstance(result, str):
                    break
                packet = result.inner
            else:
                if packet[9] == 17 and len(packet) == 28 + size:
                    return around, before
            before.append(first)


def _text(address: bytes) -> str:
    return socket.inet_ntoa(address)


def deliver(
    form: Form,
    categories: frozenset[Category] = ALL,
    *,
    nested: bool = False,
    care_of: str = ETH0,
) -> dict[str, Any]:
    """Return what makes a tunnel one that delivers."""
    return {"form": form, "deliveries": (Delivery(care_of, nested, categories),)}


def away(
    form: Form = FORMS["ipip"],
    categories: frozenset[Category] = ALL,
    *,
    nested: bool = False,
    **options: Any,
) -> World:
    """Return a world with a node away that gets what `categories` say."""
    w = World(**options)
    if w.ha_driver != w.mn_driver:
        w.like_wires()  # what tc programs leave to a network card comes to sockets
    agents = w.start_ha(), w.start_mn()
    if form.ports:
        for agent, port in zip(agents, form.ports, strict=True):
            agent.call(world.listen, port)
    w.mn_agent.call(install, mn_tunnel(form=mirrored(form), broadcasts=True))
    w.ha_agent.call(install, ha_tunnel(**deliver(form, categories, nested=nested)))
    return w


def wait_for_group(node: Node, interface: str, group: str, there: bool = True) -> None:
    """Wait until the kernel is in a group, or is not any more."""
    for _ in range(500):
        if (f" {group}\n" in node.sh(f"ip maddr show dev {interface}")) is there:
            return
        node.sh("sleep 0.02")
    raise AssertionError(f"{group} on {interface}: not {there}")


@every_pair
@pytest.mark.parametrize("form", ["ipip", "gre-key", "minimal"])
@isolated
def test_broadcasts_reach_a_node_that_asked_for_them(form: str) -> None:
    """HA-40, HA-33: with B, in whatever form the tunnel has; large ones in fragments.

    What the interface of the sender left to a network card to sum up is whole here.
    """
    w = away(FORMS[form])
    w.mn.call(listen)
    for destination in (LIMITED, SUBNET):
        sizes = [1, 100, 1472, 4000]
        w.rt.call(send, destination, sizes, "to_ha")
        expected = [(size, "10.1.1.1") for size in sizes]
        assert sorted(w.mn.call(heard, 4)) == expected
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@pytest.mark.parametrize(
    ("categories", "wanted"),
    [
        ({Category.LIMITED}, [LIMITED]),
        ({Category.SUBNET}, [SUBNET]),
        (GROUPS, []),
    ],
)
@isolated
def test_only_what_is_configured_is_passed_on(
    categories: set[Category], wanted: list[str]
) -> None:
    """HA-40, HA-04: categories; without B there are no broadcasts at all."""
    w = away(categories=frozenset(categories))
    w.mn.call(listen)
    w.rt.call(send, LIMITED, [10], "to_ha")
    w.rt.call(send, SUBNET, [11], "to_ha")
    w.cn.call(send, HOME, [12])
    sizes = {LIMITED: 10, SUBNET: 11}
    expected = [sizes[address] for address in wanted] + [12]
    assert sorted(size for size, _ in w.mn.call(heard, len(expected))) == expected


@isolated
def test_a_node_that_did_not_ask_gets_nothing_beside_one_that_did() -> None:
    """HA-40."""
    w = away()
    other = "10.1.1.11"
    w.ha_agent.call(install, ha_tunnel(CORRESPONDENT, home_address=other))
    w.cn.call(tap, "eth0")
    w.mn.call(listen)
    w.rt.call(send, SUBNET, [10], "to_ha")
    assert w.mn.call(heard, 1) == [(10, "10.1.1.1")]
    w.rt.call(send, other, [11], "to_ha")
    around, before = w.cn.call(tapped, 11, 1)
    assert around == [HOME_AGENT, CORRESPONDENT]
    assert before == []


@every_pair
@pytest.mark.parametrize("form", ["ipip", "gre-key", "minimal", "minimal-udp"])
@isolated
def test_without_d_copies_are_wrapped_for_the_home_address_first(form: str) -> None:
    """HA-40, MN-42: nested on the wire, and taken out twice by who gets them."""
    w = away(FORMS[form], nested=True)
    w.mn.call(tap, "eth0")
    w.mn.call(listen)
    w.rt.call(send, SUBNET, [100, 1472], "to_ha")
    assert w.mn.call(heard, 2) == [(100, "10.1.1.1"), (1472, "10.1.1.1")]
    around, _ = w.mn.call(tapped, 100, 2)
    assert around == [HOME_AGENT, ETH0, HOME_AGENT, HOME]
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@pytest.mark.parametrize("drivers", [EBPF], ids="-".join, indirect=True)
@isolated
def test_nests_do_not_need_the_agent() -> None:
    """The kernel might tell the home agent that they are for nobody."""
    w = away(FORMS["gre-key"], nested=True)
    w.mn.call(listen)
    w.mn_agent.kill()
    w.rt.call(send, SUBNET, [100, 1472], "to_ha")
    assert w.mn.call(heard, 2) == [(100, "10.1.1.1"), (1472, "10.1.1.1")]


@isolated
def test_each_care_of_address_gets_a_copy_in_its_own_way() -> None:
    """HA-33, HA-44: two bindings, of which one has B and one has a keyed GRE tunnel."""
    w = World()
    w.start_ha()
    forms = (FORMS["ipip"], FORMS["gre-key"])
    tunnel = ha_tunnel(
        peers=(ETH0, WLAN0),
        peer_forms=forms,
        deliveries=(
            Delivery(ETH0, False, BROADCASTS),
            Delivery(WLAN0, True, BROADCASTS),
        ),
    )
    w.ha_agent.call(install, tunnel)
    for interface, address, depth in (("eth0", ETH0, 1), ("wlan0", WLAN0, 2)):
        w.mn.call(tap, interface)
        w.rt.call(send, LIMITED, [10], "to_ha")
        around, _ = w.mn.call(tapped, 10, depth)
        assert around[:2] == [HOME_AGENT, address]


@every_pair
@pytest.mark.parametrize(
    ("form", "nested"), [("ipip", False), ("gre-key", True), ("gre-udp", True)]
)
@isolated
def test_a_group_is_joined_and_left_through_the_tunnel(form: str, nested: bool) -> None:
    """HA-41, MN-42: the home agent joins on the home link as long as somebody wants.

    The membership report comes from the home address, whatever version of IGMP.
    """
    w = away(FORMS[form], GROUPS, nested=nested)
    w.mn.call(listen, GROUP)
    wait_for_group(w.ha, "home0", GROUP)
    w.rt.call(send, GROUP, [10, 1472], "to_ha")
    assert w.mn.call(heard, 2) == [(10, "10.1.1.1"), (1472, "10.1.1.1")]
    w.mn.call(stop_listening)
    wait_for_group(w.ha, "home0", GROUP, there=False)
    w.mn.call(listen)
    w.rt.call(send, GROUP, [11], "to_ha")
    w.cn.call(send, HOME, [12])
    assert w.mn.call(heard, 1) == [(12, CORRESPONDENT)]
    assert not w.mn_agent.call(drops)


def ask_soon() -> None:
    """Have groups asked for again and again, and memberships end at once."""
    igmp.QUERY_INTERVAL = 1  # type: ignore[misc]
    igmp.MEMBERSHIP_S = 0  # type: ignore[misc]


@isolated
def test_who_answers_no_more_is_not_a_member_any_more() -> None:
    """HA-41: IGMP's timeout, for a node that leaves without a word."""
    w = World()
    w.start_ha().call(ask_soon)
    w.ha_agent.call(install, ha_tunnel(**deliver(FORMS["ipip"], GROUPS)))
    w.mn.call(tap, "eth0")
    report = struct.pack("!BBH4s", 0x16, 0, 0, socket.inet_aton(GROUP))
    packet = IP(src=HOME, dst=GROUP, ttl=1, proto=igmp.IGMP) / Raw(report)
    packet[Raw].load = report[:2] + _sum(report) + report[4:]
    outer = IP(src=ETH0, dst=HOME_AGENT, proto=4) / packet
    w.rt.call(send_packets, [bytes(outer)])
    wait_for_group(w.ha, "home0", GROUP)
    wait_for_group(w.ha, "home0", GROUP, there=False)


def _sum(data: bytes) -> bytes:
    from mip_agents.dataplane.outer import checksum

    return checksum(data).to_bytes(2, "big")


@every_pair_and_port
@isolated
def test_members_are_found_by_asking(port: str) -> None:
    """HA-41: a home agent that knows nothing of the groups of a node asks for them."""
    w = away(categories=GROUPS, port=port)
    w.mn.call(listen, GROUP)
    wait_for_group(w.ha, "home0", GROUP)
    w.ha_agent.call(remove)
    wait_for_group(w.ha, "home0", GROUP, there=False)
    w.ha_agent.call(install, ha_tunnel(**deliver(FORMS["ipip"], GROUPS)))
    wait_for_group(w.ha, "home0", GROUP)  # within the 10 s in which hosts answer


@pytest.mark.parametrize("destination", [LIMITED, SUBNET, GROUP])
@isolated
def test_what_a_node_sends_to_many_goes_home_but_not_back(destination: str) -> None:
    """MN-43, HA-40: to the home link and to other nodes, with one hop less."""
    w = away()
    other = "10.1.1.11"
    w.ha_agent.call(
        install,
        ha_tunnel(
            CORRESPONDENT,
            home_address=other,
            **deliver(FORMS["ipip"], care_of=CORRESPONDENT),
        ),
    )
    w.rt.call(tap, "to_ha")
    w.cn.call(tap, "eth0")
    w.mn.call(tap, "eth0")
    packet = IP(src=HOME, dst=destination, ttl=9) / UDP(dport=PORT) / Raw(bytes(30))
    outer = IP(src=ETH0, dst=HOME_AGENT, proto=4) / packet
    w.rt.call(send_packets, [bytes(outer)])
    w.rt.call(tapped, 30, 0)
    wanted = 1 if destination != GROUP else 0  # nobody else has joined
    if wanted:
        assert w.cn.call(tapped, 30, 1)[0] == [HOME_AGENT, CORRESPONDENT]
    w.rt.call(send, HOME, [31])
    _, before = w.mn.call(tapped, 31, 1)
    assert not [one for one in before if bytes(30) in one and len(one) == 78]


@every_pair_and_port
@isolated
def test_a_mobile_node_sends_broadcasts_and_multicasts_home(port: str) -> None:
    """MN-43: by its own kernel, from its home address, in the tunnel."""
    w = away(port=port)
    w.rt.call(listen, GROUP, "to_ha")
    for destination, interface in ((SUBNET, None), (GROUP, None), (LIMITED, "mipmn0")):
        w.mn.call(send, destination, [20], interface)
        assert w.rt.call(heard, 1) == [(20, HOME)]


@every_pair
@pytest.mark.parametrize("form", ["ipip", "minimal"])
@isolated
def test_what_a_node_sends_to_many_fits_its_tunnel(form: str) -> None:
    """MN-43, TUN-04: the node's kernel makes fragments by the size of the tunnel."""
    w = away(FORMS[form])
    w.rt.call(listen, GROUP, "to_ha")
    sizes = [1448, 1472, 4000]
    for destination in (GROUP, SUBNET):
        if " mtu " not in w.mn.sh(f"ip route get {destination}"):
            assert destination == SUBNET  # Linux before 6.17 looks at the link alone
            continue
        w.mn.call(send, destination, sizes)
        assert w.rt.call(heard, 3) == [(size, HOME) for size in sizes]
    assert not w.mn_agent.call(drops)


@isolated
def test_a_smaller_tunnel_takes_the_place_of_a_larger() -> None:
    """TUN-04: one broadcast route, with the size of now."""
    w = World()
    agent = w.start_mn()
    for encapsulation, mtu in ((Encapsulation.IPIP, 1480), (Encapsulation.GRE, 1476)):
        tunnel = mn_tunnel(broadcasts=True, encapsulation=encapsulation)
        agent.call(install, tunnel)
        shown = w.mn.sh(f"ip route show table local {SUBNET}").strip().splitlines()
        assert len(shown) == 1
        assert "dev mipmn0 " in shown[0] and f"mtu {mtu}" in shown[0]


def _frame(**fields: Any) -> bytes:
    return bytes(IP(**fields) / UDP(dport=PORT) / Raw(b"x"))


@isolated
def test_loops_end_and_strange_packets_go_nowhere() -> None:
    """TUN-01, TUN-02, HA-36: no hop left, a source that is none, the tunnel's exit."""
    w = away()
    w.mn.call(listen)
    packets = [
        _frame(src="10.1.1.1", dst=SUBNET, ttl=1),
        _frame(src="224.0.0.9", dst=SUBNET),
        _frame(src=ETH0, dst=SUBNET),
    ]
    w.rt.call(send_raw, packets)
    w.rt.call(send, SUBNET, [7], "to_ha")
    assert w.mn.call(heard, 1) == [(7, "10.1.1.1")]
    assert w.ha_agent.call(drops) == {
        "broadcast_ttl_zero": 1,
        "broadcast_source": 1,
        "broadcast_exit_address": 1,
    }


def send_raw(packets: list[bytes]) -> None:
    """Send packets as link-layer broadcasts on the home link."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        for packet in packets:
            sock.sendto(packet, ("to_ha", 0x0800, 0, 0, b"\xff" * 6))


@isolated
def test_closing_leaves_nothing() -> None:
    """HA-40, HA-41: groups, addresses and routes go with the tunnel, or at the end."""
    w = World()
    before = [state(node) for node in (w.ha, w.mn)]
    groups = w.ha.sh("ip maddr show")
    form = Form(Encapsulation.IPIP)
    w.start_ha()
    w.start_mn()
    w.ha_agent.call(install, ha_tunnel(**deliver(form)))
    w.mn_agent.call(install, mn_tunnel(broadcasts=True))
    w.mn.call(listen, GROUP)
    wait_for_group(w.ha, "home0", GROUP)
    assert f"broadcast {SUBNET} dev mipmn0" in w.mn.sh("ip route show table local")
    w.ha_agent.call(install, ha_tunnel())  # a refresh that takes B back
    wait_for_group(w.ha, "home0", GROUP, there=False)
    w.ha_agent.call(install, ha_tunnel(**deliver(form)))
    w.ha_agent.call(close)
    w.mn_agent.call(close)
    for node, then in zip((w.ha, w.mn), before, strict=True):
        assert differences(then, state(node)) == []
    assert w.ha.sh("ip maddr show") == groups


@isolated
def test_what_a_killed_mobile_node_left_is_removed() -> None:
    """The next one finds the route and the address by the role's mark."""
    w = World()
    before = state(w.mn)
    w.start_mn()
    # Without a reverse tunnel the route is at `lo`, and survives the port.
    w.mn_agent.call(install, mn_tunnel(broadcasts=True, reverse=False))
    assert f"broadcast {SUBNET} dev lo" in w.mn.sh("ip route show table local")
    w.mn_agent.kill()
    w.start_mn().call(close)
    found = differences(before, state(w.mn))
    assert not [line for line in found if SUBNET in line or HOME in line]
