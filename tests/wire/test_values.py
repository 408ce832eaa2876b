# SPDX-License-Identifier: GPL-2.0-only
"""Values read and written without a packet are those of the packet."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.fields import FlagValue

from scapy_mip import _fastpath
from scapy_mip.all import (
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPExtension,
    field_reader,
    field_writer,
)
from scapy_mip.base import message_classes
from scapy_mip.extensions import base
from scapy_mip.extensions.base import register_extension
from scapy_mip.values import plain_reader, plain_writer
from support.strategies import (
    damaged,
    every_class,
    random_damage,
    random_instance,
    random_message,
)

MESSAGES = [cls for cls in message_classes().values() if cls.fixed_size > 1]
FIXED = {
    cls: [field.name for field in _fastpath.split_tail(cls.fields_desc)[0]]
    for cls in [*MESSAGES, *every_class()]
    if cls.compiled() is not None
}


def readers(cls):
    """The compiled reader of all that can be read, and the plain one."""
    names = [*FIXED[cls]]
    if cls in MESSAGES and cls.fields_desc[-1].name == "extensions":
        names.append("extensions")
    return field_reader(cls, *names), plain_reader(cls, *names)


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except struct.error:
        return "too short"


PAIRS = {int(cls.message_type): readers(cls) for cls in (MIPRRQ, MIPRRP)}


def test_damaged_messages_read_the_same():
    rng = random.Random(5)
    for _time in range(3_000):
        data = random_damage(rng, random_message(rng))
        if data and data[0] in PAIRS:
            read, plain = PAIRS[data[0]]
            assert outcome(read, data) == outcome(plain, data), data.hex()


@settings(max_examples=100, deadline=None)
@given(damaged())
def test_any_damaged_message_reads_the_same(data):
    if data and data[0] in PAIRS:
        read, plain = PAIRS[data[0]]
        assert outcome(read, data) == outcome(plain, data)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([MIPRRQ, MIPRRP]), st.binary(max_size=80))
def test_any_bytes_behind_the_fixed_part_read_the_same(cls, tail):
    data = bytes(cls()) + tail
    read, plain = PAIRS[cls.message_type]
    assert read(data) == plain(data)


@pytest.mark.parametrize("cls", list(FIXED), ids=lambda cls: cls.__name__)
def test_every_layer_reads_and_writes_the_same(cls):
    rng = random.Random(cls.__name__)
    names = FIXED[cls]
    read, plain = readers(cls)
    write, build = field_writer(cls, *names), plain_writer(cls, *names)
    for _time in range(10):
        packet = random_instance(cls, rng)
        data = bytes(packet)
        if type(cls(data)) is cls:
            assert read(data) == plain(data)
        values = [packet.getfieldval(name) for name in names]
        if None not in values:
            plainly = [int(v) if isinstance(v, FlagValue) else v for v in values]
            assert write(*plainly) == build(*plainly)[: len(write(*plainly))]


@pytest.mark.parametrize("cls", [MIPRRQ, MIPRRP])
def test_what_is_not_written_has_its_default(cls):
    assert field_writer(cls)() == bytes(cls())
    assert field_writer(cls, "lifetime")(7) == bytes(cls(lifetime=7))


def test_an_extension_is_read_where_it_stands():
    data = bytes(MIPRRQ() / MIPNAI(nai="a@b") / MIPMHAE(spi=300, authenticator=b"x"))
    (places,) = field_reader(MIPRRQ, "extensions")(data)
    assert places == [(MIPNAI, 24, 29), (MIPMHAE, 29, len(data))]
    assert field_reader(MIPMHAE, "spi")(data, 29) == (300,)


def test_too_few_bytes_are_refused():
    for cls in (MIPRRQ, MIPRRP):
        for read in readers(cls):
            with pytest.raises(struct.error):
                read(bytes(cls())[:-1])


@pytest.mark.parametrize("values", [("ten", 1), (1, 1), ("10.1.1.1", 1 << 64)])
def test_what_cannot_be_written_is_refused(values):
    write = field_writer(MIPRRP, "home_address", "identification")
    with pytest.raises((struct.error, TypeError, OSError)):
        write(*values)


@pytest.mark.parametrize("name", ["authenticator", "nonsense"])
@pytest.mark.parametrize("make", [field_reader, field_writer])
def test_a_name_that_is_no_fixed_field_is_refused(make, name):
    with pytest.raises(ValueError, match=name):
        make(MIPMHAE, name)


def test_a_class_registered_afterwards_is_found(monkeypatch):
    read = field_reader(MIPRRQ, "extensions")
    data = bytes(MIPRRQ() / MIPExtension(type=0xF7, data=bytes(4)))
    assert read(data) == ([(MIPExtension, 24, 30)],)

    class Late(MIPExtension):
        extension_type = 0xF7
        fields_desc = MIPExtension.fields_desc

    monkeypatch.setattr(base, "_CLASSES", base._CLASSES.copy())
    try:
        register_extension(Late)
        assert read(data) == ([(Late, 24, 30)],)
    finally:
        base.ExtensionListField.walk.forget()


def test_unknown_scapy_reads_and_writes_by_packets(monkeypatch):
    monkeypatch.setattr(_fastpath, "ENABLED", False)
    data = bytes(MIPRRQ(lifetime=7) / MIPNAI(nai="a@b"))
    read = field_reader(MIPRRQ, "lifetime", "extensions")
    assert read(data) == (7, [(MIPNAI, 24, 29)])
    assert field_writer(MIPRRQ, "lifetime")(7) == data[:24]
