# SPDX-License-Identifier: GPL-2.0-only
"""Minimal encapsulation, IP protocol 55, and what is inside a tunnel. RFC 2004.

IP-in-IP and GRE, also with key and sequence number, are Scapy's own `IP` and `GRE`.
"""

from __future__ import annotations

from typing import Any

from scapy.config import conf
from scapy.data import IP_PROTOS
from scapy.fields import BitField, ByteEnumField, ConditionalField, IPField, XShortField
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE
from scapy.packet import NoPayload, Packet
from scapy.utils import checksum

_IP_HEADER_BYTES = 20
_SHORT_BYTES, _LONG_BYTES = 8, 12
_SOURCE_PRESENT = 0x80


_LEAST = {IP: 20, IPv6: 40, GRE: 4, UDP: 8, TCP: 20}
"""Bytes without which a layer cannot be; Scapy's own raise on less."""


def layer_of(protocol: Any, data: bytes) -> type[Packet] | None:
    """Return the layer that `IP` would take for a protocol number and these bytes.

    None where it has none, or where the bytes end in its header.
    """
    for values, layer in IP.payload_guess:
        if values.get("proto") == protocol and values.keys() <= {"proto", "frag"}:
            return layer if len(data) >= _LEAST.get(layer, 0) else None
    return None


def protocol_of(payload: Any) -> int | None:
    """Return the protocol number that `IP` would give a payload."""
    overload: dict[type[Packet], Any] = getattr(payload, "overload_fields", {})
    protocol: int | None = overload.get(IP, {}).get("proto")
    return protocol


LAYERS_MAX = 32
"""How many layers may be in front of what a tunnel dissects, and from it to the next.

A header of a tunnel has as few as four bytes: a datagram holds thousands of them, far
more than Python can go down, in building and copying too.
"""


class Tunnel(Packet):
    """A layer with a packet of another protocol inside, which it names by its number.

    Bytes that the layer of that protocol raises on, or that go on nesting beyond
    `LAYERS_MAX`, stay bytes: whoever filled the tunnel decides on them.
    """

    protocol_field = "protocol"
    """The field with the protocol number; it sets itself for what `/` puts behind."""

    def add_payload(self, payload: Packet | bytes) -> None:
        """Take the payload and its protocol number."""
        super().add_payload(payload)
        protocol = protocol_of(self.payload)
        if protocol is not None:
            self.overloaded_fields = {self.protocol_field: protocol}

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Take what `IP` would take for the protocol."""
        known = layer_of(self.getfieldval(self.protocol_field), payload)
        return known or super().guess_payload_class(payload)

    def do_dissect_payload(self, s: bytes) -> None:
        """Dissect what is inside, or keep it as bytes."""
        if s and not self._dissected(s):
            self.remove_payload()
            self.add_payload(conf.raw_layer(s, _internal=1, _underlayer=self))

    def _dissected(self, inside: bytes) -> bool:
        in_front = self.underlayer
        for _layer in range(LAYERS_MAX):
            if in_front is None:
                break
            in_front = in_front.underlayer
        else:
            return False
        try:
            super().do_dissect_payload(inside)
        except Exception:  # noqa: BLE001  # of Scapy's layers, under `debug_dissector`
            return False
        behind = self.payload
        for _layer in range(LAYERS_MAX):
            if isinstance(behind, NoPayload | Tunnel):
                return True
            behind = behind.payload
        return False

    def hashret(self) -> bytes:
        """Let the payload tell."""
        return self.payload.hashret()

    def answers(self, other: Packet) -> bool:
        """Let the payloads tell."""
        return isinstance(other, type(self)) and bool(
            self.payload.answers(other.payload)
        )


class SourceBit(BitField):
    """Whether the original source is there; None is filled in when building."""

    def __init__(self) -> None:
        super().__init__("S", None, 1)  # None is computed

    def i2m(self, pkt: Any, x: Any) -> int:
        """Give the bit, from the presence of the source where it was left None."""
        if x is None:
            return int(pkt is not None and pkt.has_source())
        return super().i2m(pkt, x)


class MIPMinimalEncapsulation(Tunnel):
    """The minimal forwarding header, of 8 or, with the source, 12 bytes. RFC 2004 3.

    The outer IP header is the original one with another protocol, destination and,
    where `S` is set, source. `S` sets itself when an original source is given, the
    checksum (over this header alone) when it is left None, `protocol` from what is put
    behind it with `/`. `original_packet` is the packet before the tunnel.
    """

    name = "Minimal Encapsulation"
    fields_desc = [
        ByteEnumField("protocol", 0, IP_PROTOS),
        SourceBit(),
        BitField("reserved", 0, 7),
        XShortField("header_checksum", None),
        IPField("original_destination", "0.0.0.0"),
        ConditionalField(
            IPField("original_source", "0.0.0.0"), lambda pkt: pkt.has_source()
        ),
    ]

    @classmethod
    def dispatch_hook(
        cls, _pkt: bytes = b"", *_args: Any, **_kwargs: Any
    ) -> type[Packet]:
        """Take a header that is there as a whole; else the bytes stay bytes."""
        if not _pkt:
            return cls
        long = len(_pkt) >= _SHORT_BYTES and _pkt[1] & _SOURCE_PRESENT
        least = _LONG_BYTES if long else _SHORT_BYTES
        return cls if len(_pkt) >= least else conf.raw_layer

    def has_source(self) -> bool:
        """Return whether the header has the original source."""
        stated = self.getfieldval("S")
        return "original_source" in self.fields if stated is None else bool(stated)

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Fill in the checksum, over the header only."""
        if self.header_checksum is None:
            filled = checksum(pkt).to_bytes(2, "big")
            pkt = pkt[:2] + filled + pkt[4:]
        return pkt + pay

    def do_build_payload(self) -> bytes:
        """Build a payload behind the original header, whose addresses UDP sums up."""
        payload = self.payload
        plain = isinstance(payload, NoPayload | conf.raw_layer)
        if plain or payload.raw_packet_cache is not None:
            return super().do_build_payload()
        header = self._original_header()
        header.add_payload(payload.copy())
        return header.do_build()[_IP_HEADER_BYTES:]  # any padding comes last

    def _outer(self) -> IP | None:
        """Return the nearest IP header in front, if there is one."""
        below = self.underlayer
        while below is not None and not isinstance(below, IP):
            below = below.underlayer
        return below

    def _original_header(self) -> IP:
        """Return an IP header with the original addresses and protocol alone."""
        outer = self._outer()
        source = self.original_source if self.has_source() else None
        if source is None:
            source = outer.src if outer is not None else "0.0.0.0"
        return IP(src=source, dst=self.original_destination, proto=self.protocol)

    @property
    def original_packet(self) -> IP:
        """The IP packet as it was before it entered the tunnel. RFC 2004 section 3.2.

        Without an IP header in front, what stood there only takes Scapy's defaults.
        """
        header = self._original_header()
        outer = self._outer()
        if outer is not None:
            for name in ("tos", "id", "flags", "frag", "ttl", "options"):
                header.setfieldval(name, outer.getfieldval(name))
        header.add_payload(bytes(self.payload))
        return IP(header.build())

    def mysummary(self) -> str:
        """Say where the packet was going."""
        shown = self.sprintf("Minimal Encapsulation %original_destination% %protocol%")
        if self.has_source():
            shown += self.sprintf(" from %original_source%")
        return shown
