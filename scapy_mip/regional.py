# SPDX-License-Identifier: GPL-2.0-only
"""Regional registration with a gateway foreign agent. RFC 4857 section 10."""

from __future__ import annotations

from scapy.fields import ByteEnumField, FlagsField, IPField

from scapy_mip.base import MessageTypeField, register_message
from scapy_mip.const import DEFAULT_LIFETIME, MessageType
from scapy_mip.extensions.base import ExtensionListField
from scapy_mip.fields import IdentificationField, LifetimeField
from scapy_mip.pairing import PairedMessage
from scapy_mip.registration import CODE_NAMES, REQUEST_FLAGS


@register_message
class MIPRegionalRegistrationRequest(PairedMessage):
    """Regional Registration Request. RFC 4857 section 10.1."""

    name = "Mobile IP Regional Registration Request"
    message_type = MessageType.REGIONAL_REGISTRATION_REQUEST
    summary_format = (
        "%home_address% at %care_of_address% "
        "GFA %gfa_address% lifetime %lifetime% flags %flags%"
    )
    fields_desc = [
        MessageTypeField(MessageType.REGIONAL_REGISTRATION_REQUEST),
        FlagsField("flags", 0, 8, "".join(REQUEST_FLAGS)),
        LifetimeField("lifetime", DEFAULT_LIFETIME),
        IPField("home_address", "0.0.0.0"),
        IPField("gfa_address", "0.0.0.0"),
        IPField("care_of_address", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]


@register_message
class MIPRegionalRegistrationReply(PairedMessage):
    """Regional Registration Reply. RFC 4857 section 10.2."""

    name = "Mobile IP Regional Registration Reply"
    message_type = MessageType.REGIONAL_REGISTRATION_REPLY
    answered = MIPRegionalRegistrationRequest
    summary_format = "%home_address% GFA %gfa_address% code %code% lifetime %lifetime%"
    fields_desc = [
        MessageTypeField(MessageType.REGIONAL_REGISTRATION_REPLY),
        ByteEnumField("code", 0, CODE_NAMES),
        LifetimeField("lifetime", DEFAULT_LIFETIME),
        IPField("home_address", "0.0.0.0"),
        IPField("gfa_address", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]
