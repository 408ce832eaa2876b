# SPDX-License-Identifier: GPL-2.0-only
"""Compression of prefixes and realms in prefix advertisements. RFC 6521 section 4.

Pure functions over bytes; the records they are put into are in
`scapy_mip.extensions.routeopt`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

REALM_END = b"\0"
"""What ends a realm; alone it is the empty realm."""

DICTIONARY_SIZE = 128
"""Strings that the dictionary holds before the oldest is overwritten."""


def prefix_bytes(length: int, delta: bool) -> int:
    """Return the bytes that a prefix of `length` bits takes on the wire.

    Lengths above 32 are illegal; they are taken as 32.

    >>> prefix_bytes(28, False), prefix_bytes(26, True)
    (4, 1)
    """
    return 1 if delta else (min(length, 32) + 7) // 8


def compress_prefix(
    network: IPv4Network | str, master: IPv4Network | None = None
) -> tuple[bool, bytes]:
    """Return whether a prefix is told as a delta, and its bytes.

    :param master: the last prefix that was told in full, if there is one.

    >>> compress_prefix("192.0.2.64/26", IPv4Network("192.0.2.0/28"))
    (True, b'\\t')
    """
    network = IPv4Network(network)
    value, length = int(network.network_address), network.prefixlen
    if master is not None:
        start = max(length - 8, 0)
        differing = value ^ int(master.network_address)
        if differing >> (32 - start) == 0:
            return True, bytes([_bits(value, length)])
    return False, value.to_bytes(4, "big")[: prefix_bytes(length, False)]


def _bits(value: int, length: int) -> int:
    """Return the eight bits of a 32-bit value that end at bit `length`.

    A prefix of less than eight bits has no eight bits in front of its end: its first
    octet is told.
    """
    return value >> (32 - max(length, 8)) & 0xFF


def expand_prefix(
    data: bytes, length: int, delta: bool, master: IPv4Network | None = None
) -> IPv4Network:
    """Return the network that a prefix on the wire stands for.

    :raises ValueError: an illegal length, missing bytes, or a delta without a master.

    >>> expand_prefix(b"\\x05", 25, True, IPv4Network("192.0.2.0/28"))
    IPv4Network('192.0.2.128/25')
    """
    if length > 32:
        raise ValueError(f"prefix length {length} is illegal")
    if len(data) != prefix_bytes(length, delta):
        raise ValueError(f"a prefix of {length} bits in {len(data)} bytes")
    if not delta:
        value = int.from_bytes(data.ljust(4, b"\0"), "big")
    elif master is None:
        raise ValueError("a delta without a prefix before it")
    else:
        end = max(length, 8)
        kept = int(master.network_address) >> (40 - end) << (40 - end)
        value = kept | data[0] << (32 - end)
    mask = (1 << 32) - (1 << (32 - length))
    return IPv4Network((IPv4Address(value & mask), length))


def realm_end(data: bytes, start: int, stop: int) -> int | None:
    """Return where a compressed realm ends, None where its end is missing."""
    at = start
    while at < stop:
        tag = data[at]
        if tag == 0:
            return at + 1
        at += 1 if tag & 0x80 else 1 + tag
    return None


class RealmDictionary:
    """What compressor and decompressor remember through one message.

    Use one object for all realms of a message, in their order.
    """

    __slots__ = ("_count", "_indexes", "_strings")

    def __init__(self) -> None:
        self._strings: list[str] = []
        self._indexes: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._strings)

    def compress(self, realm: str) -> bytes:
        """Return the bytes of a realm, with the zero at its end.

        :raises ValueError: a label that is empty or longer than 127 bytes.
        """
        encoded = bytearray()
        labels = realm.split(".") if realm else []
        fresh: list[str] = []
        while labels:
            found = self._longest(labels)
            if found:
                encoded.append(0x80 | self._indexes[".".join(labels[:found])])
                del labels[:found]
                fresh.clear()
                continue
            label = labels.pop(0).encode("utf-8", "surrogateescape")
            if not 0 < len(label) < 0x80:
                raise ValueError(f"a label of {len(label)} bytes in {realm!r}")
            encoded += bytes([len(label)]) + label
            self._learn_label(label.decode("utf-8", "surrogateescape"), fresh)
        self._learn_suffixes(fresh)
        return bytes(encoded) + REALM_END

    def expand(self, data: bytes) -> str:
        """Return the realm of compressed bytes.

        :raises ValueError: no end, bytes behind it, or an index that is not known.
        """
        if realm_end(data, 0, len(data)) != len(data):
            raise ValueError("the realm does not end with its bytes")
        parts: list[str] = []
        fresh: list[str] = []
        at = 0
        while data[at]:
            tag = data[at]
            at += 1
            if tag & 0x80:
                if tag & 0x7F >= len(self._strings):
                    raise ValueError(f"index {tag & 0x7F} is not in the dictionary")
                parts.append(self._strings[tag & 0x7F])
                fresh.clear()
                continue
            label = data[at : at + tag].decode("utf-8", "surrogateescape")
            at += tag
            parts.append(label)
            self._learn_label(label, fresh)
        self._learn_suffixes(fresh)
        return ".".join(parts)

    def _longest(self, labels: list[str]) -> int:
        """Return how many labels from the first on are in the dictionary."""
        return next(
            (
                count
                for count in range(len(labels), 0, -1)
                if ".".join(labels[:count]) in self._indexes
            ),
            0,
        )

    def _learn_label(self, label: str, fresh: list[str]) -> None:
        self._add(label)
        fresh.append(label)

    def _learn_suffixes(self, fresh: list[str]) -> None:
        for start in range(len(fresh) - 1):
            self._add(".".join(fresh[start:]))

    def _add(self, text: str) -> None:
        place = self._count % DICTIONARY_SIZE
        self._count += 1
        if place == len(self._strings):
            self._strings.append(text)
        else:
            replaced = self._strings[place]
            if self._indexes.get(replaced) == place:
                del self._indexes[replaced]
            self._strings[place] = text
        self._indexes[text] = place


def compress_realms(realms: list[str]) -> list[bytes]:
    """Compress the realms of one message.

    >>> compress_realms(["example.com", "example.com"])
    [b'\\x07example\\x03com\\x00', b'\\x82\\x00']
    """
    dictionary = RealmDictionary()
    return [dictionary.compress(realm) for realm in realms]


def expand_realms(encoded: list[bytes]) -> list[str]:
    """Expand the realms of one message.

    :raises ValueError: see `RealmDictionary.expand`.
    """
    dictionary = RealmDictionary()
    return [dictionary.expand(one) for one in encoded]
