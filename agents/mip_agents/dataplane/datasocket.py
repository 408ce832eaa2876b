# SPDX-License-Identifier: GPL-2.0-only
"""The socket for Tunnel Data (RFC 3519): there while tunnels of ours use it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable

from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.outer import UDP
from mip_agents.dataplane.rawsockets import open_receiver, take_tunnel_data
from mip_agents.protocol.tunnel import Tunnel


class DataSocket:
    """A raw socket that gets what comes to the ports of our tunnels, and nothing else.

    :param read: is called with the socket when there is something to read
    """

    def __init__(self, read: Callable[[socket.socket], None]) -> None:
        self.ports: Counter[int] = Counter()
        """Our UDP ports, with the number of their tunnels."""
        self._read = read
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Read from now on."""
        self._loop = asyncio.get_running_loop()
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._read, self._socket)

    def close(self) -> None:
        """Forget all tunnels and close the socket."""
        self.ports.clear()
        sock, self._socket = self._socket, None
        if sock is not None:
            if self._loop is not None:
                self._loop.remove_reader(sock.fileno())
            sock.close()

    def use(self, tunnel: Tunnel) -> None:
        """Take what comes for `tunnel`. :raises DataplaneError: nothing has changed."""
        ports = _data_ports(tunnel)
        fresh = set(ports) - self.ports.keys()
        self.ports.update(ports)
        try:
            if fresh:
                self._take()
        except OSError as error:
            self.forget(tunnel)
            raise DataplaneError(
                f"no socket for Tunnel Data: {error.strerror}; run with CAP_NET_RAW"
            ) from error

    def forget(self, tunnel: Tunnel) -> None:
        """Undo `use`."""
        ports = _data_ports(tunnel)
        self.ports.subtract(ports)
        gone = [port for port in ports if not self.ports[port]]
        for port in gone:
            self.ports.pop(port, None)
        if not self.ports:
            self.close()
        elif gone:
            with contextlib.suppress(OSError):  # then it takes more than is in use
                self._take()

    def _take(self) -> None:
        if self._socket is None:
            self._socket = open_receiver(UDP)
            if self._loop is not None:
                self.start()
        take_tunnel_data(self._socket, self.ports)


def _data_ports(tunnel: Tunnel) -> list[int]:
    """Return our UDP ports to which Tunnel Data for a tunnel comes."""
    return [form.ports[0] for form in tunnel.peer_forms if form.ports]
