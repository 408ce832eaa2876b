# SPDX-License-Identifier: GPL-2.0-only
"""Handover messages: low-latency (RFC 4881) and fast handovers (RFC 4988)."""

from __future__ import annotations

from scapy.fields import BitField, ByteEnumField, FlagsField, IPField, ShortField

from scapy_mip.base import MessageTypeField, register_message
from scapy_mip.const import (
    DEFAULT_LIFETIME,
    FAST_BINDING_CODES,
    FAST_BINDING_MAX_LIFETIME,
    HANDOFF_REPLY_CODES,
    MessageType,
)
from scapy_mip.extensions.base import ExtensionListField
from scapy_mip.fields import IdentificationField, LifetimeField
from scapy_mip.pairing import PairedMessage

_HANDOFF_FLAGS = "BTGMRNH"
_FAST_BINDING_FLAGS = ["x", "T", "r", "G", "M", "D", "x2", "x1"]


@register_message
class MIPHandoffRequest(PairedMessage):
    """Handoff Request between foreign agents. RFC 4881 section 4.5.

    H: triggered at the source; N: at the target; both: Handoff To Third (4.7).
    R renews. M, G and T are the tunnels that the node may use, B: it has one.
    """

    name = "Mobile IP Handoff Request"
    message_type = MessageType.HANDOFF_REQUEST
    summary_format = "%home_address% HA %home_agent% lifetime %lifetime% flags %flags%"
    fields_desc = [
        MessageTypeField(MessageType.HANDOFF_REQUEST),
        FlagsField("flags", 0, 7, _HANDOFF_FLAGS),
        BitField("reserved", 0, 17),
        LifetimeField("lifetime", DEFAULT_LIFETIME),
        ShortField("reserved2", 0),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]


@register_message
class MIPHandoffReply(PairedMessage):
    """Handoff Reply between foreign agents. RFC 4881 section 4.6."""

    name = "Mobile IP Handoff Reply"
    message_type = MessageType.HANDOFF_REPLY
    answered = MIPHandoffRequest
    summary_format = "%home_address% HA %home_agent% code %code% lifetime %lifetime%"
    fields_desc = [
        MessageTypeField(MessageType.HANDOFF_REPLY),
        FlagsField("flags", 0, 7, _HANDOFF_FLAGS),
        BitField("reserved", 0, 9),
        ByteEnumField("code", 0, HANDOFF_REPLY_CODES),
        LifetimeField("lifetime", DEFAULT_LIFETIME),
        ShortField("reserved2", 0),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]


@register_message
class MIPFastBindingUpdate(PairedMessage):
    """Fast Binding Update, bit for bit a Registration Request. RFC 4988 section 5.1.

    The figure draws 6 reserved bits and a lifetime of 10; with the 10 seconds that it
    may last at most, that is the same as the 16 bits here.
    """

    name = "Mobile IP Fast Binding Update"
    message_type = MessageType.FAST_BINDING_UPDATE
    summary_format = (
        "%home_address% at %care_of_address% "
        "HA %home_agent% lifetime %lifetime% flags %flags%"
    )
    fields_desc = [
        MessageTypeField(MessageType.FAST_BINDING_UPDATE),
        FlagsField("flags", 0, 8, _FAST_BINDING_FLAGS),
        LifetimeField("lifetime", FAST_BINDING_MAX_LIFETIME),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IPField("care_of_address", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]


@register_message
class MIPFastBindingAcknowledgment(PairedMessage):
    """Fast Binding Acknowledgment of the previous router. RFC 4988 section 5.2."""

    name = "Mobile IP Fast Binding Acknowledgment"
    message_type = MessageType.FAST_BINDING_ACKNOWLEDGMENT
    answered = MIPFastBindingUpdate
    summary_format = "%home_address% HA %home_agent% code %code% lifetime %lifetime%"
    fields_desc = [
        MessageTypeField(MessageType.FAST_BINDING_ACKNOWLEDGMENT),
        ByteEnumField("code", 0, FAST_BINDING_CODES),
        LifetimeField("lifetime", FAST_BINDING_MAX_LIFETIME),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]
