# SPDX-License-Identifier: GPL-2.0-only
"""Tunnels through UDP: beside the control messages, and through a NAT."""

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from dataplane.test_tun_checks import drops, ping, reach
from dataplane.traffic import send_packets, tcp_both_ways, udp_both_ways, udp_refused
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    HOME_AGENT,
    UDP_PORTS,
    WLAN0,
    World,
    control_has_data,
    control_port_of_sender,
    counters,
    ha_tunnel,
    have_nft,
    install,
    listen,
    mirrored,
    mn_tunnel,
    remove,
    reverse_tunnelled,
    send_control,
)
from dataplane.world import drops as all_drops
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation, MessageType
from support.netns import isolated

IPIP = FORMS["ipip-udp"]
NAT = "10.1.1.1"
over_udp = pytest.mark.parametrize("form", [f for f in FORMS.values() if f.ports])


def start(form: Form) -> World:
    w = World()
    w.start_ha().call(listen, UDP_PORTS[0])
    w.start_mn().call(listen, UDP_PORTS[1])
    w.install(form)
    return w


def data_sockets() -> int:
    """Count the raw UDP sockets of this network namespace."""
    with open("/proc/net/raw") as table:
        return sum(line.split()[1].endswith(":0011") for line in list(table)[1:])


@over_udp
@isolated
def test_a_tunnel_through_a_nat(form: Form) -> None:
    """NAT-03, NAT-08: the home agent answers to where the request came from."""
    if not have_nft():
        pytest.skip("no nft command: sudo apt install nftables")
    w = World()
    w.rt.sh(
        "nft add table ip nat;"
        "nft add chain ip nat out '{ type nat hook postrouting priority 100; }';"
        "nft add rule ip nat out ip saddr 10.1.2.0/24 meta l4proto udp oif to_ha"
        " masquerade to :2000-2999 random"
    )
    w.start_ha().call(listen, UDP_PORTS[0])
    w.start_mn().call(listen, UDP_PORTS[1])
    w.mn_agent.call(send_control, UDP_PORTS[0], HOME_AGENT)
    port = w.ha_agent.call(control_port_of_sender)
    assert 2000 <= port < 3000
    seen = form._replace(ports=(UDP_PORTS[0], port))
    w.ha_agent.call(install, ha_tunnel(NAT, form=seen))
    w.mn_agent.call(install, mn_tunnel(form=mirrored(form)))
    w.mn.sh(f"ping -c1 -W3 -I {HOME} {CORRESPONDENT}")
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    # Fragments are tunnel data of their own, which a NAT can tell apart (NAT-10).
    udp_both_ways(w.mn, w.cn, CORRESPONDENT, [0, 1472, 9000, 60000])
    udp_both_ways(w.cn, w.mn, HOME, [0, 1472, 9000, 60000])
    tcp_both_ways(w.mn, w.cn, CORRESPONDENT, 1 << 18)
    tcp_both_ways(w.cn, w.mn, HOME, 1 << 18)
    assert not w.ha_agent.call(drops)
    assert not w.mn_agent.call(drops)


@isolated
def test_control_messages_and_data_part_ways() -> None:
    """RFC 3519 section 3.3: the control socket never wakes up for data."""
    w = start(IPIP)
    w.cn.sh(f"ping -c5 -i 0.01 -W3 {HOME}")
    assert not w.ha_agent.call(control_has_data)
    assert not w.mn_agent.call(control_has_data)
    w.mn_agent.call(send_control, UDP_PORTS[0], HOME_AGENT)
    assert w.ha_agent.call(control_port_of_sender) == UDP_PORTS[1]
    # This one was bound to no address, and so came by the tunnel.
    assert w.ha_agent.call(counters)[::2] == (5, 6)
    assert not w.ha_agent.call(drops)


@isolated
def test_a_socket_for_data_is_there_while_a_tunnel_needs_it() -> None:
    w = World()
    agent, other = w.start_ha(), "10.1.1.11"
    assert agent.call(data_sockets) == 0
    agent.call(install, ha_tunnel(form=IPIP))
    agent.call(install, ha_tunnel(WLAN0, home_address=other, form=IPIP))
    assert agent.call(data_sockets) == 1
    agent.call(install, ha_tunnel())
    assert agent.call(data_sockets) == 1
    agent.call(remove, other)
    assert agent.call(data_sockets) == 0


@isolated
def test_the_data_port_moves_with_the_tunnel() -> None:
    """NAT-08: data uses the port of the last request."""
    w = start(IPIP)
    w.mn_agent.call(listen, 50435)
    w.install(IPIP._replace(ports=(UDP_PORTS[0], 50435)))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    # What still comes to the port before is nobody's now, and not even read.
    w.ha_agent.call(install, ha_tunnel(form=IPIP))
    w.cn.sh(f"ping -c1 -W0.1 {HOME} || true")
    assert w.mn_agent.call(counters)[::2] == (1, 1)
    assert not w.mn_agent.call(drops)


