# SPDX-License-Identifier: GPL-2.0-only
"""The messages that tshark decodes, field by field: 1, 3, 7, 15, header of 4."""

import datetime
import ipaddress
import random

import pytest
from scapy.layers.inet import IP, UDP

from scapy_mip import ident
from scapy_mip.all import MIPFHAE, MIPMHAE, MIPRRP, MIPRRQ, RequestFlag
from scapy_mip.base import message_classes
from support import oracle
from support.dissectors import known_elsewhere

pytestmark = oracle.needs_tshark

EACH = 100
REQUEST = {
    "mip.life": "lifetime",
    "mip.homeaddr": "home_address",
    "mip.haaddr": "home_agent",
}
REVOCATION = {
    "mip.homeaddr": "home_address",
    "mip.revid": "revocation_identifier",
}
FIELDS = {
    1: REQUEST | {"mip.coa": "care_of_address"},
    3: REQUEST | {"mip.code": "code"},
    4: {"mip.nattt.nexthdr": "next_header", "mip.nattt.reserved": "reserved"},
    7: REVOCATION
    | {
        "mip.rev.reserved": "reserved",
        "mip.rev.reserved2": "reserved2",
        "mip.rev.hda": "home_domain_address",
        "mip.rev.fda": "foreign_domain_address",
    },
    15: REVOCATION | {"mip.ack.reserved": "reserved", "mip.ack.reserved2": "reserved2"},
}
"""tshark's names of the fields, and ours, by message type."""
FLAGS = {
    # The letter r was V in RFC 2002, and still is to tshark.
    1: {f"mip.{'v' if f.name == 'r' else f.name.lower()}": f.name for f in RequestFlag},
    7: {"mip.rev.a": "A", "mip.rev.i": "I"},
    15: {"mip.ack.i": "I"},
}


def random_message(number, rng):
    cls = message_classes()[number]
    values = {}
    for field in cls.fields_desc:
        if field.name in ("type", "next_header", "extensions"):
            continue
        bits = field.size if hasattr(field, "size") else 8 * field.sz
        value = rng.getrandbits(bits)
        if field.name == "identification":
            value |= 1 << 63  # tshark shows it as a time: keep to the era it knows
        elif "address" in field.name or field.name == "home_agent":
            value = str(ipaddress.IPv4Address(value))
        values[field.name] = value
    if number == 4:
        return cls(**values) / IP(src="10.1.1.1", dst="10.1.1.2") / UDP()
    signed = MIPFHAE if number in (7, 15) else MIPMHAE
    return cls(**values) / signed(spi=256, authenticator=rng.randbytes(16))


@pytest.fixture(scope="module")
def seen():
    """Messages as we made them, beside what tshark shows of them."""
    rng = random.Random(434)
    made = [random_message(number, rng) for number in FIELDS for _n in range(EACH)]
    ports = {MIPRRP: {"sport": 434, "dport": 4000}}
    shown = oracle.decoded(
        oracle.framed(message, **ports.get(type(message), {})) for message in made
    )
    return list(zip(made, shown, strict=True))


def test_every_message_is_compared_or_known_to_be_misread():
    known = known_elsewhere()["wireshark"]["message"]
    assert sorted(FIELDS) == sorted(known["full"])
    assert sorted([*FIELDS, *known["wrong"]["W1"]]) == sorted(message_classes())


@pytest.mark.parametrize("number", FIELDS)
def test_fields_and_flags_agree(seen, number):
    mine = [(ours, theirs) for ours, theirs in seen if ours.type == number]
    assert len(mine) == EACH
    for ours, theirs in mine:
        assert theirs.is_clean, bytes(ours).hex()
        assert theirs.values("mip.type") == [str(number)]
        for name, field in FIELDS[number].items():
            (value,) = theirs.values(name)
            assert oracle.agrees(value, ours.getfieldval(field)), name
        for name, letter in FLAGS.get(number, {}).items():
            bit = str(int(getattr(ours.flags, letter)))
            assert theirs.values(name) == [bit], name


def test_identification_agrees_to_the_microsecond(seen):
    for ours, theirs in seen:
        if not isinstance(ours, MIPRRQ | MIPRRP):
            continue
        (shown,) = theirs.values("mip.ident")
        moment, fraction = shown.removesuffix(" UTC").rsplit(".", 1)
        read = datetime.datetime.strptime(moment, "%b %d, %Y %H:%M:%S")
        read = read.replace(microsecond=int(fraction[:6]))
        unix = datetime.timedelta(
            microseconds=ident.to_unix_ns(ours.identification) // 1000
        )
        made = datetime.datetime(1970, 1, 1) + unix
        assert abs(made - read) <= datetime.timedelta(microseconds=1)


def test_extensions_are_found_behind_the_fixed_part(seen):
    for ours, theirs in seen:
        expected = [] if ours.type == 4 else [str(ours.extensions[0].type)]
        assert theirs.values("mip.ext.type") == expected
