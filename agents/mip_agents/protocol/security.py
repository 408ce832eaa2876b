# SPDX-License-Identifier: GPL-2.0-only
"""Mobility security associations by peer and SPI. RFC 5944 section 3.2 (COM-14)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from scapy.utils import inet_aton, inet_ntoa

from mip_agents.protocol.quirks import NodeQuirk
from scapy_mip.auth import Algorithm, SecurityAssociation
from scapy_mip.const import SPI_RESERVED_MAX


class ReplayStyle(enum.StrEnum):
    """How a home agent tells a fresh request from a replay (HA-28)."""

    TIMESTAMP = "timestamp"
    """RFC 5944 section 5.7.1; also that of a plain `SecurityAssociation`."""
    NONCE = "nonce"
    """RFC 5944 section 5.7.2."""


class NodeAssociation(SecurityAssociation):
    """A security association with a mobile node, and how that node is treated.

    The style of replay protection is part of an association (HA-28).
    """

    __slots__ = ("quirks", "replay")

    replay: ReplayStyle
    quirks: frozenset[NodeQuirk]

    def __init__(
        self,
        spi: int,
        key: bytes | str,
        algorithm: Algorithm | str = Algorithm.HMAC_MD5,
        replay: ReplayStyle = ReplayStyle.TIMESTAMP,
        quirks: Iterable[NodeQuirk] = (),
    ) -> None:
        super().__init__(spi, key, algorithm)
        self.replay = replay
        self.quirks = frozenset(quirks)

    @property
    def is_usual(self) -> bool:
        """Whether it asks for nothing that a plain association does not ask for."""
        return self.replay is ReplayStyle.TIMESTAMP and not self.quirks

    def __eq__(self, other: object) -> bool:
        if super().__eq__(other) is not True:
            return False
        treated = self.replay, self.quirks
        if isinstance(other, NodeAssociation):
            return treated == (other.replay, other.quirks)
        return treated == (ReplayStyle.TIMESTAMP, frozenset())

    __hash__ = SecurityAssociation.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        _plain, arguments = super().__reduce__()
        return type(self), (*arguments, self.replay, self.quirks)


def replay_style(association: SecurityAssociation) -> ReplayStyle:
    """Return the style of replay protection that an association asks for."""
    if isinstance(association, NodeAssociation):
        return association.replay
    return ReplayStyle.TIMESTAMP


def unusual(association: SecurityAssociation) -> NodeAssociation | None:
    """Return the association if its node is not treated as most are."""
    if isinstance(association, NodeAssociation) and not association.is_usual:
        return association
    return None


class _Prefix(NamedTuple):
    """A prefix, also as the numbers that an address is compared with."""

    mask: int
    start: int
    network: IPv4Network
    by_spi: dict[int, SecurityAssociation]


class SecurityTable:
    """Who shares which key with us.

    A peer is an address, or every address of a prefix. The longest prefix with the SPI
    wins, so that one node of a served network can have a key of its own.
    """

    def __init__(self) -> None:
        self._peers: dict[str, SecurityAssociation] = {}
        """The first association of each address; few have another."""
        self._others: dict[tuple[str, int], SecurityAssociation] = {}
        self._prefixes: list[_Prefix] = []
        """The longest first."""

    @classmethod
    def for_network(
        cls, network: IPv4Network, associations: Iterable[SecurityAssociation]
    ) -> SecurityTable:
        """Make a table in which every address of `network` has the associations."""
        table = cls()
        for association in associations:
            table.add(network, association)
        return table

    def add(self, peer: IPv4Network | str, association: SecurityAssociation) -> None:
        """Add one association.

        :raises ValueError: the peer has another one with this SPI.
        """
        if isinstance(peer, str) and _is_address(peer):
            self._add_address(peer, association)
            return
        network = IPv4Network(peer) if isinstance(peer, str) else peer
        if network.prefixlen == network.max_prefixlen:
            self._add_address(str(network.network_address), association)
            return
        for known in self._prefixes:
            if known.network == network:
                by_spi = known.by_spi
                if by_spi.setdefault(association.spi, association) != association:
                    raise ValueError(f"{network} has SPI {association.spi} twice")
                return
        mask, number = int(network.netmask), int(network.network_address)
        by_spi = {association.spi: association}
        self._prefixes.append(_Prefix(mask, number, network, by_spi))
        self._prefixes.sort(key=lambda known: -known.mask)

    def _add_address(self, address: str, association: SecurityAssociation) -> None:
        known = self._peers.setdefault(address, association)
        if known.spi != association.spi:
            known = self._others.setdefault((address, association.spi), association)
        if known != association:
            raise ValueError(f"{address} has SPI {association.spi} twice")

    @property
    def is_empty(self) -> bool:
        """Whether there is no association with anyone."""
        return not self._peers and not self._prefixes

    def find(self, peer: str, spi: int) -> SecurityAssociation | None:
        """Return the association with `peer` (a dotted string) under `spi`."""
        found = self._peers.get(peer)
        if found is not None and found.spi != spi:
            found = self._others.get((peer, spi))
        if found is None and self._prefixes:
            number = int.from_bytes(inet_aton(peer), "big")
            for mask, start, _network, by_spi in self._prefixes:
                if number & mask == start and spi in by_spi:
                    return by_spi[spi]
        return found

    def any_of(self, peer: str) -> SecurityAssociation | None:
        """Return the association to sign with where a message names none.

        It is the first that was added for `peer` itself, else for its longest prefix.
        """
        found = self._peers.get(peer)
        if found is None and self._prefixes:
            number = int.from_bytes(inet_aton(peer), "big")
            for mask, start, _network, by_spi in self._prefixes:
                if number & mask == start:
                    return next(iter(by_spi.values()))
        return found

    def __iter__(self) -> Iterator[tuple[str, SecurityAssociation]]:
        """Yield each peer, an address or a prefix, with each of its associations."""
        yield from self._peers.items()
        for (address, _), association in self._others.items():
            yield address, association
        for known in self._prefixes:
            for association in known.by_spi.values():
                yield str(known.network), association

    def has_own(self, peer: str) -> bool:
        """Return whether an association was added for this very address."""
        return peer in self._peers

    def serves(self, peer: str) -> bool:
        """Return whether any association with `peer` exists."""
        return self.any_of(peer) is not None


def _is_address(text: str) -> bool:
    """Return whether a text is an address as we write it; fast, for very many."""
    try:
        return inet_ntoa(inet_aton(text)) == text
    except OSError:
        return False


def parse_security(security: Mapping[int, str | bytes]) -> list[SecurityAssociation]:
    """Turn `{spi: key}` into HMAC-MD5 associations, the default of RFC 5944 5.1.

    :raises ValueError: a key is empty or an SPI out of range or reserved (COM-09).
    """
    return [SecurityAssociation(check_spi(spi), key) for spi, key in security.items()]


def check_spi(spi: int) -> int:
    """Return an SPI that may be used in an association (COM-09).

    :raises ValueError: it is reserved or does not fit into 32 bits.
    """
    if not SPI_RESERVED_MAX < spi <= 0xFFFFFFFF:
        raise ValueError(
            f"SPI {spi} is reserved: take one from {SPI_RESERVED_MAX + 1} to 4294967295"
        )
    return spi
