# SPDX-License-Identifier: GPL-2.0-only
"""Registration Request and Reply: ordinary Scapy packets, byte for byte."""

import copy
import ipaddress
import json
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.fields import FlagValue, RawVal
from scapy.layers.inet import IP, UDP
from scapy.packet import Padding, Raw, fuzz
from scapy.utils import hexdump

import scapy_mip.all
from scapy_mip.all import (
    MIP,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPExtension,
    MIPRegistrationReply,
    MIPRegistrationRequest,
    ReplyCode,
    RequestFlag,
)
from scapy_mip.base import message_classes, register_message
from support import registry
from support.strategies import addresses, damaged, extensions, messages, unsigned

NAMES = {
    **{name: getattr(scapy_mip.all, name) for name in scapy_mip.all.__all__},
    "Raw": Raw,
    "Padding": Padding,
}
quick = settings(max_examples=60, deadline=None)


def command_bytes(packet):
    return bytes(eval(packet.command(), NAMES))


# The bytes


@quick
@given(messages)
def test_built_dissected_and_rebuilt_bytes_are_the_same(message):
    data = bytes(message)
    received = MIP(data)
    assert type(received) is type(message)
    assert bytes(received) == data
    received.clear_cache()
    assert bytes(received) == data


@quick
@given(messages)
def test_fields_survive_the_wire(message):
    received = MIP(bytes(message))
    for field in message.fields_desc[:-1]:
        name = field.name
        assert received.getfieldval(name) == message.getfieldval(name), name
    assert len(received.extensions) == len(message.extensions)


@quick
@given(messages)
def test_command_rebuilds_the_bytes(message):
    assert command_bytes(message) == bytes(message)
    assert command_bytes(MIP(bytes(message))) == bytes(message)


def pattern(width):
    """A value of this width with the first and the last bit set."""
    return int("10110010" * 8, 2) >> (64 - width) | 1


def layout(number):
    fields = registry.message(number)["fields"]
    return [field for field in fields if isinstance(field["bits"], int)]


def with_field(cls, name, value, bits):
    if name in RequestFlag.__members__:
        return cls(flags=name)
    kind = str(ipaddress.IPv4Address(value)) if bits == 32 else value
    return cls(**{name: kind})


@pytest.mark.parametrize(
    ("number", "field"),
    [
        pytest.param(number, field, id=f"{number}-{field['name']}")
        for number in (1, 3)
        for field in layout(number)
    ],
)
def test_field_lies_where_the_registry_says(number, field):
    cls = message_classes()[number]
    name, bits = field["name"], field["bits"]
    value = 1 if bits == 1 else pattern(bits)
    zero = {f.name: 0 for f in cls.fields_desc if f.name in ("lifetime", "type")}
    empty = int.from_bytes(bytes(cls(**zero)), "big")
    size = registry.message(number)["fixed_bytes"]
    place = size * 8 - (field["off"] * 8 + field["bit"]) - bits
    packet = with_field(cls, name, value, bits)
    for other in zero:
        if other != name:
            packet.setfieldval(other, 0)
    data = bytes(packet)
    assert len(data) == size
    assert int.from_bytes(data, "big") ^ empty == value << place


@pytest.mark.parametrize("number", [1, 3])
def test_fields_are_those_of_the_registry(number):
    entry = registry.message(number)
    cls = message_classes()[number]
    letters = {flag.name for flag in RequestFlag} if number == 1 else set()
    expected = [f["name"] for f in entry["fields"] if f["name"] not in letters]
    got = [f.name for f in cls.fields_desc if f.name != "flags"]
    assert got == expected
    assert cls.fixed_size == entry["fixed_bytes"]
    assert bytes(cls())[0] == number


# A proper packet


def touch(packet):
    """Whatever a prompt does with a packet."""
    packet.summary()
    repr(packet)
    str(packet)
    packet.command()
    json.loads(packet.json())
    packet.show(dump=True)
    packet.show2(dump=True)
    hexdump(packet, dump=True)
    packet.layers()
    packet.hashret()
    assert packet.answers(packet) in (0, 1)
    assert packet.haslayer(MIP)
    assert packet == packet.copy()
    assert raw(copy.deepcopy(packet)) == raw(packet)
    assert raw(pickle.loads(pickle.dumps(packet))) == raw(packet)
    assert len(packet) == len(raw(packet))


@quick
@given(messages)
def test_prompt_tools_take_every_message(message):
    touch(message)
    touch(MIP(bytes(message)))


