# SPDX-License-Identifier: GPL-2.0-only
"""The only ARP that a mobile node away from home does for its home address (ARP-03).

A foreign agent at which it is registered, or about to be, may ask by unicast, and gets
an answer by unicast. RFC 5944 section 4.6. The kernel answers nobody meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from struct import Struct
from typing import Final

from mip_agents.protocol.tunnel import AgentLink

_ETH_P_ARP = 0x0806
_REQUEST: Final = bytes.fromhex("0001080006040001")
"""ARP for IPv4 on Ethernet, a request."""
_REPLY: Final = _REQUEST[:7] + b"\2"
_FRAME = Struct("!6s6sH8s6s4s6s4s")


class ArpAnswers:
    """Answers one foreign agent on one link, until `close`."""

    def __init__(self, interface: str, home_address: str, agent: AgentLink) -> None:
        """Answer from now on.

        :raises OSError: the link cannot be listened to.
        """
        self._home = socket.inet_aton(home_address)
        self._agent = bytes.fromhex(agent.link_address.replace(":", ""))
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
        )
        try:
            self._socket.bind((interface, _ETH_P_ARP))
            self._own: bytes = self._socket.getsockname()[4]
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket, self._readable)

    def close(self) -> None:
        """Answer no more. Safe to call twice."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        try:
            while True:
                answer = self._answer(self._socket.recv(2048))
                if answer is not None:
                    self._socket.send(answer)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENODEV:  # else it is down, and may come up again
                self.close()

    def _answer(self, frame: bytes) -> bytes | None:
        """Return the answer to a frame, if one is due."""
        if len(frame) < _FRAME.size:
            return None
        to, _, kind, head, asker, its, _, wanted = _FRAME.unpack_from(frame)
        if kind != _ETH_P_ARP or head != _REQUEST or wanted != self._home:
            return None
        if to != self._own or asker != self._agent:
            return None
        return _FRAME.pack(
            asker, self._own, _ETH_P_ARP, _REPLY, self._own, self._home, asker, its
        )
