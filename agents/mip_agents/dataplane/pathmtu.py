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


def path_mtu(tunnel: Tunnel) -> int:
    """Return the size of the largest inner packet that fits, by what the kernel knows.

    It asks a connected socket, which makes no netlink request and includes what routers
    have reported about the path (TUN-04). The smallest of several peers counts.
    """
    sizes = []
    for peer, form in tunnel.forms():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                bind(sock, tunnel.interface, tunnel.local)
                sock.connect((peer, _DISCARD_PORT))
                size = sock.getsockopt(socket.SOL_IP, _IP_MTU)
            except OSError:  # no route at this moment
                size = ETHERNET_MTU
        sizes.append(size - room_for(form))
    return max(min(sizes), LEAST_MTU)


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


class PathSizes:
    """What `path_mtu` finds out, in less time: by sockets that stay open."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def mtu(self, tunnel: Tunnel) -> int:
        """Return the size of the largest inner packet of a tunnel that fits.

        Its outer packets leave by routing, not by a certain interface.
        :raises DataplaneError: packets could not be sent from its local end.
        """
        sock = self.prepare(tunnel.local)
        least = 0xFFFF
        for peer, form in tunnel.forms():
            try:
                sock.connect((peer, _DISCARD_PORT))
                size = sock.getsockopt(socket.SOL_IP, _IP_MTU)
            except OSError:
                size = ETHERNET_MTU
            least = min(least, size - room_for(form))
        return max(least, LEAST_MTU)

    def prepare(self, local: str) -> socket.socket:
        """Return the socket of a local end.

        :raises DataplaneError: packets could not be sent from there.
        """
        known = self._sockets.get(local)
        if known is not None:
            return known
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            bind(sock, None, local)
        except OSError as error:
            sock.close()
            raise no_local_end(None, local, error) from error
        self._sockets[local] = sock
        return sock

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
