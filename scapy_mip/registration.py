# SPDX-License-Identifier: GPL-2.0-only
"""Registration Request and Registration Reply. RFC 5944 sections 3.3 and 3.4."""

from __future__ import annotations

from typing import Any

from scapy.fields import ByteEnumField, FlagsField, IPField
from scapy.packet import Packet

from scapy_mip.base import MessageTypeField, MIPMessage, register_message, with_udp
from scapy_mip.const import (
    DEFAULT_LIFETIME,
    REPLY_CODES,
    MessageType,
    RequestFlag,
    describe_code,
)
from scapy_mip.extensions.base import ExtensionListField
from scapy_mip.fields import IdentificationField, LifetimeField
from scapy_mip.ident import LOW_MASK

REQUEST_FLAGS = [
    flag.name or "" for flag in sorted(RequestFlag, key=lambda flag: flag.value)
]
"""Flag letters, least significant bit first, as Scapy wants them."""

CODE_NAMES: dict[int, str] = {number: code.text for number, code in REPLY_CODES.items()}


class MIPRegistration(MIPMessage):
    """What request and reply share: they are paired by address and Identification."""

    def hashret(self) -> bytes:
        """Give the low half of Identification, which a reply repeats. RFC 5944 5.7."""
        low: int = self.identification & LOW_MASK
        return low.to_bytes(4, "big")

    def answers(self, other: Packet) -> bool:
        """Answer nothing: only replies do."""
        return False


@register_message
class MIPRegistrationRequest(MIPRegistration):
    """Registration Request, RRQ. RFC 5944 section 3.3."""

    name = "Mobile IP Registration Request"
    message_type = MessageType.REGISTRATION_REQUEST
    fields_desc = [
        MessageTypeField(MessageType.REGISTRATION_REQUEST),
        FlagsField("flags", 0, 8, "".join(REQUEST_FLAGS)),
        LifetimeField("lifetime", DEFAULT_LIFETIME),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IPField("care_of_address", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]

    def mysummary(self) -> Any:
        """Say who wants to be where, for how long."""
        return with_udp(
            self.sprintf(
                "Mobile IP RRQ %home_address% at %care_of_address% "
                "HA %home_agent% lifetime %lifetime% flags %flags%"
            )
            + self.verdicts()
        )


@register_message
class MIPRegistrationReply(MIPRegistration):
    """Registration Reply, RRP. RFC 5944 section 3.4."""

    name = "Mobile IP Registration Reply"
    message_type = MessageType.REGISTRATION_REPLY
    fields_desc = [
        MessageTypeField(MessageType.REGISTRATION_REPLY),
        ByteEnumField("code", 0, CODE_NAMES),
        LifetimeField("lifetime", DEFAULT_LIFETIME),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IdentificationField("identification", 0),
        ExtensionListField(),
    ]

    def answers(self, other: Packet) -> bool:
        """Match a request by home address and the low 32 bits of Identification.

        A request with home address 0 asks for one, so that any may come back.
        """
        if not isinstance(other, MIPRegistrationRequest):
            return False
        return (self.identification ^ other.identification) & LOW_MASK == 0 and (
            other.home_address in (self.home_address, "0.0.0.0")
        )

    def mysummary(self) -> Any:
        """Say what was decided."""
        code = self.code  # or a list of them, or a random one
        meaning = f" ({describe_code(code)})" if isinstance(code, int) else ""
        return with_udp(
            self.sprintf("Mobile IP RRP %home_address% HA %home_agent% ")
            + f"code {code}{meaning} "
            + self.sprintf("lifetime %lifetime%")
            + self.verdicts()
        )


MIPRRQ = MIPRegistrationRequest
MIPRRP = MIPRegistrationReply
