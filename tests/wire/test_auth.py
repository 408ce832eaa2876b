# SPDX-License-Identifier: GPL-2.0-only
"""Authenticators: published vectors, coverage, and filling in when building."""

import hashlib
import hmac
import pickle
import sys
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scapy.config import conf
from scapy.layers.inet import IP, UDP

from scapy_mip import auth
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    Algorithm,
    MIPExtension,
    MIPGeneralizedMobileIPAuthentication,
    SecurityAssociation,
    sign,
    verify,
)
from scapy_mip.auth import SPI_BYTES, header_size
from scapy_mip.extensions import auth as auth_extensions
from scapy_mip.extensions.auth import GENERALIZED_SUBTYPES
from support import registry
from support.strategies import UNKNOWN_SHORT, messages, unsigned

KEY = bytes(range(16))
ALGORITHMS = list(Algorithm)
CLASSES = [MIPMHAE, MIPMFAE, MIPFHAE, MIPGeneralizedMobileIPAuthentication]
VECTORS = registry.vectors()
quick = settings(max_examples=60, deadline=None)

associations = st.builds(
    SecurityAssociation,
    spi=unsigned(32),
    key=st.binary(min_size=1, max_size=100),
    algorithm=st.sampled_from(ALGORITHMS),
)


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


def offsets(message):
    """Type and place of every extension in the bytes of a message."""
    at, places = message.fixed_size, []
    for extension in message.extensions:
        places.append((extension.type, at))
        at += len(bytes(extension))
    return places


# Vectors

IN_MESSAGES = {
    "RRQ D+T, MHAE HMAC-MD5",
    "RRQ, MHAE keyed MD5 prefix+suffix, SPI covered",
    "RRQ, MHAE keyed MD5 prefix+suffix, RFC 2002 coverage without SPI",
    "RRQ, MHAE HMAC-SHA1",
    "RRP code 133 timestamp resynchronisation (high 32 bits = HA clock)",
}


@pytest.mark.parametrize("name", sorted(IN_MESSAGES))
def test_vector_with_one_authenticator(name):
    vector = VECTORS[name]
    data = bytes.fromhex(vector["message"])
    association = SecurityAssociation(
        256, bytes.fromhex(vector["key"]), vector["algorithm"]
    )
    ((_kind, offset),) = offsets(MIP(data))
    assert verify(association, data, offset)
    start = offset + 6
    assert sign(association, data[:start]) == data[start:]
    if "authenticator" in vector:
        assert data[start:].hex() == vector["authenticator"]


def test_vectors_of_messages_1_and_3_are_all_used():
    of_messages = {
        name
        for name, vector in VECTORS.items()
        if vector.get("message", "")[:2] in ("01", "03")
        and vector.get("algorithm") in set(ALGORITHMS)
    }
    several = {
        "RRQ via FA: NAI, MHAE, challenge, delivery style, MN-AAA HMAC-MD5, MFAE",
        "RRP code 0, MHAE then FHAE",
        "MN-AAA with SPI 2 (CHAP_SPI), 16 byte challenge",
    }
    assert of_messages == IN_MESSAGES | several


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        (
            "RRQ via FA: NAI, MHAE, challenge, delivery style, MN-AAA HMAC-MD5, MFAE",
            {32: "mh_key", 36: "aaa_key", 33: "mf_key"},
        ),
        ("RRP code 0, MHAE then FHAE", {32: "mh_key", 34: "fh_key"}),
        ("MN-AAA with SPI 2 (CHAP_SPI), 16 byte challenge", {36: "key"}),
        ("Revocation A=1 I=1 with FHAE", {34: "key"}),
        ("Revocation Ack I=1 with FHAE", {34: "key"}),
    ],
)
def test_vector_with_several_authenticators(name, keys):
    """Each covers what precedes it (COM-13)."""
    vector = VECTORS[name]
    data = bytes.fromhex(vector["message"])
    message = MIP(data)
    places = dict(offsets(message))
    for kind, key in keys.items():
        spi = next(one.spi for one in message.extensions if one.type == kind)
        association = SecurityAssociation(spi, bytes.fromhex(vector[key]))
        assert verify(association, data, places[kind]), kind
        wrong = SecurityAssociation(spi, b"another key")
        assert not verify(wrong, data, places[kind]), kind


