# SPDX-License-Identifier: GPL-2.0-only
"""The extensions that tshark decodes, in lists: every name and value, in order."""

import random

import pytest

from scapy_mip.all import MIPRRQ, MIPExtension
from scapy_mip.const import LONG_FORM_EXTENSIONS
from scapy_mip.fields import TextField
from support import oracle, registry
from support.dissectors import known_elsewhere
from support.strategies import every_class, random_instance

pytestmark = oracle.needs_tshark

LISTS = 400
NVSE = 10
"""Bytes in front of a vendor's value, in types 38 and 134."""


def bit(letter):
    return lambda extension: int(getattr(extension.flags, letter))


def rest(start):
    return lambda extension: bytes(extension)[start:]


LENGTH = ("mip.ext.len", "length")
BODY = [LENGTH, ("mip.extension", rest(2))]
AUTHENTICATION = [LENGTH, ("mip.auth.spi", "spi"), ("mip.auth.auth", "authenticator")]
CRITICAL = [
    ("mip.ext.cvse.reserved", "reserved"),
    LENGTH,
    ("mip.ext.cvse.vendor_id", "vendor_id"),
]
NORMAL = [
    LENGTH,
    ("mip.ext.nvse.reserved", "reserved"),
    ("mip.ext.nvse.vendor_id", "vendor_id"),
]
VENDORS_CRITICAL = {
    12951: [("mip.ext.cvse.verizon_type", "vendor_type")],  # the value is not shown
    5535: [
        ("mip.ext.cvse.3gpp2_type", "vendor_type"),
        ("mip.ext.cvse.3gpp2_grekey", "gre_key"),
    ],
}
OTHER_CRITICAL = [
    ("mip.ext.cvse.vendor_type", "vendor_type"),
    ("mip.ext.cvse.vendor_value", rest(NVSE)),
]
OTHER_NORMAL = [
    ("mip.ext.nvse.vendor_type", "vendor_type"),
    ("mip.ext.nvse.vendor_value", rest(NVSE)),
]
DNS = "mip.ext.nvse.3gpp2.type17"
VENDORS_NORMAL = {
    16: [
        ("mip.ext.nvse.3gpp2.type", "vendor_type"),
        ("mip.ext.nvse.3gpp2.type16.value", "value"),
    ],
    17: [
        ("mip.ext.nvse.3gpp2.type", "vendor_type"),
        (f"{DNS}.entity", "entity_type"),
        (f"{DNS}.subtype1", "sub_type1"),
        (f"{DNS}.length", "length1"),
        (f"{DNS}.prim_dns", "primary_dns"),
        (f"{DNS}.subtype2", "sub_type2"),
        (f"{DNS}.length", "length2"),
        (f"{DNS}.sec_dns", "secondary_dns"),
    ],
}
PROXY = "mip.ext.pmipv4skipext"
PROXIES = {
    1: [(f"{PROXY}.interfaceid", "identifier")],
    2: [(f"{PROXY}.deviceid_type", "id_type"), (f"{PROXY}.deviceid_id", "identifier")],
    3: [(f"{PROXY}.subscriberid_type", "id_type")],  # 4.0 leaves the identifier out
    4: [(f"{PROXY}.accesstechnology_type", "tech_type")],
}
NETWORK = [
    ("mip.ext.mne.code", "code"),
    ("mip.ext.mne.prefix_length", "prefix_length"),
    ("mip.ext.mne.reserved", "reserved"),
    ("mip.ext.mne.prefix", "prefix"),
]
NETWORKS = {0: [NETWORK[1], NETWORK[3]], 1: NETWORK, 2: NETWORK}
FULL = {
    32: AUTHENTICATION,
    33: AUTHENTICATION,
    34: AUTHENTICATION,
    36: [("mip.ext.auth.subtype", "subtype"), *AUTHENTICATION],
    38: CRITICAL,
    44: [
        LENGTH,
        ("mip.ext.utrp.subtype", "subtype"),
        ("mip.ext.utrp.code", "reply_code"),
        ("mip.ext.utrp.f", bit("F")),
        ("mip.ext.utrp.reserved", "reserved"),
        ("mip.ext.utrp.keepalive", "keepalive_interval"),
    ],
    47: [
        ("mip.ext.pmipv4nonskipext.subtype", "subtype"),
        LENGTH,
        ("mip.ext.pmipv4nonskipext.pernodeauthmethod", "method"),
    ],
    130: BODY,
    131: [LENGTH, ("mip.nai", "nai")],
    132: BODY,
    133: NORMAL,
    134: NORMAL,
    137: [
        LENGTH,
        ("mip.ext.rev.i", bit("I")),
        ("mip.ext.rev.reserved", "reserved"),
        ("mip.ext.rev.tstamp", "timestamp"),
    ],
    144: [
        LENGTH,
        ("mip.ext.utrq.subtype", "subtype"),
        ("mip.ext.utrq.reserved1", "reserved1"),
        ("mip.ext.utrq.f", bit("F")),
        ("mip.ext.utrq.r", bit("R")),
        ("mip.ext.utrq.reserved2", "reserved2"),
        ("mip.ext.utrq.encaptype", "encapsulation"),
        ("mip.ext.utrq.reserved3", "reserved3"),
    ],
    145: [
        LENGTH,
        ("mip.ext.msgstr.subtype", "subtype"),
        ("mip.ext.msgstr.text", "text"),
    ],
    147: [LENGTH, (f"{PROXY}.subtype", "subtype")],
    148: [LENGTH, ("mip.ext.mne.subtype", "subtype")],
}
"""tshark's names in the order that it shows them, and our fields, by type."""
KNOWN = known_elsewhere()["wireshark"]["extension"]
NAME_ONLY = KNOWN["name"]
"""Types whose body it shows as bytes."""
WORDS = {"mip.ext.rev.flags", "mip.ext.utrq.flags", "mip.ext.utrp.flags"}
"""Fields that show the bits of others once more."""


