# SPDX-License-Identifier: GPL-2.0-only
"""Vendor/Organization Specific extensions, critical and normal. RFC 3115, RFC 3025.

A vendor's item has a class of its own once it is registered: its fields follow those of
the extension. What has none keeps its bytes in `vendor_value`. Whoever knows another
vendor's item adds it so:

    @register_vendor_item
    class MIPAcmeColour(MIPNVSE):
        name = "Acme colour"
        fields_desc = vendor_fields(MIPNVSE, 99999, 7, ByteField("colour", 0))

An item whose first field is called `sub_type` stands for that sub-type of its vendor
type. Items are found under the obsolete numbers 37 and 133 too.
"""

from __future__ import annotations

import copy
from typing import Any

from scapy.fields import (
    ByteField,
    IntEnumField,
    IPField,
    ShortField,
    StrField,
    XIntField,
    XLongField,
)

from scapy_mip.const import VENDORS, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionListField,
    ExtensionTypeField,
    MIPExtension,
    fixed_bytes,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField, TextField

CISCO, GPP2, VERIZON = 9, 5535, 12951

_HEAD_BYTES = 10
"""Bytes of all these extensions up to and with the vendor's type."""

_ITEMS: dict[tuple[bool, int, int, int | None], type[MIPExtension]] = {}
"""Class by whether it is critical, vendor, vendor's type and sub-type."""
_WITH_SUBTYPES: set[tuple[bool, int, int]] = set()


def _narrow(
    cls: type[MIPExtension], data: bytes, start: int, end: int
) -> type[MIPExtension]:
    """Return the class of the vendor's item, or `cls`."""
    if end - start < _HEAD_BYTES:
        return cls
    vendor = int.from_bytes(data[start + 4 : start + 8], "big")
    kind = int.from_bytes(data[start + 8 : start + 10], "big")
    key = cls.header_size == 4, vendor, kind
    place = start + _HEAD_BYTES
    if key in _WITH_SUBTYPES and place < end:
        found = _ITEMS.get((*key, data[place]))
        if found is not None:
            return found
    return _ITEMS.get((*key, None), cls)


def _critical_head(kind: int, of: str | None, plus: int) -> list[Any]:
    return [
        ExtensionTypeField(kind),
        ByteField("reserved", 0),
        LengthField(of=of, plus=plus, fmt="H"),
    ]


def _normal_head(kind: int, of: str | None, plus: int) -> list[Any]:
    return [
        ExtensionTypeField(kind),
        LengthField(of=of, plus=plus),
        ShortField("reserved", 0),
    ]


def _body(vendor_id: int, vendor_type: int) -> list[Any]:
    return [
        IntEnumField("vendor_id", vendor_id, VENDORS),
        ShortField("vendor_type", vendor_type),
    ]


@register_extension
class MIPOldCriticalVendorOrganizationSpecific(MIPExtension):
    """The same as type 38 under its first number. RFC 3025 section 2.1."""

    name = "Critical Vendor/Organization Specific (obsolete number)"
    extension_type = ExtensionType.OLD_CRITICAL_VENDOR_SPECIFIC
    header_size = 4
    fields_desc = [
        *_critical_head(ExtensionType.OLD_CRITICAL_VENDOR_SPECIFIC, "vendor_value", 6),
        *_body(0, 0),
        RestField("vendor_value", b"", plus=6),
    ]
    narrowed = classmethod(_narrow)


@register_extension
class MIPCriticalVendorOrganizationSpecific(MIPExtension):
    """Critical Vendor/Organization Specific extension, CVSE. RFC 3115 section 2.1.

    The length does not count the reserved byte (RFC 4784 section 9).
    """

    name = "Critical Vendor/Organization Specific"
    extension_type = ExtensionType.CRITICAL_VENDOR_SPECIFIC
    header_size = 4
    fields_desc = [
        *_critical_head(ExtensionType.CRITICAL_VENDOR_SPECIFIC, "vendor_value", 6),
        *_body(0, 0),
        RestField("vendor_value", b"", plus=6),
    ]
    narrowed = classmethod(_narrow)


