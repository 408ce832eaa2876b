# SPDX-License-Identifier: GPL-2.0-only
"""One captured packet that concerns Mobile IP, as the rules look at it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address
from typing import Any

from scapy.packet import Packet
from scapy.utils import checksum

from mip_agents.captures.reader import Frame
from scapy_mip.const import MIP_PORT, Encapsulation, ExtensionType, MessageType
from scapy_mip.discovery import MIPICMP, MIPAgentAdvertisement, MIPAgentSolicitation
from scapy_mip.discovery_extensions import (
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
)
from scapy_mip.extensions.auth import MIPAuthentication
from scapy_mip.extensions.base import MIPExtension
from scapy_mip.messages import MIP
from scapy_mip.registration import MIPRegistrationReply, MIPRegistrationRequest

ICMP, UDP = 1, 17
_AUTHORIZATION_ENABLING = (
    ExtensionType.MOBILE_HOME_AUTHENTICATION,
    ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION,
)
_DF = 0x4000


class Kind(enum.Enum):
    """What a packet is."""

    REQUEST = "registration request"
    REPLY = "registration reply"
    MESSAGE = "message"
    """Another message of UDP port 434, or what should have been one."""
    ADVERTISEMENT = "agent advertisement"
    SOLICITATION = "agent solicitation"
    TUNNEL = "tunnelled packet"


@dataclass(slots=True)
class Header:
    """An IPv4 header."""

    source: str
    destination: str
    ttl: int
    protocol: int
    fragment: int
    """Flags and offset."""
    identification: int = 0
    """Of the packet, not of a registration."""

    @property
    def dont_fragment(self) -> bool:
        """Whether DF is set."""
        return bool(self.fragment & _DF)

    @property
    def is_fragment(self) -> bool:
        """Whether it is a part of a packet."""
        return bool(self.fragment & ~_DF)


def read_header(packet: bytes) -> Header | None:
    """Return the header of an IPv4 packet; None where there is none."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    return Header(
        str(IPv4Address(packet[12:16])),
        str(IPv4Address(packet[16:20])),
        packet[8],
        packet[9],
        int.from_bytes(packet[6:8], "big"),
        int.from_bytes(packet[4:6], "big"),
    )


@dataclass
class Observation:
    """One packet with all that rules ask for."""

    file: str
    frame: int
    time: float
    """Seconds since 1970."""
    kind: Kind
    ip: Header
    body: bytes
    """What is in the IPv4 packet."""
    packet: Any = None
    """The layer of a message or of router discovery."""
    data: bytes = b""
    """The UDP payload."""
    source_port: int = 0
    destination_port: int = 0
    checksum_is_wrong: bool = False
    checksum_is_zero: bool = False
    inner: Header | None = None
    """Of a tunnelled IPv4 packet."""
    verdicts: dict[int, str] = field(default_factory=dict)
    """By offset of an authentication extension."""

    @cached_property
    def extensions(self) -> list[tuple[int, Packet]]:
        """Extensions of a message with their offsets."""
        found = []
        offset = self.packet.fixed_size
        for extension in self.packet.extensions:
            found.append((offset, extension))
            offset += len(extension.original)
        return found

    @cached_property
    def authentications(self) -> list[tuple[int, MIPAuthentication]]:
        """Authentication extensions of a message with their offsets."""
        return [
            (offset, extension)
            for offset, extension in self.extensions
            if isinstance(extension, MIPAuthentication)
        ]

    def extension(self, kind: ExtensionType) -> Packet | None:
        """Return the first extension of a type."""
        for _, extension in self.extensions:
            if isinstance(extension, MIPExtension) and extension.type == kind:
                return extension
        return None

    @cached_property
    def enabling(self) -> tuple[int, MIPAuthentication] | None:
        """The first authorization-enabling extension of a message (COM-15)."""
        for offset, extension in self.authentications:
            if extension.type in _AUTHORIZATION_ENABLING:
                return offset, extension
        return None

    @property
    def protected(self) -> bytes:
        """What nobody on the way may change: up to the end of the enabling extension.

        All of the message, where there is none.
        """
        if self.enabling is None:
            return self.data
        offset, extension = self.enabling
        return self.data[: offset + len(extension.original)]

    @cached_property
    def mobility(self) -> MIPMobilityAgentAdvertisement | None:
        """What an advertisement says of its agent."""
        found: MIPMobilityAgentAdvertisement | None = self._discovery_extension(
            MIPMobilityAgentAdvertisement
        )
        return found

    @property
    def has_mobility(self) -> bool:
        """Whether extension 16 is there, whatever its form."""
        return any(getattr(one, "type", None) == 16 for one in self.packet.extensions)

    @cached_property
    def prefixes(self) -> MIPPrefixLengths | None:
        """The prefix lengths of an advertisement."""
        found: MIPPrefixLengths | None = self._discovery_extension(MIPPrefixLengths)
        return found

    def _discovery_extension(self, cls: type[Packet]) -> Any:
        found = [one for one in self.packet.extensions if isinstance(one, cls)]
        return found[0] if found else None

    @property
    def is_to_many(self) -> bool:
        """Whether it goes to a group, or to all hosts of its link."""
        address = IPv4Address(self.ip.destination)
        return address.is_multicast or int(address) == 0xFFFFFFFF