def expected(extension):
    """Give name and value of all that tshark should show."""
    kind = int(extension.type)
    shown = FULL.get(kind, BODY)
    if kind == 38:
        shown = shown + VENDORS_CRITICAL.get(extension.vendor_id, OTHER_CRITICAL)
    elif kind in (133, 134):
        known = VENDORS_NORMAL if extension.vendor_id == 5535 else {}
        shown = shown + known.get(extension.vendor_type, OTHER_NORMAL)
    elif kind == 147:
        shown = shown + PROXIES.get(extension.subtype, [])
    elif kind == 148:
        shown = shown + NETWORKS[extension.subtype]
    yield "mip.ext.type", kind
    for name, ours in shown:
        yield name, ours(extension) if callable(ours) else getattr(extension, ours)


def usable(cls):
    if cls.header_size == 2 and cls.extension_type in LONG_FORM_EXTENSIONS:
        return False
    if cls.extension_type == 148 and cls.extension_subtype is None:
        return False  # one with an unknown subtype ends the walk: W6
    return cls.extension_type in {*FULL, *NAME_ONLY}


def random_extension(rng):
    cls = rng.choice([cls for cls in every_class() if usable(cls)])
    extension = random_instance(cls, rng)
    for field in cls.fields_desc:
        if isinstance(field, TextField):  # it reads them as ASCII
            words = f"mn{rng.getrandbits(24)}@example.org"
            extension.setfieldval(field.name, words[: rng.randrange(1, 24)])
    return MIPExtension(bytes(extension))


def test_every_type_is_compared_or_known_to_be_misread_or_unknown():
    assert sorted(FULL) == sorted(KNOWN["full"])
    wrong = [kind for listed in KNOWN["wrong"].values() for kind in listed]
    listed = {entry["type"] for entry in registry.control_extensions()}
    assert sorted([*FULL, *NAME_ONLY, *wrong, 49, 153]) == sorted(listed)


@pytest.fixture(scope="module")
def seen():
    rng = random.Random(44)
    made = [
        [random_extension(rng) for _n in range(rng.randrange(1, 6))]
        for _list in range(LISTS)
    ]
    requests = [MIPRRQ(identification=1 << 63, extensions=one) for one in made]
    shown = oracle.decoded(oracle.framed(request) for request in requests)
    return list(zip(made, shown, strict=True))


def test_every_name_and_value_agrees_in_order(seen):
    for listed, theirs in seen:
        assert theirs.is_clean, listed
        pairs = theirs.pairs("mip")
        names = [name for name, _value in pairs]
        pairs = pairs[names.index("mip.ext.type") :]
        pairs = [(name, value) for name, value in pairs if name not in WORDS]
        ours = [pair for extension in listed for pair in expected(extension)]
        assert [name for name, _value in pairs] == [name for name, _value in ours]
        for (name, shown), (_name, value) in zip(pairs, ours, strict=True):
            assert oracle.agrees(shown, value), (name, listed)


def test_every_usable_class_was_compared(seen):
    compared = {type(one) for listed, _shown in seen for one in listed}
    assert compared >= {cls for cls in every_class() if usable(cls)}
