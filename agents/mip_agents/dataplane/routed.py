# SPDX-License-Identifier: GPL-2.0-only
"""What all drivers have in common: opening, routes, announcements, sizes, undoing.

A driver adds how packets are carried: it makes what the kernel's routes lead to in
`_bring_up`, and puts a tunnel into use in `_carry`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.agentlink import first_leg, goes_direct, link_index
from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.arp import Announcer
from mip_agents.dataplane.arpanswers import ArpAnswers
from mip_agents.dataplane.broadcasts import Broadcasts
from mip_agents.dataplane.changes import Change, LocalAddress
from mip_agents.dataplane.decap import Decapsulated
from mip_agents.dataplane.ledger import Ledger
from mip_agents.dataplane.leftovers import lock, remove_leftovers
from mip_agents.dataplane.linkwatch import ADDRESSES, LINKS_ONLY, notifications
from mip_agents.dataplane.pathmtu import PathProbe
from mip_agents.dataplane.port import INTERFACE_PREFIXES
from mip_agents.dataplane.routes import (
    Entry,
    forget_unresolved,
    home_agent_changes,
    mobile_node_changes,
)
from mip_agents.dataplane.rtnetlink import Requests
from mip_agents.dataplane.statefile import StateFile
from mip_agents.protocol.tunnel import Category, Role, Tunnel
from scapy_mip.const import Encapsulation

MTU_LIFETIME: Final = 600.0
"""Seconds after which a path MTU is looked up again, as the kernel forgets it then."""

_AGAIN_S: Final = 1.0
"""Seconds until what could not be made anew is tried again."""

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 1

_BASE = "port"
_HELD = "home link"


class RoutedDataplane(ABC):
    """A driver to which the kernel's routes lead; see `api.Dataplane`."""

    name: str
    encapsulations: frozenset[Encapsulation] = frozenset(Encapsulation)
    copies: bool = True
    categories: frozenset[Category] = frozenset(Category)
    encapsulating: bool = False

    def __init__(
        self,
        role: Role,
        *,
        address: str | None = None,
        home_network: IPv4Network | None = None,
        home_interface: str | None = None,
        state_file: Path | None = None,
    ) -> None:
        """Prepare the driver; nothing happens before `open`.

        :param address: of a home agent; its interface is the home link
        :param home_network: of a mobile node: what lies there is reached by tunnel;
            of a home agent, where it is not that of the interface with `address`
        :param home_interface: of a home agent, where it is not that of `address`
        :param state_file: remembers changed settings, so that they are put back even
            after a kill; without it only close() puts them back
        """
        self._role = role
        self._address = address
        self._home_network = home_network
        self._home_interface = home_interface
        self._home_index = 0
        self._state = StateFile(state_file)
        self._stack = contextlib.AsyncExitStack()
        self._announcer = Announcer()
        self._answers: ArpAnswers | None = None
        self._drops = DropCounters()
        """Of what all drivers share; `drops` has it, too."""
        self._broadcasts: Broadcasts | None = None
        self._paths = PathProbe()
        self._changing = asyncio.Lock()
        self._tunnels: dict[str, Tunnel] = {}
        self._mtus: dict[str, int] = {}
        self._recheck: asyncio.TimerHandle | None = None
        self._recheck_task: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._rebuilding: asyncio.Task[None] | None = None
        self._anew = False
        """Whether all is being made anew, and nobody else may change anything."""
        self._owed: dict[str, Tunnel] = {}
        """What was carried before all was made anew, and is not yet again."""
        self._ports: frozenset[tuple[int, bool]] = frozenset()
        """Our own interfaces that there are from `open` to `close`: index, whether it
        is up. With one that is taken down the kernel forgets all routes into it."""
        self._links_used: dict[str, int] = {}
        """Index of the interface that the changes of a mobile node's tunnel are for."""
        self._ledger: Ledger | None = None
        self._undo_failures: list[str] = []

    # What a driver adds

    @abstractmethod
    async def _bring_up(self, ipr: AsyncIPRoute) -> list[Change]:
        """Make what carries packets, with its undo on the stack.

        Return the settings that it needs besides.
        """

    async def _start(self) -> None:  # noqa: B027  # not every driver has to
        """Begin to carry packets: all is in place now."""

    @abstractmethod
    def _entry(self, tunnel: Tunnel) -> Entry:
        """Return where routes into the tunnel lead to."""

    @abstractmethod
    async def _carry(self, tunnel: Tunnel) -> None:
        """Carry packets by `tunnel` from now on, in the place of what was there.

        :raises DataplaneError: nothing has changed then.
        """

    @abstractmethod
    async def _drop(self, key: str) -> None:
        """Carry nothing by the tunnel with this key any more."""

    async def _look_at_links(self) -> None:
        """Make good for links that have come, gone or changed."""
        if self._role is Role.MOBILE_NODE:
            for tunnel in self._tunnels.values():
                if self._is_on_new_link(tunnel):
                    await self._move_to_new_link(tunnel)
                else:
                    await self._opened().renew(tunnel.key)

    def _is_on_new_link(self, tunnel: Tunnel) -> bool:
        """Return whether an interface has the name of the one that a tunnel was for."""
        index = _index_of(tunnel.interface)
        return index not in (0, self._links_used.get(tunnel.key, index))

    async def _move_to_new_link(self, tunnel: Tunnel) -> None:
        """Make for an interface what one of the same name had, which is gone.

        Until that is done it counts as not done: the address may not be there yet.
        """
        ledger, key = self._opened(), tunnel.key
        await self._leave_lost_link(key)
        if not goes_direct(tunnel):
            await self._carry(tunnel)
        await ledger.settle(key, self._wanted(tunnel, self._mtus[key]))
        if goes_direct(tunnel):
            await self._carry(tunnel)
        self._links_used[key] = _index_of(tunnel.interface)
        self._answer_agent(tunnel)

    async def _leave_lost_link(self, key: str) -> None:
        """Give up what there was for an interface that is gone.

        Settings have the name only, so that they would count as made already; and
        sockets stay with the interface that is gone.
        """
        await self._opened().settle(key, ())
        await self._drop(key)
        await self._settled()

    async def _settled(self) -> None:  # noqa: B027  # not every driver has to
        """A change is complete: what only an earlier tunnel needed can go."""

    @abstractmethod
    def counters(self, key: str, /) -> Counters:
        """See `Dataplane.counters`."""

    @abstractmethod
    def drops(self) -> DropCounters:
        """See `Dataplane.drops`."""

    # The rest is the same for all

    @property
    def netlink_calls(self) -> int:
        """How many requests changed, or tried to change, the kernel since `open`."""
        return self._ledger.calls if self._ledger else 0

    @property
    def undo_failures(self) -> list[str]:
        """What could not be undone, in the kernel's words; empty is normal."""
        return self._undo_failures

    async def open(self) -> None:
        """See `Dataplane.open`."""
        try:
            await self._open()
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError):
                raise DataplaneError(
                    f"no raw sockets: {error.strerror}; run with CAP_NET_RAW and "
                    "CAP_NET_ADMIN, as root or in a user namespace"
                ) from error
            raise

    async def _open(self) -> None:
        self._stack.enter_context(lock(self._role))
        ipr = AsyncIPRoute()
        self._stack.callback(ipr.close)
        await ipr.setup_endpoint()
        self._drops = DropCounters()
        self._state.load()
        self._state.restore_all()
        await remove_leftovers(ipr, self._role)
        if self._role is Role.HOME_AGENT:
            await self._find_home_link(ipr)
            self._broadcasts = Broadcasts(
                home_index=self._home_index,
                home_network=self._home_network,
                drops=self._drops,
                on_path_change=self._path_changed,
            )
        settings = await self._bring_up(ipr)
        requests = self._stack.enter_context(Requests())
        self._ledger = Ledger(ipr, requests, self._role, self._state)
        self._undo_failures = self._ledger.failures
        self._stack.push_async_callback(self._ledger.undo_all)
        if self._broadcasts is not None:
            self._stack.callback(self._broadcasts.close)
        await self._ledger.settle(_BASE, settings)
        await self._start()
        self._ports = _ports(INTERFACE_PREFIXES[self._role])
        self._watch = asyncio.get_running_loop().create_task(self._follow_links())
        self._stack.push_async_callback(self._stop_watch)

    async def _follow_links(self) -> None:
        # With the last address of an interface, the kernel forgets the routes there;
        # and a home link is none before it has ours.
        async for _ in notifications(LINKS_ONLY | ADDRESSES):
            # The next notification, or the next start, tries again.
            with contextlib.suppress(NetlinkError, DataplaneError, OSError):
                if self._role is Role.HOME_AGENT and await self._is_incomplete():
                    await self._stop_rebuilding()
                    loop = asyncio.get_running_loop()
                    self._rebuilding = loop.create_task(self._rebuild())
                    return
                async with self._changing:
                    await self._look_at_links()

    async def _is_incomplete(self) -> bool:
        """Return whether a port is gone or down, or the home link is a new one."""
        if not self._ports <= _ports(INTERFACE_PREFIXES[self._role]):
            return True
        index = _index_of(self._home_interface)
        if index in (0, self._home_index):
            return False
        return self._address is None or await self._is_there(index, self._address)

    async def _is_there(self, index: int, address: str) -> bool:
        """Return whether an interface has an address already."""
        with contextlib.suppress(NetlinkError):
            entries = await self._opened().ipr.addr("dump", family=socket.AF_INET)
            async for entry in entries:
                if entry["index"] == index and entry.get_attr("IFA_LOCAL") == address:
                    return True
        return False

    async def _rebuild(self) -> None:
        """Make everything anew, with the tunnels that there were."""
        await self._stop_rechecks()
        self._anew = True
        try:
            while True:
                async with self._changing:
                    self._owed |= self._tunnels
                    await self._take_down()
                    try:
                        await self._open()
                        break
                    except (NetlinkError, OSError, DataplaneError):
                        await self._take_down()
                await asyncio.sleep(_AGAIN_S)
            await self._put_back()
        finally:
            self._anew = False
        while self._owed:
            await asyncio.sleep(_AGAIN_S)
            await self._put_back()

    async def _put_back(self) -> None:
        """Install the tunnels that there were; what is refused stays owed."""
        owed = [one for key, one in self._owed.items() if key not in self._tunnels]
        try:
            refusals = await self._install_again(owed)
        except (NetlinkError, OSError, DataplaneError):
            return
        for tunnel in owed:
            if tunnel.key in refusals:
                continue
            known = self._owed.pop(tunnel.key, None)
            if known is None and self._tunnels.get(tunnel.key) is tunnel:
                await self.remove(tunnel.key)  # somebody has asked for it meanwhile

    async def _install_again(
        self, tunnels: Sequence[Tunnel]
    ) -> dict[str, DataplaneError]:
        """Install what others may not, for now; return what is refused, by its key."""
        async with self._changing:
            return await self._install_many(tunnels)

    async def _stop_rebuilding(self) -> None:
        if self._rebuilding is not None:
            self._rebuilding.cancel()
            await asyncio.gather(self._rebuilding, return_exceptions=True)
            self._rebuilding = None

    async def _stop_watch(self) -> None:
        assert self._watch is not None
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    async def _find_home_link(self, ipr: AsyncIPRoute) -> None:
        """Find the interface of a home agent's address, by which the home link is."""
        if self._home_interface is None:
            async for entry in await ipr.addr("dump", family=socket.AF_INET):
                if entry.get_attr("IFA_LOCAL") == self._address:
                    self._home_index = entry["index"]
                    if self._home_network is None:
                        prefix = f"{self._address}/{entry['prefixlen']}"
                        self._home_network = IPv4Network(prefix, strict=False)
        else:
            with contextlib.suppress(OSError):
                self._home_index = socket.if_nametoindex(self._home_interface)
        if not self._home_index:
            where = self._home_interface or f"with the address {self._address}"
            raise DataplaneError(
                f"no interface {where}: configure the home agent's address first"
            )
        self._home_interface = socket.if_indextoname(self._home_index)

    async def install(self, tunnel: Tunnel) -> None:
        """See `Dataplane.install`."""
        async with self._changing:
            self._serving()
            await self._install(tunnel)

    async def _install(self, tunnel: Tunnel) -> None:
        ledger = self._opened()
        home = tunnel.key
        if self._role is Role.MOBILE_NODE:
            others = self._tunnels.keys() - {home}
            if others:
                raise DataplaneError(
                    f"{home}: the home address {others.pop()} is in use; remove it "
                    "first"
                )
        mtu = self._paths.mtu(tunnel)
        old = self._tunnels.get(home)
        if not self.encapsulating and first_leg(tunnel) is not tunnel:
            raise DataplaneError(
                f"{home}: packets to a foreign agent in a tunnel are not for the "
                f'driver "{self.name}"; use the driver "tun", or direct delivery'
            )
        if old is not None and self._is_on_new_link(old):
            await self._leave_lost_link(home)
            del self._tunnels[home], self._mtus[home], self._links_used[home]
            old = None
        if old == tunnel and self._mtus.get(home) == mtu:
            return
        await self._carry_in_place_of(old, tunnel)
        try:
            self._spread(tunnel, mtu)
            await self._prepare(tunnel, mtu)
            await ledger.settle(home, self._wanted(tunnel, mtu))
        except BaseException:
            await self._carry_again(old, home)
            raise
        finally:
            await self._settled()
        self._mtus[home] = mtu
        self._links_used[home] = _index_of(tunnel.interface)
        if old != tunnel and goes_direct(tunnel):
            # Nothing enters the last tunnel any more; what has is sent by it.
            await self._carry(tunnel)
            await self._settled()
        self._answer_agent(tunnel)
        if old is not None and old.interface != tunnel.interface:
            await self._forget_neighbours(old)

    async def _forget_neighbours(self, old: Tunnel) -> None:
        """Give up what waits for an answer on the link that a mobile node has left.

        TCP does not repeat a segment as long as the kernel holds it back there, which
        it does for three seconds.
        """
        if self._role is Role.MOBILE_NODE and old.interface is not None:
            await forget_unresolved(self._opened().ipr, old.interface)

    def _answer_agent(self, tunnel: Tunnel | None) -> None:
        """Answer the ARP requests of a tunnel's foreign agent, and no other's."""
        if self._answers is not None:
            self._answers.close()
            self._answers = None
        if tunnel is not None and tunnel.agent is not None and tunnel.interface:
            with contextlib.suppress(OSError):  # the link may be down by now
                self._answers = ArpAnswers(
                    tunnel.interface, tunnel.home_address, tunnel.agent
                )

    async def _prepare(self, tunnel: Tunnel, mtu: int) -> None:  # noqa: B027
        """Make what tunnels of a size have in common, where there is such a thing."""

    async def _carry_in_place_of(self, old: Tunnel | None, tunnel: Tunnel) -> None:
        """Begin with the packets, so that the routes lead to a tunnel that is there."""
        if old != tunnel and not goes_direct(tunnel):
            await self._carry(tunnel)
        self._tunnels[tunnel.key] = tunnel

    async def _carry_again(self, old: Tunnel | None, key: str) -> None:
        """Take a tunnel out of use, whose routes could not be made."""
        if old is None:
            del self._tunnels[key]
            self._spread_no_more(key)
            await self._drop(key)
        else:
            self._tunnels[key] = old
            await self._carry(old)
            self._spread(old, self._mtus[key])

    def _spread(self, tunnel: Tunnel, mtu: int) -> None:
        """Carry to a node what is sent to many, as its tunnel says.

        :raises DataplaneError: nothing has changed then.
        """
        if self._broadcasts is not None:
            self._broadcasts.put(tunnel, mtu, self._entry(tunnel).ifindex)

    def _spread_no_more(self, home_address: str) -> None:
        if self._broadcasts is not None:
            self._broadcasts.drop(home_address)

    async def remove(self, key: str, /) -> None:
        """See `Dataplane.remove`."""
        async with self._changing:
            ledger = self._serving()
            self._owed.pop(key, None)
            self._announcer.cancel(key)
            old = self._tunnels.pop(key, None)
            await ledger.settle(key, ())
            self._mtus.pop(key, None)
            self._links_used.pop(key, None)
            self._spread_no_more(key)
            if old is not None:
                self._answer_agent(None)
                await self._drop(key)
                await self._settled()
                await self._forget_neighbours(old)

    async def install_many(
        self, tunnels: Sequence[Tunnel]
    ) -> list[DataplaneError | None]:
        """See `Dataplane.install_many`: routes and proxies go many at a time."""
        if self._role is not Role.HOME_AGENT:
            return [await self._refusal(tunnel) for tunnel in tunnels]
        async with self._changing:
            self._serving()
            refusals = await self._install_many(tunnels)
        return [refusals.get(tunnel.home_address) for tunnel in tunnels]

    async def _refusal(self, tunnel: Tunnel) -> DataplaneError | None:
        """Install a tunnel; return why it cannot be."""
        try:
            await self.install(tunnel)
        except DataplaneError as refusal:
            return refusal
        return None

    async def _install_many(
        self, tunnels: Sequence[Tunnel]
    ) -> dict[str, DataplaneError]:
        ledger = self._opened()
        refusals: dict[str, DataplaneError] = {}
        before: dict[str, Tunnel | None] = {}
        mtus: dict[str, int] = {}
        wanted: dict[str, list[Change]] = {}
        given_up: Collection[str] = before.keys()  # all, unless we get through
        try:
            for tunnel in tunnels:
                home = tunnel.home_address
                mtu = self._paths.mtu(tunnel)
                old = self._tunnels.get(home)
                if old == tunnel and self._mtus.get(home) == mtu:
                    continue
                try:
                    await self._carry_in_place_of(old, tunnel)
                    before[home] = old
                    self._spread(tunnel, mtu)
                    wanted[home] = self._wanted(tunnel, mtu)
                except DataplaneError as refusal:
                    refusals[home] = refusal
                mtus[home] = mtu
            refusals |= await ledger.settle_many(wanted)
            given_up = refusals.keys() & before.keys()
        finally:
            for home in given_up:
                await self._carry_again(before[home], home)
            await self._settled()
        self._mtus |= {home: mtus[home] for home in mtus if home not in refusals}
        return refusals

    async def remove_many(self, keys: Sequence[str], /) -> None:
        """See `Dataplane.remove_many`."""
        for key in keys:
            await self.remove(key)

    async def announce(
        self, address: str, interface: str | None = None, mac: str | None = None
    ) -> None:
        """See `Dataplane.announce`."""
        link = interface or self._home_interface
        if link is None:
            raise DataplaneError(f"on which interface is {address} to be announced?")
        self._announcer.announce(link, address, mac)

    async def give_back(self, address: str, interface: str | None = None) -> None:
        """See `Dataplane.give_back`."""
        link = interface or self._home_interface
        if link is None:
            raise DataplaneError(f"on which interface is {address} given back?")
        self._announcer.give_back(link, address)

    async def hold(self, address: str, interface: str | None) -> None:
        """See `Dataplane.hold`."""
        async with self._changing:
            wanted = []
            if interface is not None:
                try:
                    index = socket.if_nametoindex(interface)
                except OSError as error:
                    raise DataplaneError(
                        f"{address}: no interface {interface} to have it"
                    ) from error
                host, _, length = address.partition("/")
                wanted.append(
                    LocalAddress(address=host, ifindex=index, prefix_length=int(length))
                )
            await self._opened().settle(_HELD, wanted)

    def tunnels(self) -> Iterable[Tunnel]:
        """See `Dataplane.tunnels`."""
        return list(self._tunnels.values())

    def traffic(self) -> dict[str, Counters]:
        """See `Dataplane.traffic`."""
        return {home: self.counters(home) for home in self._tunnels}

    async def close(self) -> None:
        """See `Dataplane.close`."""
        await self._stop_rebuilding()
        await self._stop_rechecks()
        async with self._changing:
            await self._take_down()

    async def _stop_rechecks(self) -> None:
        if self._recheck is not None:
            self._recheck.cancel()
        if self._recheck_task is not None:  # soon done, and better not half
            await asyncio.gather(self._recheck_task, return_exceptions=True)
            self._recheck_task = None

    async def _take_down(self) -> None:
        """Undo everything; what a driver has besides is no more than state."""
        self._announcer.close()
        self._answer_agent(None)
        await self._stack.aclose()
        self._paths.close()
        self._tunnels.clear()
        self._mtus.clear()
        self._links_used.clear()
        self._ledger = self._broadcasts = None

    def _serving(self) -> Ledger:
        """Return the ledger, for what others ask.

        :raises DataplaneError: not now.
        """
        if self._anew:
            raise DataplaneError("an interface was lost, and all is being made anew")
        return self._opened()

    def _opened(self) -> Ledger:
        if self._ledger is None:
            raise DataplaneError("the data plane is closed: call open() first")
        return self._ledger

    def _wanted(self, tunnel: Tunnel, mtu: int) -> list[Change]:
        """Return what the kernel has to have for a tunnel.

        :param mtu: size of the largest inner packet
        """
        if goes_direct(tunnel):
            assert tunnel.agent is not None
            entry = Entry(link_index(tunnel), tunnel.agent.address)
        else:
            entry = self._entry(tunnel)
        if self._role is Role.HOME_AGENT:
            return home_agent_changes(tunnel, mtu, entry, self._home_index)
        return mobile_node_changes(
            tunnel, mtu, entry, self._opened(), self._home_network
        )

    def _tunnel_of(self, sent: Decapsulated) -> Tunnel | None:
        """Return the tunnel that a packet of ours went into."""
        inner = sent.inner
        home = inner[16:20] if self._role is Role.HOME_AGENT else inner[12:16]
        return self._tunnels.get(socket.inet_ntoa(home))

    # Path MTU (TUN-04)

    def _path_changed(self) -> None:
        """A router reported a smaller MTU; look the sizes up again, soon and later."""
        if self._recheck_task is None or self._recheck_task.done():
            loop = asyncio.get_running_loop()
            self._recheck_task = loop.create_task(self._check_sizes())
            if self._recheck is not None:
                self._recheck.cancel()
            self._recheck = loop.call_later(MTU_LIFETIME, self._path_changed)

    async def _check_sizes(self) -> None:
        for key in list(self._tunnels):
            async with self._changing:
                tunnel = self._tunnels.get(key)  # another one by now, or none
                if tunnel is not None:
                    with contextlib.suppress(DataplaneError):  # the next packet tries
                        await self._install(tunnel)


def _index_of(interface: str | None) -> int:
    """Return the index of an interface; 0 if it is not there."""
    try:
        return socket.if_nametoindex(interface or "")
    except OSError:
        return 0


def _ports(prefix: str) -> frozenset[tuple[int, bool]]:
    """Return index and state of all interfaces whose names begin so."""
    found = socket.if_nameindex()
    return frozenset(
        (index, _is_up(name)) for index, name in found if name.startswith(prefix)
    )


def _is_up(interface: str) -> bool:
    """Return whether an interface is there, and up."""
    request = struct.pack("16sh22x", interface.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, request)
        except OSError:
            return False
    return bool(struct.unpack_from("16xh", answer)[0] & _IFF_UP)
