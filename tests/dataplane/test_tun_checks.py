# SPDX-License-Identifier: GPL-2.0-only
"""What a data plane lets in: the reverse-tunnel check and its counterpart."""

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from dataplane.traffic import send_packets
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    HOME,
    HOME_AGENT,
    WLAN0,
    World,
    counters,
    driver,
    ha_tunnel,
    install,
    mn_tunnel,
)
from scapy_mip.const import Encapsulation
from support.netns import Node, isolated


def drops() -> dict[str, int]:
    """Return what was dropped here, without what other hosts complained of."""
    counted = driver().drops().reasons
    return {k: n for k, n in counted.items() if not k.startswith("icmp_")}


def reach(node: Node, agent: Node, packets: list[Packet], received: int) -> None:
    """Send from `node` and wait until the agent has seen all that arrived."""
    node.call(send_packets, [bytes(packet) for packet in packets])
    for _ in range(200):
        seen = agent.call(counters)[2] + sum(agent.call(drops).values())
        if seen >= received:
            return
        agent.call(pause)
    pytest.fail(
        f"{received} packets expected: {agent.call(counters)}, {agent.call(drops)}"
    )


async def pause() -> None:
    import asyncio

    await asyncio.sleep(0.01)


def ping(source: str, destination: str = CORRESPONDENT, **fields: int) -> Packet:
    return IP(src=source, dst=destination, **fields) / ICMP()


def tunnelled(outer: str, inner: Packet, destination: str = HOME_AGENT) -> Packet:
    return IP(src=outer, dst=destination) / inner


def minimal(
    outer: str, inner: Packet, destination: str = HOME_AGENT, spoil: int = 0
) -> Packet:
    """Put `inner` into minimal encapsulation by hand. RFC 2004 section 3."""
    whole = bytes(inner)
    header = whole[9:10] + b"\x80\0\0" + whole[16:20] + whole[12:16]
    check = checksum(header) ^ spoil
    header = header[:2] + check.to_bytes(2, "big") + header[4:]
    outside = IP(src=outer, dst=destination, proto=55, ttl=whole[8], id=99)
    return outside / Raw(header + whole[20:])


OTHER = "10.1.1.11"

CASES = {
    "registered": (tunnelled(ETH0, ping(HOME)), None),
    "wrong outer source": (tunnelled(WLAN0, ping(HOME)), "reverse_wrong_outer_source"),
    "unbound inner source": (tunnelled(ETH0, ping("10.1.1.99")), "reverse_no_binding"),
    "other node's inner source": (
        tunnelled(ETH0, ping(OTHER)),
        "reverse_wrong_outer_source",
    ),
    "wrong encapsulation": (
        IP(src=ETH0, dst=HOME_AGENT) / GRE() / ping(HOME),
        "reverse_wrong_encapsulation",
    ),
    "inner TTL 0": (tunnelled(ETH0, ping(HOME, ttl=0)), "ttl_zero"),
    "inner length lies": (tunnelled(ETH0, ping(HOME, len=900)), "truncated"),
    "GRE with a key": (
        IP(src=ETH0, dst=HOME_AGENT) / GRE(key_present=1, key=1) / ping(HOME),
        "reverse_wrong_encapsulation",
    ),
    "GRE with a sequence number": (
        IP(src=ETH0, dst=HOME_AGENT) / GRE(seqnum_present=1) / ping(HOME),
        "gre_flags",
    ),
    "no inner packet": (IP(src=ETH0, dst=HOME_AGENT, proto=4) / Raw(b"?"), "not_ipv4"),
}


