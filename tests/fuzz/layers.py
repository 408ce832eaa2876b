# SPDX-License-Identifier: GPL-2.0-only
"""Any bytes as a message: nothing raises or is lost, and all that read it agree."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from scapy.packet import Packet

from fuzz.choices import Choices, damaged
from mip_agents.protocol.discovery import AgentAdvertisement, parse_discovery
from mip_agents.protocol.view import Malformed, Request, parse
from scapy_mip.auth import (
    Algorithm,
    SecurityAssociation,
    authenticator_at,
    sign,
    verify,
)
from scapy_mip.discovery import MIPICMP, MIPAgentAdvertisement, icmp_classes
from scapy_mip.encap import MIPMinimalEncapsulation
from scapy_mip.messages import MIP
from support.foreign import signed_request
from support.mutations import check
from support.paths import both, state

_ALGORITHMS = [
    SecurityAssociation(256, b"1234567812345678", algorithm) for algorithm in Algorithm
]
_ICMP_TYPES = [bytes([kind]) for kind in icmp_classes()]
_REQUEST = signed_request(identification=1)


def messages(data: bytes) -> None:
    """Read a UDP payload: layers, both of their paths, and the view of the engines."""
    view = parse(data)
    _check_layer(MIP, data)
    if isinstance(view, Malformed):
        return
    packet: Any = MIP(data)
    names = {"lifetime", "home_address", "home_agent", "identification"}
    names.add("care_of_address" if isinstance(view, Request) else "code")
    for name in names:
        assert getattr(view, name) == packet.getfieldval(name), name
    types = tuple(extension.type for extension in packet.extensions)
    assert view.extension_types == types


def discovery(data: bytes) -> None:
    """Read an ICMP message: layers, both of their paths, and the mobile node's view."""
    view = parse_discovery(data)
    if data[:1] not in _ICMP_TYPES:
        return  # the layer is Scapy's own
    _check_layer(MIPICMP, data)
    if isinstance(view, AgentAdvertisement):
        packet: Any = MIPICMP(data)
        assert isinstance(packet, MIPAgentAdvertisement)
        assert view.lifetime == packet.lifetime


def minimal_encapsulation(data: bytes) -> None:
    """Read what follows an outer IP header of protocol 55."""
    _check_layer(MIPMinimalEncapsulation, data)


def _check_layer(dissect: Callable[[bytes], Packet], data: bytes) -> None:
    if not data:
        return  # Scapy dissects no packet of no bytes
    # Not every input is shown, which costs most: its bytes say whether.
    check(dissect, data, thoroughly=zlib.crc32(data) % 8 == 0)
    fast, stock = both(lambda: state(dissect(data)))
    assert fast == stock


def authentication(data: bytes) -> None:
    """Judge any extension as an authentication; what is signed is valid then."""
    choices = Choices(data)
    association = choices.pick(_ALGORITHMS)
    offset = choices.number(2)
    message = damaged(choices, _REQUEST) + choices.rest()
    place = authenticator_at(message, offset)
    valid = verify(association, message, offset)
    if place is None:
        assert not valid
        return
    assert offset < place.start < place.stop <= len(message)
    authenticator = sign(association, message[: place.start])
    assert valid == (authenticator == message[place])
    if place.stop - place.start == association.size:
        assert verify(association, message[: place.start] + authenticator, offset)
