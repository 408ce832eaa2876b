# SPDX-License-Identifier: GPL-2.0-only
"""Generic Notification and its acknowledgement. RFC 6098 section 4."""

from __future__ import annotations

from scapy.fields import BitField, ByteEnumField, ByteField, FlagsField, IPField

from scapy_mip.base import MessageTypeField, register_message
from scapy_mip.const import (
    MESSAGE_DIRECTIONS,
    NOTIFICATION_ACKNOWLEDGEMENT_CODES,
    MessageType,
)
from scapy_mip.extensions.base import ExtensionListField
from scapy_mip.fields import IdentificationField
from scapy_mip.pairing import PairedMessage


@register_message
class MIPGenericNotificationMessage(PairedMessage):
    """Generic Notification Message. RFC 6098 section 4.1.

    Flag A asks for an acknowledgement.
    """

    name = "Mobile IP Generic Notification Message"
    message_type = MessageType.GENERIC_NOTIFICATION_MESSAGE
    summary_format = "%md% %home_address% HA %home_agent% CoA %care_of_address%"
    fields_desc = [
        MessageTypeField(MessageType.GENERIC_NOTIFICATION_MESSAGE),
        ByteEnumField("md", 0, MESSAGE_DIRECTIONS),
        FlagsField("flags", 0, 1, "A"),
        BitField("reserved", 0, 15),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IPField("care_of_address", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]


@register_message
class MIPGenericNotificationAcknowledgementMessage(PairedMessage):
    """Generic Notification Acknowledgement Message. RFC 6098 section 4.2."""

    name = "Mobile IP Generic Notification Acknowledgement Message"
    message_type = MessageType.GENERIC_NOTIFICATION_ACKNOWLEDGEMENT_MESSAGE
    answered = MIPGenericNotificationMessage
    summary_format = "%md% %home_address% HA %home_agent% code %code%"
    fields_desc = [
        MessageTypeField(MessageType.GENERIC_NOTIFICATION_ACKNOWLEDGEMENT_MESSAGE),
        ByteEnumField("md", 0, MESSAGE_DIRECTIONS),
        ByteEnumField("code", 0, NOTIFICATION_ACKNOWLEDGEMENT_CODES),
        ByteField("reserved", 0),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IPField("care_of_address", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]
