# SPDX-License-Identifier: GPL-2.0-only
"""Outer headers by `struct`: IP-in-IP, GRE and minimal (RFC 2003, 2784, 2004). No I/O.

Packets are `bytes` from the version field of an IPv4 header on, addresses are four
bytes in network order. Nothing here raises on a packet, however broken: what cannot be
carried comes back as a `Drop`, the reason under which the data plane counts it.

Headers are packed by hand because a packet of objects costs a hundred times as much;
the tests hold both against each other.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final, NamedTuple

from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation

OUTER_TTL: Final = 64
"""Hops of an outer packet: the tunnel's own, not those of the inner (RFC 2003 3.1)."""

IPV4_HEADER: Final = 20
GRE_HEADER: Final = 4
GRE_KEY: Final = 4
UDP_HEADERS: Final = 12
"""UDP and the Tunnel Data message (RFC 3519 section 3.3)."""
MINIMAL_HEADER: Final = 12
"""With the original source; without, it has four octets less."""

OVERHEAD: Final = {
    Encapsulation.IPIP: IPV4_HEADER,
    Encapsulation.GRE: IPV4_HEADER + GRE_HEADER,
    Encapsulation.MINIMAL: MINIMAL_HEADER,
}
"""Octets that each encapsulation adds at most."""

ROOM: Final = {form: max(size, IPV4_HEADER) for form, size in OVERHEAD.items()}
"""Octets by which inner packets must be smaller than the path allows.

Fragments of a minimal tunnel travel in IP-in-IP (TUN-05). The kernel cuts them to the
size that it also allows to whole packets, and they must fit, those with DF above all.
"""


def room_for(form: Form) -> int:
    """Return the octets by which inner packets must be smaller than the path allows."""
    room = ROOM[form.encapsulation]
    if form.send_key is not None:
        room += GRE_KEY
    if form.ports is not None:
        room += UDP_HEADERS
    return room


_TUNNEL_PROTOCOLS: Final = frozenset(
    (Encapsulation.IPIP, Encapsulation.GRE, Encapsulation.MINIMAL)
)
_ETHERTYPE_IPV4: Final = 0x0800
_DONT_FRAGMENT: Final = 0x4000
_FRAGMENT_MASK: Final = 0x3FFF  # more fragments, and the offset
_GRE_CHECKSUM: Final = 0x8000
_GRE_BITS_1_TO_5: Final = 0x7C00
_GRE_VERSION: Final = 0x0007
_SOURCE_PRESENT: Final = 0x80

_FIRST = Struct("!BBHHHBBH")
"""An IPv4 header up to the addresses."""
_HEAD = Struct("!BBHHH")
"""An IPv4 header up to the time to live."""
_GRE = Struct("!HH")
_U16 = Struct("!H")
_PROTOCOL_MINIMAL: Final = bytes((Encapsulation.MINIMAL,))


class Drop(enum.StrEnum):
    """Why a packet was not carried."""

    NOT_IPV4 = "not_ipv4"
    TRUNCATED = "truncated"
    """Shorter than its headers or its total length say."""
    BAD_LENGTH = "bad_length"
    """A header or total length that cannot be."""
    BAD_CHECKSUM = "bad_checksum"
    FRAGMENT = "fragment"
    """An outer fragment: reassembly comes before decapsulation."""
    UNKNOWN_PROTOCOL = "unknown_protocol"
    """The outer header announces none of the encapsulations."""
    TTL_ZERO = "ttl_zero"
    TOO_BIG = "too_big"
    """The outer packet would exceed 65535 octets."""
    EXIT_ADDRESS = "exit_address"
    """The source is the exit of the tunnel: a loop (TUN-02, HA-36)."""
    OWN_TUNNEL = "own_tunnel"
    """A packet that we encapsulated ourselves and that came back: a loop (TUN-02)."""
    GRE_FLAGS = "gre_flags"
    GRE_VERSION = "gre_version"
    GRE_PROTOCOL = "gre_protocol"
    GRE_CHECKSUM = "gre_checksum"
    MINIMAL_CHECKSUM = "minimal_checksum"


class Decapsulated(NamedTuple):
    """What came out of a tunnel packet."""

    source: bytes
    """Of the outer header."""
    destination: bytes
    """Of the outer header."""
    encapsulation: int
    """IP protocol number: 4, 47 or 55."""
    inner: bytes
    """The inner packet without trailing octets; its first 20 are there."""


def checksum(data: bytes | memoryview) -> int:
    """Return the Internet checksum of `data` (RFC 1071): 0 if it holds its own."""
    if len(data) & 1:
        data = bytes(data) + b"\0"
    # 2**16 is 1 modulo 0xFFFF, so the one's complement sum is the remainder of one long
    # integer; only a sum of all zeros must not become 0xFFFF.
    number = int.from_bytes(data, "big")
    if number == 0:
        return 0xFFFF
    return 0xFFFF - ((number % 0xFFFF) or 0xFFFF)


