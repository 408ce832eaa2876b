# SPDX-License-Identifier: GPL-2.0-only
"""Finding out who has an address on a link. RFC 5227 section 2.1.1, RFC 826.

A home agent that has given an address back announces the mobile node's link-layer
address (ARP-05), which no registration carries: it asks the link for it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

from mip_agents.dataplane.api import DataplaneError

ASK_AFTER: Final = (0.0, 0.3, 1.0)
"""Seconds after the call at which the link is asked."""
GIVE_UP_AFTER: Final = 3.0
"""Seconds after which nobody is taken to have the address."""

_ETH_P_ARP = 0x0806
_ETHERNET = 1
_BROADCAST = b"\xff" * 6
_HEAD: Final = bytes.fromhex("0001080006040001")
"""ARP for IPv4 on Ethernet, a request."""
_FRAME = Struct("!6s6sH8s6s4s6s4s")


class OwnerSearch:
    """One search; it ends by itself, and calls `found` at most once.

    The question is an ARP probe: it has no sender address, so that nobody's table
    changes because of it.

    :param found: gets the link-layer address, as `02:00:00:00:00:01`.
    :raises DataplaneError: the link cannot be asked.
    """

    def __init__(
        self, interface: str, address: str, found: Callable[[str], None]
    ) -> None:
        self._address = socket.inet_aton(address)
        self._found = found
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
        )
        try:
            self._socket.bind((interface, _ETH_P_ARP))
            _name, _protocol, _kind, hardware, self._own = self._socket.getsockname()
            if hardware != _ETHERNET:
                raise OSError(95, "not an Ethernet interface")
            self._ask()
        except OSError as error:
            self._socket.close()
            raise DataplaneError(
                f"cannot ask on {interface} who has {address}: {error.strerror}; "
                "it must be an Ethernet interface that is up"
            ) from error
        self._loop.add_reader(self._socket, self._readable)
        self._timers = [
            *(self._loop.call_later(delay, self._again) for delay in ASK_AFTER[1:]),
            self._loop.call_later(GIVE_UP_AFTER, self.close),
        ]

    def close(self) -> None:
        """Search no more. Safe to call twice."""
        for timer in self._timers:
            timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _ask(self) -> None:
        probe = _FRAME.pack(
            _BROADCAST, self._own, _ETH_P_ARP, _HEAD,
            self._own, bytes(4), bytes(6), self._address,
        )  # fmt: skip
        self._socket.send(probe)

    def _again(self) -> None:
        try:
            self._ask()
        except OSError:  # the link may be down by now
            self.close()

    def _readable(self) -> None:
        try:
            while True:
                owner = self._owner(self._socket.recv(2048))
                if owner is not None:
                    self.close()
                    self._found(owner.hex(":"))
                    return
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _owner(self, frame: bytes) -> bytes | None:
        """Return who says in a frame that the address is its own."""
        owner: bytes
        if len(frame) < _FRAME.size:
            return None
        _to, _from, kind, head, owner, address, _, _ = _FRAME.unpack_from(frame)
        # The operation, its last octet, does not matter: gratuitous requests count.
        if kind != _ETH_P_ARP or head[:7] != _HEAD[:7] or address != self._address:
            return None
        # Our own announcements of earlier may be under way.
        if owner == self._own or owner[0] & 1 or not any(owner):
            return None
        return owner
