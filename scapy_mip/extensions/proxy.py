# SPDX-License-Identifier: GPL-2.0-only
"""Extensions of Proxy Mobile IPv4. RFC 5563 section 5."""

from __future__ import annotations

from scapy.fields import ByteEnumField, ByteField

from scapy_mip.const import (
    PMIPV4_ACCESS_TECHNOLOGIES,
    PMIPV4_AUTHENTICATION_METHODS,
    PMIPV4_DEVICE_ID_TYPES,
    PMIPV4_SUBSCRIBER_ID_TYPES,
    ExtensionType,
)
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField


@register_extension
class MIPPMIPv4NonSkippable(MIPExtension):
    """PMIPv4 Per-Node Authentication Method extension. RFC 5563 section 5.1."""

    name = "PMIPv4 Non-Skippable"
    extension_type = ExtensionType.PMIPV4_NON_SKIPPABLE
    only_subtype = 1
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_NON_SKIPPABLE),
        ByteField("subtype", 1),
        LengthField(plus=1, fmt="H"),
        ByteEnumField("method", 1, PMIPV4_AUTHENTICATION_METHODS),
    ]


@register_extension
class MIPPMIPv4NonSkippableShort(MIPExtension):
    """The same in the short format, as some agents send it: a private layout."""

    name = "PMIPv4 Non-Skippable, short"
    extension_type = ExtensionType.PMIPV4_NON_SKIPPABLE
    extension_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_NON_SKIPPABLE),
        LengthField(plus=2),
        ByteField("subtype", 1),
        ByteEnumField("method", 1, PMIPV4_AUTHENTICATION_METHODS),
    ]


SKIPPABLE_SUBTYPES = {
    1: "interface id",
    2: "device id",
    3: "subscriber id",
    4: "access technology",
}
"""What a skippable extension tells. RFC 5563 sections 5.2 to 5.5."""


@register_extension
class MIPPMIPv4Skippable(MIPExtension):
    """PMIPv4 Skippable extension of a subtype that is not known. RFC 5563 section 5."""

    name = "PMIPv4 Skippable"
    extension_type = ExtensionType.PMIPV4_SKIPPABLE
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_SKIPPABLE),
        LengthField(of="data", plus=1),
        ByteEnumField("subtype", 0, SKIPPABLE_SUBTYPES),
        RestField("data", b"", plus=1),
    ]


@register_extension
class MIPPMIPv4InterfaceID(MIPExtension):
    """PMIPv4 Interface ID extension. RFC 5563 section 5.2."""

    name = "PMIPv4 Interface ID"
    extension_type = ExtensionType.PMIPV4_SKIPPABLE
    extension_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_SKIPPABLE),
        LengthField(of="identifier", plus=1),
        ByteEnumField("subtype", 1, SKIPPABLE_SUBTYPES),
        RestField("identifier", b"", plus=1),
    ]


@register_extension
class MIPPMIPv4DeviceID(MIPExtension):
    """PMIPv4 Device ID extension. RFC 5563 section 5.3."""

    name = "PMIPv4 Device ID"
    extension_type = ExtensionType.PMIPV4_SKIPPABLE
    extension_subtype = 2
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_SKIPPABLE),
        LengthField(of="identifier", plus=2),
        ByteEnumField("subtype", 2, SKIPPABLE_SUBTYPES),
        ByteEnumField("id_type", 1, PMIPV4_DEVICE_ID_TYPES),
        RestField("identifier", b"", plus=2),
    ]


@register_extension
class MIPPMIPv4SubscriberID(MIPExtension):
    """PMIPv4 Subscriber ID extension. RFC 5563 section 5.4."""

    name = "PMIPv4 Subscriber ID"
    extension_type = ExtensionType.PMIPV4_SKIPPABLE
    extension_subtype = 3
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_SKIPPABLE),
        LengthField(of="identifier", plus=2),
        ByteEnumField("subtype", 3, SKIPPABLE_SUBTYPES),
        ByteEnumField("id_type", 1, PMIPV4_SUBSCRIBER_ID_TYPES),
        RestField("identifier", b"", plus=2),
    ]


@register_extension
class MIPPMIPv4AccessTechnology(MIPExtension):
    """PMIPv4 Access Technology extension. RFC 5563 section 5.5."""

    name = "PMIPv4 Access Technology"
    extension_type = ExtensionType.PMIPV4_SKIPPABLE
    extension_subtype = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.PMIPV4_SKIPPABLE),
        LengthField(plus=2),
        ByteEnumField("subtype", 4, SKIPPABLE_SUBTYPES),
        ByteEnumField("tech_type", 0, PMIPV4_ACCESS_TECHNOLOGIES),
    ]
