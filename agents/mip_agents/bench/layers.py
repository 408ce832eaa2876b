# SPDX-License-Identifier: GPL-2.0-only
"""The layers on their own: dissecting, building, editing, signing, encapsulating."""

from __future__ import annotations

import hmac
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from mip_agents.bench import rivals, samples
from mip_agents.bench.case import Case, Contest, NotInstalledError
from mip_agents.dataplane.outer import Encapsulator, check_inner
from scapy_mip.auth import SecurityAssociation
from scapy_mip.base import MIP
from scapy_mip.const import Encapsulation
from scapy_mip.extensions.auth import (
    MIPMHAE,
)
from scapy_mip.registration import MIPRRP


def dissection(
    extensions: Callable[[random.Random], list[Packet]],
    rival: Callable[[bytes], object],
    agree: Callable[[bytes], bool],
) -> Contest:
    """Let both take the same messages apart, each going around on its own."""
    messages = samples.requests(extensions)
    next_of_ours = itertools.cycle(messages).__next__
    next_of_rival = itertools.cycle(messages).__next__
    return Contest(
        ours=lambda: MIP(next_of_ours()),
        rival=lambda: rival(next_of_rival()),
        agree=lambda: all(agree(data) for data in messages[:100]),
    )


def dissect_builtin() -> Contest:
    """Prepare `dissect`."""

    def agree(data: bytes) -> bool:
        ours, theirs = MIP(data), rivals.builtin_dissect(data)
        return bool(ours.home_address == theirs.homeaddr)

    return dissection(samples.one_extension, rivals.builtin_dissect, agree)


def dissect_dpkt() -> Contest:
    """Prepare `dissect-dpkt`."""
    if rivals.dpkt is None:
        raise NotInstalledError("dpkt is not installed")

    def agree(data: bytes) -> bool:
        ours, theirs = MIP(data), rivals.DpktRequest(data)
        authenticator: bytes = theirs.extensions[0].data
        return bool(ours.extensions[0].authenticator == authenticator)

    return dissection(samples.one_extension, rivals.DpktRequest, agree)


def dissect_five() -> Contest:
    """Prepare `dissect-five`."""

    def agree(data: bytes) -> bool:
        ours, theirs = MIP(data).extensions, rivals.TextbookRequest(data).extensions
        return [bytes(one) for one in ours] == [bytes(one) for one in theirs]

    return dissection(samples.five_extensions, rivals.TextbookRequest, agree)


@dataclass(slots=True)
class Replies:
    """Values of replies, drawn anew on each call."""

    rng: random.Random

    def draw(self) -> tuple[int, str, str, int, bytes]:
        """Return lifetime, home address, home agent, Identification, authenticator."""
        rng = self.rng
        return (
            rng.getrandbits(16),
            samples.address(rng),
            samples.HOME_AGENT,
            rng.getrandbits(64),
            rng.randbytes(16),
        )

    def many(self) -> list[tuple[int, str, str, int, bytes]]:
        """Return enough of them to go around in."""
        return [self.draw() for _reply in range(samples.MESSAGES)]


def build_ours(
    lifetime: int, home_address: str, home_agent: str, identification: int, body: bytes
) -> bytes:
    """Build a reply as one types it."""
    return bytes(
        MIPRRP(
            code=0,
            lifetime=lifetime,
            home_address=home_address,
            home_agent=home_agent,
            identification=identification,
            extensions=[MIPMHAE(spi=256, authenticator=body)],
        )
    )


def build_textbook(
    lifetime: int, home_address: str, home_agent: str, identification: int, body: bytes
) -> bytes:
    """Build it with the textbook layer."""
    return bytes(
        rivals.TextbookReply(
            code=0,
            lifetime=lifetime,
            home_address=home_address,
            home_agent=home_agent,
            identification=identification,
            extensions=[rivals.TextbookAuthentication(spi=256, authenticator=body)],
        )
    )


def building(rival: Callable[[int, str, str, int, bytes], bytes]) -> Contest:
    """Let both build the same replies."""
    replies = Replies(random.Random(5944)).many()
    next_of_ours = itertools.cycle(replies).__next__
    next_of_rival = itertools.cycle(replies).__next__
    return Contest(
        ours=lambda: build_ours(*next_of_ours()),
        rival=lambda: rival(*next_of_rival()),
        agree=lambda: all(build_ours(*one) == rival(*one) for one in replies[:100]),
    )


def edit() -> Contest:
    """Prepare `edit`."""
    data = samples.requests(samples.one_extension)[0]
    ours, theirs = MIP(data), rivals.TextbookRequest(data)
    lifetimes = itertools.cycle(range(1, 0x10000)).__next__

    def rebuilt(packet: Packet, lifetime: int) -> bytes:
        packet.lifetime = lifetime
        return bytes(packet)

    return Contest(
        ours=lambda: rebuilt(ours, lifetimes()),
        rival=lambda: rebuilt(theirs, lifetimes()),
        agree=lambda: rebuilt(ours, 77) == rebuilt(theirs, 77) != data,
    )


def authenticate() -> Contest:
    """Prepare `hmac`."""
    key, message = bytes(range(16)), bytes(range(50))
    digest = SecurityAssociation(256, key).digest
    return Contest(
        ours=lambda: digest(message),
        rival=lambda: hmac.digest(key, message, "md5"),
        agree=lambda: digest(message) == hmac.digest(key, message, "md5"),
    )


def tunnel() -> Contest:
    """Prepare `tunnel`."""
    local, peer = "10.1.1.20", "10.1.2.50"
    ends = IPv4Address(local).packed, IPv4Address(peer).packed
    encapsulator = Encapsulator(*ends, Encapsulation.IPIP, complete=True)
    inner = bytes(IP(src="10.9.0.1", dst="10.1.1.10") / UDP() / bytes(100))

    def ours() -> object:
        return check_inner(inner) or encapsulator.encapsulate(inner)

    def rival() -> bytes:
        return bytes(IP(src=local, dst=peer) / IP(inner))

    def agree() -> bool:
        outer = ours()
        return isinstance(outer, bytes) and bytes(IP(outer).payload) == inner

    return Contest(ours=ours, rival=rival, agree=agree)


CASES = (
    Case(
        name="dissect",
        what="dissect request + MHAE",
        rival="Scapy's built-in",
        goal=10,
        prepare=dissect_builtin,
    ),
    Case(
        name="dissect-dpkt",
        what="dissect request + MHAE",
        rival="dpkt",
        goal=1,
        prepare=dissect_dpkt,
    ),
    Case(
        name="dissect-five",
        what="dissect request, 5 ext.",
        rival="textbook layer",
        goal=20,
        prepare=dissect_five,
    ),
    Case(
        name="build",
        what="build reply + MHAE",
        rival="Scapy's built-in",
        goal=18,
        prepare=lambda: building(rivals.builtin_build_reply),
    ),
    Case(
        name="build-textbook",
        what="build reply + MHAE",
        rival="textbook layer",
        goal=10,
        prepare=lambda: building(build_textbook),
    ),
    Case(
        name="edit",
        what="edit a field, rebuild",
        rival="textbook layer",
        goal=8,
        prepare=edit,
    ),
    Case(
        name="hmac",
        what="HMAC-MD5 of 50 bytes",
        rival="hmac.digest",
        goal=2,
        prepare=authenticate,
    ),
    Case(
        name="tunnel",
        what="IP-in-IP, 128 bytes",
        rival="Scapy IP()/IP(p)",
        goal=50,
        prepare=tunnel,
    ),
)
