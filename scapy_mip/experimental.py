# SPDX-License-Identifier: GPL-2.0-only
"""The message type for experiments. RFC 4064 section 3."""

from __future__ import annotations

from scapy.fields import StrField

from scapy_mip.base import MIP, MessageTypeField, register_message
from scapy_mip.const import MessageType


@register_message
class MIPExperimentalMessage(MIP):
    """Experimental Message: what follows the type is the experimenter's."""

    name = "Mobile IP Experimental Message"
    message_type = MessageType.EXPERIMENTAL_MESSAGE
    fields_desc = [
        MessageTypeField(MessageType.EXPERIMENTAL_MESSAGE),
        StrField("opaque", b""),
    ]
