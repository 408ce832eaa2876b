# SPDX-License-Identifier: GPL-2.0-only
"""Extensions about tunnels: UDP tunnelling, delivery style, GRE key.

RFC 3519 section 3, RFC 3024 section 3.3, RFC 6245 section 5.
"""

from __future__ import annotations

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FlagsField,
    ShortField,
    XIntField,
)

from scapy_mip.const import UDP_TUNNEL_REPLY_CODES, Encapsulation, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField


@register_extension
class MIPUDPTunnelReply(MIPExtension):
    """UDP Tunnel Reply extension. RFC 3519 section 3.2."""

    name = "UDP Tunnel Reply"
    extension_type = ExtensionType.UDP_TUNNEL_REPLY
    only_subtype = 0
    fields_desc = [
        ExtensionTypeField(ExtensionType.UDP_TUNNEL_REPLY),
        LengthField(plus=6),
        ByteField("subtype", 0),
        ByteEnumField("reply_code", 0, UDP_TUNNEL_REPLY_CODES),
        FlagsField("flags", 0, 1, "F"),
        BitField("reserved", 0, 15),
        ShortField("keepalive_interval", 0),
    ]


@register_extension
class MIPGREKey(MIPExtension):
    """GRE Key extension: the key of the tunnel in the other direction. RFC 6245 5."""

    name = "GRE Key"
    extension_type = ExtensionType.GRE_KEY
    only_subtype = 0
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.GRE_KEY),
        ByteField("subtype", 0),
        LengthField(plus=4, fmt="H"),
        XIntField("key_identifier", 0),
    ]


@register_extension
class MIPEncapsulatingDeliveryStyle(MIPExtension):
    """Encapsulating Delivery Style extension: it has no data. RFC 3024 section 3.3."""

    name = "Encapsulating Delivery Style"
    extension_type = ExtensionType.ENCAPSULATING_DELIVERY_STYLE
    fields_desc = [
        ExtensionTypeField(ExtensionType.ENCAPSULATING_DELIVERY_STYLE),
        LengthField(),
    ]


@register_extension
class MIPUDPTunnelRequest(MIPExtension):
    """UDP Tunnel Request extension. RFC 3519 section 3.1."""

    name = "UDP Tunnel Request"
    extension_type = ExtensionType.UDP_TUNNEL_REQUEST
    only_subtype = 0
    fields_desc = [
        ExtensionTypeField(ExtensionType.UDP_TUNNEL_REQUEST),
        LengthField(plus=6),
        ByteField("subtype", 0),
        ByteField("reserved1", 0),
        FlagsField("flags", 0, 2, "RF"),
        BitField("reserved2", 0, 6),
        ByteEnumField(
            "encapsulation",
            Encapsulation.IPIP,
            {int(one): one.title for one in Encapsulation},
        ),
        ShortField("reserved3", 0),
    ]
