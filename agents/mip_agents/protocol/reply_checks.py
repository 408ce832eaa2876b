# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node checks in a Registration Reply. RFC 5944 section 3.6.2.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mip_agents.protocol.attachment import ForeignAgent
from mip_agents.protocol.policy import MobileNodePolicy
from mip_agents.protocol.view import Reply
from scapy_mip.auth import SecurityAssociation, verify
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
    """Return whether a home agent issues this code (C-14: ranges do not tell)."""
    known = REPLY_CODES.get(code)
    if known is None:
        return code >= _UNASSIGNED_HOME_AGENT_MIN
    return known in ACCEPTING or known.issuer is Issuer.HA


def is_of_foreign_agent(code: int) -> bool:
    """Return whether the agent issues this code that the node registers through."""
    known = REPLY_CODES.get(code)
    if known is not None and known.issuer is Issuer.FA:
        return True
    return ReplyCode.FA_REASON_UNSPECIFIED <= code < _UNASSIGNED_HOME_AGENT_MIN


def check_reply(
    policy: MobileNodePolicy,
    reply: Reply,
    sent: int | None,
    source: str,
    agent: ForeignAgent | None = None,
) -> Unbelievable | None:
    """Return why a reply is not to be believed (MN-29 to MN-31); None if it is.

    Where a home agent's reply came from does not matter: those with several addresses
    answer from any. A foreign agent's own code needs no authentication unless there is
    an association with it, so that it must come from the agent that was asked.
    :param sent: Identification of the latest request, None if no reply is awaited.
    :param agent: through whom the request went; None: to the home agent directly.
    """
    if ExtensionType.GRE_KEY in reply.extension_types:
        return Unbelievable("COM-01", "a GRE key is for foreign agents")
    if sent is None:
        return Unbelievable("MN-29", "no reply is awaited")
    if split(reply.identification)[1] != split(sent)[1]:
        return Unbelievable("MN-29", "Identification is not that of the latest request")
    if reply.home_address != policy.home_address:
        return Unbelievable("MN-29", "another node's home address")
    if agent is not None and policy.foreign_agents.serves(agent.address):
        shared = partial(policy.foreign_agents.find, agent.address)
        kind = ExtensionType.MOBILE_FOREIGN_AUTHENTICATION
        doubt = _authenticate(reply, kind, "MN-30", "mobile-foreign", shared)
        if doubt is not None:
            return doubt
    if agent is not None and is_of_foreign_agent(reply.code):
        if source != agent.address:
            return Unbelievable("MN-29", "not from the agent that was asked")
        return None
    if not is_of_home_agent(reply.code):
        return Unbelievable("MN-31", "not a home agent's code")

    def of_home_agent(spi: int) -> SecurityAssociation | None:
        return policy.security if spi == policy.security.spi else None

    kind = ExtensionType.MOBILE_HOME_AUTHENTICATION
    return _authenticate(reply, kind, "MN-31", "mobile-home", of_home_agent)


def _authenticate(
    reply: Reply,
    kind: ExtensionType,
    rule: str,
    name: str,
    association: Callable[[int], SecurityAssociation | None],
) -> Unbelievable | None:
    """Ask for exactly one valid extension of a kind."""
    found = [one for one in reply.authentications if one.type == kind]
    if len(found) != 1:
        return Unbelievable(rule, f"{len(found)} {name} authentications")
    shared = association(found[0].spi)
    if shared is None:
        return Unbelievable(rule, f"unknown SPI {found[0].spi} of {name}")
    if not verify(shared, reply.data, found[0].offset):
        return Unbelievable(rule, f"invalid {name} authenticator")
    return None
