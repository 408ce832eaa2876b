# SPDX-License-Identifier: GPL-2.0-only
"""Every message of the registry has a layer, and lies where the registry says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import NoPayload, Padding, Raw, fuzz

import scapy_mip.all
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPRRP,
    MIPRRQ,
    MIPCareOfTest,
    MIPCareOfTestInit,
    MIPExperimentalMessage,
    MIPFastBindingAcknowledgment,
    MIPFastBindingUpdate,
    MIPGenericNotificationAcknowledgementMessage,
    MIPGenericNotificationMessage,
    MIPHandoffReply,
    MIPHandoffRequest,
    MIPHomeTest,
    MIPHomeTestInit,
    MIPMessage,
    MIPMinimalEncapsulation,
    MIPRegionalRegistrationReply,
    MIPRegionalRegistrationRequest,
    MIPRegistrationRevocation,
    MIPRegistrationRevocationAcknowledgment,
    MIPTunnelData,
    SecurityAssociation,
)
from scapy_mip.base import message_classes
from support import registered, registry
from support.strategies import extension_lists

ENTRIES = registry.registry()["message"]
NAMES = {
    **{name: getattr(scapy_mip.all, name) for name in scapy_mip.all.__all__},
    **{cls.__name__: cls for cls in (Raw, Padding, IP, UDP, ICMP, GRE, IPv6)},
}
CODES = {
    17: "handoff_reply_code",
    21: "fback_code",
    23: "gnam_code",
}
PAIRS = [
    (MIPRRQ, MIPRRP),
    (MIPRegistrationRevocation, MIPRegistrationRevocationAcknowledgment),
    (MIPHandoffRequest, MIPHandoffReply),
    (MIPRegionalRegistrationRequest, MIPRegionalRegistrationReply),
    (MIPFastBindingUpdate, MIPFastBindingAcknowledgment),
    (MIPGenericNotificationMessage, MIPGenericNotificationAcknowledgementMessage),
    (MIPHomeTestInit, MIPHomeTest),
    (MIPCareOfTestInit, MIPCareOfTest),
]
FULL = {
    MIPRegistrationRevocation: "revocation_identifier",
    MIPHomeTestInit: "home_init_cookie",
    MIPCareOfTestInit: "care_of_init_cookie",
}
quick = settings(max_examples=40, deadline=None)
each_entry = pytest.mark.parametrize(
    "entry", ENTRIES, ids=[f"{one['type']}-{one['short']}" for one in ENTRIES]
)


def camel(name):
    """The registry's name as the name of a class."""
    words = "".join(c if c.isalnum() else " " for c in name).split()
    return "MIP" + "".join(word[0].upper() + word[1:] for word in words)


def layer(entry):
    return message_classes()[entry["type"]]


@st.composite
def instances(draw, entry):
    cls = layer(entry)
    packet = cls(**draw(registered.values(entry, cls)))
    if issubclass(cls, MIPMessage):
        packet.extensions = draw(extension_lists)
    elif cls is MIPExperimentalMessage:
        packet.opaque = draw(st.binary(max_size=60))
    elif cls is MIPTunnelData:
        packet = packet / Raw(draw(st.binary(max_size=10)))
        packet.next_header = draw(st.sampled_from([0, 99, 200, 255]))
    return packet


@each_entry
def test_every_message_has_a_layer_of_its_name(entry):
    cls = layer(entry)
    assert cls.__name__ == camel(entry["name"])
    assert cls().name == f"Mobile IP {entry['name']}"
    assert getattr(scapy_mip.all, cls.__name__) is cls
    assert f"RFC {entry['rfc']}" in (cls.__doc__ + module_doc(cls))
    assert len(bytes(cls())) == entry["fixed_bytes"] == cls.fixed_size
    assert bytes(cls())[0] == entry["type"]


def module_doc(cls):
    return __import__(cls.__module__, fromlist=["x"]).__doc__


@each_entry
@quick
@given(data=st.data())
def test_built_dissected_and_rebuilt_bytes_are_the_same(entry, data):
    packet = data.draw(instances(entry))
    sent = bytes(packet)
    received = MIP(sent)
    assert type(received) is layer(entry)
    assert bytes(received) == sent
    registered.check_layout(received, sent, layer(entry), entry)
    registered.check_layout(packet, sent, layer(entry), entry)
    received.clear_cache()
    assert bytes(received) == sent


