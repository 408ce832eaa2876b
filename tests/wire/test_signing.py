# SPDX-License-Identifier: GPL-2.0-only
"""Which association signs, and what the SPIs for AAA servers compute."""

import copy
import hashlib
import hmac
import pickle

import pytest
from scapy.config import conf
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import fuzz

from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    Algorithm,
    MIPGeneralizedMobileIPAuthentication,
    MIPMobileForeignChallenge,
    MIPRegistrationRevocation,
    SecurityAssociation,
    chap_authenticator,
    sign,
    verify,
)
from scapy_mip.challenge import find_challenge
from scapy_mip.const import SPI_CHAP, SPI_HMAC, SPI_MD5, SPI_RESERVED_MAX
from scapy_mip.extensions import auth as auth_extensions
from support import registry

KEY = bytes(range(16))
HOME = SecurityAssociation(1000, KEY)
FOREIGN = SecurityAssociation(300, b"foreign", "hmac-sha256")


@pytest.fixture
def known(monkeypatch):
    """Associations that are found by their SPI."""
    table = {}
    monkeypatch.setitem(conf.contribs["mip"], "security_associations", table)
    return table


@pytest.fixture
def warnings(monkeypatch):
    """What Scapy would print as a warning."""
    texts = []
    monkeypatch.setattr(
        auth_extensions, "warning", lambda text, *args: texts.append(text % args)
    )
    return texts


# Given to the message


@pytest.mark.parametrize("cls", [MIPRRQ, MIPRRP, MIPRegistrationRevocation])
def test_message_signs_with_its_association(cls):
    data = bytes(cls(association=HOME) / MIPMHAE(spi=1000))
    assert verify(HOME, data, cls.fixed_size)


def test_an_spi_left_out_is_that_of_the_only_association():
    message = MIPRRQ(association=HOME) / MIPMHAE()
    data = bytes(message)
    assert MIP(data).extensions[0].spi == 1000
    assert verify(HOME, data, 24)
    assert "spi" not in message.extensions[0].fields


def test_several_are_told_apart_by_their_spi():
    data = bytes(
        MIPRRQ(association=[HOME, FOREIGN]) / MIPMHAE(spi=1000) / MIPMFAE(spi=300)
    )
    assert verify(HOME, data, 24)
    assert verify(FOREIGN, data, 24 + 22)
    assert data[24 + 22 + 1] == 4 + 32


def test_another_spi_is_not_signed_with_the_association_of_the_message(warnings):
    data = bytes(MIPRRQ(association=HOME) / MIPMHAE(spi=1001))
    assert data[-16:] == bytes(16)
    assert len(warnings) == 1


def test_extension_wins_over_message_and_message_over_the_known(known):
    own, of_message, by_spi = (
        SecurityAssociation(1000, name) for name in ("own", "message", "known")
    )
    known[1000] = by_spi
    extension = MIPMHAE(association=own)
    assert verify(own, bytes(MIPRRQ(association=of_message) / extension), 24)
    plain = MIPMHAE(spi=1000)
    assert verify(of_message, bytes(MIPRRQ(association=of_message) / plain), 24)
    assert verify(by_spi, bytes(MIPRRQ() / plain), 24)
    assert verify(by_spi, bytes(MIPRRQ(association=FOREIGN) / plain), 24)


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda message: message.copy(),
        copy.deepcopy,
        lambda message: message.clone_with(**message.fields),
        lambda message: message / MIPNAI(nai="behind"),
        lambda message: next(iter(message)),
        lambda message: (IP() / UDP() / message)[MIPRRQ],
        lambda message: (Ether() / IP() / UDP() / message).copy()[MIPRRQ],
        lambda message: list(IP(dst=["10.0.0.1", "10.0.0.2"]) / UDP() / message)[1][
            MIPRRQ
        ],
    ],
)
def test_association_survives(duplicate):
    message = MIPRRQ(association=HOME) / MIPMHAE(spi=1000)
    assert verify(HOME, bytes(duplicate(message)), 24)


def test_message_signs_below_other_layers():
    frame = Ether() / IP() / UDP() / MIPRRQ(association=HOME, flags="D") / MIPMHAE()
    assert verify(HOME, bytes(frame)[42:], 24)
    assert verify(HOME, bytes(IP(bytes(frame)[14:])[MIPRRQ]), 24)


def test_each_message_of_a_list_is_signed():
    many = list(MIPRRQ(lifetime=[1, 2], association=HOME) / MIPMHAE(spi=1000))
    assert len({bytes(one)[-16:] for one in many}) == 2
    assert all(verify(HOME, bytes(one), 24) for one in many)


def test_fuzzed_message_is_signed():
    made = fuzz(MIPRRQ(association=HOME) / MIPMHAE(spi=1000))
    data = bytes(made)
    (offset,) = [data.index(bytes.fromhex("2014000003e8"))]
    assert verify(HOME, data, offset)


def test_explicit_authenticator_stays_although_the_message_could_sign():
    data = bytes(MIPRRQ(association=HOME) / MIPMHAE(spi=1000, authenticator=b"wrong"))
    assert data.endswith(b"wrong")