@register_extension
class MIPOldNormalVendorOrganizationSpecific(MIPExtension):
    """The same as type 134 under its first number. RFC 3025 section 2.2."""

    name = "Normal Vendor/Organization Specific (obsolete number)"
    extension_type = ExtensionType.OLD_NORMAL_VENDOR_SPECIFIC
    fields_desc = [
        *_normal_head(ExtensionType.OLD_NORMAL_VENDOR_SPECIFIC, "vendor_value", 8),
        *_body(0, 0),
        RestField("vendor_value", b"", plus=8),
    ]
    narrowed = classmethod(_narrow)


@register_extension
class MIPNormalVendorOrganizationSpecific(MIPExtension):
    """Normal Vendor/Organization Specific extension, NVSE. RFC 3115 section 2.2."""

    name = "Normal Vendor/Organization Specific"
    extension_type = ExtensionType.NORMAL_VENDOR_SPECIFIC
    fields_desc = [
        *_normal_head(ExtensionType.NORMAL_VENDOR_SPECIFIC, "vendor_value", 8),
        *_body(0, 0),
        RestField("vendor_value", b"", plus=8),
    ]
    narrowed = classmethod(_narrow)


MIPCVSE = MIPCriticalVendorOrganizationSpecific
MIPNVSE = MIPNormalVendorOrganizationSpecific


def vendor_fields(
    base: type[MIPExtension], vendor_id: int, vendor_type: int, *item: Any
) -> list[Any]:
    """Return the fields of a vendor's item, from the type of the extension on.

    :param base: `MIPCVSE` or `MIPNVSE`.
    :param item: the item's own fields. The last one may be variable: a `RestField`, a
        `TextField` or one of Scapy's that ends with the data.
    """
    critical = base.header_size == 4
    fields = list(item)
    fixed = fixed_bytes(fields) + (6 if critical else 8)
    of = None
    if fields and (fields[-1].islist or isinstance(fields[-1], StrField)):
        of = fields[-1].name
        if isinstance(fields[-1], RestField):
            fields[-1] = copy.copy(fields[-1])
            fields[-1].count_from(fixed)
    head = _critical_head if critical else _normal_head
    kind = int(base.extension_type or 0)
    return [*head(kind, of, fixed), *_body(vendor_id, vendor_type), *fields]


def register_vendor_item(cls: type[MIPExtension]) -> type[MIPExtension]:
    """Make dissection give `cls` for its vendor and type; usable as a decorator.

    :raises ValueError: its fields are not those of `vendor_fields`.
    """
    defaults: dict[str, Any] = {field.name: field.default for field in cls.fields_desc}
    try:
        critical = cls.header_size == 4
        vendor, kind = int(defaults["vendor_id"]), int(defaults["vendor_type"])
    except KeyError:
        raise ValueError(f"{cls.__name__} has no vendor and type") from None
    names = [field.name for field in cls.fields_desc]
    own = names[names.index("vendor_type") + 1 :]
    sub_type = int(defaults["sub_type"]) if own[:1] == ["sub_type"] else None
    cls.least_body = fixed_bytes(cls.fields_desc) - cls.header_size
    _ITEMS[critical, vendor, kind, sub_type] = cls
    if sub_type is not None:
        _WITH_SUBTYPES.add((critical, vendor, kind))
    ExtensionListField.walk.forget()
    return cls


def vendor_items() -> dict[tuple[bool, int, int, int | None], type[MIPExtension]]:
    """Return the class of every registered item.

    They are found by whether they are critical, vendor, vendor's type and sub-type.
    """
    return dict(_ITEMS)


# Verizon Wireless, RFC 4784 section 9


@register_vendor_item
class MIPVerizonMIPKeyRequest(MIPCVSE):
    """Verizon's request to update the keys. RFC 4784 section 9."""

    name = "Verizon MIP_Key_Request"
    fields_desc = vendor_fields(MIPCVSE, VERIZON, 1, ByteField("pkoid", 0))


@register_vendor_item
class MIPVerizonMIPKeyData(MIPCVSE):
    """Verizon's encrypted keys. RFC 4784 section 9.

    The registry calls the field `payload`, which means something else to Scapy.
    """

    name = "Verizon MIP_Key_Data"
    json_names = {"key_data": "payload"}
    fields_desc = vendor_fields(MIPCVSE, VERIZON, 2, RestField("key_data", b""))


