# SPDX-License-Identifier: GPL-2.0-only
"""Extensions: layouts of the registry, framing, and what is kept of odd ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.fields import ByteField, RawVal, ShortField
from scapy.packet import Padding, Raw
from scapy.volatile import RandString

import scapy_mip.all
from scapy_mip.all import (
    MIP,
    MIPMHAE,
    MIPNAI,
    MIPRRQ,
    MIPExtension,
    MIPGeneralizedMobileIPAuthentication,
    MIPLongExtension,
    MIPOneBytePadding,
    dissect_extensions,
    extension_name,
    is_skippable,
    register_extension,
)
from scapy_mip.const import LONG_FORM_EXTENSIONS
from scapy_mip.extensions.base import ExtensionListField, extension_classes
from support import registry
from support.strategies import UNKNOWN_LONG, UNKNOWN_SHORT, extensions

KNOWN = [0, 32, 33, 34, 36, 131]
NAMES = {
    **{name: getattr(scapy_mip.all, name) for name in scapy_mip.all.__all__},
    "Raw": Raw,
    "Padding": Padding,
}
quick = settings(max_examples=80, deadline=None)


# Layouts


def layout(number):
    return [
        f for f in registry.extension(number)["fields"] if isinstance(f["bits"], int)
    ]


@pytest.mark.parametrize(
    ("number", "field"),
    [
        pytest.param(number, field, id=f"{number}-{field['name']}")
        for number in KNOWN
        for field in layout(number)
    ],
)
def test_field_lies_where_the_registry_says(number, field):
    cls = extension_classes()[number]
    bits = field["bits"]
    value = int("10110010" * 8, 2) >> (64 - bits) | 1
    body = {"authenticator": b""} if number in (32, 33, 34, 36) else {}
    zeros = {one["name"]: 0 for one in layout(number)}
    empty = bytes(cls(**body, **zeros))
    data = bytes(cls(**body, **{**zeros, field["name"]: value}))
    assert len(data) == registry.extension(number)["fixed_bytes"] == len(empty)
    place = len(data) * 8 - (field["off"] * 8 + field["bit"]) - bits
    changed = int.from_bytes(data, "big") ^ int.from_bytes(empty, "big")
    assert changed == value << place


@pytest.mark.parametrize("number", KNOWN)
def test_fields_are_those_of_the_registry(number):
    cls = extension_classes()[number]
    entry = registry.extension(number)
    assert [f.name for f in cls.fields_desc] == [f["name"] for f in entry["fields"]]
    assert int(cls().type) == number
    assert MIPExtension(bytes(cls())).__class__ is cls


@pytest.mark.parametrize("number", KNOWN)
def test_class_is_called_after_the_registry(number):
    name = registry.extension(number)["name"]
    camel = "MIP" + "".join(
        part[0].upper() + part[1:] for part in name.replace("-", " ").split()
    )
    assert extension_classes()[number] is getattr(scapy_mip.all, camel)


# Round trips


@quick
@given(extensions)
def test_built_dissected_and_rebuilt_bytes_are_the_same(extension):
    data = bytes(extension)
    received = MIPExtension(data)
    assert type(received) is type(extension)
    assert bytes(received) == data
    received.clear_cache()
    assert bytes(received) == data
    assert bytes(eval(received.command(), NAMES)) == data
    assert bytes(eval(extension.command(), NAMES)) == data


@quick
@given(st.lists(extensions, max_size=6))
def test_lists_of_extensions_come_apart_as_they_were_put_together(listed):
    data = b"".join(bytes(one) for one in listed)
    received = dissect_extensions(data)
    assert [type(one) for one in received] == [type(one) for one in listed]
    assert b"".join(bytes(one) for one in received) == data
    assert MIP(bytes(MIPRRQ()) + data).extensions == received


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_behind_a_message_are_kept(data):
    message = MIP(bytes(MIPRRQ()) + data)
    assert bytes(message)[24:] == data
    message.clear_cache()
    assert bytes(message)[24:] == data


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_alone_are_kept(data):
    if not data:
        return
    extension = MIPExtension(data)
    assert bytes(extension) == data
    extension.summary()
    extension.show(dump=True)


# Unknown types (COM-01, COM-02: what to do with them is for the agents)


@pytest.mark.parametrize("number", UNKNOWN_SHORT)
def test_unknown_type_keeps_its_bytes(number):
    data = bytes([number, 3]) + b"abc" + b"\x83\x01x"
    first, second = MIP(bytes(MIPRRQ()) + data).extensions
    assert type(first) is MIPExtension
    assert (first.type, first.length, first.data) == (number, 3, b"abc")
    assert second.nai == "x"
    assert first.skippable == (number >= 128)


@pytest.mark.parametrize("number", UNKNOWN_LONG)
def test_unknown_type_of_the_long_format_keeps_its_bytes(number):
    data = bytes([number, 9, 1, 4]) + b"a" * 260 + b"\x83\x01x"
    first, second = MIP(bytes(MIPRRQ()) + data).extensions
    assert type(first) is MIPLongExtension
    assert (first.type, first.subtype, first.length) == (number, 9, 260)
    assert second.nai == "x"


def test_skippable_starts_at_128():
    assert not is_skippable(127)
    assert is_skippable(128)


def test_names_are_those_of_json():
    assert extension_name(36) == "generalized_mobile_ip_authentication"
    assert extension_name(201) == "unknown_201"


# Odd framing


def test_length_that_runs_over_the_end_survives():
    message = MIP(bytes(MIPRRQ()) + b"\x83\x20abc")
    (extension,) = message.extensions
    assert type(extension) is MIPExtension
    assert (extension.length, extension.data) == (32, b"abc")
    assert extension.is_cut
    message.clear_cache()
    assert bytes(message).endswith(b"\x83\x20abc")


def test_length_that_is_too_short_moves_the_rest_to_the_next_extension():
    data = b"\x83\x01ab\x83\x00"
    first, second = dissect_extensions(data)
    assert first.nai == "a"
    assert bytes(second) == b"b\x83\x00"
    assert bytes(first) + bytes(second) == data


def test_stray_last_byte_is_kept():
    message = MIP(bytes(MIPRRQ() / MIPNAI(nai="a")) + b"\x83")
    assert bytes(message.extensions[-1]) == b"\x83"
    assert type(message.extensions[-1]) is Raw
    message.lifetime = 5
    assert bytes(message).endswith(b"\x83\x01a\x83")


def test_padding_is_one_byte_without_length():
    message = MIP(bytes(MIPRRQ()) + b"\0\0\x83\x01a\0")
    kinds = [type(one) for one in message.extensions]
    assert kinds == [MIPOneBytePadding, MIPOneBytePadding, MIPNAI, MIPOneBytePadding]
    assert not message.extensions[0].is_cut
    assert not message.extensions[0].skippable


@pytest.mark.parametrize("length", range(4))
def test_authentication_shorter_than_its_spi_is_plain(length):
    data = bytes([32, length]) + b"abc"[:length]
    (extension,) = dissect_extensions(data)
    assert type(extension) is MIPExtension
    assert extension.type == 32
    assert bytes(extension) == data
    (extension,) = dissect_extensions(bytes([36, 1, 0, length]) + b"abc"[:length])
    assert type(extension) is MIPLongExtension


def test_authentication_may_be_without_authenticator():
    (extension,) = dissect_extensions(b"\x20\x04\0\0\1\0")
    assert type(extension) is MIPMHAE
    assert (extension.spi, extension.authenticator) == (256, b"")


@pytest.mark.parametrize("number", sorted(LONG_FORM_EXTENSIONS))
def test_type_of_the_long_format_sent_short_is_read_short(number):
    """COM-05, C-8: as agents after old drafts send type 47, one byte of length."""
    data = bytes([number, 2, 0xFF, 0xFF]) + bytes(MIPMHAE(authenticator=b"m" * 16))
    first, second = dissect_extensions(data)
    assert type(first) is MIPExtension
    assert (first.type, first.length, first.data) == (number, 2, b"\xff\xff")
    assert type(second) is MIPMHAE
    assert bytes(first) + bytes(second) == data


def test_long_length_over_the_end_stays_long_when_short_does_not_fit_either():
    (extension,) = dissect_extensions(b"\x24\xff\x40\x00\0\0\1\0")
    assert type(extension) is MIPLongExtension
    assert extension.length == 0x4000
    assert extension.is_cut


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_long_header_cut_short_is_kept(cut):
    data = b"\x24\x01\x00"[:cut]
    parts = dissect_extensions(data)
    assert b"".join(bytes(one) for one in parts) == data


def test_only_what_is_cut_is_called_cut():
    received = MIP(bytes(MIPRRQ() / MIPNAI(nai="a@b") / MIPMHAE(authenticator=b"")))
    for message in (received, received.copy()):
        assert not any(one.is_cut for one in message.extensions)
    assert not MIPExtension(length=3, data=b"abc").is_cut
    assert MIPExtension(length=4, data=b"abc").is_cut
    assert not MIPExtension(data=b"abc").is_cut


# Lengths


def test_lengths_are_computed_when_left_out():
    assert bytes(MIPNAI(nai="abc"))[1] == 3
    assert bytes(MIPMHAE(authenticator=b"x" * 16))[1] == 20
    generalized = MIPGeneralizedMobileIPAuthentication(authenticator=b"x" * 300)
    assert bytes(generalized)[2:4] == (304).to_bytes(2, "big")


@pytest.mark.parametrize("length", [0, 1, 255])
def test_wrong_length_on_purpose_is_sent(length):
    for extension in (
        MIPNAI(length=length, nai="abc"),
        MIPMHAE(length=length, authenticator=b"x" * 16),
        MIPExtension(length=length, data=b"abc"),
    ):
        assert bytes(extension)[1] == length
        assert bytes(MIPRRQ(extensions=[extension]))[25] == length


def test_body_too_long_for_its_length_is_refused():
    with pytest.raises(Exception, match="length"):
        bytes(MIPNAI(nai="x" * 256))


def test_raw_values_are_sent_as_they_are():
    assert bytes(MIPNAI(length=RawVal(b"ab"), nai="x")) == b"\x83abx"
    assert bytes(MIPNAI(nai=RawVal(b"ab"))) == b"\x83\x02ab"
    assert bytes(MIPExtension(type=RawVal(b""), data=b"x")) == b"\x01x"


def test_random_and_list_values_work_inside_a_message():
    message = MIPRRQ() / MIPNAI(nai=RandString(12))
    assert len({bytes(message)[24:] for _time in range(5)}) > 1
    assert len(bytes(MIPRRQ() / MIPExtension(type=[200, 201], data=b""))) == 26
    MIPExtension(type=[200, 201]).summary()


# NAI (RFC 2794; UTF-8 as RFC 4282 allows)


@quick
@given(st.text(max_size=60))
def test_nai_is_text_in_and_out(text):
    extension = MIPExtension(bytes(MIPNAI(nai=text)))
    assert extension.nai == text


@quick
@given(st.binary(max_size=60))
def test_nai_that_is_no_text_keeps_its_bytes(data):
    extension = MIPExtension(bytes([131, len(data)]) + data)
    extension.clear_cache()
    assert bytes(extension)[2:] == data
    assert bytes(MIPNAI(nai=extension.nai))[2:] == data
    text = extension.summary() + extension.show(dump=True) + repr(extension)
    text.encode()


# Registering


@pytest.fixture
def restored_registry(monkeypatch):
    yield
    from scapy_mip.extensions import base

    base._CLASSES.pop(200, None)
    ExtensionListField.walk.forget()


def test_registered_class_is_used_at_once(restored_registry):
    data = bytes(MIPRRQ()) + b"\xc8\x02ab"
    assert type(MIP(data).extensions[0]) is MIPExtension

    class MIPTwoHundred(MIPExtension):
        extension_type = 200
        type = 200

    register_extension(MIPTwoHundred)
    assert type(MIP(data).extensions[0]) is MIPTwoHundred
    assert type(MIPExtension(data[24:])) is MIPTwoHundred
    assert bytes(MIP(data)) == data


def test_an_extension_class_names_its_type():
    with pytest.raises(ValueError, match="extension_type"):
        register_extension(MIPExtension)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 9])
def test_class_without_variable_end_keeps_what_is_too_much(restored_registry, length):
    class MIPFixed(MIPExtension):
        extension_type = 200
        fields_desc = [  # noqa: RUF012
            ByteField("type", 200),
            ByteField("length", 2),
            ShortField("value", 0),
        ]
        least_body = 2

    register_extension(MIPFixed)
    data = bytes([200, length]) + b"abcdefghi"[:length] + bytes(MIPNAI(nai="x"))
    for _again in range(2):
        message = MIP(bytes(MIPRRQ()) + data)
        first = message.extensions[0]
        assert type(first) is (MIPFixed if length >= 2 else MIPExtension)
        assert message.extensions[-1].nai == "x"
        assert bytes(message)[24:] == data
        message.lifetime = 5
        message.flags.D = 1
        assert bytes(message)[24:] == data
        message.clear_cache()
        assert bytes(message)[24:] == data
        assert bytes(MIPExtension(data)) == data
