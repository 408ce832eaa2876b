# SPDX-License-Identifier: GPL-2.0-only
"""The messages that are measured with: many, no two of them alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address

from scapy.packet import Packet

from scapy_mip.auth import SecurityAssociation
from scapy_mip.extensions.auth import (
    MIPMFAE,
    MIPMHAE,
    MIPGeneralizedMobileIPAuthentication,
)
from scapy_mip.extensions.base import MIPExtension
from scapy_mip.extensions.identity import MIPNAI
from scapy_mip.registration import MIPRRQ

MESSAGES = 4096
"""Different messages that a case goes around in, with two addresses of its own in each:
as an agent of some thousand nodes sees them."""

HOME_AGENT = "10.1.1.20"
ASSOCIATION = SecurityAssociation(256, bytes(range(16)))


def address(rng: random.Random) -> str:
    """Return an address drawn by chance."""
    return str(IPv4Address(rng.getrandbits(32)))


def requests(extensions: Callable[[random.Random], list[Packet]]) -> list[bytes]:
    """Return the bytes of many requests, no two of them alike."""
    rng = random.Random(5944)
    return [
        bytes(
            MIPRRQ(
                flags=rng.getrandbits(8),
                lifetime=rng.getrandbits(16),
                home_address=address(rng),
                home_agent=HOME_AGENT,
                care_of_address=address(rng),
                identification=rng.getrandbits(64),
                extensions=extensions(rng),
            )
        )
        for _message in range(MESSAGES)
    ]


def mobile_home(rng: random.Random) -> MIPMHAE:
    """Return the extension that every registration ends with."""
    return MIPMHAE(spi=256, authenticator=rng.randbytes(16))


def one_extension(rng: random.Random) -> list[Packet]:
    """Return the usual: 46 bytes of message."""
    return [mobile_home(rng)]


def five_extensions(rng: random.Random) -> list[Packet]:
    """Return one of each kind."""
    return [
        MIPNAI(nai=f"mn{rng.getrandbits(16)}@example.org"),
        MIPGeneralizedMobileIPAuthentication(authenticator=rng.randbytes(16)),
        mobile_home(rng),
        MIPMFAE(spi=300, authenticator=rng.randbytes(16)),
        MIPExtension(type=200, data=rng.randbytes(8)),
    ]


def signed(_rng: random.Random) -> list[Packet]:
    """Return the extension that every registration ends with, valid."""
    return [MIPMHAE(association=ASSOCIATION)]
