# SPDX-License-Identifier: GPL-2.0-only
"""The way of the packets: port -> tunnel, tunnel -> port, in plain callbacks.

Everything that a packet needs hangs at one entry of one dictionary, so that replacing a
tunnel is one assignment between two packets. Nothing here waits or raises: what cannot
go on is counted under its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Final

from mip_agents.dataplane.api import Counters, DataplaneError, DropCounters
from mip_agents.dataplane.outer import (
    Decapsulated,
    Drop,
    Encapsulator,
    check_inner,
    decapsulate,
    is_fragment,
    make_encapsulator,
)
from mip_agents.dataplane.pathmtu import bind
from mip_agents.dataplane.port import Port, widen_buffers
from mip_agents.protocol.tunnel import Role, Tunnel
from scapy_mip.const import Encapsulation

BATCH: Final = 64
"""Packets taken from one source before the others get their turn."""

_IP_RECVERR = 11
_MSG_ERRQUEUE = 0x2000
_SO_EE_ORIGIN_ICMP = 2
_SOL_IP = socket.SOL_IP

_Sender = tuple[Encapsulator, socket.socket, tuple[str, int]]


@dataclass(slots=True, kw_only=True)
class Way:
    """One tunnel as the packets use it; addresses in four bytes."""

    tunnel: Tunnel
    local: bytes
    peers: dict[bytes, int]
    """The IP protocol number of the encapsulation with each (HA-44)."""
    senders: tuple[_Sender, ...]
    counters: Counters = field(default_factory=Counters)


class PacketPath:
    """Moves packets between a port and the raw sockets of one role."""

    def __init__(
        self,
        role: Role,
        port: Port,
        *,
        home_network: IPv4Network | None,
        on_path_change: Callable[[], None],
    ) -> None:
        """`on_path_change` is called when a router reports a smaller path MTU (TUN-04).

        :raises OSError: where raw sockets are not permitted.
        """
        self._port = port
        self._home_agent = role is Role.HOME_AGENT
        self._broadcasts = {b"\xff\xff\xff\xff"}
        if home_network is not None:
            self._broadcasts.add(home_network.broadcast_address.packed)
        self._on_path_change = on_path_change
        self._ways: dict[bytes, Way] = {}
        self._send_sockets: dict[tuple[str | None, str], socket.socket] = {}
        self.drops = DropCounters()
        self._receivers: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        try:
            for encapsulation in Encapsulation:
                self._receivers.append(_receiver(encapsulation))
        except OSError:
            self.close()
            raise

    def start(self) -> None:
        """Read from now on."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._port.fileno(), self._from_port)
        for sock in self._receivers:
            self._loop.add_reader(sock.fileno(), self._from_tunnels, sock)

    def close(self) -> None:
        """Stop reading and close the sockets; the port is the caller's."""
        if self._loop is not None:
            self._loop.remove_reader(self._port.fileno())
            for sock in self._receivers:
                self._loop.remove_reader(sock.fileno())
            self._loop = None
        for sock in (*self._receivers, *self._send_sockets.values()):
            sock.close()
        self._receivers.clear()
        self._send_sockets.clear()
        self._ways.clear()

    def prepare(self, tunnel: Tunnel) -> Way:
        """Make the way of `tunnel`, without using it yet.

        :raises DataplaneError: if packets could not be sent from its local end.
        """
        local = socket.inet_aton(tunnel.local)
        senders: list[_Sender] = []
        if not tunnel.receive_only:
            sock = self._sender(tunnel.interface, tunnel.local)
            senders = [
                (
                    make_encapsulator(
                        local, socket.inet_aton(peer), form.encapsulation
                    ),
                    sock,
                    (peer, 0),
                )
                for peer, form in tunnel.forms()
            ]
        return Way(
            tunnel=tunnel,
            local=local,
            peers={
                socket.inet_aton(peer): int(form.encapsulation)
                for peer, form in tunnel.forms()
            },
            senders=tuple(senders),
        )

    def put(self, way: Way) -> Way | None:
        """Let packets go `way` from now on; return the way that it replaces.

        That one can be put back until `close_unused` is called.
        """
        key = socket.inet_aton(way.tunnel.home_address)
        old = self._ways.get(key)
        if old is not None:
            way.counters = old.counters
        self._ways[key] = way
        return old

    def drop(self, home_address: str) -> Way | None:
        """Take a way out of use."""
        old = self._ways.pop(socket.inet_aton(home_address), None)
        self.close_unused()
        return old

    def get(self, home_address: str) -> Way | None:
        """Return the way of a home address."""
        return self._ways.get(socket.inet_aton(home_address))

    def tunnels(self) -> list[Tunnel]:
        """Return the tunnels in use."""
        return [way.tunnel for way in self._ways.values()]

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
        key = inner[16:20] if self._home_agent else inner[12:16]
        way = self._ways.get(key)
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
        except BlockingIOError:
            self._read_errors(sock)
        except OSError:
            # The socket reports an ICMP error once before it goes on.
            self._read_errors(sock)

    def _out_of_tunnel(self, packet: bytes) -> None:
        # The kernel has checked the outer header and will check the inner one.
        result = decapsulate(packet, verify=False)
        if isinstance(result, Drop):
            self.drops.count(result)
            return
        inner = result.inner
        judge = self._judge_reverse if self._home_agent else self._judge_forward
        verdict = judge(result)
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

    def _judge_reverse(self, packet: Decapsulated) -> Way | str:
        """Home agent: let in what a registered mobile node sent (RT-07)."""
        way = self._ways.get(packet.inner[12:16])
        if way is None:
            return "reverse_no_binding"
        form = way.peers.get(packet.source)
        if form is None:
            return "reverse_wrong_outer_source"
        if packet.destination != way.local:
            return "reverse_wrong_outer_destination"
        if packet.encapsulation != form and not _is_detoured_fragment(packet, form):
            return "reverse_wrong_encapsulation"
        if not way.tunnel.reverse:
            return "reverse_not_negotiated"
        return way

    def _judge_forward(self, packet: Decapsulated) -> Way | str:
        """Mobile node: let in what its home agent sent to its home address.

        The outer destination may be an earlier care-of address: packets that were under
        way during a handover are as good as the others.
        """
        destination = packet.inner[16:20]
        way = self._ways.get(destination)
        if way is None:
            group = 0xE0 <= destination[0] < 0xF0 or destination in self._broadcasts
            if not group:
                return "forward_no_tunnel"
            for candidate in self._ways.values():
                if packet.source in candidate.peers:
                    way = candidate
            if way is None:
                return "forward_wrong_outer_source"
        form = way.peers.get(packet.source)
        if form is None:
            return "forward_wrong_outer_source"
        if packet.encapsulation != form and not _is_detoured_fragment(packet, form):
            return "forward_wrong_encapsulation"
        return way

    def _read_errors(self, sock: socket.socket) -> None:
        """Empty the error queue, where ICMP errors about our tunnel packets arrive."""
        shrunk = False
        with contextlib.suppress(OSError):
            while True:
                _, ancillary, _, _ = sock.recvmsg(0, 512, _MSG_ERRQUEUE)
                for _level, _type, data in ancillary:
                    number, origin, kind, code = struct.unpack_from("=IBBB", data)
                    if origin == _SO_EE_ORIGIN_ICMP:
                        self.drops.count(f"icmp_{kind}_{code}")
                        shrunk |= number == errno.EMSGSIZE
        if shrunk:
            self._on_path_change()

    def _count(self, where: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, "error").lower()
        self.drops.count(f"{where}_{name}")

    # Sockets to send from

    def _sender(self, interface: str | None, local: str) -> socket.socket:
        """Return the socket that sends from `local` through `interface`."""
        key = (interface, local)
        sock = self._send_sockets.get(key)
        if sock is not None:
            return sock
        sock = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW
        )
        try:
            widen_buffers(sock)
            bind(sock, interface, local)
        except OSError as error:
            sock.close()
            raise _no_local_end(interface, local, error) from error
        self._send_sockets[key] = sock
        return sock

    def close_unused(self) -> None:
        """Close the sockets that no tunnel sends from any more."""
        used = {(way.tunnel.interface, way.tunnel.local) for way in self._ways.values()}
        for key in self._send_sockets.keys() - used:
            self._send_sockets.pop(key).close()


def _is_detoured_fragment(packet: Decapsulated, form: int) -> bool:
    """Say whether `packet` may come in another form than its tunnel's.

    That is a fragment in IP-in-IP where the tunnel is minimal, which cannot carry it
    (TUN-05). Nothing else is let in beside what was negotiated (RT-07).
    """
    return (
        form == Encapsulation.MINIMAL
        and packet.encapsulation == Encapsulation.IPIP
        and is_fragment(packet.inner)
    )


def _no_local_end(interface: str | None, local: str, error: OSError) -> DataplaneError:
    where = f" on {interface}" if interface else ""
    return DataplaneError(
        f"cannot send from {local}{where}: {error.strerror}; "
        "configure the address there first, and run with CAP_NET_RAW"
    )


def _receiver(encapsulation: Encapsulation) -> socket.socket:
    """Open a socket that gets all packets of one tunnel protocol, reassembled."""
    sock = socket.socket(
        socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, int(encapsulation)
    )
    widen_buffers(sock)
    sock.setsockopt(_SOL_IP, _IP_RECVERR, 1)
    return sock