def check_inner(packet: bytes) -> Drop | None:
    """Say why `packet` cannot enter a tunnel, or None if it can.

    Its header must be whole, its total length must not exceed what is there, its TTL
    must not be 0 (TUN-01).
    """
    size = len(packet)
    if size < IPV4_HEADER:
        return Drop.TRUNCATED if size and packet[0] >> 4 == 4 else Drop.NOT_IPV4
    first = packet[0]
    if first >> 4 != 4:
        return Drop.NOT_IPV4
    header = (first & 15) * 4
    total = (packet[2] << 8) | packet[3]
    if header < IPV4_HEADER or total < header:
        return Drop.BAD_LENGTH
    if total > size:
        return Drop.TRUNCATED
    if packet[8] == 0:
        return Drop.TTL_ZERO
    return None


def is_fragment(packet: bytes) -> bool:
    """Say whether `packet` is a part of a larger one: an offset, or more to come."""
    return bool(packet[6] & 0x3F or packet[7])


class Encapsulator:
    """Puts packets into one tunnel of IP-in-IP or GRE, with the header prepared.

    Per packet only type of service, length and the don't-fragment bit are filled in.
    With `complete` the identification and the header checksum are too; without, they
    stay 0 for the kernel, which fills both into what a socket with IP_HDRINCL sends.
    """

    __slots__ = ("_complete", "_ident", "_local", "_overhead", "_peer", "_sum", "_tail")

    def __init__(
        self,
        local: bytes,
        peer: bytes,
        encapsulation: Encapsulation,
        *,
        complete: bool = False,
    ) -> None:
        """:raises ValueError: for minimal encapsulation, which has its own class."""
        if encapsulation == Encapsulation.MINIMAL:
            raise ValueError("MINIMAL has no outer header: use MinimalEncapsulator")
        self._local = local
        self._peer = peer
        self._overhead = OVERHEAD[encapsulation]
        self._complete = complete
        self._ident = 0
        tail = bytes((OUTER_TTL, int(encapsulation), 0, 0)) + local + peer
        self._sum = sum(_U16.unpack_from(tail, at)[0] for at in range(0, 12, 2))
        if encapsulation == Encapsulation.GRE:
            tail += _GRE.pack(0, _ETHERTYPE_IPV4)
        self._tail = tail

    def encapsulate(self, inner: bytes) -> bytes | Drop:
        """Return the outer packet, or why there is none.

        The caller has asked `check_inner` before, once for all tunnels. RFC 2003
        section 3.1: the type of service is copied, and DF is set if it is set inside.
        """
        source = inner[12:16]
        if source == self._peer:
            return Drop.EXIT_ADDRESS
        # TUN-02 is about packets that arrive for forwarding; of those, the kernel drops
        # the ones with a source of its own as martians. What is left is traffic of this
        # host, such as its answers to a mobile node (HA-38), which loops only if it is
        # a tunnel itself.
        if source == self._local and inner[9] in _TUNNEL_PROTOCOLS:
            return Drop.OWN_TUNNEL
        total = len(inner) + self._overhead
        if total > 0xFFFF:
            return Drop.TOO_BIG
        fragment = _DONT_FRAGMENT if inner[6] & 0x40 else 0
        tail = self._tail
        if not self._complete:
            return _HEAD.pack(0x45, inner[1], total, 0, fragment) + tail + inner
        self._ident = ident = (self._ident % 0xFFFF) + 1
        head = _HEAD.pack(0x45, inner[1], total, ident, fragment)
        value = self._sum + 0x4500 + inner[1] + total + ident + fragment
        value = (value & 0xFFFF) + (value >> 16)
        value = 0xFFFF - ((value & 0xFFFF) + (value >> 16))
        return head + tail[:2] + _U16.pack(value) + tail[4:] + inner


class MinimalEncapsulator(Encapsulator):
    """Puts packets into one tunnel of minimal encapsulation. RFC 2004 section 3.

    There is no outer header: that of the packet is modified, and what was in it goes
    into a forwarding header behind it. All else stays, options and identification too.
    (The kernel replaces an identification of 0, unless DF is set.) Fragments go to the
    same peer in IP-in-IP, for want of room for a second fragment offset (TUN-05).

    The TTL stays as well: of what this host forwards, the kernel has decremented it on
    the way to the port, and so the hops within the tunnel count like all others.
    """

    __slots__ = ("_ends",)

    def __init__(self, local: bytes, peer: bytes, *, complete: bool = False) -> None:
        """Prepare the tunnel, and the one for its fragments."""
        super().__init__(local, peer, Encapsulation.IPIP, complete=complete)
        self._ends = local + peer

    def encapsulate(self, inner: bytes) -> bytes | Drop:
        """Return the modified packet, or why there is none.

        The caller has asked `check_inner` before, once for all tunnels.
        """
        if inner[6] & 0x3F or inner[7]:  # is_fragment(), inline
            return super().encapsulate(inner)
        source = inner[12:16]
        if source == self._peer:
            return Drop.EXIT_ADDRESS
        if source == self._local:
            if inner[9] in _TUNNEL_PROTOCOLS:  # as above
                return Drop.OWN_TUNNEL
            first = inner[9] << 8
            originals = inner[16:20]
        else:
            first = inner[9] << 8 | _SOURCE_PRESENT
            originals = inner[16:20] + source
        header = (inner[0] & 15) * 4
        length = (inner[2] << 8) | inner[3]
        total = length + 4 + len(originals)
        if total > 0xFFFF:
            return Drop.TOO_BIG
        word = _U16.pack(first)
        forwarding = word + _U16.pack(checksum(word + originals)) + originals
        head = inner[:2] + _U16.pack(total) + inner[4:9] + _PROTOCOL_MINIMAL
        ends = self._ends
        if header > IPV4_HEADER:
            ends += inner[IPV4_HEADER:header]
        check = _U16.pack(checksum(head + ends)) if self._complete else b"\0\0"
        return head + check + ends + forwarding + inner[header:length]


