# SPDX-License-Identifier: GPL-2.0-only
"""Keys, tunnel data and offloads: what the `ebpf` driver does in its own way."""

import socket
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from dataplane.test_tun_checks import OTHER, drops, minimal, ping, reach, tunnelled
from dataplane.traffic import tcp_both_ways, udp_both_ways
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    HOME,
    HOME_AGENT,
    HOME_NETWORK,
    WLAN0,
    World,
    counters,
    driver,
    ha_tunnel,
    install,
    mn_tunnel,
    open_driver,
    remove,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.port import PORT_NAMES, ethtool, get_gro, set_gro
from mip_agents.protocol.tunnel import BROADCASTS, Delivery, Form, Role
from scapy_mip.const import MIP_PORT, Encapsulation
from support.netns import Node, isolated

SIZES = [0, 1, 100, 1400, 1448, 1472, 1473, 9000, 60000]
NAT_PORT = 40434
GET_TSO = 0x1E

FORMS = {
    "GRE with a key": (Form(Encapsulation.GRE, 77, 78), 28),
    "GRE with a key there": (Form(Encapsulation.GRE, 77, None), 28),
    "tunnel data": (Form(Encapsulation.IPIP, ports=(MIP_PORT, NAT_PORT)), 32),
    "GRE in tunnel data": (Form(Encapsulation.GRE, ports=(MIP_PORT, NAT_PORT)), 36),
    "minimal in tunnel data": (
        Form(Encapsulation.MINIMAL, ports=(MIP_PORT, NAT_PORT)),
        32,
    ),
}
every_form = pytest.mark.parametrize("name", FORMS)