@each_entry
@quick
@given(data=st.data())
def test_command_rebuilds_the_bytes(entry, data):
    packet = data.draw(instances(entry))
    sent = bytes(packet)
    assert bytes(eval(packet.command(), NAMES)) == sent
    assert bytes(eval(MIP(sent).command(), NAMES)) == sent
    assert MIP(sent).json()
    assert packet.show(dump=True)
    assert packet.summary()


@each_entry
def test_fuzzed_message_is_still_of_its_type(entry):
    cls = layer(entry)
    for _time in range(20):
        sent = bytes(fuzz(cls()))
        assert type(MIP(sent)) is cls
        assert bytes(MIP(sent)) == sent


@each_entry
def test_udp_carries_it_and_the_summary_names_it(entry):
    cls = layer(entry)
    packet = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=4000, dport=434) / cls()
    received = IP(bytes(packet))
    assert type(received[UDP].payload) is cls
    kind = {1: "RRQ", 3: "RRP"}.get(entry["type"], entry["name"])
    assert f"Mobile IP {kind}" in received.summary()


@each_entry
def test_short_messages_are_not_taken_for_whole_ones(entry):
    whole = bytes(layer(entry)())
    for size in range(1, len(whole)):
        cut = MIP(whole[:size])
        assert bytes(cut) == whole[:size]
        assert type(cut) is MIP


@pytest.mark.parametrize("number", sorted(CODES))
def test_codes_have_the_names_of_the_registry(number):
    listed = next(
        one for one in registry.registry()["enum"] if one["name"] == CODES[number]
    )
    names = message_classes()[number]().get_field("code").i2s
    assert names == {int(code): text for code, text in listed["values"].items()}


def test_directions_and_headers_have_the_names_of_the_registry():
    enums = {one["name"]: one["values"] for one in registry.registry()["enum"]}
    for cls, field, name in (
        (MIPGenericNotificationMessage, "md", "message_direction"),
        (MIPGenericNotificationAcknowledgementMessage, "md", "message_direction"),
        (MIPTunnelData, "next_header", "encapsulation"),
    ):
        expected = {int(code): text for code, text in enums[name].items()}
        assert cls().get_field(field).i2s == expected


STRUCTURES = {
    "RRQ": [1, 18],
    "Revocation": [7],
    "RevocationAck": [15],
    "GNM": [22],
    "HRqst/HRply": [16, 17],
}


@pytest.mark.parametrize(
    "flag",
    [one for one in registry.registry()["flag"] if one["structure"] in STRUCTURES],
    ids=lambda one: f"{one['structure']}-{one['name']}",
)
def test_flag_has_the_bit_of_the_registry(flag):
    for number in STRUCTURES[flag["structure"]]:
        cls = message_classes()[number]
        data = bytes(cls(flags=flag["name"]))
        empty = bytes(cls())
        at, size = flag["off"], flag["width"] // 8
        changed = int.from_bytes(data, "big") ^ int.from_bytes(empty, "big")
        place = (len(data) - at - size) * 8
        assert changed == flag["mask"] << place
        assert getattr(MIP(data).flags, flag["name"])


# Pairs


@pytest.mark.parametrize(
    ("request_class", "reply_class"), PAIRS, ids=lambda cls: cls.__name__
)
def test_reply_answers_its_request_alone(request_class, reply_class):
    name = FULL.get(request_class, "identification")
    number = 0x1122334455667788 if name != "revocation_identifier" else 0x55667788
    asked = request_class(**{name: number})
    answer = reply_class(**{name: number})
    assert answer.answers(asked)
    assert answer.hashret() == asked.hashret()
    assert not asked.answers(answer)
    assert not reply_class(**{name: number ^ 1}).answers(asked)
    assert not answer.answers(Raw(b"x"))
    if name == "identification":
        # Nonces and clocks change the high half. RFC 5944 section 5.7.
        assert reply_class(**{name: number ^ (1 << 40)}).answers(asked)
    for other, _reply in PAIRS:
        if other is not request_class:
            assert not answer.answers(other())
    if "home_address" in {field.name for field in request_class.fields_desc}:
        elsewhere = request_class(**{name: number}, home_address="10.9.9.9")
        assert not answer.answers(elsewhere)
    to, back = {"dport": 434, "sport": 5000}, {"dport": 5000, "sport": 434}
    there = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(**to) / asked
    here = IP(src="10.0.0.2", dst="10.0.0.1") / UDP(**back) / answer
    assert IP(bytes(here)).answers(IP(bytes(there)))
    assert IP(bytes(here)).hashret() == IP(bytes(there)).hashret()
    assert (UDP(sport=5000) / request_class()).dport == 434
    assert (UDP(dport=5000) / reply_class()).sport == 434


