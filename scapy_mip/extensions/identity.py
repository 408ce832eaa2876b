# SPDX-License-Identifier: GPL-2.0-only
"""Extensions that say who a node is, which home agent and which service it wants.

RFC 2794, RFC 3846, RFC 4433, RFC 5446.
"""

from __future__ import annotations

from scapy.fields import ByteEnumField, IPField

from scapy_mip.const import NAI_CARRYING_SUBTYPES, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, TextField


@register_extension
class MIPMobileNodeNAI(MIPExtension):
    """Mobile Node NAI extension: the node's name, `user@realm`. RFC 2794 section 2."""

    name = "Mobile Node NAI"
    extension_type = ExtensionType.MOBILE_NODE_NAI
    fields_desc = [
        ExtensionTypeField(ExtensionType.MOBILE_NODE_NAI),
        LengthField(of="nai"),
        TextField("nai", b""),
    ]

    def mysummary(self) -> str:
        """Show the name."""
        return f"NAI {self.nai!a}"


@register_extension
class MIPNAICarrying(MIPExtension):
    """NAI Carrying extension: the name of an agent or server. RFC 3846 section 3."""

    name = "NAI Carrying"
    extension_type = ExtensionType.NAI_CARRYING
    fields_desc = [
        ExtensionTypeField(ExtensionType.NAI_CARRYING),
        LengthField(of="nai", plus=1),
        ByteEnumField("subtype", 1, NAI_CARRYING_SUBTYPES),
        TextField("nai", b"", plus=1),
    ]

    def mysummary(self) -> str:
        """Show whose name it is."""
        return self.sprintf("NAI of %subtype% ") + ascii(self.nai)


DYNAMIC_HA_SUBTYPES = {1: "requested HA", 2: "redirected HA"}
"""What is said about the home agent. RFC 4433 section 3.4."""


@register_extension
class MIPDynamicHA(MIPExtension):
    """Dynamic HA extension in the long format, as RFC 4433 section 3.4 draws it."""

    name = "Dynamic HA"
    extension_type = ExtensionType.DYNAMIC_HA
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.DYNAMIC_HA),
        ByteEnumField("subtype", 1, DYNAMIC_HA_SUBTYPES),
        LengthField(plus=4, fmt="H"),
        IPField("ha_address", "0.0.0.0"),
    ]


@register_extension
class MIPDynamicHAShort(MIPExtension):
    """Dynamic HA extension in the short format, which suits its skippable type.

    Wireshark and what was tested against it use this one.
    """

    name = "Dynamic HA, short"
    extension_type = ExtensionType.DYNAMIC_HA
    fields_desc = [
        ExtensionTypeField(ExtensionType.DYNAMIC_HA),
        LengthField(plus=5),
        ByteEnumField("subtype", 1, DYNAMIC_HA_SUBTYPES),
        IPField("ha_address", "0.0.0.0"),
    ]


@register_extension
class MIPServiceSelection(MIPExtension):
    """Service Selection extension: the service that is wanted. RFC 5446 section 3."""

    name = "Service Selection"
    extension_type = ExtensionType.SERVICE_SELECTION
    fields_desc = [
        ExtensionTypeField(ExtensionType.SERVICE_SELECTION),
        LengthField(of="identifier"),
        TextField("identifier", b""),
    ]


MIPNAI = MIPMobileNodeNAI
