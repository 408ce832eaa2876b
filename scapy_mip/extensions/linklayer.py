# SPDX-License-Identifier: GPL-2.0-only
"""Link-layer and IPv4 addresses for low-latency handoffs. RFC 4881 section 9."""

from __future__ import annotations

from typing import Any

from scapy.fields import ByteEnumField, IPField, MACField, XIntField, XLongField

from scapy_mip.const import LINK_LAYER_ADDRESS_SUBTYPES, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField, TextField

_TYPE = ExtensionType.LINK_LAYER_AND_IPV4_ADDRESS


def _head(subtype: int, of: str | None = None, size: int = 0) -> list[Any]:
    """Return what all of them begin with."""
    return [
        ExtensionTypeField(_TYPE),
        LengthField(of=of, plus=1 + size),
        ByteEnumField("subtype", subtype, LINK_LAYER_ADDRESS_SUBTYPES),
    ]


@register_extension
class MIPGeneralizedLinkLayerAndIPv4Address(MIPExtension):
    """Generalized Link Layer and IPv4 Address extension of an unknown subtype."""

    name = "Generalized Link Layer and IPv4 Address"
    extension_type = _TYPE
    fields_desc = [*_head(0, of="lla"), RestField("lla", b"", plus=1)]


@register_extension
class MIPLLA3GPP2IMSIAndConnectionId(MIPExtension):
    """IMSI and connection id of 3GPP2, `IMSI:id` as text. RFC 4881 section 9.1."""

    name = "LLA 3GPP2 IMSI and connection id"
    extension_type = _TYPE
    extension_subtype = 1
    fields_desc = [*_head(1, of="text"), TextField("text", b"", plus=1)]


@register_extension
class MIPLLA3GPPIMSI(MIPExtension):
    """IMSI of 3GPP. RFC 4881 section 9.2."""

    name = "LLA 3GPP IMSI"
    extension_type = _TYPE
    extension_subtype = 2
    fields_desc = [*_head(2, of="imsi"), RestField("imsi", b"", plus=1)]


@register_extension
class MIPLLAEthernetMAC(MIPExtension):
    """Ethernet address. RFC 4881 section 9.3."""

    name = "LLA Ethernet MAC"
    extension_type = _TYPE
    extension_subtype = 3
    fields_desc = [*_head(3, size=6), MACField("mac", "00:00:00:00:00:00")]


@register_extension
class MIPLLAEUI64(MIPExtension):
    """EUI-64 address. RFC 4881 section 9.4."""

    name = "LLA EUI-64"
    extension_type = _TYPE
    extension_subtype = 4
    fields_desc = [*_head(4, size=8), XLongField("eui64", 0)]


@register_extension
class MIPLLASolicitedIPv4Address(MIPExtension):
    """The IPv4 address that is asked about. RFC 4881 section 9.5."""

    name = "LLA Solicited IPv4 address"
    extension_type = _TYPE
    extension_subtype = 5
    fields_desc = [*_head(5, size=4), IPField("address", "0.0.0.0")]


@register_extension
class MIPLLAAccessPointId(MIPExtension):
    """Number of an access point. RFC 4881 section 9.6."""

    name = "LLA Access point id"
    extension_type = _TYPE
    extension_subtype = 6
    fields_desc = [*_head(6, size=4), XIntField("ap_id", 0)]


@register_extension
class MIPLLAFAIPv4Address(MIPExtension):
    """IPv4 address of a foreign agent. RFC 4881 section 9.7."""

    name = "LLA FA IPv4 address"
    extension_type = _TYPE
    extension_subtype = 7
    fields_desc = [*_head(7, size=4), IPField("address", "0.0.0.0")]
