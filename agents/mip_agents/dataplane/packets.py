# SPDX-License-Identifier: GPL-2.0-only
"""The way of the packets: port -> tunnel, tunnel -> port, in plain callbacks.

Nothing here waits or raises: what cannot go on is counted under its reason.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Final

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.datasocket import DataSocket
from mip_agents.dataplane.decap import decapsulate
from mip_agents.dataplane.icmperrors import IcmpErrors
from mip_agents.dataplane.outer import (
    UDP,
    Drop,
    check_inner,
    make_encapsulator,
)
from mip_agents.dataplane.pathmtu import no_local_end
from mip_agents.dataplane.port import Port
from mip_agents.dataplane.rawsockets import open_receiver, open_sender
from mip_agents.dataplane.ways import Sender, Way, Ways, make_way
from mip_agents.protocol.tunnel import Role, Tunnel
from scapy_mip.const import Encapsulation

BATCH: Final = 64
"""Packets taken from one source before the others get their turn."""


class PacketPath:
    """Moves packets between a port and the raw sockets of one role."""

    def __init__(
        self,
        role: Role,
        port: Port,
        *,
        home_network: IPv4Network | None,
        drops: DropCounters,
        on_path_change: Callable[[], None],
    ) -> None:
        """`on_path_change` is called when a router reports a smaller path MTU (TUN-04).

        :raises OSError: where raw sockets are not permitted.
        """
        self._port = port
        self._on_path_change = on_path_change
        self._ways = Ways(role, home_network)
        self._send_sockets: dict[tuple[str | None, str], socket.socket] = {}
        self._uses: Counter[tuple[str | None, str]] = Counter()
        self.drops = drops
        self._receivers: list[socket.socket] = []
        self._data = DataSocket(self._from_tunnels)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._errors = IcmpErrors(self.drops, self._tunnel_for, on_path_change)
        try:
            for encapsulation in Encapsulation:
                self._receivers.append(open_receiver(int(encapsulation)))
        except OSError:
            self.close()
            raise

    def start(self) -> None:
        """Read from now on."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._port.fileno(), self._from_port)
        for sock in self._receivers:
            self._loop.add_reader(sock.fileno(), self._from_tunnels, sock)
        self._data.start()

    def close(self) -> None:
        """Stop reading and close the sockets; the port is the caller's."""
        self._ways.clear()
        self._uses.clear()
        self._data.close()
        if self._loop is not None:
            self._loop.remove_reader(self._port.fileno())
            for sock in self._receivers:
                self._loop.remove_reader(sock.fileno())
            self._loop = None
        for sock in (*self._receivers, *self._send_sockets.values()):
            sock.close()
        self._errors.close()
        self._receivers.clear()
        self._send_sockets.clear()

    def prepare(self, tunnel: Tunnel) -> Way:
        """Make the way of `tunnel`, without using it yet.

        :raises DataplaneError: if packets could not be sent from its local end.
        """
        local = socket.inet_aton(tunnel.local)
        senders: list[Sender] = []
        if not tunnel.receive_only:
            sock = self._sender(tunnel.interface, tunnel.local)
            senders = [
                (
                    make_encapsulator(local, socket.inet_aton(peer), form),
                    sock,
                    (peer, 0),
                )
                for peer, form in tunnel.forms()
            ]
        return make_way(tunnel, tuple(senders))

    def put(self, way: Way) -> None:
        """Let packets go `way` from now on, in the place of another.

        :raises DataplaneError: nothing has changed then.
        """
        self._data.use(way.tunnel)
        self._uses[_local_end(way.tunnel)] += 1
        self._forget(self._ways.put(way))

    def drop(self, home_address: str) -> None:
        """Take a way out of use."""
        self._forget(self._ways.drop(home_address))
        self.close_unused()

    def _forget(self, old: Way | None) -> None:
        """Note that a way is not in use any more."""
        if old is not None:
            self._uses[_local_end(old.tunnel)] -= 1
            self._data.forget(old.tunnel)

    def get(self, home_address: str) -> Way | None:
        """Return the way of a home address."""
        return self._ways.get(socket.inet_aton(home_address))

    def _tunnel_for(self, inner: bytes) -> Tunnel | None:
        way = self._ways.into(inner)
        return way.tunnel if way else None

    # From the kernel into a tunnel

    def _from_port(self) -> None:
        """Take what the kernel routed into the port, a batch at most."""
        read, send = self._port.read, self._into_tunnel
        try:
            for _ in range(BATCH):
                send(read())
        except BlockingIOError:
            return
        except OSError as error:
            self._count("port", error)
            # Deleted from outside: a reader that stays would be called for ever.
            if error.errno in (errno.EBADFD, errno.ENODEV, errno.ENXIO) and self._loop:
                self._loop.remove_reader(self._port.fileno())

    def _into_tunnel(self, inner: bytes) -> None:
        problem = check_inner(inner)
        if problem is not None:
            self.drops.count(problem)
            return
        way = self._ways.into(inner)
        if way is None:
            self.drops.count("no_tunnel")
            return
        if not way.senders:
            self.drops.count("receive_only")
            return
        sent = False
        for encapsulator, sock, address in way.senders:
            packet = encapsulator.encapsulate(inner)
            if isinstance(packet, Drop):
                self.drops.count(packet)
                continue
            try:
                sock.sendto(packet, address)
                sent = True
            except OSError as error:
                self._count("send", error)
                if error.errno == errno.EMSGSIZE:
                    self._on_path_change()
        if sent:
            way.counters.sent_packets += 1
            way.counters.sent_bytes += len(inner)

    # Out of a tunnel to the kernel

    def _from_tunnels(self, sock: socket.socket) -> None:
        """Take what arrived for one of the tunnel protocols, a batch at most."""
        receive, take = sock.recv, self._out_of_tunnel
        try:
            for _ in range(BATCH):
                take(receive(65535))
        except OSError:  # no more packets, or an ICMP error, which is reported once
            self._errors.read(sock, self._data.ports if sock.proto == UDP else None)

    def _out_of_tunnel(self, packet: bytes) -> None:
        # The kernel has checked the outer header and will check the inner one.
        result = decapsulate(packet, verify=False)
        if isinstance(result, Drop):
            self.drops.count(result)
            return
        inner = result.inner
        verdict = self._ways.judge(result)
        if isinstance(verdict, str):
            self.drops.count(verdict)
            return
        try:
            self._port.write(inner)
        except OSError as error:
            self._count("port", error)
            return
        verdict.counters.received_packets += 1
        verdict.counters.received_bytes += len(inner)

    def _count(self, where: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, "error").lower()
        self.drops.count(f"{where}_{name}")

    # Sockets to send from

    def _sender(self, interface: str | None, local: str) -> socket.socket:
        """Return the socket that sends from `local` through `interface`."""
        key = (interface, local)
        sock = self._send_sockets.get(key)
        if sock is None:
            try:
                sock = self._send_sockets[key] = open_sender(interface, local)
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


def _local_end(tunnel: Tunnel) -> tuple[str | None, str]:
    """Return what the socket that sends for a tunnel is known by."""
    return tunnel.interface, tunnel.local
