# SPDX-License-Identifier: GPL-2.0-only
"""Marks of packets, and by each the way into the port: a route and a rule for a size.

The MTU of its route is all that a packet needs of the routing table, and many tunnels
have the same. So the mark of a packet names the size, and tunnels come and go without
routes of their own.
"""

from __future__ import annotations

from typing import Final

from mip_agents.dataplane.changes import Route, Rule
from mip_agents.dataplane.ledger import Ledger
from mip_agents.dataplane.routes import Entry
from mip_agents.dataplane.tunnel_maps import MARK_MASK, MARK_SHIFT

FIRST_TABLE: Final = 43400
"""Routing tables: this and the number of the size."""

PRIORITY: Final = 4339
"""Of the policy rules that lead there."""

MAX_SIZES: Final = MARK_MASK >> MARK_SHIFT
"""Different sizes of inner packets; 0 is no mark."""


class Marks:
    """The ways of a home agent. They stay: the next tunnel has one of their sizes."""

    def __init__(self, ledger: Ledger, entry: Entry) -> None:
        self._ledger = ledger
        self._entry = entry
        self._known: dict[int, int] = {}
        self.get = self._known.get
        """Return the mark for packets of so many octets at most, if there is a way."""

    async def make(self, mtu: int) -> int:
        """Return the mark for a size, and make its way if there is none.

        Where the marks are exhausted, the next smaller size has to do.
        :raises DataplaneError: as the kernel answers.
        """
        known = self._known.get(mtu)
        if known is not None:
            return known
        number = len(self._known) + 1
        if number > MAX_SIZES:
            smaller = [size for size in self._known if size < mtu]
            return self._known[max(smaller, default=min(self._known))]
        mark = number << MARK_SHIFT
        table = FIRST_TABLE + number
        way = Route(
            destination="0.0.0.0/0",
            table=table,
            ifindex=self._entry.ifindex,
            gateway=self._entry.gateway,
            mtu=mtu,
        )
        rule = Rule(priority=PRIORITY, table=table, mark=(mark, MARK_MASK))
        await self._ledger.settle(f"size {mtu}", [way, rule])
        self._known[mtu] = mark
        return mark
