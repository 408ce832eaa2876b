# SPDX-License-Identifier: GPL-2.0-only
"""Gratuitous ARP: telling a link whom an address belongs to. RFC 5944 section 4.6."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from struct import Struct
from typing import Final

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.owner import OwnerSearch

REPEAT_AFTER: Final = (0.0, 0.2, 1.0)
"""Seconds after the call at which an announcement is sent; ARP-02 asks for a few."""

_ETH_P_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_REQUEST, _REPLY = 1, 2
_ETHERNET = 1  # also ARPHRD_ETHER
_FRAME = Struct("!6s6sHHHBBH6s4s6s4s")


def gratuitous(
    operation: int, mac: bytes, address: bytes, sender: bytes | None = None
) -> bytes:
    """Return a gratuitous ARP frame, a request (1) or a reply (2).

    Sender and target protocol address are the same, the frame goes to the link's
    broadcast address, and a reply has the new link-layer address as target too
    (ARP-07).

    :param sender: whom the frame is from, where that is not `mac`: a switch would look
        for `mac` behind our port otherwise.
    """
    target = mac if operation == _REPLY else bytes(6)
    return _FRAME.pack(
        _BROADCAST, sender or mac, _ETH_P_ARP, _ETHERNET, 0x0800, 6, 4,
        operation, mac, address, target, address,
    )  # fmt: skip


class Announcer:
    """Sends announcements and their repetitions, which never block."""

    def __init__(self) -> None:
        self._due: dict[str, list[asyncio.TimerHandle]] = {}
        """Repetitions by address."""
        self._searches: dict[str, OwnerSearch] = {}

    def announce(self, interface: str, address: str, mac: str | None = None) -> None:
        """Say on `interface` that `address` is at `mac`, or at the interface itself.

        Both forms are sent, as some hosts heed only one. A newer announcement of the
        same address takes the place of an older one's repetitions.
        :raises DataplaneError: if the first cannot be sent.
        """
        self.cancel(address)
        link = None if mac is None else bytes.fromhex(mac.replace(":", ""))
        packed = socket.inet_aton(address)
        try:
            self._send(interface, packed, link)
        except OSError as error:
            raise DataplaneError(
                f"cannot announce {address} on {interface}: {error.strerror}; "
                "it must be an Ethernet interface that is up"
            ) from error
        loop = asyncio.get_running_loop()
        self._due[address] = [
            loop.call_later(delay, self._repeat, interface, packed, link)
            for delay in REPEAT_AFTER[1:]
        ]
        # Whoever has been announced is not to be remembered for ever.
        self._due[address].append(
            loop.call_later(REPEAT_AFTER[-1], self._due.pop, address, None)
        )

    def give_back(self, interface: str, address: str) -> None:
        """Announce the link-layer address of whoever has `address` on `interface` now.

        :raises DataplaneError: if the link cannot be asked for it.
        """
        self.cancel(address)

        def found(mac: str) -> None:
            with contextlib.suppress(DataplaneError):  # the link may be down by now
                self.announce(interface, address, mac)

        self._searches[address] = OwnerSearch(interface, address, found)

    def cancel(self, address: str) -> None:
        """Send no more repetitions for `address`, on any link, and search no more."""
        search = self._searches.pop(address, None)
        if search is not None:
            search.close()
        for handle in self._due.pop(address, ()):
            handle.cancel()

    def close(self) -> None:
        """Send nothing more."""
        for address in [*self._searches, *self._due]:
            self.cancel(address)

    def _repeat(self, interface: str, address: bytes, mac: bytes | None) -> None:
        with contextlib.suppress(OSError):  # the link may be down by now
            self._send(interface, address, mac)

    def _send(self, interface: str, address: bytes, mac: bytes | None) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((interface, _ETH_P_ARP))
            _name, _protocol, _kind, hardware, own = sock.getsockname()
            if hardware != _ETHERNET:
                raise OSError(95, "not an Ethernet interface")
            for operation in (_REQUEST, _REPLY):
                sock.send(gratuitous(operation, mac or own, address, own))
