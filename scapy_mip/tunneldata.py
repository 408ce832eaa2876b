# SPDX-License-Identifier: GPL-2.0-only
"""Tunnel Data: packets inside UDP, for nodes behind a NAT. RFC 3519 section 3.3.

The layers that may be inside are imported when they are met, see `base.with_udp`.
"""

from __future__ import annotations

from typing import Any

from scapy.fields import ByteEnumField, ShortField

from scapy_mip.base import MIP, MessageTypeField, register_message, with_udp
from scapy_mip.const import TUNNEL_DATA_HEADERS, Encapsulation, MessageType
from scapy_mip.nesting import Tunnel


@register_message
class MIPTunnelData(Tunnel, MIP):
    """Tunnel Data. RFC 3519 section 3.3; IPv6 inside: RFC 5454.

    `next_header` is the IP protocol number of what follows; it sets itself for a
    payload that is put behind it with `/`. There are no extensions.
    """

    name = "Mobile IP Tunnel Data"
    protocol_field = "next_header"
    message_type = MessageType.TUNNEL_DATA
    fields_desc = [
        MessageTypeField(MessageType.TUNNEL_DATA),
        ByteEnumField("next_header", int(Encapsulation.IPIP), TUNNEL_DATA_HEADERS),
        ShortField("reserved", 0),
    ]

    def mysummary(self) -> Any:
        """Name the message and what is inside."""
        return with_udp(self.sprintf("Mobile IP Tunnel Data %next_header%"))