def test_received_message_is_signed_again():
    data = bytes(MIPRRQ(association=HOME) / MIPMHAE())
    message = MIP(data)
    message.association = SecurityAssociation(1000, b"another")
    message.extensions[0].authenticator = None
    assert verify(message.association, bytes(message), 24)


def test_key_of_a_message_shows_nowhere():
    secret = "S3cr3tS3cr3tS3cr"
    message = MIPRRQ(association=SecurityAssociation(256, secret)) / MIPMHAE()
    for text in (
        repr(message),
        message.command(),
        message.json(),
        message.summary(),
        message.show(dump=True),
        repr(pickle.dumps(message)),
    ):
        assert secret not in text


def test_both_ways_of_building_agree(monkeypatch):
    message = MIPRRQ(association=[HOME, FOREIGN]) / MIPMHAE(spi=1000) / MIPFHAE(spi=300)
    fast = bytes(message)
    monkeypatch.setattr("scapy_mip._fastpath.ENABLED", False)
    assert bytes(message) == fast


# SPIs for AAA servers


def test_reserved_spis_are_those_of_the_registry():
    named = {one["spi"]: one["name"] for one in registry.registry()["reserved_spi"]}
    assert named[SPI_CHAP] == "CHAP_SPI"
    assert named[SPI_MD5].startswith("MD5 prefix+suffix")
    assert named[SPI_HMAC] == "HMAC"
    (reserved,) = registry.registry()["reserved_spi_range"]
    assert reserved["high"] == SPI_RESERVED_MAX


@pytest.mark.parametrize(
    ("spi", "algorithm"),
    [
        (SPI_CHAP, Algorithm.CHAP_MD5),
        (SPI_MD5, Algorithm.MD5_PREFIX_SUFFIX),
        (SPI_HMAC, Algorithm.HMAC_MD5),
        (256, Algorithm.HMAC_MD5),
    ],
)
def test_reserved_spi_says_how_to_compute(spi, algorithm):
    assert SecurityAssociation(spi, KEY).algorithm is algorithm
    explicit = SecurityAssociation(spi, KEY, "hmac-sha1")
    assert explicit.algorithm is Algorithm.HMAC_SHA1


def with_challenge(challenge, association, cls=MIPGeneralizedMobileIPAuthentication):
    return (
        MIPRRQ()
        / MIPMobileForeignChallenge(challenge=challenge)
        / cls(association=association)
    )


@pytest.mark.parametrize("size", [1, 16, 237, 238, 255])
def test_chap_answers_the_challenge_of_the_message(size):
    """RFC 4721 section 8."""
    challenge = bytes(number % 251 + 1 for number in range(size))
    data = bytes(with_challenge(challenge, SecurityAssociation(SPI_CHAP, KEY)))
    inner = hashlib.md5(data[:-16]).digest()
    expected = hashlib.md5(challenge[:1] + KEY + inner + challenge[-237:]).digest()
    assert data[-16:] == expected
    assert verify(SecurityAssociation(SPI_CHAP, KEY), data, 24 + 2 + size)
    assert not verify(SecurityAssociation(SPI_CHAP, b"other"), data, 24 + 2 + size)


def test_chap_without_a_challenge_takes_one_zero_byte():
    """RFC 4721 section 3.5: a node with a co-located care-of address."""
    association = SecurityAssociation(SPI_CHAP, KEY)
    data = bytes(
        MIPRRQ() / MIPGeneralizedMobileIPAuthentication(association=association)
    )
    assert data[-16:] == chap_authenticator(KEY, b"\0", data[:-16])
    assert verify(association, data, 24)


def test_chap_covers_the_short_format_too():
    association = SecurityAssociation(SPI_CHAP, KEY)
    data = bytes(with_challenge(b"abc", association, MIPMHAE))
    assert verify(association, data, 24 + 5)


def test_challenge_behind_the_authenticator_does_not_count():
    association = SecurityAssociation(SPI_CHAP, KEY)
    message = with_challenge(b"first", association)
    behind = bytes(message / MIPMobileForeignChallenge(challenge=b"second"))
    assert verify(association, behind, 24 + 7)
    assert behind.startswith(bytes(message))


def test_challenge_nearest_to_the_authenticator_counts():
    message = (
        MIPRRQ()
        / MIPMobileForeignChallenge(challenge=b"far")
        / MIPMobileForeignChallenge(challenge=b"near")
    )
    assert find_challenge(bytes(message) + b"\x20\x14\0\0\0\2") == b"near"
    assert find_challenge(bytes(MIPRRQ())) == b"\0"
    assert find_challenge(b"") == b"\0"
    assert find_challenge(b"\x84\x02ab") == b"\0"


def test_prefix_suffix_and_hmac_of_aaa_servers():
    for spi in (SPI_MD5, SPI_HMAC):
        association = SecurityAssociation(spi, KEY)
        data = bytes(with_challenge(b"abc", association))
        covered = data[:-16]
        expected = {
            SPI_MD5: hashlib.md5(KEY + covered + KEY).digest(),
            SPI_HMAC: hmac.digest(KEY, covered, "md5"),
        }[spi]
        assert data[-16:] == expected == sign(association, covered)
        assert verify(association, data, 24 + 5)
