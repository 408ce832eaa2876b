# SPDX-License-Identifier: GPL-2.0-only
"""Putting packets into tunnels, by `struct`: IP-in-IP, GRE and minimal. No I/O.

That is RFC 2003, 2784 with the key of 2890, and 2004, each directly in IP or in the
Tunnel Data messages of RFC 3519. The way back is in `decap.py`.

Packets are `bytes` from the version field of an IPv4 header on, addresses are four
bytes in network order. Nothing here raises on a packet, however broken: what cannot be
carried comes back as a `Drop`, the reason under which the data plane counts it.

Headers are packed by hand because a packet of objects costs a hundred times as much;
the tests hold both against each other.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final

from mip_agents.protocol.tunnel import Form
from scapy_mip.const import MIP_PORT, Encapsulation, MessageType

OUTER_TTL: Final = 64
"""Hops of an outer packet: the tunnel's own, not those of the inner (RFC 2003 3.1)."""

IPV4_HEADER: Final = 20
GRE_HEADER: Final = 4
GRE_KEY: Final = 4
UDP: Final = 17
"""IP protocol number."""
UDP_HEADER: Final = 8
UDP_HEADERS: Final = 12
"""UDP and the Tunnel Data message (RFC 3519 section 3.3)."""
MINIMAL_HEADER: Final = 12
"""With the original source; without, it has four octets less."""
SOURCE_PRESENT: Final = 0x80
"""The S bit of that header."""
ETHERTYPE_IPV4: Final = 0x0800

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
_DONT_FRAGMENT: Final = 0x4000
_GRE_KEY_PRESENT: Final = 0x2000

_HEAD = Struct("!BBHHH")
"""An IPv4 header up to the time to live."""
_GRE = Struct("!HH")
_U16 = Struct("!H")
_U32 = Struct("!I")
_PORTS = Struct("!HH")


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
    NOT_TUNNEL_DATA = "not_tunnel_data"
    """Another message on our UDP port."""
    UDP_CHECKSUM = "udp_checksum"
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
    if (  # what nearly all are: no options, nothing behind, some hops to go
        size >= IPV4_HEADER
        and packet[0] == 0x45
        and (packet[2] << 8) | packet[3] == size
        and packet[8]
    ):
        return None
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


def port_bytes(ports: tuple[int, int] | None) -> bytes:
    """Return a source and a destination port as they stand in a UDP header.

    Without ports there are no bytes.
    """
    return _PORTS.pack(*ports) if ports else b""