def test_vectors_are_rebuilt_from_their_fields(known):
    vector = VECTORS["RRP code 0, MHAE then FHAE"]
    data = bytes.fromhex(vector["message"])
    known[0x100] = SecurityAssociation(0x100, bytes.fromhex(vector["mh_key"]))
    known[0x400] = SecurityAssociation(0x400, bytes.fromhex(vector["fh_key"]))
    message = MIP(data)
    for extension in message.extensions:
        extension.authenticator = None
    assert bytes(message) == data


RFC_2202_MD5 = [
    (b"\x0b" * 16, b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
    (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
    (b"\xaa" * 16, b"\xdd" * 50, "56be34521d144c88dbb8c733f0e8b3f6"),
    (bytes(range(1, 26)), b"\xcd" * 50, "697eaf0aca3a3aea3a75164746ffaa79"),
    (b"\x0c" * 16, b"Test With Truncation", "56461ef2342edc00f9bab995690efd4c"),
    (
        b"\xaa" * 80,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd",
    ),
    (
        b"\xaa" * 80,
        b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
        "6f630fad67cda0ee1fb1f562db3aa53e",
    ),
]
RFC_2202_SHA1 = [
    (b"\x0b" * 20, b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    ),
    (b"\xaa" * 20, b"\xdd" * 50, "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
    (bytes(range(1, 26)), b"\xcd" * 50, "4c9007f4026250c6bc8414f9bf50c86c2d7235da"),
    (
        b"\x0c" * 20,
        b"Test With Truncation",
        "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04",
    ),
    (
        b"\xaa" * 80,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "aa4ae5e15272d00e95705637ce8a3b55ed402112",
    ),
    (
        b"\xaa" * 80,
        b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data",
        "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
    ),
]


@pytest.mark.parametrize(("key", "data", "digest"), RFC_2202_MD5)
def test_rfc_2202_hmac_md5(key, data, digest):
    """COM-10: with keys of any bytes, 128 bits among them."""
    assert SecurityAssociation(256, key).digest(data).hex() == digest


@pytest.mark.parametrize(("key", "data", "digest"), RFC_2202_SHA1)
def test_rfc_2202_hmac_sha1(key, data, digest):
    assert SecurityAssociation(256, key, "hmac-sha1").digest(data).hex() == digest


@pytest.fixture(params=["as here", "without a module of its own"])
def python_md5(request, monkeypatch):
    """Whether Python was built with an MD5 besides that of OpenSSL."""
    if request.param != "as here":
        monkeypatch.setitem(sys.modules, "_md5", None)
        monkeypatch.setattr(auth, "_md5", auth._python_md5())
        assert auth._md5 is None


@pytest.mark.usefixtures("python_md5")
@settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200), st.binary(max_size=200))
def test_digests_are_those_of_the_standard_library(key, data):
    """COM-10, COM-12: keys of any length, and the way of legacy peers."""

    def ours(algorithm):
        return SecurityAssociation(256, key, algorithm).digest(data)

    assert ours("hmac-md5") == hmac.digest(key, data, "md5")
    assert ours("hmac-sha1") == hmac.digest(key, data, "sha1")
    assert ours("hmac-sha256") == hmac.digest(key, data, "sha256")
    assert ours("md5-prefix-suffix") == hashlib.md5(key + data + key).digest()


# Coverage (COM-13): the message up to and including the SPI


@quick
@given(messages, associations, st.sampled_from(CLASSES), st.binary(max_size=30))
def test_signed_messages_verify_at_any_position(message, association, cls, behind):
    message.extensions.append(cls(association=association))
    data = bytes(message)
    offset = offsets(MIP(data))[-1][1]
    assert verify(association, data, offset)
    assert verify(association, data + behind, offset)
    assert not verify(SecurityAssociation(1, b"no such key"), data, offset)


@quick
@given(messages, associations, st.data())
def test_every_covered_bit_counts(message, association, data):
    message.extensions.append(MIPMHAE(association=association))
    wire = bytearray(bytes(message))
    offset = offsets(MIP(bytes(wire)))[-1][1]
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= 1 << data.draw(st.integers(0, 7))
    covered = range(offset, offset + 2)  # these say where the authenticator lies
    spi = range(offset + 2, offset + 6)
    if place in covered:
        return
    left_out = association.algorithm is Algorithm.MD5_PREFIX_SUFFIX_RFC2002
    assert verify(association, bytes(wire), offset) == (left_out and place in spi)


def test_spi_is_left_out_as_in_rfc_2002():
    """COM-12, C-12."""
    association = SecurityAssociation(256, KEY, "md5-prefix-suffix-rfc2002")
    data = bytes(MIPRRQ() / MIPMHAE(association=association))
    assert data[-16:] == hashlib.md5(KEY + data[:26] + KEY).digest()


@settings(max_examples=300, deadline=None)
@given(associations, st.binary(max_size=120), st.integers(-5, 130))
@example(SecurityAssociation(1, KEY), b"", 0)
@example(SecurityAssociation(1, KEY), b"\x24\x01", 0)
@example(SecurityAssociation(1, KEY), b"\x20\x04\0\0\0\1", 0)
def test_verify_never_raises(association, data, offset):
    assert verify(association, data, offset) in (True, False)


@pytest.mark.parametrize("cls", CLASSES)
def test_authenticator_that_is_cut_or_missing_is_invalid(cls):
    association = SecurityAssociation(256, KEY)
    data = bytes(MIPRRQ() / cls(association=association))
    assert verify(association, data, 24)
    for end in range(24, len(data)):
        assert not verify(association, data[:end], 24)
    empty = bytes(MIPRRQ() / cls(spi=256, authenticator=b""))
    assert not verify(association, empty, 24)
    short = bytes(MIPRRQ() / cls(spi=256, authenticator=data[-16:-1]))
    assert not verify(association, short, 24)


def test_header_size_follows_the_format():
    assert header_size(32) == 2
    assert header_size(36) == 4


# Associations


def test_algorithms_are_those_of_the_registry():
    listed = {one["ident"]: one for one in registry.registry()["auth_algorithm"]}
    for algorithm in ALGORITHMS:
        entry = listed.get(algorithm.value.removesuffix("-rfc2002"))
        assert entry, algorithm
        association = SecurityAssociation(256, KEY, algorithm)
        assert association.size == entry["authenticator_bytes"]
    assert SecurityAssociation(256, KEY).algorithm is Algorithm.HMAC_MD5


@given(associations)
@quick
def test_association_survives_pickling_and_compares_by_value(association):
    again = pickle.loads(pickle.dumps(association))
    assert again == association
    assert hash(again) == hash(association)
    assert again.digest(b"x") == association.digest(b"x")
    assert association != SecurityAssociation(association.spi, b"other" * 30)
    assert association != "association"


@pytest.mark.parametrize(
    "arguments", [(-1, KEY), (1 << 32, KEY), (256, b""), (256, ""), (256, KEY, "rot13")]
)
def test_association_that_cannot_be_is_refused(arguments):
    with pytest.raises(ValueError) as refused:
        SecurityAssociation(*arguments)
    assert KEY.hex() not in str(refused.value)


def test_key_shows_nowhere(known):
    secret = "S3cr3tS3cr3tS3cr"
    association = known[256] = SecurityAssociation(256, secret)
    extension = MIPMHAE(association=association)
    message = MIPRRQ() / extension
    texts = [
        repr(association),
        str(association),
        f"{association}",
        *(repr(one) for one in (extension, message)),
        *(one.show(dump=True) for one in (extension, message)),
        *(one.command() for one in (extension, message)),
        *(one.json() for one in (extension, message)),
        *(one.summary() for one in (extension, message)),
    ]
    for text in texts:
        assert secret not in text
        assert secret.encode().hex() not in text
    assert "256" in repr(association)
    assert "hmac-md5" in repr(association)
    assert secret.encode() not in pickle.dumps(message)


# Filling in


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_given_association_signs(cls, algorithm):
    """COM-11: any SPI with any algorithm."""
    association = SecurityAssociation(777, KEY, algorithm)
    data = bytes(MIPRRQ() / MIPNAI(nai="a@b") / cls(association=association))
    extension = MIP(data).extensions[-1]
    assert extension.spi == 777
    assert len(extension.authenticator) == association.size
    assert verify(association, data, 24 + 5)


def test_association_is_found_by_spi(known):
    known[5000] = SecurityAssociation(5000, KEY, "hmac-sha1")
    data = bytes(MIPRRQ() / MIPMHAE(spi=5000))
    assert verify(known[5000], data, 24)


def test_given_association_wins_over_the_known_one(known):
    known[256] = SecurityAssociation(256, b"known")
    given_one = SecurityAssociation(256, b"given")
    data = bytes(MIPRRQ() / MIPMHAE(association=given_one))
    assert verify(given_one, data, 24)


def test_association_with_another_spi_signs_what_the_field_says():
    association = SecurityAssociation(256, KEY)
    data = bytes(MIPRRQ() / MIPMHAE(spi=999, association=association))
    assert MIP(data).extensions[0].spi == 999
    assert verify(association, data, 24)


def test_each_covers_what_precedes_it(known, warnings):
    for spi in (256, 300, 400, 500):
        known[spi] = SecurityAssociation(spi, str(spi))
    message = MIPRRQ() / MIPMHAE(spi=256) / MIPNAI(nai="x") / MIPMFAE(spi=300)
    message = message / MIPGeneralizedMobileIPAuthentication(spi=400) / MIPFHAE(spi=500)
    data = bytes(message)
    signed = [one for one in offsets(MIP(data)) if one[0] != 131]
    assert len(signed) == 4
    for (_kind, offset), spi in zip(signed, (256, 300, 400, 500), strict=True):
        assert verify(known[spi], data, offset)
        length = header_size(data[offset]) + SPI_BYTES
        covered = data[: offset + length]
        digest = hmac.digest(str(spi).encode(), covered, "md5")
        assert data[offset + length :].startswith(digest)
    assert warnings == []


def test_signature_follows_every_edit(known):
    known[256] = SecurityAssociation(256, KEY)
    message = MIPRRQ() / MIPMHAE(spi=256)
    seen = [bytes(message)]
    for change in ("lifetime", "identification"):
        setattr(message, change, 99)
        seen.append(bytes(message))
    message.flags.D = 1
    seen.append(bytes(message))
    assert all(verify(known[256], data, 24) for data in seen)
    assert all(one[-16:] != other[-16:] for one, other in pairwise(seen))


def test_signs_below_ip_and_udp_and_in_copies(known):
    association = SecurityAssociation(256, KEY)
    message = MIPRRQ(home_address="10.0.0.1") / MIPMHAE(association=association)
    frame = IP() / UDP() / message
    assert verify(association, bytes(frame)[28:], 24)
    assert verify(association, bytes(frame.copy())[28:], 24)
    assert verify(association, bytes(message.copy()), 24)
    many = list(MIPRRQ(lifetime=[1, 2]) / MIPMHAE(association=association))
    assert all(verify(association, bytes(one), 24) for one in many)


def test_explicit_authenticator_survives(known, warnings):
    known[256] = SecurityAssociation(256, KEY)
    for explicit in (b"", b"\0" * 16, b"anything at all"):
        data = bytes(MIPRRQ() / MIPMHAE(spi=256, authenticator=explicit))
        assert MIP(data).extensions[0].authenticator == explicit
    assert warnings == []


def test_received_authenticator_is_not_computed_again(known):
    data = bytes(MIPRRQ() / MIPMHAE(spi=256, authenticator=b"received........"))
    known[256] = SecurityAssociation(256, KEY)
    message = MIP(data)
    message.lifetime = 1
    assert bytes(message)[-16:] == b"received........"


@pytest.mark.parametrize("cls", CLASSES)
def test_without_association_there_are_zeros_and_a_warning(cls, known, warnings):
    data = bytes(MIPRRP() / cls(spi=4242))
    assert data[-16:] == bytes(16)
    assert len(warnings) == 1
    assert "4242" in warnings[0]


def test_shown_length_is_that_of_the_association(known):
    known[256] = SecurityAssociation(256, KEY, "hmac-sha256")
    assert bytes(MIPMHAE(spi=256))[1] == 36
    assert MIPMHAE(spi=256).show2(dump=True)


def test_wrong_length_on_purpose_is_signed_too(known):
    known[256] = SecurityAssociation(256, KEY)
    data = bytes(MIPRRQ() / MIPMHAE(spi=256, length=5))
    assert data[25] == 5
    assert data[-16:] == hmac.digest(KEY, data[:30], "md5")


# The classes


def test_default_is_mobile_home():
    assert MIPMHAE().spi == 256
    assert MIPMHAE().authenticator is None


def test_generalized_subtypes_are_those_of_the_registry():
    listed = next(
        one for one in registry.registry()["enum"] if one["name"] == "gen_auth_subtype"
    )
    assert set(GENERALIZED_SUBTYPES) == {int(number) for number in listed["values"]}


@pytest.mark.parametrize("number", UNKNOWN_SHORT[:3])
def test_plain_extensions_have_no_association(number):
    assert not hasattr(MIPExtension(type=number), "association")


@pytest.mark.parametrize("key", [7, None, [1, 2], 1.5])
def test_a_key_that_is_neither_bytes_nor_text_is_refused(key):
    """`bytes(7)` would be a key of seven zeros."""
    with pytest.raises(ValueError, match="neither bytes nor text"):
        SecurityAssociation(256, key)