@isolated
def test_two_bindings_behind_one_nat() -> None:
    """Peers of one address differ by their ports; each has its own form."""
    w = World()
    gre = FORMS["gre-udp"]._replace(ports=(UDP_PORTS[0], 40000))
    agent = w.start_ha()
    agent.call(listen, UDP_PORTS[0])
    tunnel = ha_tunnel(
        peers=(ETH0, ETH0),
        encapsulation=Encapsulation.GRE,
        peer_forms=(IPIP, gre),
    )
    agent.call(install, tunnel)
    good = [reverse_tunnelled(form, ETH0, HOME, "good") for form in (IPIP, gre)]
    crossed = IPIP._replace(ports=gre.ports)
    w.mn.call(send_packets, [*good, reverse_tunnelled(crossed, ETH0, HOME, "bad")])
    reach(w.cn, agent, [], 3)
    assert agent.call(counters)[2] == 2
    assert agent.call(drops) == {"reverse_wrong_encapsulation": 1}


@isolated
def test_what_differs_from_the_registration_is_counted_by_name() -> None:
    """NAT-09, TUN-08: ports, next header, key; in UDP or in IP where it is not to."""
    w = World()
    agent = w.start_ha()
    agent.call(listen, UDP_PORTS[0])
    keyed = FORMS["gre-key"]
    total = 0
    for form, sent, reason in (
        (IPIP, IPIP._replace(ports=(434, 40000)), "reverse_wrong_ports"),
        (IPIP, FORMS["gre-udp"], "reverse_wrong_encapsulation"),
        (IPIP, FORMS["ipip"], "reverse_wrong_encapsulation"),
        (FORMS["gre"], keyed, "reverse_wrong_key"),
        (keyed, FORMS["gre"], "reverse_wrong_key"),
        (keyed, keyed._replace(receive_key=0), "reverse_wrong_key"),
    ):
        agent.call(install, ha_tunnel(form=form))
        before = agent.call(drops)
        total += 1
        packet = reverse_tunnelled(sent, ETH0, HOME, "bad")
        w.mn.call(send_packets, [packet])
        reach(w.cn, agent, [], total)
        before[reason] = before.get(reason, 0) + 1
        assert agent.call(drops) == before
    # The tunnel of another node opens the port, at which this one has nothing.
    agent.call(install, ha_tunnel(WLAN0, home_address="10.1.1.11", form=IPIP))
    agent.call(install, ha_tunnel(form=FORMS["ipip"]))
    w.mn.call(send_packets, [reverse_tunnelled(IPIP, ETH0, HOME, "bad")])
    reach(w.cn, agent, [], total + 1)
    assert agent.call(drops)["reverse_wrong_encapsulation"] == 3


@isolated
def test_checksums_over_what_is_tunnelled_are_verified() -> None:
    """RFC 1122 section 4.1.3.4, TUN-07: those of UDP, and of GRE within it."""
    w = World()
    agent = w.start_ha()
    agent.call(listen, UDP_PORTS[0])
    plain = ping(HOME)
    gre, bad_gre = (
        GRE(chksum_present=1) / plain,
        GRE(chksum_present=1, chksum=1) / plain,
    )
    expected: dict[str, int] = {}
    for number, (name, check, content, reason) in enumerate(
        [
            ("ipip-udp", 0, plain, None),  # none at all
            ("ipip-udp", None, plain, None),
            ("ipip-udp", 1, plain, "udp_checksum"),
            ("gre-udp", 0, gre, None),
            ("gre-udp", None, gre, None),
            ("gre-udp", 0, bad_gre, "gre_checksum"),
            ("gre-udp", 1, gre, "udp_checksum"),
        ],
        start=1,
    ):
        form = FORMS[name]
        agent.call(install, ha_tunnel(form=form))
        head = UDP(sport=UDP_PORTS[1], dport=UDP_PORTS[0], chksum=check)
        data = bytes((MessageType.TUNNEL_DATA, form.encapsulation, 0, 0))
        packet = IP(src=ETH0, dst=HOME_AGENT) / head / Raw(data + bytes(content))
        reach(w.mn, agent, [packet], number)
        if reason is not None:
            expected[reason] = expected.get(reason, 0) + 1
        assert agent.call(drops) == expected, number


@isolated
def test_port_unreachable_goes_no_further() -> None:
    """TUN-03: it is counted, but only where it is about our data."""
    w = World()
    agent = w.start_ha()
    agent.call(listen, UDP_PORTS[0])
    agent.call(install, ha_tunnel(form=IPIP))
    w.ha.call(udp_refused, ETH0, 7999)
    w.cn.sh(f"ping -c1 -W0.1 {HOME} || true")
    assert agent.call(all_drops) == {"icmp_3_3": 1}
