# SPDX-License-Identifier: GPL-2.0-only
"""What a Scapy user types at the prompt, for every class there is."""

import contextlib
import io
import json
import random

import pytest
from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.libs.test_pyx import PYX
from scapy.packet import fuzz, ls
from scapy.utils import hexdump

import scapy_mip.all
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    MIPGeneralizedMobileIPAuthentication,
    MIPMessage,
    MIPMinimalEncapsulation,
    MIPMobilityAgentAdvertisement,
    MIPRouterEntry,
    MIPTunnelData,
)
from scapy_mip.base import message_classes
from scapy_mip.extensions.base import dissect_extensions
from scapy_mip.ident import LOW_MASK
from support.strategies import every_class, random_instance

NAMES = vars(scapy_mip.all)
MESSAGES = sorted(message_classes().values(), key=lambda cls: cls.__name__)
EXTENSIONS = sorted(
    {cls for cls in every_class() if cls.__name__ in NAMES},
    key=lambda cls: cls.__name__,
)
DISCOVERY = [MIPAgentAdvertisement, MIPAgentSolicitation]
CLASSES = [*MESSAGES, *EXTENSIONS, *DISCOVERY, MIPMinimalEncapsulation]
ids = {"ids": lambda cls: getattr(cls, "__name__", None)}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """No associations but those that a test gives."""
    monkeypatch.setitem(conf.contribs["mip"], "security_associations", {})


def instance(cls):
    """A packet with a value in every field."""
    if cls in EXTENSIONS:
        return random_instance(cls, random.Random(cls.__name__))
    made = cls()
    if isinstance(made, MIPMessage):
        made = made / MIPNAI(nai="mn@example.org") / MIPMHAE(authenticator=b"\1" * 16)
    return made


def printed(function, *args):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        function(*args)
    return text.getvalue()


# Looking


@pytest.mark.parametrize("cls", CLASSES, **ids)
def test_fields_are_listed(cls):
    of_class, of_packet = printed(ls, cls), printed(ls, instance(cls))
    for field in cls.fields_desc:
        assert field.name in of_class
        assert field.name in of_packet


@pytest.mark.parametrize("cls", CLASSES, **ids)
def test_packet_shows(cls):
    packet = instance(cls)
    again = type(packet)(bytes(packet))
    for text in (packet.show(dump=True), packet.show2(dump=True), repr(packet)):
        assert packet.name in text or cls.__name__ in text
    for text in (packet.summary(), again.summary()):
        assert text
        assert "None" not in text
        assert "??" not in text
    assert hexdump(packet, dump=True).startswith("0000")


@pytest.mark.parametrize("cls", CLASSES, **ids)
def test_command_gives_the_same_bytes(cls):
    packet = instance(cls)
    assert bytes(eval(packet.command(), NAMES)) == bytes(packet)


@pytest.mark.parametrize("cls", CLASSES, **ids)
def test_json_has_every_field(cls):
    packet = instance(cls)
    shown = json.loads(packet.json())
    empty_lists = {
        field.name
        for field in packet.fields_desc
        if field.islist and not packet.getfieldval(field.name)
    }
    assert {field.name for field in cls.fields_desc} - empty_lists <= set(shown)


@pytest.mark.parametrize("cls", CLASSES, **ids)
def test_dump_as_a_picture_has_every_byte(cls):
    """`pdfdump()` draws what `build_ps()` gives; it needs PyX and TeX itself."""
    packet = type(instance(cls))(bytes(instance(cls)))
    data, layers = packet.build_ps()
    assert data == bytes(packet)
    drawn = b"".join(
        piece for _layer, fields in reversed(layers) for _field, _text, piece in fields
    )
    assert drawn == data


def test_message_is_drawn_as_pdf(tmp_path):
    if not PYX:
        pytest.skip("no PyX with pdflatex: sudo apt install texlive-latex-base")
    path = tmp_path / "message.pdf"
    message = MIPRRQ(flags="DT") / MIPNAI(nai="mn@example.org")
    (IP() / UDP() / message).pdfdump(str(path))
    assert path.read_bytes().startswith(b"%PDF")


# Crafting


