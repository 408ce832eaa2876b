# SPDX-License-Identifier: GPL-2.0-only
"""What a tc program cannot do to tunnel packets: the rest of them, by raw sockets.

A program sees packets before the kernel puts fragments together, and cannot sum up a
whole packet for the checksum of GRE. It leaves such packets to the kernel, which hands
them out here; we pass them on to the program at the port's far end, which judges them
like all others. The sockets also get ICMP errors about our tunnel packets, and make
the kernel remember the path MTU in them (TUN-04).
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Callable
from typing import Final

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.outer import IPV4_HEADER, Drop, checksum
from mip_agents.dataplane.port import widen_buffers
from mip_agents.dataplane.rawsocket import open_receiver, read_errors
from scapy_mip.const import MIP_PORT, Encapsulation, MessageType

BATCH: Final = 64
"""Packets taken from one socket before the others get their turn."""

_ETH_P_IP = 0x0800
_HEADER: Final = bytes(12) + _ETH_P_IP.to_bytes(2, "big")
"""No address: by this the program knows where a packet comes from."""

_UDP_BEGIN: Final = MIP_PORT.to_bytes(2, "big")
"""Source port of our tunnel data."""

_GRE_CHECKSUM = 0x80
_SO_ATTACH_FILTER = 26


class Reassembled:
    """Sockets for all tunnel protocols, read until `close`."""

    def __init__(self, port: str, on_path_change: Callable[[], None]) -> None:
        """`on_path_change` is called when a router reports a smaller path MTU.

        :param port: name of the near end of our pair
        :raises OSError: where raw sockets are not permitted
        """
        self.drops = DropCounters()
        self._on_path_change = on_path_change
        self._receivers: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()
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

    def take_tunnel_data(self) -> None:
        """Read MIP tunnel data too (RFC 3519), from now on."""
        self._read(open_receiver(socket.IPPROTO_UDP, _only_tunnel_data))

    def _read(self, sock: socket.socket) -> None:
        self._receivers.append(sock)
        self._loop.add_reader(sock.fileno(), self._from_kernel, sock)

    def close(self) -> None:
        """Stop reading."""
        for sock in self._receivers:
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._receivers.clear()
        self._into_program.close()

    def _from_kernel(self, sock: socket.socket) -> None:
        try:
            for _ in range(BATCH):
                self._pass_on(sock.recv(65535))
        except BlockingIOError:
            self._errors(sock)
        except OSError:  # it reports an ICMP error once before it goes on
            self._errors(sock)

    def _pass_on(self, packet: bytes) -> None:
        header = (packet[0] & 15) * 4
        if (
            packet[9] == Encapsulation.GRE
            and len(packet) > header
            and packet[header] & _GRE_CHECKSUM
            and checksum(packet[header:])
        ):
            self.drops.count(Drop.GRE_CHECKSUM)
            return
        if header > IPV4_HEADER:
            packet = _with_checksum(packet, header)
        try:
            self._into_program.send(_HEADER + packet)
        except OSError:
            self.drops.count("port_enobufs")

    def _errors(self, sock: socket.socket) -> None:
        begin = _UDP_BEGIN if sock.proto == socket.IPPROTO_UDP else b""
        if read_errors(sock, self.drops, begin):
            self._on_path_change()


def _with_checksum(packet: bytes, header: int) -> bytes:
    """Sum up a header anew: the kernel has written into its options, and has not."""
    blank = packet[:10] + bytes(2) + packet[12:header]
    return blank[:10] + checksum(blank).to_bytes(2, "big") + packet[12:]


def _only_tunnel_data(sock: socket.socket) -> None:
    """Let `sock`, of raw UDP, have Tunnel Data messages alone. RFC 3519 section 3.3."""
    lines = (
        (0xB1, 0, 0, 0),  # ldxb 4*([0]&0xf)
        (0x48, 0, 0, 2),  # ldh [x+2]: destination port
        (0x15, 0, 3, MIP_PORT),
        (0x50, 0, 0, 8),  # ldb [x+8]: type
        (0x15, 0, 1, MessageType.TUNNEL_DATA),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    )
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    program = ctypes.create_string_buffer(code, len(code))
    what = struct.pack("HP", len(lines), ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, what)
