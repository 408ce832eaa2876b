# SPDX-License-Identifier: GPL-2.0-only
"""Where tshark is known to be wrong; one that has been mended passes unexpectedly.

The W numbers are those of `tests/data/dissectors.toml`.
"""

import random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE

from scapy_mip.all import (
    MIPMHAE,
    MIPNAI,
    MIPRRQ,
    MIPMessageString,
    MIPMinimalEncapsulation,
    MIPMobileNetwork,
    MIPTunnelData,
)
from scapy_mip.base import MIPMessage, message_classes
from scapy_mip.extensions.base import extension_classes
from support import oracle
from support.dissectors import known_elsewhere
from support.strategies import random_instance

pytestmark = oracle.needs_tshark

BUGS = known_elsewhere()["bugs"]
KNOWN = known_elsewhere()["wireshark"]


def misread(table):
    """Return the bug's number by what it concerns."""
    wrong = KNOWN[table]["wrong"]
    return {key: number for number, keys in wrong.items() for key in keys}


RIGHT_MESSAGE, RIGHT_EXTENSION = 7, 132
"""Read rightly: they show that the tests below can pass."""
LAST = MIPMHAE(spi=256, authenticator=bytes(range(16)))
MESSAGES = misread("message")
EXTENSIONS = misread("extension") | {148: "W6"}
TEXTS = {
    "mip.nai": MIPNAI(nai="jürgen@example.org"),
    "mip.ext.msgstr.text": MIPMessageString(text="später"),
}
ENDS = {"src": "10.1.1.1", "dst": "10.1.1.2"}
TUNNELLED = {
    47: GRE() / IP(**ENDS) / UDP(),
    41: IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(),
    55: MIPMinimalEncapsulation(original_destination="10.1.1.2") / UDP(),
}


def message_of(number):
    cls = message_classes()[number]
    made = cls(home_address="10.1.1.10") if hasattr(cls(), "home_address") else cls()
    return made / LAST if issubclass(cls, MIPMessage) else made / bytes(LAST)


def request_with(kind):
    rng = random.Random(kind)
    cls = MIPMobileNetwork if kind == 148 else extension_classes()[kind]
    return MIPRRQ(identification=1 << 63) / random_instance(cls, rng) / LAST


@pytest.fixture(scope="module")
def seen():
    """What tshark shows, by table and key."""
    made = {
        **{
            ("message", number): message_of(number)
            for number in (RIGHT_MESSAGE, *MESSAGES)
        },
        **{
            ("extension", kind): request_with(kind)
            for kind in (RIGHT_EXTENSION, *EXTENSIONS)
        },
        **{
            ("text", name): MIPRRQ(identification=1 << 63) / one
            for name, one in TEXTS.items()
        },
        **{
            ("tunnel", header): MIPTunnelData() / inner
            for header, inner in TUNNELLED.items()
        },
    }
    shown = oracle.decoded(oracle.framed(one) for one in made.values())
    return dict(zip(made, shown, strict=True))


def known(table):
    return [
        pytest.param(
            key,
            marks=pytest.mark.xfail(strict=True, reason=f"{number}: {BUGS[number]}"),
        )
        for key, number in table.items()
    ]


@pytest.mark.parametrize("number", [RIGHT_MESSAGE, *known(MESSAGES)])
def test_extensions_start_behind_the_header_of_the_message(seen, number):
    theirs = seen["message", number]
    assert theirs.values("mip.type") == [str(number)]
    if issubclass(message_classes()[number], MIPMessage):
        assert theirs.values("mip.ext.type") == ["32"]
    assert theirs.is_clean


@pytest.mark.parametrize("kind", [RIGHT_EXTENSION, *known(EXTENSIONS)])
def test_walk_stays_in_step_behind_the_extension(seen, kind):
    theirs = seen["extension", kind]
    assert theirs.values("mip.ext.type") == [str(kind), "32"]
    assert theirs.values("mip.auth.spi") == ["0x00000100"]
    assert theirs.is_clean


@pytest.mark.parametrize("name", known(dict.fromkeys(TEXTS, "W7")))
def test_text_is_read_as_utf8(seen, name):
    own = {"mip.nai": "nai", "mip.ext.msgstr.text": "text"}[name]
    assert seen["text", name].values(name) == [getattr(TEXTS[name], own)]


@pytest.mark.parametrize("header", known(misread("inside")))
def test_tunnel_data_is_dissected_by_its_next_header(seen, header):
    protocols = seen["tunnel", header].protocols
    assert protocols[protocols.index("mip") + 1] != "ip"
    assert seen["tunnel", header].is_clean