@register_vendor_item
class MIPVerizonAAAAuthenticator(MIPCVSE):
    """Verizon's proof that the keys arrived. RFC 4784 section 9."""

    name = "Verizon AAA_Authenticator"
    fields_desc = vendor_fields(MIPCVSE, VERIZON, 3, XLongField("aaa_authenticator", 0))


@register_vendor_item
class MIPVerizonPublicKeyInvalid(MIPCVSE):
    """Verizon's refusal of a public key; it has no value. RFC 4784 section 9."""

    name = "Verizon Public Key Invalid"
    fields_desc = vendor_fields(MIPCVSE, VERIZON, 4)


# Cisco: host configuration, RFC 4332 section 3

HOST_CONFIGURATION = 14
"""The vendor type of all of Cisco's items. RFC 4332 section 3."""


@register_vendor_item
class MIPCiscoHostConfigurationRequest(MIPNVSE):
    """Request for configuration; a selector of 0 asks for all. RFC 4332 section 3.1."""

    name = "Cisco Host Configuration Request"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 0),
        ByteField("selector", 0),
    )


@register_vendor_item
class MIPCiscoHomeNetworkPrefixLength(MIPNVSE):
    """Prefix length of the home network. RFC 4332 section 3.2."""

    name = "Cisco Home Network Prefix Length"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 1),
        ByteField("prefix_length", 24),
    )


@register_vendor_item
class MIPCiscoDNSServer(MIPNVSE):
    """Two name servers. RFC 4332 section 3.3."""

    name = "Cisco DNS Server"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 2),
        IPField("primary", "0.0.0.0"),
        IPField("secondary", "0.0.0.0"),
    )


@register_vendor_item
class MIPCiscoDHCPServer(MIPNVSE):
    """The home network's DHCP server. RFC 4332 section 3.4."""

    name = "Cisco DHCP Server"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 3),
        IPField("server", "0.0.0.0"),
    )


@register_vendor_item
class MIPCiscoDHCPClientID(MIPNVSE):
    """What the node is called by DHCP. RFC 4332 section 3.5."""

    name = "Cisco DHCP Client ID"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 4),
        RestField("client_id", b""),
    )


@register_vendor_item
class MIPCiscoDefaultGateway(MIPNVSE):
    """The home network's gateway. RFC 4332 section 3.6."""

    name = "Cisco Default Gateway"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 5),
        IPField("gateway", "0.0.0.0"),
    )


@register_vendor_item
class MIPCiscoDNSSuffix(MIPNVSE):
    """The home network's domain. RFC 4332 section 3.7."""

    name = "Cisco DNS Suffix"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 6),
        TextField("suffix", b""),
    )


@register_vendor_item
class MIPCiscoConfigurationURL(MIPNVSE):
    """Where more configuration is. RFC 4332 section 3.8."""

    name = "Cisco Configuration URL"
    fields_desc = vendor_fields(
        MIPNVSE,
        CISCO,
        HOST_CONFIGURATION,
        ByteField("sub_type", 7),
        TextField("url", b""),
    )


# 3GPP2, as other decoders know them


@register_vendor_item
class MIP3GPP2PPPLinkIndicator(MIPNVSE):
    """3GPP2's indicator of a PPP link."""

    name = "3GPP2 PPP Link Indicator"
    fields_desc = vendor_fields(MIPNVSE, GPP2, 16, ShortField("value", 0))


@register_vendor_item
class MIP3GPP2DNSServerIPAddress(MIPNVSE):
    """3GPP2's two name servers."""

    name = "3GPP2 DNS server IP address"
    fields_desc = vendor_fields(
        MIPNVSE,
        GPP2,
        17,
        ByteField("entity_type", 0),
        ByteField("sub_type1", 1),
        ByteField("length1", 6),
        IPField("primary_dns", "0.0.0.0"),
        ByteField("sub_type2", 2),
        ByteField("length2", 6),
        IPField("secondary_dns", "0.0.0.0"),
    )


@register_vendor_item
class MIP3GPP2GREKey(MIPCVSE):
    """3GPP2's GRE key, from before RFC 6245."""

    name = "3GPP2 GRE Key"
    fields_desc = vendor_fields(MIPCVSE, GPP2, 1025, XIntField("gre_key", 0))
