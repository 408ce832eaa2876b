# SPDX-License-Identifier: GPL-2.0-only
"""Every encapsulation of the registry: minimal is ours, the others are Scapy's own."""

import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Padding, Raw, fuzz
from scapy.utils import checksum

from scapy_mip import _bindings
from scapy_mip.all import MIPRRQ, MIPMinimalEncapsulation, MIPTunnelData
from support import registered, registry
from support.strategies import addresses, unsigned

ENTRIES = {one["name"]: one for one in registry.registry()["encapsulation"]}
GRE_NAMES = {
    "C": "chksum_present",
    "R": "routing_present",
    "K": "key_present",
    "S": "seqnum_present",
    "s": "strict_route_source",
    "recur": "recursion_control",
    "flags": "flags",
    "version": "version",
    "protocol_type": "proto",
}
LAYERS = {
    "IP-in-IP": IP,
    "Minimal encapsulation": MIPMinimalEncapsulation,
    "GRE (RFC 2784)": GRE,
    "GRE with Key and Sequence (RFC 2890)": GRE,
    "GRE (RFC 1701)": GRE,
    "MIP UDP tunnelling": MIPTunnelData,
}
MINIMAL = ENTRIES["Minimal encapsulation"]
quick = settings(max_examples=60, deadline=None)


def test_every_encapsulation_has_a_layer():
    assert set(LAYERS) == set(ENTRIES)
    for name, layer in LAYERS.items():
        made = IP(proto=ENTRIES[name]["ip_protocol"])
        if layer is MIPTunnelData:
            made = made / UDP(dport=434) / MIPTunnelData() / IP() / Raw(b"data")
        else:
            made = made / bytes(layer() / Raw(b"data"))
        assert layer in IP(bytes(made)), name


@pytest.mark.parametrize(
    "name", [name for name, layer in LAYERS.items() if layer is GRE]
)
@quick
@given(data=st.data())
def test_gre_is_that_of_scapy(name, data):
    entry = ENTRIES[name]
    single = [one for one in registered.fixed(entry) if one["name"] in GRE_NAMES]
    drawn = {
        GRE_NAMES[one["name"]]: data.draw(unsigned(one["bits"]), label=one["name"])
        for one in single
    }
    drawn["proto"] = 0x0800
    options = {"key": 7, "sequence_number": 8, "offset": 9}
    packet = GRE(**drawn, **options) / IP(src="10.1.1.1", dst="10.1.1.2")
    sent = bytes(packet)
    received = GRE(sent)
    assert bytes(received) == sent
    for one in single:
        shown = received.getfieldval(GRE_NAMES[one["name"]])
        assert registered.read_bits(sent, one) == shown, one["name"]
    if not drawn.get("routing_present"):  # source routes would come first
        assert type(received.payload) is IP


# Minimal encapsulation


@st.composite
def headers(draw):
    given = {
        "protocol": draw(unsigned(8)),
        "reserved": draw(unsigned(7)),
        "original_destination": draw(addresses),
    }
    if draw(st.booleans()):
        given["original_source"] = draw(addresses)
    if draw(st.booleans()):
        given["header_checksum"] = draw(unsigned(16))
    return given


@quick
@given(given_fields=headers())
def test_minimal_header_lies_where_the_registry_says(given_fields):
    packet = MIPMinimalEncapsulation(**given_fields)
    header = bytes(packet)
    source = given_fields.get("original_source")
    assert len(header) == MINIMAL["fixed_bytes"] + (4 if source else 0)
    values = {"header_checksum": int.from_bytes(header[2:4], "big"), **given_fields}
    values["S"] = int(source is not None)
    for field in registered.fixed(MINIMAL):
        value = values[field["name"]]
        if field.get("kind") == "ip4":
            value = int(ipaddress.IPv4Address(value))
        assert registered.read_bits(header, field) == value, field["name"]
    if source:
        assert header[8:12] == ipaddress.IPv4Address(source).packed
    if "header_checksum" not in given_fields:
        assert checksum(header) == 0
    received = MIPMinimalEncapsulation(header)
    assert bytes(received) == header
    received.clear_cache()
    assert bytes(received) == header
    assert bytes(eval(packet.command())) == header


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("minimal forwarding header S=0", {}),
        ("minimal forwarding header S=1", {"original_source": "198.51.100.99"}),
    ],
)
def test_minimal_header_is_that_of_the_vector(name, source):
    vector = registry.vectors()[name]
    made = MIPMinimalEncapsulation(
        protocol=17, original_destination="192.0.2.10", **source
    )
    assert bytes(made).hex() == vector["header"]
    assert MIPMinimalEncapsulation(bytes(made)).header_checksum == vector["checksum"]


