# SPDX-License-Identifier: GPL-2.0-only
"""How large an inner packet may be, by what the kernel knows of the path (TUN-04)."""

from __future__ import annotations

import socket
from typing import Final

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.outer import ROOM, room_for
from mip_agents.protocol.tunnel import Tunnel

ETHERNET_MTU: Final = 1500
"""Taken for a path of which the kernel knows nothing at this moment."""

LEAST_MTU: Final = 68
"""What every link carries (RFC 791 section 3.2)."""

_IP_MTU = 14
_DISCARD_PORT = 9
_MOST_SOCKETS = 64

_End = tuple[str | None, str]
"""One of our ends: interface and address."""


class PathProbe:
    """Asks the kernel, by connected sockets that stay open, one for each of our ends.

    That makes no netlink request, and includes what routers have reported (TUN-04).
    """

    def __init__(self) -> None:
        self._sockets: dict[_End, socket.socket] = {}

    def mtu(self, tunnel: Tunnel) -> int:
        """Return the size of the largest inner packet that fits.

        The smallest of several peers counts.
        """
        end = tunnel.interface, tunnel.local
        least = min(
            self._size(end, peer) - room_for(form) for peer, form in tunnel.forms()
        )
        return max(least, LEAST_MTU)

    def prepare(self, interface: str | None, local: str) -> socket.socket:
        """Return the socket of one of our ends.

        :raises DataplaneError: packets could not be sent from there.
        """
        end = interface, local
        known = self._sockets.get(end)
        if known is not None:
            return known
        if len(self._sockets) >= _MOST_SOCKETS:
            self._sockets.pop(next(iter(self._sockets))).close()
        sock = self._sockets[end] = open_end(interface, local)
        return sock

    def _size(self, end: _End, peer: str) -> int:
        """Return the size of the largest packet to `peer`."""
        known = self._sockets.get(end)
        if known is not None:
            size = _ask(known, peer)
            if size is not None:
                return size
            # An interface of that name may be another one by now.
            self._sockets.pop(end).close()
        try:
            return _ask(self.prepare(*end), peer) or ETHERNET_MTU
        except DataplaneError:
            return ETHERNET_MTU

    def close(self) -> None:
        """Close the sockets; a later question opens them again."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()


def _ask(sock: socket.socket, peer: str) -> int | None:
    """Return the size of the path, or None if there is no route at this moment."""
    try:
        sock.connect((peer, _DISCARD_PORT))
        return sock.getsockopt(socket.SOL_IP, _IP_MTU)
    except OSError:
        return None


def largest_room(tunnel: Tunnel) -> int:
    """Return the octets by which inner packets must be smaller than the link allows."""
    if not tunnel.peer_forms:
        return ROOM[tunnel.encapsulation]
    return max(map(room_for, tunnel.peer_forms))


def bind(sock: socket.socket, interface: str | None, local: str) -> None:
    """Let `sock` send from `local`, through `interface` where there is one.

    :raises OSError: the address is not ours, or the interface is not there.
    """
    if interface is not None:
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0"
        )
    sock.bind((local, 0))


def no_local_end(interface: str | None, local: str, error: OSError) -> DataplaneError:
    """Say that `bind` failed, and what to do."""
    where = f" on {interface}" if interface else ""
    return DataplaneError(
        f"cannot send from {local}{where}: {error.strerror}; "
        "configure the address there first, and run with CAP_NET_RAW"
    )


def open_end(interface: str | None, local: str) -> socket.socket:
    """Return a UDP socket at one of our ends.

    :raises DataplaneError: packets could not be sent from there.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bind(sock, interface, local)
    except OSError as error:
        sock.close()
        raise no_local_end(interface, local, error) from error
    return sock
