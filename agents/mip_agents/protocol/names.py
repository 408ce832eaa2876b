# SPDX-License-Identifier: GPL-2.0-only
"""Mobile nodes that are known by their NAI. RFC 2794, RFC 5944 section 3.8.3.2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mip_agents.protocol.pools import AddressPool
from scapy_mip.auth import SecurityAssociation

MAX_NAI = 253
"""Bytes of an NAI that fit into its extension with room to spare (RFC 4282 2.2)."""


def canonical(nai: str) -> str | None:
    """Return the one form of an NAI that all its spellings have; None if it is none.

    The realm is a domain name, in which case does not matter; the user's name is taken
    as it is. A name without realm cannot be told from an address and is none here.

    >>> canonical("mn@Example.ORG"), canonical("mn"), canonical("mn@")
    ('mn@example.org', None, None)
    """
    user, separator, realm = nai.rpartition("@")
    if not separator or not realm or not nai.isprintable() or len(nai) > MAX_NAI:
        return None
    return f"{user}@{realm.lower()}"


@dataclass(frozen=True, slots=True)
class NamedNode:
    """What a node with a name shares with us, and where its address comes from."""

    association: SecurityAssociation
    pool: AddressPool


class NamedNodes:
    """Nodes by NAI and SPI; `@realm` stands for everyone of a realm.

    What is said of one node wins over what is said of its realm.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, dict[int, NamedNode]] = {}

    def add(self, name: str, node: NamedNode) -> None:
        """Add an NAI, or a realm with `@` before it.

        :raises ValueError: it is no NAI, or has another entry with this SPI.
        """
        known = canonical(name)
        if known is None:
            raise ValueError(f"{name!a} is neither user@realm nor @realm")
        by_spi = self._nodes.setdefault(known, {})
        spi = node.association.spi
        if by_spi.setdefault(spi, node) != node:
            raise ValueError(f"{known} has SPI {spi} twice")

    def __iter__(self) -> Iterator[tuple[str, SecurityAssociation]]:
        """Yield each name or realm with each of its associations."""
        for name, by_spi in self._nodes.items():
            for node in by_spi.values():
                yield name, node.association

    def find(self, nai: str, spi: int) -> NamedNode | None:
        """Return what is known of a node in canonical form under an SPI."""
        for name in (nai, _realm(nai)):
            found = self._nodes.get(name, {}).get(spi)
            if found is not None:
                return found
        return None

    def any_of(self, nai: str) -> NamedNode | None:
        """Return what to sign with where a message names no SPI that we know."""
        for name in (nai, _realm(nai)):
            for node in self._nodes.get(name, {}).values():
                return node
        return None


def _realm(nai: str) -> str:
    return "@" + nai.rpartition("@")[2]
