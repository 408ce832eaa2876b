# SPDX-License-Identifier: GPL-2.0-only
"""Registration Revocation and its acknowledgment. RFC 3543 sections 3.3 and 3.4."""

from __future__ import annotations

from scapy.fields import BitField, ByteField, FlagsField, IPField, XIntField

from scapy_mip.base import MessageTypeField, register_message
from scapy_mip.const import MessageType
from scapy_mip.extensions.base import ExtensionListField
from scapy_mip.pairing import PairedMessage


@register_message
class MIPRegistrationRevocation(PairedMessage):
    """Registration Revocation. RFC 3543 section 3.3.

    Flag A says that the home agent revokes, flag I that the node is to be told.
    """

    name = "Mobile IP Registration Revocation"
    message_type = MessageType.REGISTRATION_REVOCATION
    pairing_field = "revocation_identifier"
    summary_format = (
        "%home_address% home %home_domain_address% "
        "foreign %foreign_domain_address% flags %flags%"
    )
    fields_desc = [
        MessageTypeField(MessageType.REGISTRATION_REVOCATION),
        ByteField("reserved", 0),
        FlagsField("flags", 0, 2, "IA"),
        BitField("reserved2", 0, 14),
        IPField("home_address", "0.0.0.0"),
        IPField("home_domain_address", "0.0.0.0"),
        IPField("foreign_domain_address", "0.0.0.0"),
        XIntField("revocation_identifier", 0),
        ExtensionListField(),
    ]


@register_message
class MIPRegistrationRevocationAcknowledgment(PairedMessage):
    """Registration Revocation Acknowledgment. RFC 3543 section 3.4."""

    name = "Mobile IP Registration Revocation Acknowledgment"
    message_type = MessageType.REGISTRATION_REVOCATION_ACKNOWLEDGMENT
    pairing_field = "revocation_identifier"
    answered = MIPRegistrationRevocation
    summary_format = "%home_address% flags %flags%"
    fields_desc = [
        MessageTypeField(MessageType.REGISTRATION_REVOCATION_ACKNOWLEDGMENT),
        ByteField("reserved", 0),
        FlagsField("flags", 0, 1, "I"),
        BitField("reserved2", 0, 15),
        IPField("home_address", "0.0.0.0"),
        XIntField("revocation_identifier", 0),
        ExtensionListField(),
    ]
