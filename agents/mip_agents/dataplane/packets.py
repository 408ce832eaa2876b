# SPDX-License-Identifier: GPL-2.0-only
"""The way of the packets: port -> tunnel, tunnel -> port, in plain callbacks.

Nothing here waits or raises: what cannot go on is counted under its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from mip_agents.dataplane import mmsg
from mip_agents.dataplane.agentlink import first_leg, goes_direct
from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.datasocket import DataSocket
from mip_agents.dataplane.decap import Decapsulated, decapsulate
from mip_agents.dataplane.icmperrors import IcmpErrors
from mip_agents.dataplane.outer import (
    UDP,
    Drop,
    check_inner,
    make_encapsulator,
)
from mip_agents.dataplane.pathmtu import local_end, no_local_end
from mip_agents.dataplane.port import QUEUE_PACKETS, Port
from mip_agents.dataplane.rawsockets import open_receiver, open_sender
from mip_agents.dataplane.visitors import Visitors
from mip_agents.dataplane.ways import Sender, Way, Ways, make_way
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import Encapsulation

BATCH: Final = 64
"""Packets taken from one source before the others get their turn."""
_BATCH_SIZE: Final = 1 << 18
"""Octets that are sent at once at most; four of the largest packets."""
_FEW: Final = 8
"""Below so many packets, a system call for each takes less than to prepare one."""


class PacketPath:
    """Moves packets between ports and the raw sockets of one role."""

    def __init__(
        self,
        ways: Ways | Visitors,
        *,
        drops: DropCounters,
        on_path_change: Callable[[], None],
        tell: Callable[[Tunnel, bytes], None] | None = None,
    ) -> None:
        """`on_path_change` and `tell` are those of `IcmpErrors`.

        :raises OSError: where raw sockets are not permitted.
        """
        self._on_path_change = on_path_change
        self._ways = ways
        self._ports: list[Port] = []
        self._send_sockets: dict[tuple[str | None, str], socket.socket] = {}
        self._uses: Counter[tuple[str | None, str]] = Counter()
        self.drops = drops
        self._receivers: list[socket.socket] = []
        self._data = DataSocket(self._from_tunnels)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: mmsg.DatagramWriter | None = None
        if mmsg.AVAILABLE:
            self._writer = mmsg.DatagramWriter(BATCH, _BATCH_SIZE, 0)
        self._errors = IcmpErrors(self.drops, self._tunnel_of, on_path_change, tell)
        try:
            for encapsulation in Encapsulation:
                self._receivers.append(open_receiver(int(encapsulation)))
        except OSError:
            self.close()
            raise

    def start(self) -> None:
        """Read from now on."""
        self._loop = asyncio.get_running_loop()
        for port in self._ports:
            self._loop.add_reader(port.fileno(), self._from_port, port)
        for sock in self._receivers:
            self._loop.add_reader(sock.fileno(), self._from_tunnels, sock)
        self._data.start()

    def attach(self, port: Port) -> None:
        """Read from one more port; it remains the caller's."""
        self._ports.append(port)
        if self._loop is not None:
            self._loop.add_reader(port.fileno(), self._from_port, port)

    def detach(self, port: Port) -> None:
        """Read from a port no more."""
        self._ports.remove(port)
        if self._loop is not None:
            self._loop.remove_reader(port.fileno())

    def close(self) -> None:
        """Stop reading and close the sockets."""
        self._ways.clear()
        self._uses.clear()
        self._data.close()
        if self._loop is not None:
            for port in self._ports:
                self._loop.remove_reader(port.fileno())
            for sock in self._receivers:
                self._loop.remove_reader(sock.fileno())
            self._loop = None
        for sock in (*self._receivers, *self._send_sockets.values()):
            sock.close()
        self._errors.close()
        self._ports.clear()
        self._receivers.clear()
        self._send_sockets.clear()

    def prepare(self, tunnel: Tunnel, port: Port) -> Way:
        """Make the way of `tunnel`, without using it yet.

        :param port: gets what comes out of it
        :raises DataplaneError: if packets could not be sent from its local end.
        """
        leg = first_leg(tunnel)
        local = socket.inet_aton(leg.local)
        senders: list[Sender] = []
        if not tunnel.receive_only and not goes_direct(tunnel):
            sock = self._sender(*local_end(tunnel), early=leg is not tunnel)
            senders = [
                Sender(
                    make_encapsulator(local, socket.inet_aton(peer), form),
                    sock,
                    (peer, 0),
                    mmsg.pack_name(peer, 0),
                )
                for peer, form in leg.forms()
            ]
        return make_way(tunnel, tuple(senders), port)

    def put(self, way: Way) -> None:
        """Let packets go `way` from now on, in the place of another.

        :raises DataplaneError: nothing has changed then.
        """
        self._data.use(way.tunnel)
        self._uses[local_end(way.tunnel)] += 1
        self._forget(self._ways.put(way))

    def drop(self, key: str) -> None:
        """Take the way of a tunnel out of use."""
        self._forget(self._ways.drop(key))
        self.close_unused()

    def _forget(self, old: Way | None) -> None:
        """Note that a way is not in use any more."""
        if old is not None:
            self._uses[local_end(old.tunnel)] -= 1
            self._data.forget(old.tunnel)

    def get(self, key: str) -> Way | None:
        """Return the way of a tunnel."""
        return self._ways.get(key)

    def _tunnel_of(self, sent: Decapsulated) -> Tunnel | None:
        way = self._ways.of(sent)
        return way.tunnel if way else None

    # From the kernel into a tunnel

    def _from_port(self, port: Port) -> None:
        """Take what the kernel routed into a port, a batch at most.

        One kind of work after the other, and one system call to send them all, takes
        less time than to see each packet through.
        """
        taken: list[bytes] = []
        read, take = port.read, taken.append
        try:
            for _ in range(BATCH):
                take(read())
        except BlockingIOError:
            pass
        except OSError as error:
            self._count("port", error)
            # Deleted from outside: a reader that stays would be called for ever.
            if error.errno in (errno.EBADFD, errno.ENODEV, errno.ENXIO) and self._loop:
                self._loop.remove_reader(port.fileno())
        if len(taken) < _FEW or self._writer is None:
            for inner in taken:
                self._into_tunnel(inner, port.ifindex)
        else:
            self._send_together(taken, port.ifindex, self._writer)

    def _send_together(
        self, packets: list[bytes], link: int, writer: mmsg.DatagramWriter
    ) -> None:
        """Do what `_into_tunnel` does for several packets, most of them at once."""
        into, count = self._ways.into, self.drops.count
        ready: list[tuple[bytes, bytes, bytes]] = []
        ways: list[tuple[Way, int]] = []
        through: socket.socket | None = None
        for inner in packets:
            way = into(inner, link)
            if check_inner(inner) is not None or way is None or len(way.senders) != 1:
                self._into_tunnel(inner, link)
                continue
            encapsulator, sock, _, name = way.senders[0]
            packet = encapsulator.encapsulate(inner)
            if isinstance(packet, Drop):
                count(packet)
                continue
            if sock is not through:
                if through is not None:
                    self._write_out(through, ready, ways, writer)
                    ready, ways = [], []
                through = sock
            ready.append((packet, name, b""))
            ways.append((way, len(inner)))
        if through is not None:
            self._write_out(through, ready, ways, writer)

    def _write_out(
        self,
        sock: socket.socket,
        packets: list[tuple[bytes, bytes, bytes]],
        ways: list[tuple[Way, int]],
        writer: mmsg.DatagramWriter,
    ) -> None:
        """Send packets through one socket, and count them for their ways."""
        descriptor, start = sock.fileno(), 0
        while start < len(packets):
            try:
                end = start + writer.write(descriptor, packets[start:])
            except OSError as error:
                if error.errno == errno.ENOSYS:
                    # The library has the call, this kernel, or a filter in it, has not.
                    self._writer = None
                way, size = ways[start]
                if self._send_one(sock, packets[start][0], way.senders[0].address):
                    _count_sent(way, size)
                start += 1
                continue
            for way, size in ways[start:end]:
                _count_sent(way, size)
            start = end

    def flush(self, port: Port) -> None:
        """Send what waits in a port, before a tunnel is not there any more."""
        with contextlib.suppress(OSError):
            for _ in range(QUEUE_PACKETS):
                self._into_tunnel(port.read(), port.ifindex)

    def _into_tunnel(self, inner: bytes, link: int) -> None:
        problem = check_inner(inner)
        if problem is not None:
            self.drops.count(problem)
            return
        way = self._ways.into(inner, link)
        if way is None:
            self.drops.count("no_tunnel")
        else:
            self._send(way, inner)

    def _send(self, way: Way, inner: bytes) -> None:
        """Send what has been checked to the other ends."""
        if not way.senders:
            self.drops.count("receive_only")
            return
        sent = False
        for encapsulator, sock, address, _ in way.senders:
            packet = encapsulator.encapsulate(inner)
            if isinstance(packet, Drop):
                self.drops.count(packet)
                continue
            sent |= self._send_one(sock, packet, address)
        if sent:
            _count_sent(way, len(inner))

    def _send_one(
        self, sock: socket.socket, packet: bytes, address: tuple[str, int]
    ) -> bool:
        """Send a packet; tell whether the kernel has taken it."""
        try:
            sock.sendto(packet, address)
        except OSError as error:
            self._count("send", error)
            if error.errno == errno.EMSGSIZE:
                self._on_path_change()
            return False
        return True

    # Out of a tunnel to the kernel

    def _from_tunnels(self, sock: socket.socket) -> None:
        """Take what arrived for one of the tunnel protocols, a batch at most."""
        taken: list[bytes] = []
        receive, take = sock.recv, taken.append
        try:
            for _ in range(BATCH):
                take(receive(65535))
        except BlockingIOError:
            if not taken:  # then it was something else that came
                self._read_errors(sock)
        except OSError:  # an ICMP error, which is reported once
            self._read_errors(sock)
        for packet in taken:
            self._out_of_tunnel(packet)

    def _read_errors(self, sock: socket.socket) -> None:
        self._errors.read(sock, self._data.ports if sock.proto == UDP else None)

    def _out_of_tunnel(self, packet: bytes) -> None:
        # The kernel has checked the outer header and will check the inner one.
        result = decapsulate(packet, verify=False)
        if isinstance(result, Drop):
            self.drops.count(result)
        else:
            self._hand_over(result)

    def _hand_over(self, packet: Decapsulated) -> None:
        """Give the kernel what came out of a tunnel that it may come out of."""
        verdict = self._ways.judge(packet)
        if isinstance(verdict, str):
            self.drops.count(verdict)
        elif self._write(verdict.port, packet.inner):
            verdict.counters.received_packets += 1
            verdict.counters.received_bytes += len(packet.inner)

    def _write(self, port: Port, inner: bytes) -> bool:
        """Write into a port; tell whether the kernel has taken it."""
        try:
            port.write(inner)
        except OSError as error:
            self._count("port", error)
            return False
        return True

    def _count(self, where: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, "error").lower()
        self.drops.count(f"{where}_{name}")

    # Sockets to send from

    def _sender(
        self, interface: str | None, local: str, *, early: bool
    ) -> socket.socket:
        """Return the socket that sends from `local` through `interface`."""
        key = (interface, local)
        sock = self._send_sockets.get(key)
        if sock is None:
            try:
                sock = self._send_sockets[key] = open_sender(
                    interface, local, early=early
                )
            except OSError as error:
                raise no_local_end(interface, local, error) from error
        return sock

    def close_unused(self) -> None:
        """Close the sockets that no tunnel sends from any more.

        Until then a way that was replaced can be put back.
        """
        for key in {*self._send_sockets, *self._uses}:
            if not self._uses[key]:
                del self._uses[key]
                sock = self._send_sockets.pop(key, None)
                if sock is not None:
                    sock.close()


def _count_sent(way: Way, octets: int) -> None:
    way.counters.sent_packets += 1
    way.counters.sent_bytes += octets
