# SPDX-License-Identifier: GPL-2.0-only
"""A visiting mobile node by hand: frames on a link, for tests of a foreign agent."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mip_agents.dataplane.datagrams import (
    ICMP,
    Datagram,
    UdpDatagram,
    make_icmp,
    make_udp,
    open_datagram,
    open_udp,
)
from mip_agents.dataplane.linkport import LinkPort
from mip_agents.protocol.discovery import (
    AgentAdvertisement,
    build_solicitation,
    parse_discovery,
)
from mip_agents.protocol.view import Reply, build_request, parse
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import RequestFlag
from scapy_mip.ident import from_unix_ns
from support.agents import extension

_PATIENCE_S = 15.0


class Heard(NamedTuple):
    """An advertisement and where it came from."""

    advertisement: AgentAdvertisement
    source: str
    link_address: str


class HandVisitor:
    """A node on a link, without an address of its own there."""

    def __init__(
        self, interface: str, home_address: str, home_agent: str, key: str
    ) -> None:
        self.home_address, self.home_agent = home_address, home_agent
        self.association = SecurityAssociation(256, key)
        self.port = LinkPort(interface, 434)

    def close(self) -> None:
        self.port.close()

    def _datagrams(self) -> Iterator[tuple[Datagram, str, bool]]:
        """Yield what arrives until nothing does for a long time."""
        end = time.monotonic() + _PATIENCE_S
        while select.select([self.port], [], [], max(0, end - time.monotonic()))[0]:
            frame = self.port.read()
            datagram = None if frame is None else open_datagram(frame.packet)
            if frame is not None and datagram is not None:
                yield datagram, frame.link_address, frame.checksum_ready
        raise AssertionError("nothing more came")

    def solicit(self) -> None:
        """Ask who is there."""
        packet = make_icmp(self.home_address, "224.0.0.11", 1, build_solicitation())
        self.port.send(packet, None)

    def hear(
        self, wanted: Callable[[AgentAdvertisement], bool] = lambda _: True
    ) -> Heard:
        """Wait for an advertisement."""
        for datagram, link_address, _ in self._datagrams():
            if datagram.protocol == ICMP:
                message = parse_discovery(datagram.data)
                if isinstance(message, AgentAdvertisement) and wanted(message):
                    return Heard(message, datagram.source, link_address)
        raise AssertionError("unreachable")

    def request(
        self,
        agent: Heard,
        *,
        flags: RequestFlag = RequestFlag.T,
        lifetime: int = 600,
        mobile_foreign: SecurityAssociation | None = None,
    ) -> bytes:
        """Make a request to register through an agent."""
        data = build_request(
            flags=flags,
            lifetime=lifetime,
            home_address=self.home_address,
            home_agent=self.home_agent,
            care_of_address=agent.advertisement.care_of_addresses[0],
            identification=from_unix_ns(time.time_ns()),
            mobile_home=self.association,
        )
        if mobile_foreign is not None:
            data += extension(33, mobile_foreign, data)
        return data

    def send(self, agent: Heard, data: bytes, *, ttl: int = 255) -> None:
        """Send a control message to an agent."""
        udp = UdpDatagram(434, 434, data)
        packet = make_udp(self.home_address, agent.source, ttl, udp)
        self.port.send(packet, agent.link_address)

    def read(self) -> Reply:
        """Wait for a reply."""
        for datagram, _, ready in self._datagrams():
            if datagram.protocol == socket.IPPROTO_UDP:
                udp = open_udp(datagram, verify=ready)
                assert udp is not None, "a wrong checksum"
                reply = parse(udp.data)
                assert isinstance(reply, Reply)
                if reply.home_address == self.home_address:
                    return reply
        raise AssertionError("unreachable")

    def ask(self, agent: Heard, data: bytes, *, ttl: int = 255) -> Reply:
        """Send a request and wait for its reply."""
        self.send(agent, data, ttl=ttl)
        return self.read()


def spoil_checksum(packet: bytes) -> bytes:
    """Make the UDP checksum of a packet wrong."""
    place = 26
    (right,) = struct.unpack_from("!H", packet, place)
    return packet[:place] + struct.pack("!H", right ^ 0x5555) + packet[place + 2 :]
