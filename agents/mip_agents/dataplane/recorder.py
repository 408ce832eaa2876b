# SPDX-License-Identifier: GPL-2.0-only
"""A data plane in memory: it notes what it is asked to do.

For tests, for a dry run, and for `dataplane = "none"`, where something else carries the
packets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.protocol.tunnel import Category, Tunnel
from scapy_mip.const import Encapsulation


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call that was made."""

    action: str
    """`open`, `install`, `replace`, `refresh`, `remove`, `announce`, `give_back`,
    `hold` or `close`."""
    subject: str = ""
    """The key of the tunnel, or an address."""
    tunnel: Tunnel | None = None
    """What was installed."""
    detail: str = ""
    """Of an announcement: interface and link-layer address, as far as given."""


class RecorderDataplane:
    """See `mip_agents.dataplane.api.Dataplane`."""

    name = "none"
    encapsulations = frozenset(Encapsulation)
    copies = True
    categories = frozenset(Category)
    encapsulating = True

    def __init__(self, *, fail_with: str | None = None, forgetful: bool = False):
        """`fail_with` makes every `install` fail with this text; set it at any time.

        A `forgetful` one keeps no list: that of an agent would grow for ever.
        """
        self.changes: list[Recorded] = []
        self.fail_with = fail_with
        self._forgetful = forgetful
        self._is_open = False
        self._tunnels: dict[str, Tunnel] = {}
        self._counters: dict[str, Counters] = {}
        self._drops = DropCounters()

    async def open(self) -> None:
        """See `Dataplane.open`."""
        self._is_open = True
        self._record("open")

    async def install(self, tunnel: Tunnel) -> None:
        """See `Dataplane.install`."""
        if self.fail_with is not None:
            raise DataplaneError(self.fail_with)
        old = self._tunnels.get(tunnel.key)
        action = "install" if old is None else "replace"
        if old == tunnel:
            action = "refresh"
        self._tunnels[tunnel.key] = tunnel
        self._record(action, tunnel.key, tunnel)

    async def remove(self, key: str, /) -> None:
        """See `Dataplane.remove`."""
        if self._tunnels.pop(key, None) is not None:
            self._record("remove", key)

    async def install_many(
        self, tunnels: Sequence[Tunnel]
    ) -> list[DataplaneError | None]:
        """See `Dataplane.install_many`."""
        refusals: list[DataplaneError | None] = [None] * len(tunnels)
        for number, tunnel in enumerate(tunnels):
            try:
                await self.install(tunnel)
            except DataplaneError as error:
                refusals[number] = error
        return refusals

    async def remove_many(self, home_addresses: Sequence[str]) -> None:
        """See `Dataplane.remove_many`."""
        for home_address in home_addresses:
            await self.remove(home_address)

    async def announce(
        self, address: str, interface: str | None = None, mac: str | None = None
    ) -> None:
        """See `Dataplane.announce`."""
        detail = " ".join(part for part in (interface, mac) if part)
        self._record("announce", address, detail=detail)

    async def give_back(self, address: str, interface: str | None = None) -> None:
        """See `Dataplane.give_back`."""
        self._record("give_back", address, detail=interface or "")

    async def hold(self, address: str, interface: str | None) -> None:
        """See `Dataplane.hold`."""
        self._record("hold", address, detail=interface or "")

    def tunnels(self) -> Iterable[Tunnel]:
        """See `Dataplane.tunnels`."""
        return list(self._tunnels.values())

    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`."""
        return self._counters.get(key, Counters())

    def traffic(self) -> dict[str, Counters]:
        """See `Dataplane.traffic`."""
        return {home: self.counters(home) for home in self._tunnels}

    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""
        return self._drops

    async def close(self) -> None:
        """See `Dataplane.close`."""
        if self._is_open:
            self._is_open = False
            self._tunnels.clear()
            self._record("close")

    def _record(
        self,
        action: str,
        subject: str = "",
        tunnel: Tunnel | None = None,
        detail: str = "",
    ) -> None:
        if not self._forgetful:
            self.changes.append(Recorded(action, subject, tunnel, detail))