@settings(max_examples=150, deadline=None)
@given(damaged())
@example(b"")
@example(b"\x01")
@example(b"\x03\x00")
@example(bytes(MIPRRQ()) + b"\x20")
@example(bytes(MIPRRQ()) + b"\x20\x02\x00\x01")
@example(bytes(MIPRRP()) + b"\x24\x01\x00")
@example(bytes(MIPRRP()) + b"\x83\xff")
def test_damaged_input_is_shown_and_kept(data):
    if not data:
        return  # as with every Scapy layer, that gives the defaults
    packet = MIP(data)
    assert bytes(packet) == data
    packet.clear_cache()
    assert bytes(packet) == data
    touch(packet)
    assert command_bytes(packet) == data


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_taken_and_kept(data):
    assert bytes(MIP(data)) == data


@pytest.mark.parametrize("cls", [MIPRRQ, MIPRRP])
def test_message_cut_at_every_byte_is_kept(cls):
    data = bytes(
        cls() / MIPNAI(nai="mn@example.org") / MIPMHAE(authenticator=b"a" * 16)
    )
    for end in range(1, len(data)):
        packet = MIP(data[:end])
        assert bytes(packet) == data[:end]
        assert isinstance(packet, cls) == (end >= cls.fixed_size)


def test_message_of_unknown_type_keeps_its_bytes():
    packet = MIP(b"\x63abc")
    assert type(packet) is MIP
    assert bytes(packet) == b"\x63abc"
    assert "99" in packet.summary()


def test_built_and_received_messages_compare_equal():
    message = MIPRRQ(flags="DT", home_address="10.0.0.1", identification=5)
    assert MIP(bytes(message)) == message
    assert MIP(bytes(message)) != MIPRRQ(flags="D", home_address="10.0.0.1")


def test_copy_does_not_share_extensions_or_flags():
    message = MIP(bytes(MIPRRQ(flags="D") / MIPNAI(nai="a@b")))
    twin = message.copy()
    twin.flags.T = 1
    twin.extensions[0].nai = "c@d"
    assert str(message.flags) == "D"
    assert message.extensions[0].nai == "a@b"
    assert bytes(message) != bytes(twin)


def test_layers_are_found_by_class_and_name():
    message = MIPRRQ() / MIPNAI() / MIPMHAE(authenticator=b"")
    assert MIPNAI in message
    assert "MIPMobileNodeNAI" in message
    assert message[MIPMHAE] is message.extensions[1]
    assert message.getlayer(MIPExtension, 2) is message.extensions[1]
    assert MIPRRP not in message


# `/` appends extensions (COM-03: they go up to the end of the datagram)


def test_slash_appends_to_the_extensions():
    message = MIPRRQ() / MIPNAI(nai="a@b") / MIPMHAE(authenticator=b"x" * 16)
    assert [type(one) for one in message.extensions] == [MIPNAI, MIPMHAE]
    assert not message.payload


def test_slash_appends_under_ip_and_udp():
    packet = IP() / UDP(sport=5000) / MIPRRQ() / MIPNAI(nai="a@b")
    packet = packet / MIPMHAE(authenticator=b"x" * 16)
    again = IP(bytes(packet))
    assert [type(one) for one in again[MIPRRQ].extensions] == [MIPNAI, MIPMHAE]
    assert again[UDP].dport == 434


def test_slash_takes_a_chain_apart():
    message = MIPRRQ() / (MIPNAI(nai="a@b") / MIPMHAE(authenticator=b"x" * 16))
    again = MIP(bytes(message))
    assert [type(one) for one in message.extensions] == [MIPNAI, MIPMHAE]
    assert bytes(again) == bytes(message)
    assert not message.extensions[0].payload


def test_slash_leaves_both_sides_alone():
    message, extension = MIPRRQ(), MIPNAI()
    assert (message / extension).extensions[0] is not extension
    assert message.extensions == []


def test_slash_leaves_other_payloads_to_scapy():
    message = MIPRRQ() / b"tail"
    assert message.extensions == []
    assert bytes(message).endswith(b"tail")
    assert (message / MIPNAI(nai="a")).extensions[0].nai == "a"


def test_two_messages_do_not_share_a_default_list():
    first, second = MIPRRQ(), MIPRRQ()
    first.extensions.append(MIPNAI())
    assert second.extensions == []
    assert MIPRRQ().extensions == []


def test_extensions_take_one_or_a_list():
    assert MIPRRQ(extensions=MIPNAI()).extensions == [MIPNAI()]
    chain = [MIPNAI() / MIPNAI(nai="x"), MIPNAI()]
    assert len(MIPRRQ(extensions=chain).extensions) == 3


# Flags


@given(st.sets(st.sampled_from("SBDMGrTx")))
@quick
def test_flags_are_set_and_read_by_letters(letters):
    message = MIPRRQ(flags="".join(letters))
    received = MIP(bytes(message))
    for flag in RequestFlag:
        assert getattr(received.flags, flag.name) == (flag.name in letters)
        assert bool(int(received.flags) & flag) == (flag.name in letters)
    assert set(str(received.flags)) == letters