# To a home agent whose tunnel is minimal.
MINIMAL_CASES = {
    "registered": (minimal(ETH0, ping(HOME)), None),
    "first fragment": (tunnelled(ETH0, ping(HOME, flags="MF")), None),
    "last fragment": (tunnelled(ETH0, ping(HOME, frag=3)), None),
    "whole in IP-in-IP": (tunnelled(ETH0, ping(HOME)), "reverse_wrong_encapsulation"),
    "fragment in GRE": (
        IP(src=ETH0, dst=HOME_AGENT) / GRE() / ping(HOME, frag=3),
        "reverse_wrong_encapsulation",
    ),
    "fragment from elsewhere": (
        tunnelled(WLAN0, ping(HOME, frag=3)),
        "reverse_wrong_outer_source",
    ),
    "other node's fragment": (
        tunnelled(ETH0, ping(OTHER, frag=3)),
        "reverse_wrong_outer_source",
    ),
    "wrong outer source": (minimal(WLAN0, ping(HOME)), "reverse_wrong_outer_source"),
    "unbound inner source": (minimal(ETH0, ping("10.1.1.99")), "reverse_no_binding"),
    "other node's form": (minimal(WLAN0, ping(OTHER)), "reverse_wrong_encapsulation"),
    "short with a wrong checksum": (
        IP(src=ETH0, dst=HOME_AGENT, proto=55)
        / Raw(bytes.fromhex("01004ffd0a090002") + bytes(ICMP())),
        "minimal_checksum",
    ),
    "short": (
        IP(src=ETH0, dst=HOME_AGENT, proto=55)
        / Raw(bytes.fromhex("0100f4f40a090002") + bytes(ICMP())),
        "reverse_no_binding",
    ),
    "wrong checksum": (minimal(ETH0, ping(HOME), spoil=1), "minimal_checksum"),
    "no inner packet": (
        IP(src=ETH0, dst=HOME_AGENT, proto=55) / Raw(b"?"),
        "truncated",
    ),
}


@pytest.mark.parametrize(
    ("form", "cases"),
    [(Encapsulation.IPIP, CASES), (Encapsulation.MINIMAL, MINIMAL_CASES)],
    ids=lambda value: getattr(value, "title", ""),
)
@isolated
def test_reverse_tunnel_check(
    form: Encapsulation, cases: dict[str, tuple[Packet, str | None]]
) -> None:
    """RT-07, TUN-01, TUN-05, -07: only what a node sent by its own tunnel is let in."""
    w = World()
    agent = w.start_ha()
    agent.call(install, ha_tunnel(encapsulation=form))
    agent.call(install, ha_tunnel(WLAN0, home_address=OTHER))
    for case, (packet, reason) in cases.items():
        before, passed = agent.call(drops), agent.call(counters)[2]
        total = sum(before.values()) + passed
        reach(w.mn, agent, [packet] * 5, total + 5)
        expected = dict(before)
        if reason is None:
            assert agent.call(counters)[2] == passed + 5, case
        else:
            expected[reason] = expected.get(reason, 0) + 5
        assert agent.call(drops) == expected, case


@isolated
def test_reverse_tunnel_that_was_not_asked_for() -> None:
    """RT-07: without T in the registration nothing comes in."""
    w = World()
    agent = w.start_ha()
    agent.call(install, ha_tunnel(reverse=False))
    reach(w.mn, agent, [tunnelled(ETH0, ping(HOME))], 1)
    assert agent.call(drops) == {"reverse_not_negotiated": 1}


@isolated
def test_mobile_node_listens_to_its_home_agent_alone() -> None:
    """MN-39: from the home agent, in the right form, to the home address or a group."""
    w = World()
    agent = w.start_mn()
    agent.call(install, mn_tunnel())
    good = tunnelled(HOME_AGENT, ping(CORRESPONDENT, HOME), ETH0)
    for number, (packet, reason) in enumerate(
        [
            (good, None),
            (tunnelled(HOME_AGENT, ping(CORRESPONDENT, "224.0.0.1"), ETH0), None),
            (tunnelled(HOME_AGENT, ping(CORRESPONDENT, "10.1.1.255"), ETH0), None),
            (
                tunnelled("10.9.0.2", ping(CORRESPONDENT, HOME), ETH0),
                "forward_wrong_outer_source",
            ),
            (
                IP(src=HOME_AGENT, dst=ETH0) / GRE() / ping(CORRESPONDENT, HOME),
                "forward_wrong_encapsulation",
            ),
            (
                tunnelled(HOME_AGENT, ping(CORRESPONDENT, OTHER), ETH0),
                "forward_no_tunnel",
            ),
            (
                minimal(HOME_AGENT, ping(CORRESPONDENT, HOME), ETH0),
                "forward_wrong_encapsulation",
            ),
        ],
        start=1,
    ):
        before = agent.call(drops)
        reach(w.cn, agent, [packet], number)
        if reason is not None:
            before[reason] = before.get(reason, 0) + 1
        assert agent.call(drops) == before


