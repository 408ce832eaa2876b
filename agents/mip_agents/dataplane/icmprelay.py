# SPDX-License-Identifier: GPL-2.0-only
"""What the sender inside learns of an ICMP error about its tunnel (TUN-03). No I/O.

A router within a tunnel complains to the tunnel's entry. Where it quotes enough of the
packet, the entry complains in turn to who had sent it. RFC 2003 section 4.
"""

from __future__ import annotations

import struct
from typing import Final

from mip_agents.dataplane.decap import Decapsulated, decapsulate
from mip_agents.dataplane.outer import IPV4_HEADER, checksum
from mip_agents.dataplane.pathmtu import LEAST_MTU

_ICMP: Final = 1
_UNREACHABLE: Final = 3
TOO_BIG: Final = (_UNREACHABLE, 4)
"""Type and code of "fragmentation needed and DF set"."""
_CODES: Final = {
    (_UNREACHABLE, 0): 0,
    (_UNREACHABLE, 1): 1,
    (_UNREACHABLE, 2): 0,  # the sender inside knows nothing of the tunnel's protocol
    TOO_BIG: 4,
    (11, 0): 1,  # a loop within the tunnel: the host is out of reach
    (11, 1): 1,
}
"""Code of the "destination unreachable" that follows from a type and a code.

All else is not for the sender: that a port is unreachable or a source route failed,
redirects, source quench.
"""
_ERRORS: Final = frozenset((3, 4, 5, 11, 12))
"""ICMP types about which no ICMP error is sent. RFC 1122 section 3.2.2."""
_QUOTED_DATA: Final = 8
_MOST: Final = 548
"""Octets of a quotation, so that the message has 576 at most. RFC 1812 section 4.3.2.3.
"""
_TTL: Final = 64


def quoted(packet: bytes) -> Decapsulated | None:
    """Return what is left of the tunnel packet that an ICMP error quotes.

    :return: None if its inner packet is not there, or too little of it
    """
    if len(packet) < IPV4_HEADER:
        return None
    total = max((packet[2] << 8) | packet[3], len(packet))
    whole = decapsulate(packet.ljust(total, b"\0"), verify=False)
    if not isinstance(whole, Decapsulated):
        return None
    inner = whole.inner[: len(whole.inner) - (total - len(packet))]
    least = IPV4_HEADER + _QUOTED_DATA
    if len(inner) < least or len(inner) < (inner[0] & 15) * 4 + _QUOTED_DATA:
        return None
    return whole._replace(inner=inner)


def answer(
    kind: int, code: int, mtu: int, inner: bytes, source: bytes = bytes(4)
) -> bytes | None:
    """Return the packet that tells the sender of `inner`, or None if none is due.

    :param mtu: that inner packets may have, where the error is about their size
    :param inner: as `quoted` returns it
    :param source: of the packet; 0.0.0.0 is for the kernel to fill in
    """
    told = _CODES.get((kind, code))
    if told is None or not _may_be_told(inner):
        return None
    too_big = (kind, code) == TOO_BIG
    if too_big and not (inner[6] & 0x40 and LEAST_MTU <= mtu <= 0xFFFF):
        return None
    quote = inner[:_MOST]
    rest = struct.pack("!HH", 0, mtu if too_big else 0) + quote
    head = bytes((_UNREACHABLE, told))
    check = checksum(head + b"\0\0" + rest)
    message = head + check.to_bytes(2, "big") + rest
    size = IPV4_HEADER + len(message)
    header = struct.pack("!BBHIBB", 0x45, 0, size, 0, _TTL, _ICMP)
    ends = source + inner[12:16]
    return header + checksum(header + ends).to_bytes(2, "big") + ends + message


def _may_be_told(inner: bytes) -> bool:
    """Say whether an ICMP error may be sent about `inner`. RFC 1122 section 3.2.2."""
    if inner[6] & 0x1F or inner[7]:  # not the first fragment
        return False
    source, destination = inner[12], inner[16]
    if source in (0, 127) or source >= 0xE0 or destination >= 0xE0:
        return False
    start = (inner[0] & 15) * 4
    return not (inner[9] == _ICMP and inner[start] in _ERRORS)
