# SPDX-License-Identifier: GPL-2.0-only
"""What is sent to many on the home network, carried to mobile nodes that are away.

That is RFC 5944 sections 4.3 and 4.4 (HA-40, HA-41), for every driver alike: drivers
carry what is routed, and the kernel routes neither broadcasts nor, without a routing
daemon, multicasts. Packet sockets hear the home link for them, and copies are sent into
the tunnels. The other way round, what a mobile node sends through its tunnel to many
goes to the home link and to the other nodes, but never back to it.

Groups are those that a node joins by IGMP through its tunnel. It is asked for them at
intervals, as hosts of a link are by their router.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final, NamedTuple

from mip_agents.dataplane import igmp
from mip_agents.dataplane.api import DataplaneError, DropCounters
from mip_agents.dataplane.changes import LOOPBACK
from mip_agents.dataplane.forwarding import fragments, next_hop
from mip_agents.dataplane.linksocket import GroupMember, LinkSocket
from mip_agents.dataplane.memberships import Memberships
from mip_agents.dataplane.outer import (
    IPV4_HEADER,
    Drop,
    Encapsulator,
    MinimalEncapsulator,
    make_encapsulator,
)
from mip_agents.dataplane.rawsockets import open_sender
from mip_agents.dataplane.ways import LIMITED, subnet_broadcast
from mip_agents.protocol.tunnel import Category, Tunnel
from scapy_mip.const import Encapsulation

BATCH: Final = 64
"""Packets, and copies of them, after which others get their turn."""


class _Outlet(NamedTuple):
    """The way to one care-of address of a node."""

    tunnel: Encapsulator
    nest: Encapsulator | None
    """What addresses a copy to the node itself before it enters the tunnel (D=0)."""
    sender: socket.socket
    peer: tuple[str, int]
    size: int
    """Octets of the largest packet that fits."""
    categories: frozenset[Category]


@dataclass(frozen=True, slots=True)
class _Node:
    """A mobile node that gets something."""

    outlets: tuple[_Outlet, ...]
    local: bytes
    """Our end of its tunnels."""
    port: int
    """Index of the interface on which its packets come out of the tunnel."""

    @property
    def categories(self) -> frozenset[Category]:
        """What it gets at one of its care-of addresses at least."""
        return frozenset().union(*(outlet.categories for outlet in self.outlets))


class Broadcasts:
    """Copies between the home link and the tunnels of one home agent."""

    def __init__(
        self,
        *,
        home_index: int,
        home_network: IPv4Network | None,
        drops: DropCounters,
        on_path_change: Callable[[], None],
    ) -> None:
        """Prepare it; nothing is opened before somebody is to get something.

        :param home_index: of the home link's interface; that of `lo` has no neighbours
        :param on_path_change: called when a copy does not fit any more (TUN-04)
        """
        self._home_index = home_index
        self._drops = drops
        self._on_path_change = on_path_change
        self._categories = {LIMITED: Category.LIMITED}
        subnet = subnet_broadcast(home_network)
        if subnet is not None:
            self._categories[subnet] = Category.SUBNET
        self._nodes: dict[bytes, _Node] = {}
        self._wanted: Counter[Category] = Counter()
        self._memberships = Memberships()
        self._members: dict[bytes, GroupMember] = {}
        self._heard: frozenset[bytes] = frozenset()
        self._home: LinkSocket | None = None
        self._ports: dict[int, LinkSocket] = {}
        self._uses: Counter[int] = Counter()
        self._senders: dict[str, socket.socket] = {}
        self._query: asyncio.TimerHandle | None = None

    # Who gets what

    def put(self, tunnel: Tunnel, mtu: int, port: int) -> None:
        """Serve the node of a tunnel as its deliveries say.

        :param mtu: octets of the largest packet that fits into the tunnel
        :param port: index of the interface on which its packets come out
        :raises DataplaneError: a socket was refused; nothing has changed then.
        """
        home = socket.inet_aton(tunnel.home_address)
        if not tunnel.deliveries:
            self._drop(home)
            return
        try:
            self._open(tunnel.local, port)
        except OSError as error:
            self._close_unused()
            raise DataplaneError(
                f"no socket for broadcasts: {error.strerror}; run with CAP_NET_RAW"
            ) from error
        old = self._nodes.get(home)
        outlets = tuple(_outlets(tunnel, mtu, self._senders[tunnel.local]))
        node = _Node(outlets, socket.inet_aton(tunnel.local), port)
        self._nodes[home] = node
        self._count(node, 1)
        if old is not None:
            self._count(old, -1)
        if Category.MULTICAST in node.categories:
            if old is None or Category.MULTICAST not in old.categories:
                self._ask(node)
        else:
            self._memberships.forget(home)
        self._settle()

    def drop(self, home_address: str) -> None:
        """Serve a node no more."""
        self._drop(socket.inet_aton(home_address))

    def _drop(self, home: bytes) -> None:
        node = self._nodes.pop(home, None)
        if node is not None:
            self._count(node, -1)
            self._memberships.forget(home)
            self._settle()

    def groups(self, home_address: str) -> list[str]:
        """Return the groups that a node is in."""
        home = socket.inet_aton(home_address)
        return sorted(map(socket.inet_ntoa, self._memberships.of(home)))

    def close(self) -> None:
        """Serve nobody, leave all groups and close the sockets."""
        for home in list(self._nodes):
            self._drop(home)

    def _count(self, node: _Node, number: int) -> None:
        self._uses[node.port] += number
        for category in node.categories:
            self._wanted[category] += number

    # Sockets and groups, as far as somebody needs them

    def _open(self, local: str, port: int) -> None:
        """Open what a node needs. :raises OSError: where that is refused."""
        if local not in self._senders:
            self._senders[local] = open_sender(local=local)
        if self._home is None and self._home_index != LOOPBACK:
            self._home = LinkSocket(self._home_index)
            self._read(self._home, self._from_home)
        if port not in self._ports:
            self._ports[port] = sock = LinkSocket(port)
            sock.hear_groups(self._categories)
            self._read(sock, self._from_node)

    def _settle(self) -> None:
        """Hear what is wanted now, and be in the groups that somebody is in."""
        self._close_unused()
        heard = {
            address
            for address, category in self._categories.items()
            if self._wanted[category]
        }
        heard |= set(self._memberships.groups)
        if self._home is not None and heard != self._heard:
            self._heard = frozenset(heard)
            self._home.hear(heard)
            self._join()
        if not self._wanted[Category.MULTICAST]:
            if self._query is not None:
                self._query.cancel()
                self._query = None
        elif self._query is None:
            loop = asyncio.get_running_loop()
            self._query = loop.call_later(igmp.QUERY_INTERVAL, self._ask_all)

    def _join(self) -> None:
        groups = self._memberships.groups
        for group in self._members.keys() - groups:
            self._members.pop(group).close()
        for group in groups - self._members.keys():
            try:
                self._members[group] = GroupMember(group, self._home_index)
            except OSError as error:  # it may be heard all the same
                self._failed("join", error)

    def _close_unused(self) -> None:
        for port in [port for port in self._ports if not self._uses[port]]:
            self._forget(self._ports.pop(port))
            del self._uses[port]
        if self._nodes:
            return
        for member in self._members.values():
            member.close()
        for sender in self._senders.values():
            sender.close()
        if self._home is not None:
            self._forget(self._home)
        self._members.clear()
        self._senders.clear()
        self._home, self._heard = None, frozenset()

    def _read(self, sock: LinkSocket, take: Callable[[bytes], int]) -> None:
        """Have `take` called with each packet; it returns how many copies it sent."""

        def readable() -> None:
            left = BATCH
            try:
                while left > 0:
                    left -= max(take(sock.read()), 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed("link", error)

        asyncio.get_running_loop().add_reader(sock.fileno(), readable)

    def _forget(self, sock: LinkSocket) -> None:
        asyncio.get_running_loop().remove_reader(sock.fileno())
        sock.close()

    # Packets

    def _from_home(self, packet: bytes) -> int:
        """Pass on what was sent to many on the home link."""
        passed = self._judge(packet)
        return 0 if passed is None else self._spread(*passed)

    def _from_node(self, packet: bytes) -> int:
        """Take what came out of the tunnel of a node and is for many, or is IGMP."""
        home = packet[12:16]
        node = self._nodes.get(home)
        if node is None:
            return 0
        if len(packet) > IPV4_HEADER and packet[9] == igmp.IGMP:
            self._heed(home, node, packet)
            return 0
        passed = self._judge(packet)
        if passed is None or passed[1] not in node.categories:
            return 0
        if self._home is not None:
            try:
                self._home.send(passed[0])
            except OSError as error:
                self._failed("link", error)
        return 1 + self._spread(*passed)

    def _judge(self, packet: bytes) -> tuple[bytes, Category] | None:
        """Return a packet as it goes on, and its category, if it may go on."""
        destination = packet[16:20]
        category = self._categories.get(destination)
        if category is None:
            if len(destination) < 4 or not igmp.is_routable_group(destination):
                return None
            category = Category.MULTICAST
        if not _is_host(packet[12:16]):
            self._drops.count("broadcast_source")
            return None
        passed = next_hop(packet)
        if isinstance(passed, Drop):
            self._drops.count(f"broadcast_{passed}")
            return None
        return passed, category

    def _spread(self, packet: bytes, category: Category) -> int:
        """Send copies to all who get this; return how many."""
        copies = 0
        sender, group = packet[12:16], packet[16:20]
        homes = (
            self._memberships.members(group)
            if category is Category.MULTICAST
            else self._nodes
        )
        for home in homes:
            if home == sender:  # it comes from there
                continue
            copies += self._copy(packet, category, self._nodes[home])
        return copies

    def _copy(self, packet: bytes, category: Category, node: _Node) -> int:
        """Send a copy to each care-of address that gets this; return how many."""
        outlets = [one for one in node.outlets if category in one.categories]
        for outlet in outlets:
            self._into_tunnel(packet, outlet)
        return len(outlets)

    def _into_tunnel(self, packet: bytes, outlet: _Outlet) -> None:
        sent = False
        for piece in fragments(packet, outlet.size):
            sent = True
            whole = outlet.nest.encapsulate(piece) if outlet.nest else piece
            if not isinstance(whole, Drop):
                whole = outlet.tunnel.encapsulate(whole)
            if isinstance(whole, Drop):
                self._drops.count(f"broadcast_{whole}")
                continue
            try:
                outlet.sender.sendto(whole, outlet.peer)
            except OSError as error:
                self._failed("send", error)
                if error.errno == errno.EMSGSIZE:
                    self._on_path_change()
        if not sent:
            self._drops.count(f"broadcast_{Drop.TOO_BIG}")

    def _failed(self, where: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, "error").lower()
        self._drops.count(f"broadcast_{where}_{name}")

    # Groups

    def _heed(self, home: bytes, node: _Node, packet: bytes) -> None:
        """Let a node join and leave groups."""
        if Category.MULTICAST not in node.categories:
            return
        end = asyncio.get_running_loop().time() + igmp.MEMBERSHIP_S
        for group, joins in igmp.wishes(packet):
            if not igmp.is_routable_group(group):
                continue
            if not joins:
                self._memberships.leave(group, home)
            elif not self._memberships.join(group, home, end):
                self._drops.count("broadcast_too_many_groups")
        self._settle()

    def _ask_all(self) -> None:
        """Ask all nodes for their groups, and end what was not answered for."""
        self._query = None
        self._memberships.expire(asyncio.get_running_loop().time())
        for node in self._nodes.values():
            if Category.MULTICAST in node.categories:
                self._ask(node)
        self._settle()

    def _ask(self, node: _Node) -> None:
        query = igmp.general_query(node.local)
        for outlet in node.outlets:
            # A question has one hop to live. In a minimal tunnel so has all around it.
            lost = isinstance(outlet.tunnel, MinimalEncapsulator) and not outlet.nest
            if Category.MULTICAST in outlet.categories and not lost:
                self._into_tunnel(query, outlet)


def _outlets(tunnel: Tunnel, mtu: int, sender: socket.socket) -> Iterator[_Outlet]:
    """Yield the ways to the care-of addresses that get something."""
    local = socket.inet_aton(tunnel.local)
    home = socket.inet_aton(tunnel.home_address)
    forms = dict(tunnel.forms())
    for peer, nested, categories in tunnel.deliveries:
        yield _Outlet(
            make_encapsulator(
                local, socket.inet_aton(peer), forms[peer], nested=nested
            ),
            Encapsulator(local, home, Encapsulation.IPIP, complete=True)
            if nested
            else None,
            sender,
            (peer, 0),
            mtu - IPV4_HEADER if nested else mtu,
            categories,
        )


def _is_host(address: bytes) -> bool:
    """Tell whether four bytes can be the source of what is passed on.

    What has no address yet, as a host that asks for one, is for its own link.
    """
    return 0 < address[0] < 0xE0 and address[0] != 127