@isolated
def test_mobile_node_with_a_minimal_tunnel() -> None:
    """MN-39, TUN-05: fragments may come in IP-in-IP, and nothing else."""
    w = World()
    agent = w.start_mn()
    agent.call(install, mn_tunnel(encapsulation=Encapsulation.MINIMAL))
    whole = ping(CORRESPONDENT, HOME)
    part = ping(CORRESPONDENT, HOME, frag=3)
    good = [
        minimal(HOME_AGENT, whole, ETH0),
        tunnelled(HOME_AGENT, part, ETH0),
        minimal(HOME_AGENT, ping(CORRESPONDENT, "224.0.0.1"), ETH0),
    ]
    reach(w.cn, agent, good, 3)
    assert agent.call(counters)[2] == 3
    bad = [
        tunnelled(HOME_AGENT, whole, ETH0),
        IP(src=HOME_AGENT, dst=ETH0) / GRE() / part,
        minimal(CORRESPONDENT, whole, ETH0),
        tunnelled(CORRESPONDENT, part, ETH0),
    ]
    reach(w.cn, agent, bad, 7)
    assert agent.call(drops) == {
        "forward_wrong_encapsulation": 2,
        "forward_wrong_outer_source": 2,
    }


@isolated
def test_nests_come_from_the_home_agent_and_are_for_many() -> None:
    """MN-42, HA-40: IP-in-IP to the home address, whatever the tunnel around it is."""
    w = World()
    agent = w.start_mn()
    agent.call(install, mn_tunnel(encapsulation=Encapsulation.GRE))
    many, one = ping(CORRESPONDENT, "10.1.1.255"), ping(CORRESPONDENT, HOME)
    nests = [
        (tunnelled(HOME_AGENT, many, HOME), None),
        (tunnelled(HOME_AGENT, one, HOME), "forward_wrong_encapsulation"),
        (minimal(HOME_AGENT, many, HOME), "forward_wrong_encapsulation"),
        (tunnelled("10.9.0.2", many, HOME), "forward_wrong_outer_source"),
    ]
    expected: dict[str, int] = {}
    for number, (nest, reason) in enumerate(nests, start=1):
        outer = IP(src=HOME_AGENT, dst=ETH0) / GRE() / nest
        reach(w.cn, agent, [outer], 2 * number)
        if reason is not None:
            expected[reason] = expected.get(reason, 0) + 1
        assert agent.call(drops) == expected, number
    # One whose header is broken comes out of the tunnel, but what is in it does not.
    received = agent.call(counters)[2]
    broken = tunnelled(HOME_AGENT, many, HOME)
    broken.chksum = 1
    last = minimal(HOME_AGENT, many, HOME)
    packets = [IP(src=HOME_AGENT, dst=ETH0) / GRE() / nest for nest in (broken, last)]
    reach(w.cn, agent, packets, 2 * len(nests) + 3)
    assert agent.call(counters)[2] == received + 2


@isolated
def test_source_at_the_tunnels_exit_is_not_tunnelled() -> None:
    """TUN-02, HA-36: the care-of address itself sends to the home address."""
    w = World()
    agent = w.start_ha()
    agent.call(install, ha_tunnel())
    w.mn.call(send_packets, [bytes(ping(ETH0, HOME))])
    for _ in range(200):
        if agent.call(drops):
            break
        agent.call(pause)
    assert agent.call(drops) == {"exit_address": 1}
    assert agent.call(counters) == (0, 0, 0, 0)


@isolated
def test_encapsulations_of_one_binding() -> None:
    """HA-44: what the mobile node negotiated holds for its binding alone."""
    w = World()
    agent = w.start_ha()
    agent.call(install, ha_tunnel(encapsulation=Encapsulation.GRE))
    agent.call(install, ha_tunnel(home_address=OTHER))
    reach(
        w.mn,
        agent,
        [
            IP(src=ETH0, dst=HOME_AGENT) / GRE() / ping(HOME),
            tunnelled(ETH0, ping(OTHER)),
            tunnelled(ETH0, ping(HOME)),
            IP(src=ETH0, dst=HOME_AGENT) / GRE() / ping(OTHER),
        ],
        3,
    )
    assert agent.call(counters)[2] == 1
    assert agent.call(drops).get("reverse_wrong_encapsulation") in (1, 2)


@isolated
def test_a_home_address_is_not_told_to_visited_links() -> None:
    """ARP-03: nobody there is answered, but for the care-of address (ARP-08)."""
    w = World()
    w.start_mn().call(install, mn_tunnel())
    w.rt.sh("ip addr add 10.1.1.2/32 dev to_eth0")
    for wanted, answered in ((ETH0, True), (HOME, False)):
        w.rt.sh(f"ip neigh flush dev to_eth0; ip route replace {wanted} dev to_eth0")
        w.rt.sh(f"ping -c1 -W0.5 {wanted} || true")
        assert ("lladdr" in w.rt.sh(f"ip neigh show {wanted}")) is answered
