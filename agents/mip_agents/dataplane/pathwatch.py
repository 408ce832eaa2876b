# SPDX-License-Identifier: GPL-2.0-only
"""Routers' reports that a packet was too big, where the kernel makes the tunnels.

The kernel notes them for the outer destination (TUN-04), but not in the routes that
lead into tunnels.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

from mip_agents.dataplane.tunneldevice import KINDS

_SOL_RAW: Final = 255
_ICMP_FILTER: Final = 1
_UNREACHABLE, _TOO_BIG = 3, 4
_ICMP_HEADER: Final = 8
_PROTOCOL: Final = 9  # in an IPv4 header
_FILTER = Struct("=I")


class PathWatch:
    """Calls back, in the running loop, when a path may have shrunk."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Begin to listen. :raises OSError: without CAP_NET_RAW."""
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP
        )
        self._socket.setblocking(False)
        unwanted = 0xFFFFFFFF & ~(1 << _UNREACHABLE)
        self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, _FILTER.pack(unwanted))
        self._loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                if _is_about_a_tunnel(self._socket.recv(128)):
                    self._changed()

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


def _is_about_a_tunnel(packet: bytes) -> bool:
    """Tell whether an ICMP message says that a tunnel's packet was too big."""
    message = packet[(packet[0] & 15) * 4 :]
    quoted = message[_ICMP_HEADER:]
    return (
        message[:2] == bytes((_UNREACHABLE, _TOO_BIG))
        and len(quoted) > _PROTOCOL
        and quoted[_PROTOCOL] in KINDS
    )
