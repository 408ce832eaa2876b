# SPDX-License-Identifier: GPL-2.0-only
"""ICMP errors of routers within a tunnel, told to the sender inside (TUN-03)."""

import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.packet import Packet, Raw

from dataplane.test_outer import LOCAL, PEER
from dataplane.world import (
    CORRESPONDENT,
    ETH0,
    FORMS,
    HOME,
    HOME_AGENT,
    UDP_PORTS,
    World,
    drops,
    listen,
)
from mip_agents.dataplane.icmprelay import answer, quoted
from mip_agents.dataplane.outer import make_encapsulator, room_for
from mip_agents.protocol.tunnel import Form
from support.netns import isolated

every_way = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
INNER = IP(src="10.9.0.2", dst="10.1.1.10") / UDP(sport=5, dport=6) / Raw(b"x" * 64)


def outer(form: Form, inner: Packet = INNER) -> bytes:
    ends = socket.inet_aton(LOCAL), socket.inet_aton(PEER)
    made = make_encapsulator(*ends, form, complete=True).encapsulate(bytes(inner))
    assert isinstance(made, bytes)
    return made


@every_way
def test_the_inner_packet_is_found_in_a_quotation(form: Form) -> None:
    """Whole or not; eight octets behind its header are enough, fewer are not."""
    whole, inner = outer(form), bytes(INNER)
    assert quoted(whole).inner == inner
    header = len(whole) - len(inner)
    assert quoted(whole[: header + 28]).inner == inner[:28]
    assert quoted(whole[: header + 27]) is None
    assert quoted(whole[:28]) is None  # all that RFC 792 asks of a router


