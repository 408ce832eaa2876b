# SPDX-License-Identifier: GPL-2.0-only
"""Derived keys and authenticators against the vectors."""

import hashlib

import pytest

from scapy_mip import keys
from scapy_mip.all import (
    MIP,
    MIPNAI,
    MIPRRQ,
    MIPMobileCorrespondentAuthentication,
    MIPMobileForeignChallenge,
    SecurityAssociation,
)
from scapy_mip.const import SPI_CHAP
from support import registry


def vector(name):
    return {
        key: bytes.fromhex(value) if _is_hex(value) else value
        for key, value in registry.vectors()[name].items()
    }


def _is_hex(value):
    return isinstance(value, str) and set(value) <= set("0123456789abcdef")


def test_key_from_nonce_and_name():
    """RFC 3957 section 5."""
    given = vector("RFC 3957 key from nonce and NAI")
    key = keys.derive_key(given["aaa_key"], given["nonce"], given["identifier_text"])
    assert key == given["derived_key"]


def test_key_from_nonce_and_home_address():
    given = vector("RFC 3957 key from nonce and home address")
    key = keys.derive_key(given["aaa_key"], given["nonce"], given["identifier"])
    assert key == given["derived_key"]


def test_tokens_and_registration_key():
    """RFC 6521 section 3.2."""
    given = vector("RFC 6521 tokens and KRm (trailing 0 / 1 taken as one byte)")
    home = keys.home_keygen_token(given["kcr"], given["home_address"], given["nonce"])
    care_of = keys.care_of_keygen_token(
        given["kcr"], given["care_of_address"], given["nonce"]
    )
    assert home == given["home_keygen_token"]
    assert care_of == given["care_of_keygen_token"]
    assert keys.registration_key(home, care_of) == given["krm"]
    assert keys.registration_key(home) == given["krm_dereg"]


@pytest.mark.parametrize(
    "name",
    [
        "MN-AAA with SPI 2 (CHAP_SPI), 16 byte challenge",
        "CHAP_SPI, 255 byte challenge (first byte and last 237 bytes used)",
    ],
)
def test_chap_authenticator(name):
    """RFC 4721 section 8."""
    given = vector(name)
    covered = given["preceding_and_header"]
    found = keys.chap_authenticator(given["key"], given["challenge"], covered)
    assert found == given["authenticator"]


def test_chap_authenticator_of_a_received_message():
    given = vector("MN-AAA with SPI 2 (CHAP_SPI), 16 byte challenge")
    data = given["message"]
    message = MIP(data)
    (challenge,) = [
        one for one in message.extensions if type(one) is MIPMobileForeignChallenge
    ]
    last = message.extensions[-1]
    assert last.spi == SPI_CHAP == registry.registry()["constants"]["chap_spi"]
    covered = data[: -len(last.authenticator)]
    found = keys.chap_authenticator(given["key"], challenge.challenge, covered)
    assert found == last.authenticator == given["authenticator"]


def test_correspondent_authenticator_covers_all_but_subtype_and_reserved():
    """RFC 6521 section 5.3."""
    extension = MIPMobileCorrespondentAuthentication(
        home_nonce_index=1, care_of_nonce_index=2, authenticator=bytes(16)
    )
    message = b"\1" * 24 + bytes(extension)
    covered = keys.correspondent_coverage(message, 24)
    assert covered == b"\1" * 24 + b"\x31\x16" + b"\0\1\0\2"
    found = keys.correspondent_authenticator(b"k" * 20, covered)
    assert len(found) == len(extension.authenticator)
    outer = hashlib.sha1(bytes(0x5C ^ byte for byte in b"k" * 20 + bytes(44)))
    inner = hashlib.sha1(bytes(0x36 ^ byte for byte in b"k" * 20 + bytes(44)))
    inner.update(covered)
    outer.update(inner.digest())
    assert found == outer.digest()[:16]


def test_correspondent_authenticator_fills_itself_in():
    """RFC 6521 section 5.3: with the registration key, or zeros without one."""
    key = keys.registration_key(b"home", b"care-of")
    shared = SecurityAssociation(0, key, "hmac-sha1")
    for copied in (False, True):
        extension = MIPMobileCorrespondentAuthentication(
            home_nonce_index=1, care_of_nonce_index=2, association=shared
        )
        extension = extension.copy() if copied else extension
        data = bytes(MIPRRQ() / MIPNAI(nai="x") / extension)
        last = MIP(data).extensions[-1]
        assert (last.length, last.home_nonce_index) == (22, 1)
        covered = keys.correspondent_coverage(data, len(data) - 24)
        assert last.authenticator == keys.correspondent_authenticator(key, covered)
    unsigned = MIP(bytes(MIPRRQ() / MIPMobileCorrespondentAuthentication()))
    assert unsigned.extensions[0].authenticator == bytes(16)