# Tunnel data


INNER = [
    (4, lambda: IP(src="10.1.1.1", dst="10.1.1.2") / UDP(sport=5, dport=6) / b"x"),
    (41, lambda: IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5, dport=6)),
    (47, lambda: GRE() / IP(src="10.1.1.1", dst="10.1.1.2") / UDP()),
    (
        55,
        lambda: MIPMinimalEncapsulation(original_destination="10.1.1.2") / UDP(),
    ),
]


@pytest.mark.parametrize(("number", "make"), INNER, ids=lambda one: one)
def test_tunnel_data_honours_the_next_header(number, make):
    inner = make()
    outer = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000)
    received = IP(bytes(outer / MIPTunnelData() / inner))
    tunnel = received[MIPTunnelData]
    assert tunnel.next_header == number
    assert (MIPTunnelData() / make() / Raw(b"x")).next_header == number
    assert (MIPTunnelData() / IP() / UDP()).next_header == 4
    assert type(tunnel.payload) is type(inner)
    assert received[UDP].dport == 434
    assert bytes(received) == bytes(IP(bytes(received)))
    assert bytes(eval(received.command(), NAMES)) == bytes(received)
    wrong = MIPTunnelData(next_header=99) / make()
    assert MIP(bytes(wrong)).next_header == 99
    assert type(MIP(bytes(wrong)).payload) is Raw


def test_packet_cut_short_in_tunnel_data_stays_bytes():
    for number, make in INNER:
        header = bytes(MIPTunnelData(next_header=number))
        for size in range(1, 4 if number == 47 else 8):
            data = header + bytes(make())[:size]
            assert type(MIP(data).payload) is Raw
            assert bytes(MIP(data)) == data


def test_tunnel_data_header_is_that_of_the_vector():
    vector = registry.vectors()["UDP tunnel data header, IP-in-UDP"]
    assert bytes(MIPTunnelData()) == bytes.fromhex(vector["header"])
    assert isinstance(MIPTunnelData(bytes(MIPTunnelData())).payload, NoPayload)


def test_tunnelled_echo_is_paired_by_what_is_inside():
    asked = MIPTunnelData() / IP(src="10.1.1.1", dst="10.1.1.2") / ICMP(id=7)
    back = IP(src="10.1.1.2", dst="10.1.1.1") / ICMP(type=0, id=7)
    assert (MIPTunnelData() / back).answers(asked)
    assert (MIPTunnelData() / back).hashret() == asked.hashret()
    assert not (MIPTunnelData() / back).answers(MIPRRQ())


# Vectors


@pytest.mark.parametrize(
    ("name", "made"),
    [
        (
            "Revocation A=1 I=1 with FHAE",
            MIPRegistrationRevocation(
                flags="AI",
                home_address="192.0.2.10",
                home_domain_address="192.0.2.1",
                foreign_domain_address="203.0.113.1",
                revocation_identifier=0x65000000,
            ),
        ),
        (
            "Revocation Ack I=1 with FHAE",
            MIPRegistrationRevocationAcknowledgment(
                flags="I",
                home_address="192.0.2.10",
                revocation_identifier=0x65000000,
            ),
        ),
    ],
)
def test_revocation_is_signed_as_the_vector(name, made):
    vector = registry.vectors()[name]
    association = SecurityAssociation(spi=1024, key=bytes.fromhex(vector["key"]))
    message = made / MIPFHAE(association=association)
    assert bytes(message).hex() == vector["message"]
    received = MIP(bytes.fromhex(vector["message"]))
    assert type(received) is type(made)
    assert [type(one) for one in received.extensions] == [MIPFHAE]
