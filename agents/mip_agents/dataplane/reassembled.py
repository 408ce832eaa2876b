# SPDX-License-Identifier: GPL-2.0-only
"""What a tc program cannot do to tunnel packets: the rest of them, by raw sockets.

A program sees packets before the kernel puts fragments together, and does not sum up a
whole packet for the checksum of UDP or GRE. It leaves such packets to the kernel, which
hands them out here; we pass them on to the program at the port's far end, which judges
them like all others. The sockets also get ICMP errors about our tunnel packets, and
make the kernel remember the path MTU in them (TUN-04).

What we send ourselves has none of these checksums, and so does not come by here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.datasocket import DataSocket
from mip_agents.dataplane.decap import Decapsulated, decapsulate
from mip_agents.dataplane.icmperrors import IcmpErrors
from mip_agents.dataplane.outer import IPV4_HEADER, UDP, Drop, checksum
from mip_agents.dataplane.port import widen_buffers
from mip_agents.dataplane.rawsockets import open_receiver
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import Encapsulation

BATCH: Final = 64
"""Packets taken from one socket before the others get their turn."""

_ETH_P_IP = 0x0800
_HEADER: Final = bytes(12) + _ETH_P_IP.to_bytes(2, "big")
"""No address: by this the program knows where a packet comes from."""


class Reassembled:
    """Sockets for all tunnel protocols, read until `close`."""

    def __init__(
        self,
        port: str,
        find: Callable[[Decapsulated], Tunnel | None],
        on_path_change: Callable[[], None],
    ) -> None:
        """Read from now on.

        :param port: name of the near end of our pair
        :param find: returns the tunnel that a packet of ours went into
        :param on_path_change: is called when a router reports a smaller path MTU
        :raises OSError: where raw sockets are not permitted
        """
        self.drops = DropCounters()
        self.data = DataSocket(self._from_kernel)
        """Of MIP tunnel data (RFC 3519)."""
        self._receivers: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()
        self._errors = IcmpErrors(self.drops, find, on_path_change)
        self._into_program = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
        )
        try:
            widen_buffers(self._into_program)
            self._into_program.bind((port, 0))
            for encapsulation in Encapsulation:
                self._read(open_receiver(int(encapsulation)))
        except OSError:
            self.close()
            raise
        self.data.start()

    def _read(self, sock: socket.socket) -> None:
        self._receivers.append(sock)
        self._loop.add_reader(sock.fileno(), self._from_kernel, sock)

    def close(self) -> None:
        """Stop reading."""
        for sock in self._receivers:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._receivers.clear()
        self.data.close()
        self._errors.close()
        self._into_program.close()

    def _from_kernel(self, sock: socket.socket) -> None:
        try:
            for _ in range(BATCH):
                self._pass_on(sock.recv(65535))
        except OSError:  # no more packets, or an ICMP error, which is reported once
            self._errors.read(sock, self.data.ports if sock.proto == UDP else None)

    def _pass_on(self, packet: bytes) -> None:
        result = decapsulate(packet, verify=False)
        if isinstance(result, Drop):
            self.drops.count(result)
            return
        header = (packet[0] & 15) * 4
        if header > IPV4_HEADER:
            packet = _with_checksum(packet, header)
        try:
            self._into_program.send(_HEADER + packet)
        except OSError:
            self.drops.count("port_enobufs")


def _with_checksum(packet: bytes, header: int) -> bytes:
    """Sum up a header anew: the kernel has written into its options, and has not."""
    blank = packet[:10] + bytes(2) + packet[12:header]
    return blank[:10] + checksum(blank).to_bytes(2, "big") + packet[12:]
