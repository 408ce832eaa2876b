# SPDX-License-Identifier: GPL-2.0-only
"""The `ebpf` driver of a home agent, to which most tunnels are one map entry each.

Installing, replacing or removing one is one system call, whatever their number; many at
once are one call, too, and each still takes its place in one step of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.ebpf import EbpfDataplane
from mip_agents.dataplane.ledger import Ledger
from mip_agents.dataplane.map_entries import Kind, RecentTemplates, Template, kind_of
from mip_agents.dataplane.marks import Marks
from mip_agents.dataplane.pathmtu import largest_room
from mip_agents.dataplane.port import NEXT_HOP
from mip_agents.dataplane.routes import Entry
from mip_agents.dataplane.tunnel_structs import plain_rest
from mip_agents.protocol.tunnel import Role, Tunnel

_AT_A_TIME = 100  # tunnels measured before others get their turn
_MANY = 4  # removals for which it is worth while to run a program


def make_ebpf(role: Role, **arguments: Any) -> EbpfDataplane:
    """Make the driver of a role; the arguments are those of `RoutedDataplane`."""
    return (EbpfHomeAgent if role is Role.HOME_AGENT else EbpfDataplane)(
        role, **arguments
    )


class EbpfHomeAgent(EbpfDataplane):
    """A home agent's tunnels in the kernel."""

    def __init__(self, role: Role, **arguments: Any) -> None:
        """See `RoutedDataplane`."""
        super().__init__(role, **arguments)
        self._marks: Marks
        self._unmeasured: dict[str, None] = {}
        self._measuring: asyncio.Task[None] | None = None
        self._recent = RecentTemplates()

    async def _start(self) -> None:
        """See `RoutedDataplane`."""
        self._marks = Marks(self._opened(), Entry(self._port[0], NEXT_HOP))
        await super()._start()
        self._stack.push_async_callback(self._stop_measuring)

    async def _stop_measuring(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)
            self._measuring = None

    async def install(self, tunnel: Tunnel) -> None:
        """See `Dataplane.install`."""
        self._serving()
        await self._install_one(tunnel)

    async def _install_one(self, tunnel: Tunnel) -> None:
        home = tunnel.home_address
        old = self._tunnels.get(home)
        # What differs in most moves is compared first, as all of it takes its time.
        if old is not None and old.peers == tunnel.peers and old == tunnel:
            return
        # What the path allows is asked for later: it takes as long as all the rest.
        mtu = self._link_mtu - largest_room(tunnel)
        self._use(tunnel, mtu, self._marks.get(mtu) or await self._make_way(mtu))
        self._unmeasured[home] = None
        self._measure_soon()

    async def install_many(
        self, tunnels: Sequence[Tunnel]
    ) -> list[DataplaneError | None]:
        """See `Dataplane.install_many`: one system call for all that are but entries.

        Each step for each of them counts here: the kernel takes one in a microsecond.
        """
        self._serving()
        refusals = await self._install_all(tunnels)
        if not refusals:
            return [None] * len(tunnels)
        return [refusals.get(tunnel.home_address) for tunnel in tunnels]

    async def _install_again(
        self, tunnels: Sequence[Tunnel]
    ) -> dict[str, DataplaneError]:
        """See `RoutedDataplane`."""
        return await self._install_all(tunnels)

    async def _install_all(
        self, tunnels: Sequence[Tunnel]
    ) -> dict[str, DataplaneError]:
        maps, recent = self._running()[1], self._recent.known()
        get_old, get_template = self._tunnels.get, recent.get
        refusals: dict[str, DataplaneError] = {}
        taken: dict[str, Tunnel] = {}
        rests: dict[str, bytes] = {}
        mtus: dict[str, int] = {}
        guessed: list[str] = []
        for tunnel in tunnels:
            home = tunnel.home_address
            old = get_old(home)
            if old is not None and old.peers == tunnel.peers and old == tunnel:
                continue
            kind = kind_of(tunnel)
            try:
                if kind is None or (old and not self._is_but_an_entry(old, tunnel)):
                    await self._install_one(tunnel)
                    continue
                template = get_template(kind)
                if template is None:
                    template = await self._guess(tunnel, kind)
                    guessed.append(home)
            except DataplaneError as error:
                refusals[home] = error
                continue
            taken[home] = tunnel
            mtus[home], rests[home] = template
        for home, refusal in maps.put_many(rests).items():
            refusals[home] = refusal
            del taken[home], mtus[home]
        new = [one.local for home, one in taken.items() if home not in self._tunnels]
        for local, users in Counter(new).items():
            maps.add_local(local, users)
        self._tunnels.update(taken)
        self._mtus.update(mtus)
        if self._recent.known() is not recent:  # no longer sure
            guessed = list(taken)
        self._unmeasured.update(dict.fromkeys(guessed))
        self._measure_soon()
        return refusals

    def _is_but_an_entry(self, old: Tunnel, new: Tunnel) -> bool:
        """Tell whether nothing is left of `old` with an entry of `new` in its place."""
        return (
            old.local == new.local
            and not old.deliveries
            and old.home_address not in self._whole
            and old.home_address not in self._over_udp
        )

    async def _guess(self, tunnel: Tunnel, kind: Kind) -> Template:
        """Return the template of a tunnel whose path has not been measured."""
        self._paths.prepare(None, tunnel.local)
        mtu = self._link_mtu - largest_room(tunnel)
        mark = self._marks.get(mtu) or await self._make_way(mtu)
        return Template(mtu, plain_rest(*kind, mark=mark))

    def _measure_soon(self) -> None:
        if self._unmeasured and (self._measuring is None or self._measuring.done()):
            loop = asyncio.get_running_loop()
            self._measuring = loop.create_task(self._measure())

    async def _make_way(self, mtu: int) -> int:
        async with self._changing:
            self._opened()
            return await self._marks.make(mtu)

    def _use(self, tunnel: Tunnel, mtu: int, mark: int) -> None:
        """Carry packets of a home agent by `tunnel`, which may be in use already.

        :param mtu: size of the largest inner packet
        :param mark: of the way for this size
        """
        home = tunnel.home_address
        old = self._tunnels.get(home)
        if tunnel.deliveries or (old is not None and old.deliveries):
            self._spread(tunnel, mtu)
        try:
            if old is not None and old.local == tunnel.local:
                self._put(tunnel, 0, mark)
            else:
                self._paths.prepare(None, tunnel.local)
                self._put(tunnel, 0, mark)
                self._running()[1].add_local(tunnel.local)
                if old is not None:
                    self._running()[1].drop_local(old.local)
        except DataplaneError:
            if old is None:
                self._spread_no_more(home)
            else:
                self._spread(old, self._mtus[home])
            raise
        self._tunnels[home] = tunnel
        self._mtus[home] = mtu

    async def _measure(self) -> None:
        """Look up the path MTU of what was installed since the last time (TUN-04)."""
        while self._unmeasured:
            for home in list(itertools.islice(self._unmeasured, _AT_A_TIME)):
                del self._unmeasured[home]
                tunnel = self._tunnels.get(home)
                if tunnel is None:
                    continue
                with contextlib.suppress(DataplaneError):  # it goes on as it is
                    mtu = await self._measured(tunnel)
                    if mtu == self._mtus.get(home):
                        continue
                    mark = self._marks.get(mtu) or await self._make_way(mtu)
                    if self._tunnels.get(home) is tunnel:
                        self._use(tunnel, mtu, mark)
            await asyncio.sleep(0)

    async def _measured(self, tunnel: Tunnel) -> int:
        """Return the size of the largest inner packet, measured now or just now."""
        kind, known = kind_of(tunnel), self._recent.known()
        recent = known.get(kind) if kind else None
        if recent is not None:
            return recent.mtu
        mtu = self._paths.mtu(tunnel)
        mark = self._marks.get(mtu) or await self._make_way(mtu)
        if kind and self._recent.known() is known:  # no path has changed meanwhile
            self._recent.add(kind, mtu, mark)
        return mtu

    def _path_changed(self) -> None:
        """See `RoutedDataplane`."""
        self._recent.forget()
        super()._path_changed()

    async def _check_sizes(self) -> None:
        """See `RoutedDataplane`."""
        self._unmeasured.update(dict.fromkeys(self._tunnels))
        await self._measure()

    async def remove(self, home_address: str) -> None:
        """See `Dataplane.remove`."""
        ledger = self._serving()
        self._owed.pop(home_address, None)
        self._announcer.cancel(home_address)
        old = self._tunnels.pop(home_address, None)
        if old is None:
            return
        self._mtus.pop(home_address, None)
        if old.deliveries:
            self._spread_no_more(home_address)
        self._running()[1].drop_local(old.local)
        asked = self._take_back(home_address)
        if asked:
            await self._forget_answer(ledger, home_address, asked)

    async def remove_many(self, home_addresses: Sequence[str]) -> None:
        """See `Dataplane.remove_many`: a few system calls for all."""
        if len(home_addresses) < _MANY:
            await super().remove_many(home_addresses)
            return
        ledger = self._serving()
        maps = self._running()[1]
        some = [home for home in home_addresses if home in self._tunnels]
        every = maps.drop_many(some)
        for home in home_addresses:
            self._owed.pop(home, None)
            self._announcer.cancel(home)
        local_ends = []
        for home in some:
            old = self._tunnels.pop(home)
            del self._mtus[home]
            local_ends.append(old.local)
            if old.deliveries:
                self._spread_no_more(home)
            if self._whole or self._over_udp:
                self._need_nothing(home)
        for local, users in Counter(local_ends).items():
            maps.drop_local(local, users)
        for home, asked in every.items():
            await self._forget_answer(ledger, home, asked)

    @staticmethod
    async def _forget_answer(ledger: Ledger, home_address: str, ifindex: int) -> None:
        """Our own answer is among this host's neighbours, wrong from now on."""
        with contextlib.suppress(NetlinkError):
            await ledger.call("neigh", "del", dst=home_address, ifindex=ifindex)

    async def _take_down(self) -> None:
        """See `RoutedDataplane`."""
        await super()._take_down()
        self._unmeasured.clear()
        self._recent.forget()