class Encapsulator:
    """Puts packets into one tunnel of IP-in-IP or GRE, with the header prepared.

    Per packet only type of service, length and the don't-fragment bit are filled in.
    With `complete` the identification and the header checksum are too; without, they
    stay 0 for the kernel, which fills both into what a socket with IP_HDRINCL sends.

    A UDP header has no checksum, as what it would protect has one of its own.
    """

    __slots__ = (
        "_complete",
        "_ident",
        "_local",
        "_message",
        "_nested",
        "_overhead",
        "_peer",
        "_ports",
        "_sum",
        "_tail",
    )

    def __init__(
        self,
        local: bytes,
        peer: bytes,
        encapsulation: Encapsulation,
        *,
        key: int | None = None,
        ports: tuple[int, int] | None = None,
        complete: bool = False,
        nested: bool = False,
    ) -> None:
        """Prepare the headers.

        :param key: of GRE (RFC 2890)
        :param ports: ours and the peer's, for Tunnel Data messages (RFC 3519)
        :param nested: take packets that we have encapsulated ourselves (HA-40)
        :raises ValueError: for minimal encapsulation, which has its own class.
        """
        if encapsulation == Encapsulation.MINIMAL:
            raise ValueError("MINIMAL has no outer header: use MinimalEncapsulator")
        self._local = local
        self._peer = peer
        self._complete = complete
        self._nested = nested
        self._ident = 0
        self._ports = port_bytes(ports)
        protocol = UDP if ports else int(encapsulation)
        tail = bytes((OUTER_TTL, protocol, 0, 0)) + local + peer
        self._sum = sum(_U16.unpack_from(tail, at)[0] for at in range(0, 12, 2))
        message = _tunnel_data(encapsulation) if ports else b""
        if encapsulation == Encapsulation.GRE:
            flags = 0 if key is None else _GRE_KEY_PRESENT
            message += _GRE.pack(flags, ETHERTYPE_IPV4)
            message += b"" if key is None else _U32.pack(key)
        self._tail = tail if ports else tail + message
        self._message = message
        # Ports and length of UDP stand between the two.
        between = UDP_HEADERS - len(_tunnel_data(encapsulation)) if ports else 0
        self._overhead = IPV4_HEADER + between + len(message)

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
        if source == self._local and not self._nested and _is_tunnel(inner):
            return Drop.OWN_TUNNEL
        total = len(inner) + self._overhead
        if total > 0xFFFF:
            return Drop.TOO_BIG
        fragment = _DONT_FRAGMENT if inner[6] & 0x40 else 0
        tail = self._tail
        if self._ports:
            tail += self._ports + _U16.pack(total - IPV4_HEADER) + self._message
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

    __slots__ = ("_data", "_ends", "_protocol")

    def __init__(
        self,
        local: bytes,
        peer: bytes,
        *,
        ports: tuple[int, int] | None = None,
        complete: bool = False,
        nested: bool = False,
    ) -> None:
        """Prepare the tunnel, and the one for its fragments."""
        super().__init__(
            local,
            peer,
            Encapsulation.IPIP,
            ports=ports,
            complete=complete,
            nested=nested,
        )
        self._ends = local + peer
        self._protocol = bytes((UDP if ports else Encapsulation.MINIMAL,))
        self._data = _tunnel_data(Encapsulation.MINIMAL)

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
            if not self._nested and _is_tunnel(inner):  # as above
                return Drop.OWN_TUNNEL
            first = inner[9] << 8
            originals = inner[16:20]
        else:
            first = inner[9] << 8 | SOURCE_PRESENT
            originals = inner[16:20] + source
        header = (inner[0] & 15) * 4
        length = (inner[2] << 8) | inner[3]
        word = _U16.pack(first)
        forwarding = word + _U16.pack(checksum(word + originals)) + originals
        if self._ports:
            size = UDP_HEADERS + len(forwarding) + length - header
            forwarding = (
                self._ports + _U16.pack(size & 0xFFFF) + self._data + forwarding
            )
        total = length + len(forwarding)
        if total > 0xFFFF:
            return Drop.TOO_BIG
        head = inner[:2] + _U16.pack(total) + inner[4:9] + self._protocol
        ends = self._ends
        if header > IPV4_HEADER:
            ends += inner[IPV4_HEADER:header]
        check = _U16.pack(checksum(head + ends)) if self._complete else b"\0\0"
        return head + check + ends + forwarding + inner[header:length]


def make_encapsulator(
    local: bytes,
    peer: bytes,
    form: Form,
    *,
    complete: bool = False,
    nested: bool = False,
) -> Encapsulator:
    """Return what puts packets into the tunnel from `local` to `peer`."""
    if form.encapsulation == Encapsulation.MINIMAL:
        return MinimalEncapsulator(
            local, peer, ports=form.ports, complete=complete, nested=nested
        )
    return Encapsulator(
        local,
        peer,
        form.encapsulation,
        key=form.send_key,
        ports=form.ports,
        complete=complete,
        nested=nested,
    )


def _tunnel_data(encapsulation: Encapsulation) -> bytes:
    """Return what comes behind the length of a UDP header, up to the tunnelled packet.

    A checksum of 0, which is none, and the message header of RFC 3519 section 3.3.
    """
    return bytes((0, 0, MessageType.TUNNEL_DATA, int(encapsulation), 0, 0))


def _is_tunnel(packet: bytes) -> bool:
    """Say whether a packet of our own address is one that we encapsulated."""
    protocol = packet[9]
    if protocol in _TUNNEL_PROTOCOLS:
        return True
    if protocol != UDP or is_fragment(packet):
        return False
    start = (packet[0] & 15) * 4
    message = packet[start : start + UDP_HEADERS]
    return (
        len(message) == UDP_HEADERS
        and MIP_PORT in _PORTS.unpack_from(message)
        and message[UDP_HEADER] == MessageType.TUNNEL_DATA
    )
