# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node checks in a Registration Reply. RFC 5944 section 3.6.2.1."""

from __future__ import annotations

from dataclasses import dataclass

from mip_agents.protocol.policy import MobileNodePolicy
from mip_agents.protocol.view import Reply
from scapy_mip.auth import verify
from scapy_mip.const import REPLY_CODES, ExtensionType, Issuer, ReplyCode
from scapy_mip.ident import split

ACCEPTING = (
    ReplyCode.ACCEPTED,
    ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS,
)
"""Code 1 is an acceptance as well: a home agent without simultaneous bindings."""

_UNASSIGNED_HOME_AGENT_MIN = 128


@dataclass(frozen=True, slots=True)
class Unbelievable:
    """A reply that is dropped without an answer."""

    rule: str
    reason: str


def is_of_home_agent(code: int) -> bool:
    """Return whether a home agent issues this code; ranges do not tell (C-14)."""
    known = REPLY_CODES.get(code)
    if known is None:
        return code >= _UNASSIGNED_HOME_AGENT_MIN
    return known in ACCEPTING or known.issuer is Issuer.HA


def check_reply(
    policy: MobileNodePolicy, reply: Reply, sent: int | None
) -> Unbelievable | None:
    """Return why a reply is not to be believed (MN-29, MN-31); None if it is.

    Where it came from does not matter: home agents with several addresses answer from
    any. Codes of foreign agents are never believed, since the node talks to its home
    agent directly, and they would need no authentication.
    :param sent: Identification of the latest request, None if no reply is awaited.
    """
    if ExtensionType.GRE_KEY in reply.extension_types:
        return Unbelievable("COM-01", "a GRE key is for foreign agents")
    if sent is None:
        return Unbelievable("MN-29", "no reply is awaited")
    if split(reply.identification)[1] != split(sent)[1]:
        return Unbelievable("MN-29", "Identification is not that of the latest request")
    if reply.home_address != policy.home_address:
        return Unbelievable("MN-29", "another node's home address")
    if not is_of_home_agent(reply.code):
        return Unbelievable("MN-31", "not a home agent's code")
    found = [
        extension
        for extension in reply.authentications
        if extension.type == ExtensionType.MOBILE_HOME_AUTHENTICATION
    ]
    if len(found) != 1:
        return Unbelievable("MN-31", f"{len(found)} mobile-home authentications")
    if found[0].spi != policy.security.spi:
        return Unbelievable("MN-31", f"unknown SPI {found[0].spi}")
    if not verify(policy.security, reply.data, found[0].offset):
        return Unbelievable("MN-31", "invalid authenticator")
    return None
