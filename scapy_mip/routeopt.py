# SPDX-License-Identifier: GPL-2.0-only
"""Return routability test of route optimization. RFC 6521 sections 5.6 to 5.9."""

from __future__ import annotations

from scapy.fields import ByteField, ShortField, XLongField

from scapy_mip.base import MessageTypeField, register_message
from scapy_mip.const import MessageType
from scapy_mip.pairing import Paired


class ReturnRoutability(Paired):
    """A message of the test; it has no extensions."""

    pairing_mask = (1 << 64) - 1

    @classmethod
    def is_whole(cls, data: bytes, size: int) -> bool:
        """Return whether nothing follows the fixed part."""
        return len(data) == size


@register_message
class MIPHomeTestInit(ReturnRoutability):
    """Home Test Init, by way of the home agent. RFC 6521 section 5.6."""

    name = "Mobile IP Home Test Init"
    message_type = MessageType.HOME_TEST_INIT
    pairing_field = "home_init_cookie"
    summary_format = "cookie %home_init_cookie%"
    fields_desc = [
        MessageTypeField(MessageType.HOME_TEST_INIT),
        ByteField("reserved", 0),
        XLongField("home_init_cookie", 0),
    ]


@register_message
class MIPCareOfTestInit(ReturnRoutability):
    """Care-of Test Init, sent directly. RFC 6521 section 5.7."""

    name = "Mobile IP Care-of Test Init"
    message_type = MessageType.CARE_OF_TEST_INIT
    pairing_field = "care_of_init_cookie"
    summary_format = "cookie %care_of_init_cookie%"
    fields_desc = [
        MessageTypeField(MessageType.CARE_OF_TEST_INIT),
        ByteField("reserved", 0),
        XLongField("care_of_init_cookie", 0),
    ]


@register_message
class MIPHomeTest(ReturnRoutability):
    """Home Test: half of the key, to the home address. RFC 6521 section 5.8."""

    name = "Mobile IP Home Test"
    message_type = MessageType.HOME_TEST
    pairing_field = "home_init_cookie"
    answered = MIPHomeTestInit
    summary_format = "cookie %home_init_cookie% nonce %nonce_index%"
    fields_desc = [
        MessageTypeField(MessageType.HOME_TEST),
        ByteField("reserved", 0),
        ShortField("nonce_index", 0),
        XLongField("home_init_cookie", 0),
        XLongField("home_keygen_token", 0),
    ]


@register_message
class MIPCareOfTest(ReturnRoutability):
    """Care-of Test: the other half, to the care-of address. RFC 6521 section 5.9."""

    name = "Mobile IP Care-of Test"
    message_type = MessageType.CARE_OF_TEST
    pairing_field = "care_of_init_cookie"
    answered = MIPCareOfTestInit
    summary_format = "cookie %care_of_init_cookie% nonce %nonce_index%"
    fields_desc = [
        MessageTypeField(MessageType.CARE_OF_TEST),
        ByteField("reserved", 0),
        ShortField("nonce_index", 0),
        XLongField("care_of_init_cookie", 0),
        XLongField("care_of_keygen_token", 0),
    ]
