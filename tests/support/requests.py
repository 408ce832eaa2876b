# SPDX-License-Identifier: GPL-2.0-only
"""A mobile node by hand: requests from a plain socket, for tests of a home agent."""

from __future__ import annotations

import asyncio
import socket
import time

from mip_agents.protocol.view import Reply, build_request, parse
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import RequestFlag
from scapy_mip.ident import from_unix_ns

KEY = "1234567812345678"
ASSOCIATION = SecurityAssociation(256, KEY)
HOME_ADDRESS = "10.1.1.10"


def request(
    home_agent: str,
    care_of_address: str,
    *,
    lifetime: int = 600,
    association: SecurityAssociation = ASSOCIATION,
    home_address: str = HOME_ADDRESS,
    identification: int | None = None,
) -> bytes:
    if identification is None:
        identification = from_unix_ns(time.time_ns())
    return build_request(
        flags=RequestFlag.D | RequestFlag.T,
        lifetime=lifetime,
        home_address=home_address,
        home_agent=home_agent,
        care_of_address=care_of_address,
        identification=identification,
        mobile_home=association,
    )


class HandNode:
    """A socket that sends requests and reads replies."""

    def __init__(self, address: str, home_agent: str, port: int) -> None:
        self.address = address
        self.home_agent = home_agent
        self.port = port
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((address, 0))

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, (self.home_agent, self.port))

    def read(self) -> Reply:
        """Read the reply that is there already."""
        reply = parse(self.sock.recv(4096))
        assert isinstance(reply, Reply)
        return reply

    async def ask(self, data: bytes) -> Reply:
        """Send and wait for the reply."""
        self.send(data)
        got = await asyncio.get_running_loop().sock_recv(self.sock, 4096)
        reply = parse(got)
        assert isinstance(reply, Reply)
        return reply

    def close(self) -> None:
        self.sock.close()