@pytest.mark.parametrize("source", [{}, {"original_source": "10.5.5.5"}])
@pytest.mark.parametrize(
    "inner",
    [UDP(sport=5, dport=6) / b"hello", TCP(sport=7, dport=80) / b"GET", ICMP() / b"x"],
    ids=lambda inner: inner.name,
)
def test_original_packet_is_restored(inner, source):
    outer = {"tos": 8, "id": 99, "flags": "DF", "ttl": 9}
    tunnel = MIPMinimalEncapsulation(original_destination="10.1.1.10", **source)
    packet = IP(src="10.9.9.1", dst="10.9.9.2", **outer) / tunnel / inner
    received = IP(bytes(packet))
    assert received.proto == 55
    sender = source.get("original_source", "10.9.9.1")
    before = bytes(IP(src=sender, dst="10.1.1.10", **outer) / inner)
    restored = received[MIPMinimalEncapsulation].original_packet
    assert bytes(restored) == before
    assert restored.summary() == IP(before).summary()
    assert received.len == len(before) + (12 if source else 8)
    assert type(received[MIPMinimalEncapsulation].payload) is type(inner)
    assert bytes(received[MIPMinimalEncapsulation].payload) == before[20:]


def test_what_is_set_wrong_on_purpose_stays():
    made = MIPMinimalEncapsulation(S=1, header_checksum=1, protocol=99) / UDP()
    data = bytes(made)
    assert data[:4] == bytes([99, 0x80, 0, 1])
    assert len(data) == 12 + 8
    without = MIPMinimalEncapsulation(S=0, original_source="10.0.0.1")
    assert len(bytes(without)) == 8


def test_protocol_is_that_of_the_next_layer():
    made = MIPMinimalEncapsulation() / UDP() / IP() / TCP()
    assert made.protocol == 17
    assert MIPMinimalEncapsulation(bytes(made)).protocol == 17


def test_summary_names_both_ends():
    made = MIPMinimalEncapsulation(
        original_destination="10.1.1.10", original_source="10.5.5.5"
    )
    shown = (IP(dst="10.9.9.9") / made / Raw(b"x")).summary()
    assert "10.1.1.10" in shown
    assert "10.5.5.5" in shown


def test_tunnelled_echo_is_paired_by_what_is_inside():
    there = MIPMinimalEncapsulation(original_destination="10.1.1.10") / ICMP(id=7)
    back = MIPMinimalEncapsulation(original_destination="10.5.5.5") / ICMP(type=0, id=7)
    assert back.answers(there)
    assert back.hashret() == there.hashret()
    assert not back.answers(UDP())


def test_fuzzed_headers_dissect():
    for _time in range(50):
        data = bytes(fuzz(MIPMinimalEncapsulation()))
        assert bytes(MIPMinimalEncapsulation(data)) == data


def test_headers_cut_short_stay_bytes():
    whole = bytes(MIPMinimalEncapsulation(original_source="10.5.5.5"))
    for size in range(1, 12):
        received = IP(bytes(IP(proto=55) / whole[:size]))
        assert type(received.payload) is Raw
        assert bytes(received.payload) == whole[:size]


def test_damaged_headers_never_raise_and_keep_their_bytes():
    rng = random.Random(55)
    for _time in range(3000):
        # A protocol that Scapy has no layer for: what is inside would raise.
        data = bytes([254, *rng.randbytes(rng.randrange(1, 30))])
        received = IP(bytes(IP(proto=55) / data))
        assert bytes(received.payload) == data
        received.payload.clear_cache()
        assert bytes(received.payload) == data
        received.summary()
        if MIPMinimalEncapsulation in received:
            assert received[MIPMinimalEncapsulation].original_packet.proto == 254


def test_padding_behind_what_is_inside_is_sent_once():
    made = MIPMinimalEncapsulation(original_destination="10.1.1.10")
    data = bytes(made / UDP(sport=5, dport=6, len=8) / Raw(b"behind"))
    received = MIPMinimalEncapsulation(data)
    assert received[Padding].load == b"behind"
    assert bytes(received) == data
    received.clear_cache()
    received[UDP].dport = 7
    assert bytes(received) == data[:10] + bytes([0, 7]) + data[12:]


def test_protocol_55_is_given_back_and_taken_again():
    data = bytes(IP() / MIPMinimalEncapsulation(protocol=254) / Raw(b"x"))
    before = list(IP.payload_guess)
    try:
        for _twice in range(2):
            _bindings.restore()
            assert type(IP(data).payload) is Raw
    finally:
        _bindings.take_over()
    assert type(IP(data).payload) is MIPMinimalEncapsulation
    # Layers that another test loaded in between may stand before or behind ours now.
    assert sorted(IP.payload_guess, key=repr) == sorted(before, key=repr)


def test_control_messages_are_found_inside():
    inner = UDP(sport=5000, dport=434) / MIPRRQ(home_address="10.1.1.10")
    tunnel = MIPMinimalEncapsulation(original_destination="10.1.1.20")
    received = IP(bytes(IP(dst="10.2.2.2") / tunnel / inner))
    assert received[MIPRRQ].home_address == "10.1.1.10"
