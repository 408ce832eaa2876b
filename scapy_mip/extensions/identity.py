# SPDX-License-Identifier: GPL-2.0-only
"""Extensions that say who a node is. RFC 2794."""

from __future__ import annotations

from scapy_mip.const import ExtensionType
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


MIPNAI = MIPMobileNodeNAI