@pytest.mark.parametrize("flag", RequestFlag)
def test_flag_bit_edited_in_place_is_sent(flag):
    message = MIP(bytes(MIPRRQ(flags=0, extensions=[MIPNAI(nai="a@b")])))
    setattr(message.flags, flag.name, 1)
    assert bytes(message)[1] == flag
    setattr(message.flags, flag.name, 0)
    assert bytes(message)[1] == 0


def test_flags_take_enumeration_members():
    assert bytes(MIPRRQ(flags=RequestFlag.D | RequestFlag.T))[1] == 0x22


# Edit and rebuild: nothing comes from a stale cache


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flags", 0x80),
        ("lifetime", 7),
        ("home_address", "10.9.8.7"),
        ("home_agent", "10.9.8.6"),
        ("care_of_address", "10.9.8.5"),
        ("identification", 0x0102030405060708),
        ("extensions", []),
    ],
)
def test_edited_field_of_a_received_request_is_sent(name, value):
    message = MIP(bytes(MIPRRQ(lifetime=600) / MIPNAI(nai="a@b")))
    bytes(message)
    setattr(message, name, value)
    again = MIP(bytes(message))
    assert getattr(again, name) == value
    for field in message.fields_desc:
        if field.name not in (name, "extensions"):
            assert getattr(again, field.name) == getattr(message, field.name)


def edits():
    def nai(message):
        message.extensions[0].nai = "longer@example.org"

    def spi(message):
        message.extensions[1].spi = 999

    def append(message):
        message.extensions.append(MIPNAI(nai="z"))

    def remove(message):
        del message.extensions[0]

    def swap(message):
        message.extensions.reverse()

    def replace(message):
        message.extensions[0] = MIPExtension(type=200, data=b"new")

    return [nai, spi, append, remove, swap, replace]


