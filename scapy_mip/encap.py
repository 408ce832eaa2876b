# SPDX-License-Identifier: GPL-2.0-only
"""Minimal encapsulation, IP protocol 55. RFC 2004.

IP-in-IP and GRE, also with key and sequence number, are Scapy's own `IP` and `GRE`.
"""

from __future__ import annotations

from typing import Any

from scapy.config import conf
from scapy.data import IP_PROTOS
from scapy.fields import BitField, ByteEnumField, ConditionalField, IPField, XShortField
from scapy.layers.inet import IP
from scapy.packet import NoPayload, Packet
from scapy.utils import checksum

from scapy_mip.nesting import Tunnel

_IP_HEADER_BYTES = 20
_SHORT_BYTES, _LONG_BYTES = 8, 12
_SOURCE_PRESENT = 0x80


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