def both(form: Form) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a form means to the home agent's tunnel and the mobile node's."""
    ports = form.ports and (form.ports[1], form.ports[0])
    theirs = Form(form.encapsulation, form.receive_key, form.send_key, ports)
    return (
        {"encapsulation": form.encapsulation, "peer_forms": (form,)},
        {"encapsulation": form.encapsulation, "peer_forms": (theirs,)},
    )


def world() -> World:
    return World(driver="ebpf")


@every_form
@isolated
def test_all_sizes_both_ways(name: str) -> None:
    """RFC 6245, RFC 3519 sections 3.3 and 4.2: pings, fragments, TCP."""
    form, room = FORMS[name]
    if form.ports:  # the node has no NAT here: both ends use the port
        form = form._replace(ports=(MIP_PORT, MIP_PORT))
    ours, theirs = both(form)
    w = world()
    w.start_ha().call(install, ha_tunnel(**ours))
    w.start_mn().call(install, mn_tunnel(**theirs))
    for size in (0, 56, 1400, 1448, 1472, 20000, 65000):
        w.cn.sh(f"ping -c1 -W3 -M dont -s {size} {HOME}")
        w.mn.sh(f"ping -c1 -W3 -M dont -s {size} -I {HOME} {CORRESPONDENT}")
    udp_both_ways(w.cn, w.mn, HOME, SIZES)
    assert udp_both_ways(w.mn, w.cn, CORRESPONDENT, SIZES) == HOME
    assert tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 20) == 1500 - room - 40 - 12
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 20)
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


def octets_and_packets(interface: str) -> tuple[int, int]:
    """Return what an interface has sent."""
    (line,) = (
        line
        for line in Path("/proc/net/dev").read_text().splitlines()
        if line.split(":")[0].strip() == interface
    )
    columns = line.split(":")[1].split()
    return int(columns[8]), int(columns[9])


@isolated
def test_segments_stay_together_whatever_the_size_of_the_outer_header() -> None:
    """GSO: TCP joins up to 65,427 octets, and 40 are added at most."""
    w = world()
    w.start_ha()
    w.start_mn()
    port = PORT_NAMES[Role.HOME_AGENT]
    for encapsulation in (Encapsulation.IPIP, Encapsulation.GRE):
        for key in (None, 7) if encapsulation is Encapsulation.GRE else (None,):
            for ports in (None, (MIP_PORT, MIP_PORT)):
                form = Form(encapsulation, key, key, ports)
                w.install(form)
                before = w.ha.call(octets_and_packets, port)
                tcp_both_ways(w.cn, w.mn, HOME, 1 << 23)
                after = w.ha.call(octets_and_packets, port)
                octets, packets = (
                    new - old for new, old in zip(after, before, strict=True)
                )
                assert octets > 1 << 23, form
                assert octets / packets > 10_000, form
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


def keyed(outer: str, key: int | None, source: str = HOME) -> IP:
    gre = GRE() if key is None else GRE(key_present=1, key=key)
    return IP(src=outer, dst=HOME_AGENT) / gre / ping(source)


def tunnel_data(
    outer: str, port: int = NAT_PORT, next_header: int = 4, source: str = HOME
) -> IP:
    """Put a packet into MIP tunnel data. RFC 3519 section 3.3."""
    inner = ping(source)
    data = bytes(inner)
    if next_header == Encapsulation.GRE:
        data = bytes(GRE() / inner)
    elif next_header == Encapsulation.MINIMAL:
        data = bytes(minimal(outer, inner))[20:]
    return (
        IP(src=outer, dst=HOME_AGENT)
        / UDP(sport=port, dport=MIP_PORT, chksum=0)
        / Raw(bytes((4, next_header, 0, 0)) + data)
    )


KEYS = [
    (keyed(ETH0, 78), None),
    (keyed(ETH0, 77), "reverse_wrong_key"),
    (keyed(ETH0, None), "reverse_wrong_key"),
    (keyed(WLAN0, 78), "reverse_wrong_outer_source"),
    (keyed(ETH0, 78, OTHER), "reverse_no_binding"),
    (tunnelled(ETH0, ping(HOME)), "reverse_wrong_encapsulation"),
]
DATA = [
    (tunnel_data(ETH0), None),
    (tunnel_data(ETH0, port=NAT_PORT + 1), "reverse_wrong_ports"),
    (tunnel_data(WLAN0), "reverse_wrong_outer_source"),
    (tunnel_data(ETH0, source=OTHER), "reverse_no_binding"),
    (tunnel_data(ETH0, next_header=47), "reverse_wrong_encapsulation"),
    (tunnel_data(ETH0, next_header=55), "reverse_wrong_encapsulation"),
    (tunnel_data(ETH0, next_header=6), "unknown_protocol"),
    (tunnelled(ETH0, ping(HOME)), "reverse_wrong_encapsulation"),
]


@pytest.mark.parametrize(
    ("name", "cases"),
    [("GRE with a key", KEYS), ("tunnel data", DATA)],
    ids=["keys", "tunnel data"],
)
@isolated
def test_reverse_tunnel_check(name: str, cases: list[tuple[IP, str | None]]) -> None:
    """RT-07: key, port and next header are part of what was negotiated."""
    w = world()
    agent = w.start_ha()
    agent.call(install, ha_tunnel(**both(FORMS[name][0])[0]))
    expected: dict[str, int] = {}
    for number, (packet, reason) in enumerate(cases, start=1):
        reach(w.mn, agent, [packet], number)
        if reason is not None:
            expected[reason] = expected.get(reason, 0) + 1
        assert agent.call(drops) == expected, number
    assert agent.call(counters)[2] == 1


@isolated
def test_nodes_behind_one_nat_are_told_apart_by_their_ports() -> None:
    w = world()
    agent = w.start_ha()
    for home, port in ((HOME, NAT_PORT), (OTHER, NAT_PORT + 1)):
        form = Form(Encapsulation.IPIP, ports=(MIP_PORT, port))
        agent.call(install, ha_tunnel(home_address=home, **both(form)[0]))
    reach(w.mn, agent, [tunnel_data(ETH0), tunnel_data(ETH0, source=OTHER)], 2)
    assert agent.call(counters)[2] == 1
    assert agent.call(drops) == {"reverse_wrong_ports": 1}


@isolated
def test_gre_checksums_are_verified() -> None:
    """TUN-07: by user space, as a program cannot sum up a whole packet."""
    w = world()
    agent = w.start_ha()
    agent.call(install, ha_tunnel(encapsulation=Encapsulation.GRE))
    good = IP(src=ETH0, dst=HOME_AGENT) / GRE(chksum_present=1) / ping(HOME)
    bad = IP(src=ETH0, dst=HOME_AGENT) / GRE(chksum_present=1, chksum=1) / ping(HOME)
    reach(w.mn, agent, [good, bad], 2)
    assert agent.call(counters)[2] == 1
    assert agent.call(drops) == {"gre_checksum": 1}


@isolated
def test_other_messages_of_the_port_pass() -> None:
    """Registrations use the port of tunnel data."""
    w = world()
    w.start_ha().call(install, ha_tunnel(**both(FORMS["tunnel data"][0])[0]))
    w.ha.call(listen, HOME_AGENT)
    w.mn.call(say, HOME_AGENT, b"\1registration")
    assert w.ha.call(heard) == b"\1registration"


@isolated
def test_what_looks_like_tunnel_data_at_other_ports_passes() -> None:
    """An octet alone does not make it ours."""
    w = world()
    w.start_ha().call(install, ha_tunnel(**both(FORMS["tunnel data"][0])[0]))
    w.ha.call(listen, HOME_AGENT, NAT_PORT)
    data = bytes((4, 4, 0, 0)) + bytes(ping(HOME))
    w.mn.call(say, HOME_AGENT, data, NAT_PORT)
    assert w.ha.call(heard) == data
    assert w.ha_agent.call(counters)[2] == 0


@isolated
def test_path_mtu_of_tunnel_data_is_learnt_from_routers() -> None:
    """TUN-04: ICMP errors about UDP are for us if they are about our port."""
    ours, theirs = both(Form(Encapsulation.IPIP, ports=(MIP_PORT, MIP_PORT)))
    w = world()
    w.start_ha().call(install, ha_tunnel(**ours))
    w.start_mn().call(install, mn_tunnel(**theirs))
    w.rt.sh("ip link set to_eth0 mtu 1300")
    w.mn.sh("ip link set eth0 mtu 1300")
    w.ha.call(say, CORRESPONDENT, b"nobody listens there")
    for _ in range(3):  # the first is lost on the way and teaches the home agent
        w.cn.sh(f"ping -c1 -W1 -M do -s 1400 {HOME} || true")
    assert "mtu 1268" in w.cn.sh(f"ip route get {HOME}")
    assert w.ha_agent.call(driver_drops) == {"icmp_3_4": 1}
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1400 {HOME}")
    w.cn.sh(f"ping -c1 -W3 -M do -s 1240 {HOME}")


@isolated
def test_fragmented_tunnel_data_is_reassembled() -> None:
    ours, theirs = both(Form(Encapsulation.IPIP, ports=(MIP_PORT, MIP_PORT)))
    w = world()
    w.rt.sh("ip link set to_eth0 mtu 600")
    w.mn.sh("ip link set eth0 mtu 600")
    w.start_ha().call(install, ha_tunnel(**ours))
    w.start_mn().call(install, mn_tunnel(**theirs))
    w.cn.sh(f"ping -c1 -W3 -M dont -s 1200 {HOME}")
    assert not w.mn_agent.call(drops)


@isolated
def test_own_tunnel_data_is_not_tunnelled_again() -> None:
    """TUN-02: two nodes, each at the other's home address."""
    w = world()
    agent = w.start_ha()
    form = Form(Encapsulation.IPIP, ports=(MIP_PORT, MIP_PORT))
    agent.call(install, ha_tunnel(OTHER, **both(form)[0]))
    agent.call(install, ha_tunnel(HOME, home_address=OTHER, **both(form)[0]))
    w.cn.sh(f"ping -c1 -W0.1 {HOME} || true")
    assert agent.call(drops) == {"own_tunnel": 1}


