# SPDX-License-Identifier: GPL-2.0-only
"""Authenticators of Mobile IP as pure functions over the bytes of a message.

What was received is judged as it was received, never over a rebuilt message. An
authenticator covers the UDP payload up to and including the SPI of its own extension,
so its place alone says what it covers. RFC 5944 section 3.5.1.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import importlib
from collections.abc import Callable
from typing import Any, Protocol

from scapy_mip.const import LONG_FORM_EXTENSIONS, SPI_CHAP, SPI_HMAC, SPI_MD5
from scapy_mip.keys import chap_authenticator

SPI_BYTES = 4


class Algorithm(enum.StrEnum):
    """How an authenticator is computed, by the names of configuration and key files."""

    HMAC_MD5 = "hmac-md5"
    """The default. RFC 5944 section 3.5.1, RFC 2104."""
    HMAC_SHA1 = "hmac-sha1"
    """RFC 3957 section 5."""
    HMAC_SHA256 = "hmac-sha256"
    """Assigned by no RFC; allowed by RFC 5944 section 5.1."""
    MD5_PREFIX_SUFFIX = "md5-prefix-suffix"
    """MD5(key, data, key) over the data with the SPI, for legacy peers (COM-12)."""
    MD5_PREFIX_SUFFIX_RFC2002 = "md5-prefix-suffix-rfc2002"
    """The same with the coverage of RFC 2002: the SPI is left out (C-12)."""
    CHAP_MD5 = "chap-md5"
    """As RADIUS servers do, with the challenge that the message carries. RFC 4721 8."""


class _Hash(Protocol):
    @property
    def block_size(self) -> int: ...
    @property
    def digest_size(self) -> int: ...
    def copy(self) -> _Hash: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


_HASHES: dict[Algorithm, str] = {
    Algorithm.HMAC_MD5: "md5",
    Algorithm.HMAC_SHA1: "sha1",
    Algorithm.HMAC_SHA256: "sha256",
    Algorithm.MD5_PREFIX_SUFFIX: "md5",
    Algorithm.MD5_PREFIX_SUFFIX_RFC2002: "md5",
    Algorithm.CHAP_MD5: "md5",
}
_BY_SPI: dict[int, Algorithm] = {
    SPI_CHAP: Algorithm.CHAP_MD5,
    SPI_MD5: Algorithm.MD5_PREFIX_SUFFIX,
    SPI_HMAC: Algorithm.HMAC_MD5,
}
"""What the SPIs reserved for AAA servers say about the computation. RFC 4721 7, 8."""
_PREFIX_SUFFIX = {Algorithm.MD5_PREFIX_SUFFIX, Algorithm.MD5_PREFIX_SUFFIX_RFC2002}
_IPAD = bytes(0x36 ^ byte for byte in range(256))
_OPAD = bytes(0x5C ^ byte for byte in range(256))


class SecurityAssociation:
    """A mobility security association: SPI, algorithm and key. RFC 5944 section 1.6.

    The key is fed into hash contexts once; each authenticator then costs two copies of
    them. The key shows in no `repr`, log or error.

    :param spi: Security Parameter Index, 32 bits. Values up to 255 are reserved; they
        are not refused here, so that a test can send them.
    :param key: bytes of any length, or text that is taken as UTF-8.
    :param algorithm: by default HMAC-MD5, and what the SPI says if it is one of those
        for AAA servers: 2 CHAP, 3 MD5(key, data, key), 4 HMAC-MD5.
    :raises ValueError: an SPI out of range, an empty key or an unknown algorithm.
    """

    # There may be one for each of very many nodes: so an HMAC, as nearly all of them
    # have, is two hashes and no closure.
    __slots__ = ("_compute", "_inner", "_key", "_outer", "algorithm", "size", "spi")

    spi: int
    algorithm: Algorithm
    size: int
    """Bytes of an authenticator."""
    _compute: Callable[[bytes], bytes] | None
    """What is no HMAC; for those there are two hashes that the key went into."""
    _inner: _Hash
    _outer: _Hash

    def __init__(
        self,
        spi: int,
        key: bytes | str,
        algorithm: Algorithm | str | None = None,
    ) -> None:
        if not 0 <= spi <= 0xFFFFFFFF:
            raise ValueError(f"SPI {spi} does not fit into 32 bits")
        if not isinstance(key, (str, bytes, bytearray, memoryview)):
            # bytes(16) would be a key of sixteen zeros.
            raise ValueError("the key is neither bytes nor text")
        if not key:
            raise ValueError("the key is empty")
        self.spi = spi
        if algorithm is None:
            algorithm = _BY_SPI.get(spi, Algorithm.HMAC_MD5)
        self.algorithm = Algorithm(algorithm)
        self._key = key.encode() if isinstance(key, str) else bytes(key)
        name = _HASHES[self.algorithm]
        empty = _hash(name)
        self.size = empty.digest_size
        self._compute = None
        if self.algorithm in _PREFIX_SUFFIX:
            self._compute = _prefix_suffix(empty, self._key)
        elif self.algorithm is Algorithm.CHAP_MD5:
            self._compute = _chap(self._key)
        else:
            self._inner, self._outer = _hmac(name, empty.block_size, self._key)

    def digest(self, covered: bytes) -> bytes:
        """Return the authenticator of the covered bytes."""
        if self._compute is not None:
            return self._compute(covered)
        return self.authenticator_of(covered)

    def authenticator_of(self, message: bytes) -> bytes:
        """Return what belongs behind a message that ends with an SPI; see `sign`."""
        if self._compute is not None:
            if self.algorithm is Algorithm.MD5_PREFIX_SUFFIX_RFC2002:
                message = message[:-SPI_BYTES]
            return self._compute(message)
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def __repr__(self) -> str:
        return f"SecurityAssociation(spi={self.spi}, algorithm={self.algorithm.value})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecurityAssociation):
            return NotImplemented
        return (self.spi, self.algorithm, self._key) == (
            other.spi,
            other.algorithm,
            other._key,
        )

    def __hash__(self) -> int:
        return hash((self.spi, self.algorithm, self._key))

    def __reduce__(self) -> tuple[Any, ...]:
        return SecurityAssociation, (self.spi, self._key, self.algorithm)


def _python_md5() -> Callable[..., _Hash] | None:
    """Return the MD5 that Python brings along; None where it was built without.

    `hashlib` has it, too, but prefers that of OpenSSL, whose objects take over twice
    as long to copy and twice the memory. The digest of a short message is little else.
    """
    try:
        made: Callable[..., _Hash] = importlib.import_module("_md5").md5
        made(b"", usedforsecurity=False)
    except (ImportError, AttributeError, TypeError, ValueError):
        # Nobody promises this module, nor what it takes.
        return None
    return made


_md5 = _python_md5()


def _hash(name: str, data: bytes = b"") -> _Hash:
    """Return a hash with data in it.

    MD5 and SHA-1 are what the RFCs prescribe; a host that bars them from new designs
    must still be able to speak the protocol.
    """
    if name == "md5" and _md5 is not None:
        return _md5(data, usedforsecurity=False)
    return hashlib.new(name, data, usedforsecurity=False)


def _hmac(name: str, block_size: int, key: bytes) -> tuple[_Hash, _Hash]:
    """Return the inner and the outer hash of an HMAC with the padded key in them.

    Copies of them take a quarter of the time of `hmac.digest`, half with OpenSSL's.
    """
    if len(key) > block_size:
        key = _hash(name, key).digest()
    key = key.ljust(block_size, b"\0")
    return _hash(name, key.translate(_IPAD)), _hash(name, key.translate(_OPAD))


def _prefix_suffix(empty: _Hash, key: bytes) -> Callable[[bytes], bytes]:
    prefix = empty.copy()
    prefix.update(key)
    copy = prefix.copy

    def digest(data: bytes) -> bytes:
        context = copy()
        context.update(data)
        context.update(key)
        return context.digest()

    return digest


def _chap(key: bytes) -> Callable[[bytes], bytes]:
    def digest(data: bytes) -> bytes:
        # The layers, which find the challenge, import this module.
        from scapy_mip.challenge import find_challenge

        return chap_authenticator(key, find_challenge(data), data)

    return digest


def header_size(extension_type: int) -> int:
    """Return the bytes in front of the SPI: 2, or 4 for the long form (type 36)."""
    return 4 if extension_type in LONG_FORM_EXTENSIONS else 2


def sign(association: SecurityAssociation, covered: bytes) -> bytes:
    """Return the authenticator for a message that ends where it belongs.

    :param covered: the UDP payload from its first byte through the SPI of the
        authentication extension (COM-13).
    """
    return association.authenticator_of(covered)


def authenticator_at(message: bytes, offset: int) -> slice | None:
    """Return where the authenticator of the extension at `offset` stands.

    None means that the extension is cut short or has no authenticator.
    """
    size = len(message)
    if not 0 <= offset < size - 1:
        return None
    if message[offset] in LONG_FORM_EXTENSIONS:
        content = offset + 4
        end = content + int.from_bytes(message[offset + 2 : content], "big")
    else:
        content = offset + 2
        end = content + message[offset + 1]
    start = content + SPI_BYTES
    return slice(start, end) if start < end <= size else None


def verify(association: SecurityAssociation, message: bytes, offset: int) -> bool:
    """Judge the authentication extension that starts at `offset` of a message.

    Only the bytes count: the SPI is not compared with the association's, and an
    extension that is cut short or has no authenticator is invalid. The comparison
    takes the same time whatever the difference is.

    :param message: the UDP payload as received.
    """
    place = authenticator_at(message, offset)
    if place is None:
        return False
    return hmac.compare_digest(
        association.authenticator_of(message[: place.start]), message[place]
    )
