# SPDX-License-Identifier: GPL-2.0-only
"""Servers that grant registrations: the home agent as it runs, and what it is up
against.

Each is a function that serves one UDP port until its process is ended. All do the same
work: read, take apart, verify, check and note the Identification, enter the binding,
build, sign, send.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO

from mip_agents.bench.rivals import (
    TextbookAuthentication,
    TextbookReply,
    TextbookRequest,
)
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.security import SecurityTable
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.events import Sink, Stamped
from mip_agents.runtime.floods import FloodGuard
from mip_agents.runtime.log import LogSink
from mip_agents.runtime.options import AgentOptions
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import REPLAY_TOLERANCE_DEFAULT, MessageType
from scapy_mip.ident import from_unix_ns, seconds

SPI = 256
REQUEST = struct.Struct("!BBH4s4s4sQBBI")
"""A request up to and including the SPI of its mobile-home authentication."""
REPLY = struct.Struct("!BBH4s4sQBBI")
"""The same of a reply."""
_AUTHENTICATOR = 16
_MAX_LIFETIME = 36000
_TOLERANCE = seconds(REPLAY_TOLERANCE_DEFAULT)

Keys = Mapping[str, bytes]
"""The key of each home address."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens, and whom it serves."""

    address: str
    home_network: IPv4Network
    port: int
    keys: Keys


Ready = IO[bytes]
"""Where a server writes a byte once it is there."""


def home_agent(place: Place, ready: Ready, state_dir: Path | None) -> None:
    """Run the agent of `mip ha`, with its log at the usual level.

    :param state_dir: where its journal is; None keeps the bindings in memory.
    """
    nodes = SecurityTable()
    for home_address, key in place.keys.items():
        nodes.add(home_address, SecurityAssociation(SPI, key))
    policy = HomeAgentPolicy(
        address=place.address, home_network=place.home_network, mobile_nodes=nodes
    )
    options = AgentOptions(
        state_dir=state_dir, dataplane="none", listen=place.address, port=place.port
    )

    async def serve() -> None:
        def started(stamped: Stamped) -> None:
            if stamped.noted.event == "agent_started":
                ready.write(b"!")
                agent.notes.sinks.remove(started)  # the agent of `mip ha` has no such

        with Path(os.devnull).open("w") as log:
            sinks: list[Sink] = [FloodGuard(LogSink(stream=log)), started]
            agent = Agent(policy, options, sinks=sinks)
            await agent.run()

    asyncio.run(serve())


Answer = Callable[[bytes], bytes | None]
"""Returns the reply to a request, None where it deserves none."""


def bare(place: Place, ready: Ready) -> None:
    """Serve with `struct` and `hmac.digest`, the least that Python can do."""
    keys = {socket.inet_aton(one): key for one, key in place.keys.items()}
    _serve(place, ready, _bare_answer(socket.inet_aton(place.address), keys))


def _bare_answer(own: bytes, keys: Mapping[bytes, bytes]) -> Answer:
    bindings: dict[bytes, tuple[bytes, int, int, float]] = {}
    accepted: dict[bytes, int] = {}
    head = REQUEST.size

    def answer(data: bytes) -> bytes | None:
        if len(data) != head + _AUTHENTICATOR:
            return None
        kind, flags, lifetime, home, agent, care_of, ident, extension, length, spi = (
            REQUEST.unpack_from(data)
        )
        key = keys.get(home)
        if (
            (kind, extension, length, spi) != (1, 32, 20, SPI)
            or key is None
            or agent != own
            or not hmac.compare_digest(
                hmac.digest(key, data[:head], "md5"), data[head:]
            )
            or abs(ident - from_unix_ns(time.time_ns())) > _TOLERANCE
            or ident <= accepted.get(home, 0)
        ):
            return None
        lifetime = min(lifetime, _MAX_LIFETIME)
        accepted[home] = ident
        bindings[home] = (care_of, flags, lifetime, time.monotonic() + lifetime)
        reply = REPLY.pack(3, 0, lifetime, home, own, ident, 32, 20, spi)
        return reply + hmac.digest(key, reply, "md5")

    return answer


def textbook(place: Place, ready: Ready) -> None:
    """Serve with layers as Scapy's documentation teaches to write them."""
    _serve(place, ready, _textbook_answer(place.address, place.keys))


def _textbook_answer(own: str, keys: Keys) -> Answer:
    bindings: dict[str, tuple[str, int, float]] = {}
    accepted: dict[str, int] = {}

    def answer(data: bytes) -> bytes | None:
        request = TextbookRequest(data)
        mobile_home = request.extensions[-1]
        home, ident = request.home_address, request.identification
        key = keys.get(home)
        if (
            request.type != MessageType.REGISTRATION_REQUEST
            or not isinstance(mobile_home, TextbookAuthentication)
            or key is None
            or request.home_agent != own
            or not hmac.compare_digest(
                hmac.digest(key, data[:-_AUTHENTICATOR], "md5"),
                mobile_home.authenticator,
            )
            or abs(ident - from_unix_ns(time.time_ns())) > _TOLERANCE
            or ident <= accepted.get(home, 0)
        ):
            return None
        lifetime = min(request.lifetime, _MAX_LIFETIME)
        accepted[home] = ident
        until = time.monotonic() + lifetime
        bindings[home] = (request.care_of_address, lifetime, until)
        extension = TextbookAuthentication(
            spi=mobile_home.spi, authenticator=bytes(_AUTHENTICATOR)
        )
        reply = TextbookReply(
            type=MessageType.REGISTRATION_REPLY,
            lifetime=lifetime,
            home_address=home,
            home_agent=own,
            identification=ident,
            extensions=[extension],
        )
        covered = bytes(reply)[:-_AUTHENTICATOR]
        extension.authenticator = hmac.digest(key, covered, "md5")
        return bytes(reply)

    return answer


def _serve(place: Place, ready: Ready, answer: Answer) -> None:
    """Answer one request after the other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((place.address, place.port))
        ready.write(b"!")
        while True:
            data, source = sock.recvfrom(2048)
            reply = answer(data)
            if reply is not None:
                sock.sendto(reply, source)
