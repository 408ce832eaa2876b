# SPDX-License-Identifier: GPL-2.0-only
"""Keys and authenticators that are derived, as pure functions over bytes.

RFC 3957 section 5, RFC 4721 section 8, RFC 6521 sections 3.2 and 5.3.
"""

from __future__ import annotations

import hashlib
import hmac

TOKEN_BYTES = 8
"""Size of a keygen token. RFC 6521 section 3.2."""

CORRESPONDENT_BYTES = 16
"""Size of a mobile-correspondent authenticator. RFC 6521 section 5.3."""

CHALLENGE_TAIL = 237
"""Bytes of the challenge's end that go into a CHAP authenticator. RFC 4721 8."""


def derive_key(aaa_key: bytes, nonce: bytes, identifier: bytes | str) -> bytes:
    """Return the key that a key generation nonce stands for. RFC 3957 section 5.

    :param identifier: the NAI as text, or the home address as 4 bytes.
    """
    if isinstance(identifier, str):
        identifier = identifier.encode()
    return _hmac_sha1(aaa_key, nonce + identifier)


def home_keygen_token(node_key: bytes, home_address: bytes, nonce: bytes) -> bytes:
    """Return the token of a Home Test. RFC 6521 section 3.2.

    :param node_key: the correspondent router's own key, Kcr.
    :param home_address: 4 bytes.
    """
    return _hmac_sha1(node_key, home_address + nonce + b"\0")[:TOKEN_BYTES]


def care_of_keygen_token(node_key: bytes, care_of: bytes, nonce: bytes) -> bytes:
    """Return the token of a Care-of Test. RFC 6521 section 3.2.

    :param care_of: the care-of address, 4 bytes.
    """
    return _hmac_sha1(node_key, care_of + nonce + b"\1")[:TOKEN_BYTES]


def registration_key(home_token: bytes, care_of_token: bytes = b"") -> bytes:
    """Return KRm from the tokens; from the home token alone to deregister."""
    return hashlib.sha1(home_token + care_of_token, usedforsecurity=False).digest()


def correspondent_authenticator(key: bytes, covered: bytes) -> bytes:
    """Return the first 128 bits of HMAC-SHA1. RFC 6521 section 5.3.

    :param covered: see `correspondent_coverage`.
    """
    return _hmac_sha1(key, covered)[:CORRESPONDENT_BYTES]


def correspondent_coverage(message: bytes, offset: int) -> bytes:
    """Return what a mobile-correspondent authenticator covers. RFC 6521 section 5.3.

    It is all that precedes the extension, with its type, length and nonce indexes; the
    RFC names neither the subtype nor the reserved byte.

    :param offset: where the extension starts in the UDP payload.
    """
    return (
        message[:offset]
        + message[offset : offset + 2]
        + message[offset + 4 : offset + 8]
    )


def chap_authenticator(key: bytes, challenge: bytes, covered: bytes) -> bytes:
    """Return the authenticator for SPI 2, as RADIUS servers compute it. RFC 4721 8.

    :param challenge: of the Mobile-Foreign Challenge extension; one zero byte where a
        node with a co-located care-of address has none.
    :param covered: the UDP payload through the SPI of the authentication extension.
    """
    inner = hashlib.md5(covered, usedforsecurity=False).digest()
    return hashlib.md5(
        challenge[:1] + key + inner + challenge[-CHALLENGE_TAIL:],
        usedforsecurity=False,
    ).digest()


def _hmac_sha1(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha1")
