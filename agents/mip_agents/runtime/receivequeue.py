# SPDX-License-Identifier: GPL-2.0-only
"""What finds no room in the receive queue of a UDP socket, counted for each wake-up."""

from __future__ import annotations

import socket
import struct
import time

from mip_agents.dataplane.api import DropCounters
from mip_agents.protocol.effects import Noted, Severity
from mip_agents.runtime.ports import Notes

_EVERY_S = 10.0
"""One line in the log within so many seconds at most, whatever comes."""
# Socket memory of linux/sock_diag.h: used and allowed for reception, ..., drops.
_SO_MEMINFO = 55
_MEMORY = struct.Struct("=II24xI")
_REASON = "control_queue_full"


class ReceiveQueue:
    """Looks at the queue of a socket before it is read."""

    def __init__(self, notes: Notes, drops: DropCounters) -> None:
        self._notes = notes
        self._drops = drops
        self._lost = 0
        """What the kernel had thrown away when we looked last, for any reason."""
        self._was_full = False
        self._untold = 0
        """Of what was lost, how much is not in the log yet."""
        self._quiet_until = 0.0

    def look(self, sock: socket.socket) -> None:
        """Count what was lost since the last look.

        The kernel's number has Tunnel Data, which our filter refuses, and wrong
        checksums in it, too. A queue that overflowed between two looks is nearly full
        at one of them, since we take a batch of it at most.
        """
        try:
            memory = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size)
        except OSError:  # before Linux 4.12
            return
        if len(memory) < _MEMORY.size:
            return
        used, allowed, lost = _MEMORY.unpack(memory)
        is_full = used * 2 >= allowed
        new = lost - self._lost & 0xFFFFFFFF
        if new and (is_full or self._was_full):
            self._drops.count(_REASON, new)
            self._tell(new)
        self._lost, self._was_full = lost, is_full

    def _tell(self, count: int) -> None:
        self._untold += count
        now = time.monotonic()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _EVERY_S
        fields: dict[str, str | int | None] = {
            "reason": "more came than was read, and the socket buffer was full",
            "count": self._untold,
        }
        self._untold = 0
        self._notes.note(
            Noted(event="receive_overflow", severity=Severity.WARNING, fields=fields)
        )