@isolated
def test_copies_have_a_limit() -> None:
    w = world()
    agent = w.start_ha()
    peers = tuple(f"10.1.2.{number}" for number in range(10, 18))
    agent.call(install, ha_tunnel(peers=peers))
    with pytest.raises(DataplaneError, match=r"9 simultaneous.*max_bindings_per_node"):
        agent.call(install, ha_tunnel(peers=(*peers, ETH0)))
    assert agent.call(peers_of, HOME) == peers


@isolated
def test_each_of_eight_peers_gets_a_copy() -> None:
    w = world()
    peers = tuple(f"10.1.2.{number}" for number in range(10, 18))
    w.mn.sh(";".join(f"ip addr add {peer}/24 dev eth0" for peer in peers))
    for peer in peers:  # neighbours are resolved
        w.cn.sh(f"ping -c1 -W3 {peer}")
    w.start_ha().call(install, ha_tunnel(peers=peers))
    w.start_mn().call(install, mn_tunnel(peers[-1]))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    assert w.ha_agent.call(counters)[::2] == (1, 8)
    assert w.mn_agent.call(counters)[::2] == (8, 8)


@isolated
def test_minimal_tunnels_alone_switch_offloads_off() -> None:
    """Segments and checksums cannot be completed behind the forwarding header."""
    w = world()
    agent = w.start_ha()

    def whole() -> bool:
        return not agent.call(ethtool, "mipha0", GET_TSO, 0)

    agent.call(install, ha_tunnel())
    assert not whole()
    agent.call(install, ha_tunnel(encapsulation=Encapsulation.MINIMAL))
    agent.call(install, ha_tunnel(WLAN0, encapsulation=Encapsulation.MINIMAL))
    assert whole()
    agent.call(install, ha_tunnel())
    assert not whole()
    agent.call(install, ha_tunnel(encapsulation=Encapsulation.MINIMAL))
    agent.call(remove)
    assert not whole()