@given(st.sampled_from(list(FORMS.values())), st.data())
def test_a_broken_quotation_never_raises(form: Form, data: st.DataObject) -> None:
    packet = bytearray(outer(form))
    for _ in range(data.draw(st.integers(0, 3))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(
            st.integers(0, 255)
        )
    result = quoted(bytes(packet[: data.draw(st.integers(0, len(packet)))]))
    if result is not None:
        answer(3, 1, 0, result.inner)


@pytest.mark.parametrize(
    ("kind", "code", "told"),
    [
        (3, 0, 0),
        (3, 1, 1),
        (3, 2, 0),
        (3, 3, None),
        (3, 5, None),
        (3, 13, None),
        (4, 0, None),
        (5, 1, None),
        (11, 0, 1),
        (11, 1, 1),
        (12, 0, None),
    ],
)
def test_what_becomes_of_each_error(kind: int, code: int, told: int | None) -> None:
    """RFC 2003 section 4."""
    packet = answer(kind, code, 0, bytes(INNER))
    assert (packet is None) is (told is None)
    if packet is not None:
        parsed = IP(packet)
        assert (parsed.src, parsed.dst, parsed.proto) == ("0.0.0.0", "10.9.0.2", 1)
        assert (parsed[ICMP].type, parsed[ICMP].code) == (3, told)
        check = parsed[ICMP].chksum
        del parsed[ICMP].chksum
        assert IP(bytes(parsed))[ICMP].chksum == check
        assert bytes(parsed[IPerror]) == bytes(INNER)


def test_too_big_names_the_size_of_inner_packets() -> None:
    inner = bytes(
        IP(src="10.9.0.2", dst="10.1.1.10", flags="DF") / TCP() / (b"x" * 900)
    )
    parsed = IP(answer(3, 4, 1280, inner))
    assert (parsed[ICMP].type, parsed[ICMP].code) == (3, 4)
    assert parsed[ICMP].nexthopmtu == 1280
    assert len(parsed) == 576
    assert answer(3, 4, -20, inner) is None  # a router that names no size
    assert answer(3, 4, 1280, bytes(INNER)) is None  # who did not ask is not told


@pytest.mark.parametrize(
    "inner",
    [
        IP(src="10.9.0.2", dst="10.1.1.10") / ICMP(type=3) / IPerror() / b"12345678",
        IP(src="10.9.0.2", dst="10.1.1.10") / ICMP(type=11) / IPerror() / b"12345678",
        IP(src="10.9.0.2", dst="10.1.1.10", frag=4, proto=17) / Raw(b"12345678"),
        IP(src="10.9.0.2", dst="224.0.0.1") / UDP(),
        IP(src="10.9.0.2", dst="255.255.255.255") / UDP(),
        IP(src="0.0.0.0", dst="10.1.1.10") / UDP(),
        IP(src="224.0.0.1", dst="10.1.1.10") / UDP(),
    ],
)
def test_about_these_no_error_is_sent(inner: Packet) -> None:
    """RFC 1122 section 3.2.2."""
    assert answer(3, 1, 0, bytes(inner)) is None


def test_about_questions_errors_are_sent() -> None:
    inner = bytes(IP(src="10.9.0.2", dst="10.1.1.10") / ICMP())
    assert answer(3, 1, 0, inner) is not None


def start(form: Form, driver: str | None = None) -> World:
    w = World(driver=driver)
    w.start_ha().call(listen, UDP_PORTS[0])
    w.start_mn().call(listen, UDP_PORTS[1])
    w.install(form)
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    return w


every_tunnel = pytest.mark.parametrize(
    ("form", "driver"),
    [
        *(pytest.param(form, None, id=name) for name, form in FORMS.items()),
        *(
            pytest.param(
                FORMS[name], "kernel", id=f"kernel-{name}", marks=pytest.mark.kernel
            )
            for name in ("ipip", "gre-key")
        ),
    ],
)


@every_tunnel
@isolated
def test_too_big_reaches_the_sender_at_once(form: Form, driver: str | None) -> None:
    """TUN-03, TUN-04: without a second packet into the tunnel."""
    w = start(form, driver)
    w.rt.sh("ip link set to_eth0 mtu 1300")
    shown = w.cn.sh(f"ping -c1 -W1 -M do -s 1372 {HOME} || true")
    mtu = 1300 - room_for(form)
    assert f"From {HOME_AGENT} icmp_seq=1 Frag needed and DF set (mtu = {mtu})" in shown
    assert f"mtu {mtu}" in w.cn.sh(f"ip route get {HOME}")


@every_tunnel
@isolated
def test_unreachable_ends_of_tunnels_are_reported(
    form: Form, driver: str | None
) -> None:
    """TUN-03, at both ends: the home agent's to the correspondent, the node's to it."""
    w = start(form, driver)
    w.rt.sh(f"ip route add unreachable {ETH0}/32")
    shown = w.cn.sh(f"ping -c1 -W1 {HOME} || true")
    assert f"From {HOME_AGENT} icmp_seq=1 Destination Host Unreachable" in shown
    assert w.ha_agent.call(drops) == {"icmp_3_1": 1}
    w.rt.sh(
        f"ip route del unreachable {ETH0}/32; ip route add unreachable {HOME_AGENT}"
    )
    shown = w.mn.sh(f"ping -c1 -W1 -I {HOME} {CORRESPONDENT} || true")
    assert "icmp_seq=1 Destination Host Unreachable" in shown
    assert w.mn_agent.call(drops) == {"icmp_3_1": 1}


@isolated
def test_hops_that_run_out_within_a_tunnel_are_an_unreachable_host() -> None:
    """TUN-03: the sender knows of no loop."""
    w = start(FORMS["minimal"])
    shown = w.cn.sh(f"ping -c1 -W1 -t 3 {HOME} || true")
    assert f"From {HOME_AGENT} icmp_seq=1 Destination Host Unreachable" in shown


@isolated
def test_what_concerns_the_tunnel_alone_stays_there() -> None:
    """TUN-03: a prohibition by a router within the tunnel is counted."""
    w = start(FORMS["ipip"])
    w.rt.sh(f"ip route add prohibit {ETH0}/32")
    shown = w.cn.sh(f"ping -c1 -W0.2 {HOME} || true")
    assert not re.search("Unreachable|filtered|prohibited", shown)
    assert w.ha_agent.call(drops) == {"icmp_3_13": 1}
