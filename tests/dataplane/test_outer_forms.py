# SPDX-License-Identifier: GPL-2.0-only
"""GRE keys and Tunnel Data, held against Scapy's layers and against broken input."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from dataplane.test_outer import LOCAL, PEER, inner, inner_packets
from mip_agents.dataplane.decap import Decapsulated, decapsulate
from mip_agents.dataplane.outer import (
    OUTER_TTL,
    Drop,
    is_fragment,
    make_encapsulator,
    port_bytes,
    room_for,
)
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation
from scapy_mip.tunneldata import MIPTunnelData

IPIP, GRE_, MINIMAL = Encapsulation.IPIP, Encapsulation.GRE, Encapsulation.MINIMAL
PORTS = (434, 50434)
KEYED = Form(GRE_, send_key=0xDEADBEEF)
FORMS = (
    KEYED,
    Form(IPIP, ports=PORTS),
    Form(GRE_, ports=PORTS),
    Form(GRE_, send_key=7, ports=PORTS),
    Form(MINIMAL, ports=PORTS),
)
forms = st.sampled_from(FORMS)


def encapsulate(form: Form, packet: bytes) -> bytes | Drop:
    ends = socket.inet_aton(LOCAL), socket.inet_aton(PEER)
    return make_encapsulator(*ends, form, complete=True).encapsulate(packet)


@given(st.sampled_from(FORMS[:-1]), inner_packets)
def test_headers_equal_scapys(form: Form, packet: bytes) -> None:
    """RFC 2890 section 2, RFC 3519 section 3.3: a key, UDP without a checksum."""
    parsed = IP(packet)
    expected: Packet = IP(
        src=LOCAL,
        dst=PEER,
        ttl=OUTER_TTL,
        tos=parsed.tos,
        flags="DF" if parsed.flags.DF else "",
        id=1,
    )
    if form.ports:
        expected /= UDP(sport=434, dport=50434, chksum=0) / MIPTunnelData()
    if form.encapsulation is GRE_ and form.send_key is not None:
        expected /= GRE(key_present=1, key=form.send_key)
    elif form.encapsulation is GRE_:
        expected /= GRE()
    assert encapsulate(form, packet) == bytes(expected / IP(packet))


@given(inner_packets)
def test_minimal_header_stands_behind_the_message(packet: bytes) -> None:
    """RFC 3519 section 4.2: UDP and message between IP and the forwarding header."""
    direct = encapsulate(Form(MINIMAL), packet)
    data = encapsulate(Form(MINIMAL, ports=PORTS), packet)
    if is_fragment(packet):  # TUN-05
        assert data == encapsulate(Form(IPIP, ports=PORTS), packet)
        return
    expected, header = IP(direct), (direct[0] & 15) * 4
    del expected.len, expected.chksum
    expected.proto = 17
    message = MIPTunnelData(next_header=55) / Raw(direct[header:])
    expected.remove_payload()
    expected /= UDP(sport=434, dport=50434, chksum=0) / message
    assert data == bytes(expected)


@given(forms, inner_packets)
def test_round_trip_with_keys_and_ports(form: Form, packet: bytes) -> None:
    outer = encapsulate(form, packet)
    got = IPIP if form.encapsulation is MINIMAL and is_fragment(packet) else None
    assert decapsulate(outer) == Decapsulated(
        socket.inet_aton(LOCAL),
        socket.inet_aton(PEER),
        int(got or form.encapsulation),
        packet,
        form.send_key,
        port_bytes(form.ports),
    )
    assert len(outer) <= len(packet) + room_for(form)


@given(forms, inner_packets)
def test_kernel_fills_the_same_with_keys_and_ports(form: Form, packet: bytes) -> None:
    """Without `complete` only the fields differ that IP_HDRINCL fills in."""
    ends = socket.inet_aton(LOCAL), socket.inet_aton(PEER)
    plain = make_encapsulator(*ends, form).encapsulate(packet)
    full = bytearray(encapsulate(form, packet))
    full[10:12] = b"\0\0"
    if form.encapsulation is not MINIMAL or is_fragment(packet):
        full[4:6] = b"\0\0"
    assert plain == bytes(full)


@given(forms, inner_packets, st.data())
@settings(max_examples=300)
def test_damage_never_raises(form: Form, packet: bytes, data: st.DataObject) -> None:
    outer = bytearray(encapsulate(form, packet))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(60, len(outer) - 1)))
        outer[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(outer)))
    for verify in (True, False):
        result = decapsulate(bytes(outer[:cut]), verify=verify)
        if isinstance(result, Decapsulated):
            assert len(result.inner) == int.from_bytes(result.inner[2:4], "big")


def datagram(data: bytes, **fields: int) -> bytes:
    udp = UDP(**({"sport": 50434, "dport": 434, "chksum": 0} | fields))
    return bytes(IP(src=PEER, dst=LOCAL) / udp / Raw(data))


MESSAGE = b"\4\4\0\0"


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (datagram(b""), Drop.TRUNCATED),
        (datagram(MESSAGE[:3]), Drop.TRUNCATED),
        (datagram(b"\3" + MESSAGE[1:] + inner()), Drop.NOT_TUNNEL_DATA),
        (datagram(MESSAGE + inner(), len=11), Drop.BAD_LENGTH),
        (datagram(MESSAGE + inner(), len=900), Drop.TRUNCATED),
        (datagram(MESSAGE + inner(), len=30), Drop.TRUNCATED),
        (datagram(MESSAGE + inner(), chksum=1), Drop.UDP_CHECKSUM),
        (datagram(b"\4\x29\0\0" + inner()), Drop.UNKNOWN_PROTOCOL),
        (datagram(b"\4\x11\0\0" + inner()), Drop.UNKNOWN_PROTOCOL),
        (datagram(b"\4\x2f\0\0" + b"\x20\0\x08\0\0\0\0"), Drop.TRUNCATED),
        (datagram(b"\4\x2f\0\0" + b"\x30\0\x08\0" + inner()), Drop.GRE_FLAGS),
        (datagram(b"\4\x37\0\0" + inner()), Drop.MINIMAL_CHECKSUM),
    ],
)
def test_broken_tunnel_data_says_why(packet: bytes, reason: Drop) -> None:
    """NAT-09, TUN-07: what is not well formed goes no further."""
    assert decapsulate(packet) is reason


def test_reserved_field_and_right_checksums_are_accepted() -> None:
    """RFC 3519 section 3.3, RFC 768: also one that a network card was to complete."""
    whole = bytes(
        IP(src=PEER, dst=LOCAL) / UDP(sport=50434, dport=434) / (MESSAGE + inner())
    )
    pseudo = socket.inet_aton(PEER) + socket.inet_aton(LOCAL) + b"\0\x11" + whole[24:26]
    total = sum(int.from_bytes(pseudo[at : at + 2], "big") for at in range(0, 12, 2))
    unfinished = (total & 0xFFFF) + (total >> 16)
    for packet in (
        whole,
        datagram(b"\4\4\xff\xff" + inner()),
        datagram(MESSAGE + inner(), chksum=unfinished),
    ):
        result = decapsulate(packet)
        assert isinstance(result, Decapsulated)
        assert result.inner == inner()
        assert result.ports == (50434).to_bytes(2, "big") + (434).to_bytes(2, "big")


@pytest.mark.parametrize("present", [0x2000, 0xA000])
def test_a_key_is_read_with_and_without_a_checksum(present: int) -> None:
    """RFC 2890 section 2: the key stands behind checksum and reserved field."""
    header = GRE(key_present=1, key=5, chksum_present=int(present > 0x8000))
    result = decapsulate(bytes(IP(src=PEER, dst=LOCAL) / header / IP(inner())))
    assert isinstance(result, Decapsulated)
    assert (result.key, result.inner) == (5, inner())


@pytest.mark.parametrize("form", FORMS[1:])
def test_own_tunnel_data_is_never_encapsulated_again(form: Form) -> None:
    """TUN-02: it would loop; control messages to a home address may go inside."""
    data = bytes(IP(src=LOCAL, dst="10.1.1.11") / UDP(dport=434) / (MESSAGE + inner()))
    assert encapsulate(form, data) is Drop.OWN_TUNNEL
    control = bytes(IP(src=LOCAL, dst="10.1.1.11") / UDP(sport=434) / b"\3\0")
    assert isinstance(encapsulate(form, control), bytes)


@pytest.mark.parametrize("form", [Form(IPIP), *FORMS, Form(MINIMAL)])
def test_a_tunnel_for_nested_packets_takes_them(form: Form) -> None:
    """HA-40: what was addressed to the home address first goes on into the tunnel."""
    nest = bytes(IP(src=LOCAL, dst="10.1.1.11") / IP(inner()))
    ends = socket.inet_aton(LOCAL), socket.inet_aton(PEER)
    made = make_encapsulator(*ends, form, complete=True, nested=True)
    outer = made.encapsulate(nest)
    assert isinstance(outer, bytes)
    result = decapsulate(outer)
    assert isinstance(result, Decapsulated)
    assert result.inner == nest


@pytest.mark.parametrize("form", FORMS)
def test_the_longest_that_fits(form: Form) -> None:
    room = 24 if form.encapsulation is MINIMAL else room_for(form)
    fits = bytes(IP(src="10.9.0.2") / Raw(bytes(0xFFFF - 20 - room)))
    assert len(encapsulate(form, fits)) == 0xFFFF
    longer = bytes(IP(src="10.9.0.2") / Raw(bytes(0xFFFF - 19 - room)))
    assert encapsulate(form, longer) is Drop.TOO_BIG
