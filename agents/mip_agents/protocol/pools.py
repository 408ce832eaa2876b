# SPDX-License-Identifier: GPL-2.0-only
"""Ranges of home addresses that are there to be handed out (HA-24)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True)
class AddressPool:
    """Addresses in their order, as ranges of numbers with both ends."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AddressPool:
        """Make a pool of addresses, prefixes and ranges.

        :raises ValueError: one of them is none.

        >>> AddressPool.parse(["10.1.1.8/31", "10.1.1.30-10.1.1.31"]).size
        4
        """
        return cls(tuple(map(_range, texts)))

    @property
    def size(self) -> int:
        """How many addresses there are, if none is in two of the ranges."""
        return sum(last - first + 1 for first, last in self.ranges)

    def __contains__(self, address: str) -> bool:
        number = int(IPv4Address(address))
        return any(first <= number <= last for first, last in self.ranges)

    def __iter__(self) -> Iterator[str]:
        for first, last in self.ranges:
            for number in range(first, last + 1):
                yield str(IPv4Address(number))

    def within(self, network: IPv4Network) -> bool:
        """Return whether all of it lies in a network."""
        lowest, highest = int(network[0]), int(network[-1])
        return all(lowest <= first and last <= highest for first, last in self.ranges)


def _range(text: str) -> tuple[int, int]:
    first, separator, last = text.partition("-")
    if separator:
        ends = int(IPv4Address(first.strip())), int(IPv4Address(last.strip()))
        if ends[0] > ends[1]:
            raise ValueError(f"{text} ends before it begins")
        return ends
    network = IPv4Network(text)
    return int(network[0]), int(network[-1])