@isolated
def test_two_nodes_exchange_tcp_through_the_home_agent() -> None:
    """Merged segments come out of one tunnel and go into the other."""
    w = world()
    other = "10.1.1.11"
    w.start(Encapsulation.GRE, True)
    w.cn.sh(f"ip addr add {other}/32 dev lo")
    w.ha_agent.call(install, ha_tunnel(CORRESPONDENT, home_address=other))
    second = Node("second", inside=w.cn)
    options = {"home_network": HOME_NETWORK}
    second.call(open_driver, Role.MOBILE_NODE, options, "ebpf")
    second.call(install, mn_tunnel(CORRESPONDENT, home_address=other))
    tcp_both_ways(w.mn, w.cn, other, 1 << 20)
    assert not w.ha_agent.call(drops)


@pytest.mark.parametrize("form", list(Encapsulation), ids=lambda form: form.title)
@isolated
def test_merged_segments_pass(form: Encapsulation) -> None:
    """Receive offload stays as it is: the kernel takes apart what it has merged."""
    w = world()
    for node, name in ((w.ha, "home0"), (w.mn, "eth0"), (w.cn, "eth0")):
        node.call(set_gro, name, True)
    w.start(form, True)
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 8 << 20)
    tcp_both_ways(w.cn, w.mn, HOME, 8 << 20)
    tcp_both_ways(w.ha, w.mn, HOME, 1 << 20)
    assert w.ha.call(get_gro, "home0")
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


# What nodes do on request


def driver_drops() -> dict[str, int]:
    return dict(driver().drops().reasons)


def peers_of(home_address: str) -> tuple[str, ...]:
    return next(
        tunnel.peers
        for tunnel in driver().tunnels()
        if tunnel.home_address == home_address
    )


_listening: list[socket.socket] = []


def listen(address: str, port: int = MIP_PORT) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.settimeout(3)
    _listening.append(sock)


def heard() -> bytes:
    return _listening.pop().recv(100)


def say(address: str, data: bytes, port: int = MIP_PORT) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, (address, port))


@isolated
def test_who_cannot_be_carried_gets_no_broadcasts_either() -> None:
    """HA-40: what is refused changes nothing, for a new node and for a known one."""
    w = World(driver="ebpf")
    ha = w.start_ha()
    idle = len(w.ha.sh("cat /proc/net/packet").splitlines())
    too_many = tuple(f"10.1.2.{number}" for number in range(5, 15))
    spread = (Delivery(too_many[0], False, BROADCASTS),)
    with pytest.raises(DataplaneError, match="simultaneous bindings"):
        ha.call(install, ha_tunnel(peers=too_many, deliveries=spread))
    assert len(w.ha.sh("cat /proc/net/packet").splitlines()) == idle
    ha.call(install, ha_tunnel())
    with pytest.raises(DataplaneError, match="simultaneous bindings"):
        ha.call(install, ha_tunnel(peers=too_many, deliveries=spread))
    assert len(w.ha.sh("cat /proc/net/packet").splitlines()) == idle
    ha.call(install, ha_tunnel(deliveries=(Delivery(ETH0, False, BROADCASTS),)))
    assert len(w.ha.sh("cat /proc/net/packet").splitlines()) > idle
