# SPDX-License-Identifier: GPL-2.0-only
"""ICMP errors about tunnel packets that the kernel makes, where no socket has sent any.

The kernel notes the path MTU for the outer destination (TUN-04), but not in the routes
that lead into tunnels, and tells nobody inside at once (TUN-03).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.decap import Decapsulated
from mip_agents.dataplane.icmperrors import QUOTATION, IcmpErrors
from mip_agents.dataplane.outer import IPV4_HEADER, checksum
from mip_agents.dataplane.tunneldevice import KINDS
from mip_agents.protocol.tunnel import Tunnel

_SOL_RAW: Final = 255
_ICMP_FILTER: Final = 1
_ERRORS: Final = (3, 11)
"""Types: unreachable, time exceeded."""
_BATCH: Final = 64
"""Messages after which others get their turn."""
_PROTOCOL: Final = 9  # in an IPv4 header
_FILTER = Struct("=I")
_HEADER = Struct("!BBHHH")
"""Type, code, checksum, unused, the MTU."""


class DeviceErrors:
    """Hands on, in the running loop, what routers say of packets of `KINDS`."""

    def __init__(
        self,
        drops: DropCounters,
        find: Callable[[Decapsulated], Tunnel | None],
        on_path_change: Callable[[], None],
    ) -> None:
        """Begin to listen; the arguments are those of `IcmpErrors`.

        :raises OSError: without CAP_NET_RAW.
        """
        self._errors = IcmpErrors(drops, find, on_path_change)
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP
        )
        unwanted = 0xFFFFFFFF
        for kind in _ERRORS:
            unwanted &= ~(1 << kind)
        self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, _FILTER.pack(unwanted))
        self._loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_BATCH):
                self._take(self._socket.recv(65535))

    def _take(self, packet: bytes) -> None:
        message = packet[(packet[0] & 15) * 4 :]
        # Such a socket gets them before the kernel has looked at the checksum.
        if len(message) < _HEADER.size + IPV4_HEADER or checksum(message):
            return
        kind, code, _, _, mtu = _HEADER.unpack_from(message)
        quoted = message[_HEADER.size :]
        if quoted[_PROTOCOL] in KINDS:
            self._errors.take(kind, code, mtu, quoted[:QUOTATION])

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._errors.close()
