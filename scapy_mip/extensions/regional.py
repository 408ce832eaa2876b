# SPDX-License-Identifier: GPL-2.0-only
"""Extensions of regional registration. RFC 4857 section 9."""

from __future__ import annotations

from scapy.fields import IntField, IPField, ShortEnumField, ShortField

from scapy_mip.const import REPLAY_PROTECTION_STYLES, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import IdentificationField, LengthField


@register_extension
class MIPGFAIPAddress(MIPExtension):
    """GFA IP Address extension. RFC 4857 section 9.1."""

    name = "GFA IP Address"
    extension_type = ExtensionType.GFA_IP_ADDRESS
    fields_desc = [
        ExtensionTypeField(ExtensionType.GFA_IP_ADDRESS),
        LengthField(plus=6),
        ShortField("reserved", 0),
        IPField("gfa_address", "0.0.0.0"),
    ]


@register_extension
class MIPHierarchicalForeignAgent(MIPExtension):
    """Hierarchical Foreign Agent extension. RFC 4857 section 9.2."""

    name = "Hierarchical Foreign Agent"
    extension_type = ExtensionType.HIERARCHICAL_FOREIGN_AGENT
    fields_desc = [
        ExtensionTypeField(ExtensionType.HIERARCHICAL_FOREIGN_AGENT),
        LengthField(plus=6),
        ShortField("reserved", 0),
        IPField("fa_address", "0.0.0.0"),
    ]


@register_extension
class MIPReplayProtectionStyle(MIPExtension):
    """Replay Protection Style extension. RFC 4857 section 9.3.

    Its length is that of the figure. The text says 2: what states that ends behind the
    style (`MIPReplayProtectionStyleShort`), unless `lenient_replay_style` is set in
    `conf.contribs["mip"]`.
    """

    name = "Replay Protection Style"
    extension_type = ExtensionType.REPLAY_PROTECTION_STYLE
    fields_desc = [
        ExtensionTypeField(ExtensionType.REPLAY_PROTECTION_STYLE),
        LengthField(plus=10),
        ShortEnumField("style", 0, REPLAY_PROTECTION_STYLES),
        IdentificationField("initial_identification", 0),
    ]

    @classmethod
    def narrowed(cls, data: bytes, start: int, end: int) -> type[MIPExtension]:
        """Choose by what is there."""
        return MIPReplayProtectionStyleShort if end - start == 4 else cls


class MIPReplayProtectionStyleShort(MIPExtension):
    """Replay Protection Style extension with the length that the text gives."""

    name = "Replay Protection Style, length 2"
    fields_desc = [
        ExtensionTypeField(ExtensionType.REPLAY_PROTECTION_STYLE),
        LengthField(plus=2),
        ShortEnumField("style", 0, REPLAY_PROTECTION_STYLES),
    ]


@register_extension
class MIPRegionalRegistrationLifetime(MIPExtension):
    """Regional Registration Lifetime extension. RFC 4857 section 9.4."""

    name = "Regional Registration Lifetime"
    extension_type = ExtensionType.REGIONAL_REGISTRATION_LIFETIME
    fields_desc = [
        ExtensionTypeField(ExtensionType.REGIONAL_REGISTRATION_LIFETIME),
        LengthField(plus=6),
        ShortField("reserved", 0),
        IntField("lifetime", 0),
    ]