def observe(file: str, frame: Frame) -> Observation | None:
    """Look at a captured packet; None where it has nothing to do with Mobile IP."""
    data = frame.packet
    ip = read_header(data)
    size = (data[0] & 15) * 4
    total = int.from_bytes(data[2:4], "big")
    if ip is None or ip.fragment & 0x1FFF:
        return None
    if ip.protocol in (UDP, ICMP) and (ip.is_fragment or total > len(data)):
        return None  # the rest is in another frame, or was cut by the snap length
    body = data[size : total if total >= size else len(data)]
    seen = Observation(file, frame.number, frame.time, Kind.MESSAGE, ip, body)
    if ip.protocol == UDP:
        return _observe_udp(seen, data)
    if ip.protocol == ICMP:
        return _observe_icmp(seen)
    return _observe_tunnel(seen)


def _observe_udp(seen: Observation, packet: bytes) -> Observation | None:
    body = seen.body
    if len(body) < 8:
        return None
    numbers = [int.from_bytes(body[at : at + 2], "big") for at in (0, 2, 4, 6)]
    seen.source_port, seen.destination_port, length, given = numbers
    if MIP_PORT not in (seen.source_port, seen.destination_port):
        return None
    whole = body[: length if length >= 8 else len(body)]
    seen.data = whole[8:]
    seen.checksum_is_zero = given == 0
    if given and len(whole) == length and not seen.ip.is_fragment:
        pseudo = packet[12:20] + bytes((0, UDP)) + length.to_bytes(2, "big")
        # A capture at the sender often has what the interface was to complete: the sum
        # of the pseudo header.
        unfinished = given == checksum(pseudo) ^ 0xFFFF
        seen.checksum_is_wrong = not unfinished and checksum(pseudo + whole) != 0
    if seen.data and seen.data[0] == MessageType.TUNNEL_DATA:
        seen.kind = Kind.TUNNEL
        seen.inner = read_header(seen.data[4:])
        return seen
    seen.packet = MIP(seen.data) if seen.data else None
    if isinstance(seen.packet, MIPRegistrationRequest):
        seen.kind = Kind.REQUEST
    elif isinstance(seen.packet, MIPRegistrationReply):
        seen.kind = Kind.REPLY
    return seen


def _observe_icmp(seen: Observation) -> Observation | None:
    if len(seen.body) < 8 or seen.body[0] not in (9, 10):
        return None
    packet = MIPICMP(seen.body)
    if isinstance(packet, MIPAgentAdvertisement):
        seen.kind = Kind.ADVERTISEMENT
    elif isinstance(packet, MIPAgentSolicitation):
        seen.kind = Kind.SOLICITATION
    else:
        return None
    seen.packet = packet
    seen.checksum_is_wrong = checksum(seen.body) != 0
    plain_router = seen.kind is Kind.ADVERTISEMENT and not seen.has_mobility
    if plain_router and packet.code != 16:
        return None  # RFC 1256 alone
    return seen


def _observe_tunnel(seen: Observation) -> Observation | None:
    body, protocol = seen.body, seen.ip.protocol
    if protocol == Encapsulation.IPIP:
        seen.inner = read_header(body)
    elif protocol == Encapsulation.GRE and body[2:4] == b"\x08\x00":
        seen.inner = read_header(body[4 + 4 * _gre_words(body[0]) :])
    elif protocol == Encapsulation.MINIMAL and len(body) >= 8:
        source = seen.ip.source
        if body[1] & 0x80 and len(body) >= 12:
            source = str(IPv4Address(body[8:12]))
        destination = str(IPv4Address(body[4:8]))
        seen.inner = Header(source, destination, seen.ip.ttl, body[0], 0)
    if seen.inner is None:
        return None
    seen.kind = Kind.TUNNEL
    return seen


def _gre_words(flags: int) -> int:
    """Count the optional words of a GRE header: checksum, key, sequence number."""
    return sum(bool(flags & bit) for bit in (0x80, 0x20, 0x10))
