# SPDX-License-Identifier: GPL-2.0-only
"""Extensions with a topic of their own: revocation support, firewalls, experiments."""

from __future__ import annotations

from scapy.fields import BitField, ByteField, FlagsField, IntField, IPField, ShortField

from scapy_mip.const import ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField


@register_extension
class MIPExperimentalNonSkippable(MIPExtension):
    """Experimental non-skippable extension. RFC 4064 section 4.1."""

    name = "Experimental non-skippable"
    extension_type = ExtensionType.EXPERIMENTAL_NON_SKIPPABLE
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.EXPERIMENTAL_NON_SKIPPABLE),
        ByteField("subtype", 0),
        LengthField(of="opaque", fmt="H"),
        RestField("opaque", b""),
    ]


@register_extension
class MIPDeprecated128(MIPExtension):
    """Type 128, deprecated on 2001-08-31: Integrated Mobility. Its data is raw."""

    name = "Deprecated 2001-08-31 (Integrated Mobility)"
    extension_type = ExtensionType.DEPRECATED_128
    fields_desc = [
        ExtensionTypeField(ExtensionType.DEPRECATED_128),
        LengthField(of="data"),
        RestField("data", b""),
    ]


@register_extension
class MIPFirewallTraversal(MIPExtension):
    """Firewall Traversal extension for SKIP. RFC 2356 section 7.3."""

    name = "Firewall Traversal"
    extension_type = ExtensionType.FIREWALL_TRAVERSAL
    fields_desc = [
        ExtensionTypeField(ExtensionType.FIREWALL_TRAVERSAL),
        LengthField(plus=10),
        ShortField("reserved", 0),
        IPField("mn_to_ha_traversal_address", "0.0.0.0"),
        IPField("ha_to_mn_traversal_address", "0.0.0.0"),
    ]


@register_extension
class MIPRevocationSupport(MIPExtension):
    """Revocation Support extension. RFC 3543 section 3.2."""

    name = "Revocation Support"
    extension_type = ExtensionType.REVOCATION_SUPPORT
    fields_desc = [
        ExtensionTypeField(ExtensionType.REVOCATION_SUPPORT),
        LengthField(plus=6),
        FlagsField("flags", 0, 1, "I"),
        BitField("reserved", 0, 15),
        IntField("timestamp", 0),
    ]


@register_extension
class MIPTrustedNetworksConfigured(MIPExtension):
    """Trusted Networks Configured extension. RFC 5265 section 3.4."""

    name = "Trusted Networks Configured"
    extension_type = ExtensionType.TRUSTED_NETWORKS_CONFIGURED
    only_subtype = 0
    fields_desc = [
        ExtensionTypeField(ExtensionType.TRUSTED_NETWORKS_CONFIGURED),
        LengthField(plus=2),
        ByteField("subtype", 0),
        ByteField("reserved", 0),
    ]


@register_extension
class MIPReserved150(MIPExtension):
    """Type 150, reserved. Its data is raw."""

    name = "Reserved"
    extension_type = ExtensionType.RESERVED_150
    fields_desc = [
        ExtensionTypeField(ExtensionType.RESERVED_150),
        LengthField(of="data"),
        RestField("data", b""),
    ]


@register_extension
class MIPExperimentalSkippable(MIPExtension):
    """Experimental skippable extension. RFC 4064 section 4.3."""

    name = "Experimental skippable"
    extension_type = ExtensionType.EXPERIMENTAL_SKIPPABLE
    fields_desc = [
        ExtensionTypeField(ExtensionType.EXPERIMENTAL_SKIPPABLE),
        LengthField(of="opaque", plus=1),
        ByteField("subtype", 0),
        RestField("opaque", b"", plus=1),
    ]