@pytest.mark.parametrize("edit", edits(), ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("built_before", [False, True])
def test_edit_below_a_received_message_is_sent(edit, built_before):
    data = bytes(MIPRRQ() / MIPNAI(nai="a@b") / MIPMHAE(authenticator=b"x" * 16))
    message = MIP(data)
    if built_before:
        assert bytes(message) == data
    edit(message)
    for one in message.extensions:
        if "length" in one.fields:
            del one.length
    assert bytes(message) != data
    expected = b"".join(bytes(one) for one in message.extensions)
    assert bytes(message) == data[:24] + expected


def test_edit_under_udp_is_sent():
    packet = IP(bytes(IP() / UDP() / MIPRRQ() / MIPNAI(nai="a@b")))
    packet[MIPNAI].nai = "c@d"
    packet[MIPRRQ].flags.T = 1
    del packet[UDP].chksum
    again = IP(bytes(packet))
    assert again[MIPNAI].nai == "c@d"
    assert again[MIPRRQ].flags == "T"


@quick
@given(messages, unsigned(16), addresses, extensions)
def test_edits_of_received_messages_match_a_fresh_build(
    message, lifetime, address, added
):
    received = MIP(bytes(message))
    for packet in (message, received):
        packet.lifetime = lifetime
        packet.home_address = address
        packet.extensions.append(added)
    assert bytes(received) == bytes(message)


# Values as in stock Scapy


def test_raw_values_are_sent_as_they_are():
    assert bytes(MIPRRQ(lifetime=RawVal(b"abc")))[2:5] == b"abc"
    assert bytes(MIPRRQ(home_address=RawVal(b"abc")))[4:7] == b"abc"
    assert bytes(MIPRRQ(flags=RawVal(b"abc")))[1:4] == b"abc"
    assert bytes(MIPRRQ(extensions=RawVal(b"tail")))[24:] == b"tail"
    message = MIPRRQ()
    message.identification = RawVal(b"x")
    assert len(bytes(message)) == 17


def test_lists_and_networks_give_one_packet_each():
    message = MIPRRQ(lifetime=[1, 2], home_address="10.0.0.0/30")
    packets = list(message)
    assert {(one.lifetime, one.home_address) for one in packets} == {
        (lifetime, f"10.0.0.{host}") for host in range(4) for lifetime in (1, 2)
    }
    assert {len(bytes(one)) for one in packets} == {24}
    assert len(list(MIPRRP(code=(0, 3)))) == 4
    assert len(bytes(message)) == 24
    assert "RRQ" in message.summary()
    assert "RRP" in MIPRRP(code=[0, 133]).summary()


def test_none_is_zero_as_in_stock_fields():
    assert bytes(MIPRRQ(lifetime=None))[2:4] == b"\0\0"
    assert bytes(MIPRRQ(home_address=None))[4:8] == b"\0\0\0\0"


def test_names_of_codes_are_values():
    assert MIPRRP(code=ReplyCode(133).text).code == 133
    assert MIPRRP(code=ReplyCode.HA_IDENTIFICATION_MISMATCH).code == 133


@pytest.mark.parametrize("bad", [{"nonsense": 1}, {"nai": "x"}])
def test_unknown_field_is_refused(bad):
    with pytest.raises(AttributeError):
        MIPRRQ(**bad)


def test_value_out_of_range_is_refused_as_in_stock_scapy():
    with pytest.raises(Exception, match="lifetime"):
        bytes(MIPRRQ(lifetime=70000))


@pytest.mark.parametrize("cls", [MIPRRQ, MIPRRP, MIP, MIPNAI, MIPMHAE, MIPExtension])
def test_fuzz_gives_packets_that_are_sent_and_read(cls):
    packet = fuzz(cls())
    seen = set()
    for _time in range(30):
        data = bytes(packet)
        seen.add(data)
        assert data[0] == int(cls().type)
    assert len(seen) > 1 or cls is MIP
    packet.show(dump=True)
    packet.summary()
    repr(packet)


def test_fuzz_reaches_the_extensions():
    message = fuzz(MIPRRQ() / MIPNAI() / MIPMHAE(authenticator=b"x" * 16))
    assert len({bytes(message)[24:] for _time in range(10)}) > 1
    assert MIPRRQ().lifetime == 1800
    assert MIPNAI().nai == ""


def test_defaults_are_those_of_a_fresh_request():
    message = MIPRRQ()
    assert (message.type, message.lifetime, int(message.flags)) == (1, 1800, 0)
    assert isinstance(message.flags, FlagValue)


# Pairing (RFC 5944 section 5.7: the reply repeats the low half)


@quick
@given(unsigned(64), unsigned(32), addresses)
def test_reply_answers_by_the_low_half_of_identification(number, high, home):
    request = MIPRRQ(identification=number, home_address=home)
    same_low = (high << 32) | (number & 0xFFFFFFFF)
    reply = MIPRRP(identification=same_low, home_address=home)
    assert reply.answers(request)
    assert reply.hashret() == request.hashret()
    other = MIPRRP(identification=number ^ 1, home_address=home)
    assert not other.answers(request)
    assert other.hashret() != request.hashret()


def test_reply_for_another_home_address_is_no_answer():
    request = MIPRRQ(identification=1, home_address="10.0.0.1")
    assert not MIPRRP(identification=1, home_address="10.0.0.2").answers(request)


def test_any_address_answers_a_request_for_one():
    request = MIPRRQ(identification=1, home_address="0.0.0.0")
    assert MIPRRP(identification=1, home_address="10.0.0.2").answers(request)


def test_requests_answer_nothing():
    request = MIPRRQ(identification=1)
    assert not request.answers(request)
    assert not request.answers(MIPRRP(identification=1))
    assert not MIPRRP().answers(MIPRRP())
    assert not MIPRRP().answers(Raw(b""))


def test_pairing_works_through_ip_and_udp():
    request = IP(src="10.1.2.50", dst="10.1.1.20") / UDP(sport=4000) / MIPRRQ()
    request = IP(bytes(request))
    reply = IP(src="10.1.1.20", dst="10.1.2.50") / UDP(dport=4000) / MIPRRP()
    reply = IP(bytes(reply))
    assert reply.answers(request)
    assert reply.hashret() == request.hashret()
    assert reply[UDP].sport == 434


# Summaries


def test_summary_says_who_where_and_how_long():
    packet = (
        IP()
        / UDP()
        / MIPRRQ(
            home_address="10.0.0.1",
            care_of_address="10.2.0.5",
            lifetime=65535,
            flags="DT",
        )
    )
    text = packet.summary()
    for part in ("RRQ", "10.0.0.1", "10.2.0.5", "infinite", "UDP"):
        assert part in text
    assert set(text.rsplit(maxsplit=1)[-1]) == {"D", "T"}


def test_summary_of_a_reply_explains_the_code():
    assert (
        "133 (HA: registration Identification mismatch)" in MIPRRP(code=133).summary()
    )
    assert "50 (unassigned code 50)" in MIPRRP(code=50).summary()


def test_identification_is_shown_in_hex_with_its_time():
    text = MIPRRQ(identification=0xEEAE41413EE6B800).show(dump=True)
    assert "0xeeae41413ee6b800 (2026-11-23 04:36:17.245707 UTC)" in text


# The registry of messages


def test_a_message_class_names_its_type():
    with pytest.raises(ValueError, match="message_type"):
        register_message(MIP)


def test_short_names_are_the_same_classes():
    assert MIPRRQ is MIPRegistrationRequest
    assert MIPRRP is MIPRegistrationReply
    assert message_classes()[1] is MIPRRQ
    assert message_classes()[3] is MIPRRP
