# SPDX-License-Identifier: GPL-2.0-only
"""Extensions that explain a reply: message string, foreign agent's error.

RFC 4917 section 3, RFC 4636 section 3.
"""

from __future__ import annotations

from scapy.fields import ByteEnumField, ByteField

from scapy_mip.const import REPLY_CODES, ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, TextField


@register_extension
class MIPFAError(MIPExtension):
    """FA Error extension: the code of the foreign agent. RFC 4636 section 3."""

    name = "FA Error"
    extension_type = ExtensionType.FA_ERROR
    only_subtype = 0
    fields_desc = [
        ExtensionTypeField(ExtensionType.FA_ERROR),
        LengthField(plus=2),
        ByteField("subtype", 0),
        ByteEnumField(
            "status", 64, {number: code.text for number, code in REPLY_CODES.items()}
        ),
    ]

    def mysummary(self) -> str:
        """Show the code in words."""
        return self.sprintf("FA Error %status%")


@register_extension
class MIPMessageString(MIPExtension):
    """Message String extension: UTF-8 text for people. RFC 4917 section 3."""

    name = "Message String"
    extension_type = ExtensionType.MESSAGE_STRING
    fields_desc = [
        ExtensionTypeField(ExtensionType.MESSAGE_STRING),
        LengthField(of="text", plus=1),
        ByteEnumField("subtype", 1, {1: "from HA", 2: "from FA"}),
        TextField("text", b"", plus=1),
    ]

    def mysummary(self) -> str:
        """Show the text."""
        return f"Message {self.text!a}"
