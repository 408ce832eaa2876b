# SPDX-License-Identifier: GPL-2.0-only
"""Tunnel Data: packets inside UDP, for nodes behind a NAT. RFC 3519 section 3.3."""

from __future__ import annotations

from typing import Any

from scapy.fields import ByteEnumField, ShortField
from scapy.layers.inet import UDP
from scapy.packet import Packet

from scapy_mip.base import MIP, MessageTypeField, register_message
from scapy_mip.const import TUNNEL_DATA_HEADERS, Encapsulation, MessageType
from scapy_mip.encap import layer_of, protocol_of


@register_message
class MIPTunnelData(MIP):
    """Tunnel Data. RFC 3519 section 3.3; IPv6 inside: RFC 5454.

    `next_header` is the IP protocol number of what follows; it sets itself for a
    payload that is put behind it with `/`. There are no extensions.
    """

    name = "Mobile IP Tunnel Data"
    message_type = MessageType.TUNNEL_DATA
    fields_desc = [
        MessageTypeField(MessageType.TUNNEL_DATA),
        ByteEnumField("next_header", int(Encapsulation.IPIP), TUNNEL_DATA_HEADERS),
        ShortField("reserved", 0),
    ]

    def add_payload(self, payload: Packet | bytes) -> None:
        """Take the payload and its protocol number."""
        super().add_payload(payload)
        protocol = protocol_of(self.payload)
        if protocol is not None:
            self.overloaded_fields = {"next_header": protocol}

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Honour the next header, whatever it is."""
        known = layer_of(self.next_header, payload)
        return known or super().guess_payload_class(payload)

    def answers(self, other: Packet) -> bool:
        """Let the payloads tell."""
        return isinstance(other, MIPTunnelData) and bool(
            self.payload.answers(other.payload)
        )

    def hashret(self) -> bytes:
        """Let the payload tell."""
        return self.payload.hashret()

    def mysummary(self) -> Any:
        """Name the message and what is inside."""
        return self.sprintf("Mobile IP Tunnel Data %next_header%"), [UDP]
