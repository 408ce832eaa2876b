# SPDX-License-Identifier: GPL-2.0-only
"""Which home address belongs to which NAI (HA-24).

A node gets the same address again, long after its binding has ended: its lease stays
until the pool has no address left that was never leased. Then the lease without a
binding that was granted longest ago passes to the next node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mip_agents.protocol.effects import LeaseRecord
from mip_agents.protocol.pools import AddressPool


class Leases:
    """Leases by name and by address.

    :param is_usable: whether an address of a pool may be handed out at all.
    :param is_busy: whether an address has a binding now, or is about to.
    """

    def __init__(
        self, is_usable: Callable[[str], bool], is_busy: Callable[[str], bool]
    ) -> None:
        self._is_usable = is_usable
        self._is_busy = is_busy
        self._by_name: dict[str, LeaseRecord] = {}
        # In the order in which they were granted.
        self._by_address: dict[str, LeaseRecord] = {}
        self.lease_of: Callable[[str], LeaseRecord | None] = self._by_address.get
        """The lease of an address."""
        self._unseen: dict[AddressPool, tuple[str | None, Iterator[str]]] = {}
        """Of each pool the first address that may never have been leased, None where
        there is none, and those behind it."""

    def __len__(self) -> int:
        return len(self._by_name)

    def name_of(self, home_address: str) -> str | None:
        """Return who has leased an address."""
        lease = self.lease_of(home_address)
        return None if lease is None else lease.nai

    def address_of(self, name: str) -> str | None:
        """Return the address that a node has leased."""
        lease = self._by_name.get(name)
        return None if lease is None else lease.home_address

    def grant(self, name: str, home_address: str, moment: int) -> LeaseRecord:
        """Note that a node gets an address now; return what the journal keeps of it.

        :param moment: NTP time.
        """
        for old in (self._by_name.get(name), self._by_address.get(home_address)):
            if old is not None:
                self._by_name.pop(old.nai, None)
                self._by_address.pop(old.home_address, None)
                if old.home_address != home_address:
                    # It lies behind where the pools were last looked at.
                    self._unseen.clear()
        lease = LeaseRecord(name, home_address, moment)
        self._by_name[name] = self._by_address[home_address] = lease
        return lease

    def choose(self, name: str, pool: AddressPool) -> str | None:
        """Return the address for a node that leaves the choice to us, if there is one.

        It is its own only when it is granted.
        """
        leased = self.address_of(name)
        if leased is not None and leased in pool and self._is_usable(leased):
            return leased
        return self._first_unseen(pool) or self._longest_idle(pool)

    def may_have(self, name: str, pool: AddressPool, home_address: str) -> bool:
        """Return whether a node may have the address that it asks for."""
        if home_address not in pool or not self._is_usable(home_address):
            return False
        leased = self.address_of(name)
        if leased == home_address:
            return True
        # One node, one address: it has to give up its binding first.
        given_up = leased is None or not self._is_busy(leased)
        return given_up and self._is_free(home_address)

    def _first_unseen(self, pool: AddressPool) -> str | None:
        """Return the first address that nobody has; it is looked at again next time."""
        rest = iter(pool)
        address, rest = self._unseen.get(pool) or (next(rest, None), rest)
        while address is not None and not self._is_free(address):
            address = next(rest, None)
        self._unseen[pool] = address, rest
        return address

    def _longest_idle(self, pool: AddressPool) -> str | None:
        for address in self._by_address:
            wanted = address in pool and self._is_usable(address)
            if wanted and not self._is_busy(address):
                return address
        return None

    def _is_free(self, address: str) -> bool:
        return (
            address not in self._by_address
            and self._is_usable(address)
            and not self._is_busy(address)
        )