def make_encapsulator(
    local: bytes, peer: bytes, encapsulation: Encapsulation, *, complete: bool = False
) -> Encapsulator:
    """Return what puts packets into the tunnel from `local` to `peer`."""
    if encapsulation == Encapsulation.MINIMAL:
        return MinimalEncapsulator(local, peer, complete=complete)
    return Encapsulator(local, peer, encapsulation, complete=complete)


def decapsulate(packet: bytes, *, verify: bool = True) -> Decapsulated | Drop:
    """Take the inner packet out of `packet`, an IPv4 packet of protocol 4, 47 or 55.

    `verify` checks the IPv4 header checksums. A packet from a raw socket does not need
    it: the kernel has checked the outer header, and checks the inner when it gets it.
    The checksums of GRE, where there is one (TUN-07), and of the minimal forwarding
    header are always verified.
    """
    size = len(packet)
    if size < IPV4_HEADER:
        return Drop.TRUNCATED
    first, _tos, total, _ident, fragment, _ttl, protocol, _check = _FIRST.unpack_from(
        packet
    )
    if first >> 4 != 4:
        return Drop.NOT_IPV4
    header = (first & 15) * 4
    if header < IPV4_HEADER or total < header:
        return Drop.BAD_LENGTH
    if total > size:
        return Drop.TRUNCATED
    if fragment & _FRAGMENT_MASK:
        return Drop.FRAGMENT
    if verify and checksum(packet[:header]):
        return Drop.BAD_CHECKSUM
    if protocol == Encapsulation.GRE:
        start = _after_gre(packet, header, total)
        if isinstance(start, Drop):
            return start
        inner = packet[start:total]
    elif protocol == Encapsulation.IPIP:
        inner = packet[header:total]
    elif protocol == Encapsulation.MINIMAL:
        restored = _restore(packet, header, total)
        if isinstance(restored, Drop):
            return restored
        return Decapsulated(packet[12:16], packet[16:20], protocol, restored)
    else:
        return Drop.UNKNOWN_PROTOCOL
    problem = check_inner(inner)
    if problem is not None:
        return problem
    length = (inner[2] << 8) | inner[3]
    if length != len(inner):
        inner = inner[:length]
    if verify and checksum(inner[: (inner[0] & 15) * 4]):
        return Drop.BAD_CHECKSUM
    return Decapsulated(packet[12:16], packet[16:20], protocol, inner)


def _after_gre(packet: bytes, start: int, end: int) -> int | Drop:
    """Return where the payload of a GRE header begins. RFC 2784 section 2."""
    if end - start < GRE_HEADER:
        return Drop.TRUNCATED
    flags, protocol = _GRE.unpack_from(packet, start)
    if flags & _GRE_VERSION:
        return Drop.GRE_VERSION
    if (
        flags & _GRE_BITS_1_TO_5
    ):  # routing, key, sequence number: RFC 1701, 2890 (TUN-07)
        return Drop.GRE_FLAGS
    if protocol != _ETHERTYPE_IPV4:
        return Drop.GRE_PROTOCOL
    if not flags & _GRE_CHECKSUM:
        return start + GRE_HEADER
    if end - start < GRE_HEADER + 4:
        return Drop.TRUNCATED
    if checksum(packet[start:end]):
        return Drop.GRE_CHECKSUM
    return start + GRE_HEADER + 4


def _restore(packet: bytes, start: int, end: int) -> bytes | Drop:
    """Undo minimal encapsulation, whose header is at `start`. RFC 2004 section 3.

    Reserved bits are ignored. Options and TTL are those of the packet as it came.
    """
    if packet[8] == 0:
        return Drop.TTL_ZERO
    if end - start < MINIMAL_HEADER - 4:
        return Drop.TRUNCATED
    if packet[start + 1] & _SOURCE_PRESENT:
        after = start + MINIMAL_HEADER
        if after > end:
            return Drop.TRUNCATED
        source = packet[start + 8 : after]
    else:
        after = start + MINIMAL_HEADER - 4
        source = packet[12:16]
    if checksum(packet[start:after]):
        return Drop.MINIMAL_CHECKSUM
    length = _U16.pack(end - (after - start))
    head = packet[:2] + length + packet[4:9] + packet[start : start + 1]
    ends = source + packet[start + 4 : start + 8] + packet[IPV4_HEADER:start]
    return head + _U16.pack(checksum(head + ends)) + ends + packet[after:end]