@pytest.mark.parametrize("cls", CLASSES, **ids)
def test_fuzzed_packet_builds_and_keeps_its_bytes(cls):
    for _round in range(10):
        data = bytes(fuzz(cls()))
        if cls in EXTENSIONS:
            assert b"".join(map(bytes, dissect_extensions(data))) == data
            continue
        again = MIP(data) if cls in MESSAGES else cls(data)
        assert bytes(again) == data


@pytest.mark.parametrize(
    "cls", [cls for cls in EXTENSIONS if "length" in cls().default_fields], **ids
)
@pytest.mark.parametrize("wrong", [0, 1, 5, 77, 255])
def test_wrong_length_survives(cls, wrong):
    extension = instance(cls)
    right = bytes(extension)
    extension.length = wrong
    data = bytes(extension)
    width = extension.get_field("length").sz
    place = 1 if extension.header_size == 2 else 2
    assert data[place : place + width] == wrong.to_bytes(width, "big")
    assert (
        data[:place] + data[place + width :] == right[:place] + right[place + width :]
    )
    whole = bytes(MIPRRQ(extensions=[extension]))
    assert whole[24:] == data
    assert bytes(MIP(whole)) == whole
    received = MIP(whole)
    received.lifetime ^= 1
    assert bytes(received)[4:] == whole[4:]


@pytest.mark.parametrize(
    "cls", [MIPMHAE, MIPMFAE, MIPFHAE, MIPGeneralizedMobileIPAuthentication], **ids
)
@pytest.mark.parametrize("wrong", [b"", b"\0", b"\xff" * 16, b"x" * 40])
def test_wrong_authenticator_survives(cls, wrong):
    data = bytes(MIPRRQ() / cls(authenticator=wrong))
    received = MIP(data)
    assert received.extensions[0].authenticator == wrong
    received.lifetime ^= 1
    assert bytes(received)[4:] == data[4:]


@pytest.mark.parametrize(
    ("packet", "field", "wrong"),
    [
        (MIPAgentAdvertisement(entries=[MIPRouterEntry()]), "chksum", 0xBAD0),
        (MIPAgentAdvertisement(entries=[MIPRouterEntry()]), "num_addrs", 0),
        (MIPAgentAdvertisement(entries=[MIPRouterEntry()]), "num_addrs", 9),
        (MIPAgentAdvertisement(entries=[MIPRouterEntry()]), "addr_entry_size", 1),
        (MIPAgentAdvertisement(entries=[MIPRouterEntry()]), "addr_entry_size", 0),
        (MIPAgentSolicitation(), "chksum", 0xBAD0),
        (MIPMinimalEncapsulation(), "header_checksum", 0xBAD0),
        (MIPMobilityAgentAdvertisement(care_of_addresses=[]), "length", 200),
        (MIPTunnelData(), "next_header", 250),
        (MIPRRQ(), "type", 3),
        (MIPRRP(), "code", 255),
    ],
)
def test_wrong_value_survives(packet, field, wrong):
    packet = packet.copy()
    packet.setfieldval(field, wrong)
    data = bytes(packet)
    again = type(packet)(data)
    assert bytes(again) == data
    if field != "type":
        assert again.getfieldval(field) == wrong


# Pairing


@pytest.mark.parametrize(
    "cls",
    [cls for cls in MESSAGES if getattr(cls, "answered", None) or cls is MIPRRP],
    **ids,
)
def test_answer_pairs_by_what_it_repeats(cls):
    """The low 32 bits of Identification, where there is one (RFC 5944 5.7)."""
    asking = MIPRRQ if cls is MIPRRP else cls.answered
    field = getattr(cls, "pairing_field", "identification")
    repeated = getattr(cls, "pairing_mask", LOW_MASK)
    there = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=5000, dport=434)
    back = IP(src="10.0.0.2", dst="10.0.0.1") / UDP(sport=434, dport=5000)
    question = IP(bytes(there / asking(**{field: 5})))
    width = 8 * cls().get_field(field).sz

    for number in (5, 5 | ((1 << width) - 1) & ~repeated):
        answer = IP(bytes(back / cls(**{field: number})))
        assert answer.hashret() == question.hashret()
        assert answer.answers(question)
        assert not question.answers(answer)
    assert not IP(bytes(back / cls(**{field: 6}))).answers(question)
