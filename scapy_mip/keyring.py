# SPDX-License-Identifier: GPL-2.0-only
"""Security associations to judge received messages with. RFC 5944 section 3.2 (COM-14).

An association belongs to a peer and an SPI. Who only looks on may not know the peer, so
that several associations may share an SPI here: any that fits will do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scapy.config import conf
from scapy.packet import Packet

from scapy_mip.auth import SecurityAssociation, authenticator_at, verify
from scapy_mip.extensions.auth import MIPAuthentication


@dataclass(slots=True)
class KeyRing:
    """Security associations to try, by SPI; several may share one."""

    by_spi: dict[int, list[tuple[str | None, SecurityAssociation]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, association: SecurityAssociation, peer: str | None = None) -> None:
        """Add one; `peer` limits it to messages that name this address."""
        self.by_spi[association.spi].append((peer, association))

    def find(self, spi: int, peers: set[str]) -> list[SecurityAssociation]:
        """Return what an SPI can stand for in a message that names `peers`."""
        return [
            association
            for peer, association in self.by_spi.get(spi, ())
            if peer is None or peer in peers
        ]

    def verdict(self, message: bytes, offset: int, spi: int, peers: set[str]) -> str:
        """Judge the authentication extension at `offset`: valid, invalid or no-key.

        An empty authenticator is invalid whatever the key.
        :param peers: the addresses that the packet and the message name.
        """
        candidates = self.find(spi, peers)
        if not candidates and authenticator_at(message, offset):
            return "no-key"
        if any(verify(association, message, offset) for association in candidates):
            return "valid"
        return "invalid"


Keys = KeyRing | SecurityAssociation | Iterable[Any] | Mapping[Any, Any] | None
"""What `make_ring` takes."""


def make_ring(keys: Keys) -> KeyRing:
    """Make a key ring of what people type.

    >>> shared = SecurityAssociation(256, "1234567812345678")
    >>> for keys in (
    ...     shared,
    ...     [shared],
    ...     {256: "1234567812345678"},
    ...     {"10.1.1.10": shared},
    ...     {"10.1.1.10": {256: "1234567812345678"}},
    ... ):
    ...     assert make_ring(keys).find(256, {"10.1.1.10"}) == [shared]
    >>> make_ring({"10.1.1.10": shared}).find(256, {"10.1.1.11"})
    []

    :param keys: associations; or, by SPI, associations or keys; or any of these by the
        peer's address. None stands for what `conf.contribs["mip"]` has.
    :raises ValueError: it is none of these.
    """
    if isinstance(keys, KeyRing):
        return keys
    ring = KeyRing()
    if keys is None:
        keys = conf.contribs["mip"]["security_associations"]
    for peer, association in _associations(keys, None):
        ring.add(association, peer)
    return ring


def _associations(
    keys: Any, peer: str | None
) -> Iterator[tuple[str | None, SecurityAssociation]]:
    if isinstance(keys, SecurityAssociation):
        yield peer, keys
    elif isinstance(keys, Mapping):
        for name, value in keys.items():
            if isinstance(name, str) and peer is None:
                yield from _associations(value, name)
            elif isinstance(name, int):
                yield peer, _for_spi(name, value)
            else:
                raise ValueError(f"{name!r} is neither an SPI nor a peer's address")
    elif isinstance(keys, Iterable) and not isinstance(keys, (str, bytes)):
        for one in keys:
            if not isinstance(one, SecurityAssociation):
                raise ValueError("give security associations, or keys by their SPI")
            yield peer, one
    else:
        raise ValueError("give security associations, or keys by their SPI")


def _for_spi(spi: int, value: Any) -> SecurityAssociation:
    if not isinstance(value, SecurityAssociation):
        return SecurityAssociation(spi, value)
    if value.spi != spi:
        raise ValueError(f"the association for SPI {spi} has SPI {value.spi}")
    return value


def authentications(message: Any) -> Iterator[tuple[MIPAuthentication, int]]:
    """Give the authentication extensions of a dissected message with their offsets."""
    offset = message.fixed_size
    for extension in message.extensions:
        if isinstance(extension, MIPAuthentication):
            yield extension, offset
        offset += len(extension.original)


def named_addresses(message: Packet) -> set[str]:
    """Return the addresses in the fixed part of a message."""
    return {value for value in message.fields.values() if isinstance(value, str)}
