# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node does about each code that denies a registration through an agent.

RFC 5944 section 3.6.2.3, RFC 3024 section 3.4. Directly with the home agent nothing is
given up, as what is asked for there is what the user wrote; through a foreign agent the
node takes what it can get. The codes 133 and 136 are no denials: they are followed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from mip_agents.protocol.reply_checks import is_of_foreign_agent
from mip_agents.protocol.terms import Terms
from scapy_mip.const import Encapsulation, ReplyCode

AUTHENTICATION_FAILURES = frozenset(
    {
        ReplyCode.FA_MN_FAILED_AUTHENTICATION,
        ReplyCode.FA_HA_FAILED_AUTHENTICATION,
        ReplyCode.HA_MN_FAILED_AUTHENTICATION,
        ReplyCode.HA_FA_FAILED_AUTHENTICATION,
    }
)
"""Codes that are to be logged (MN-32)."""


class Reaction(enum.Enum):
    """What follows where nothing, or nothing more, can be given up."""

    NEXT_CARE_OF_ADDRESS = "another care-of address of the same agent, or another agent"
    NEXT_AGENT = "another agent"
    BACK_OFF = "the same again, much later"


def reaction(code: int) -> Reaction:
    """Return what follows a denial.

    What a foreign agent refuses another one may grant. The home agent is the same
    behind all of them, unless it is the foreign agent that it does not trust.
    """
    if code == ReplyCode.FA_INVALID_CARE_OF_ADDRESS:
        return Reaction.NEXT_CARE_OF_ADDRESS  # MN-07
    if code == ReplyCode.HA_FA_FAILED_AUTHENTICATION or is_of_foreign_agent(code):
        return Reaction.NEXT_AGENT
    return Reaction.BACK_OFF


def concede(terms: Terms, code: int, lifetime: int) -> Terms | None:
    """Return terms without what a denial refuses, or with what it demands.

    None where the denial names nothing that could still be changed.
    :param lifetime: of the reply; of all denials it means something with 69 alone
        (COM-17).
    """
    for change in _CONCESSIONS.get(code, ()):
        changed = change(terms, lifetime)
        if changed != terms:
            return changed
    return None


def _shorter(terms: Terms, lifetime: int) -> Terms:
    return replace(terms, lifetime=min(terms.lifetime, lifetime or terms.lifetime))


def _ip_in_ip(terms: Terms, _: int) -> Terms:
    return replace(terms, encapsulation=Encapsulation.IPIP)


def _delivered_directly(terms: Terms, _: int) -> Terms:
    return replace(terms, encapsulating=False)


def _without_reverse_tunnel(terms: Terms, _: int) -> Terms:
    return replace(terms, reverse_tunnel=False, encapsulating=False)


def _with_reverse_tunnel(terms: Terms, _: int) -> Terms:
    return replace(terms, reverse_tunnel=True)


_CONCESSIONS: dict[int, tuple[Callable[[Terms, int], Terms], ...]] = {
    ReplyCode.FA_LIFETIME_TOO_LONG: (_shorter,),  # MN-34
    # RT-06: what agents say who know nothing of reverse tunnels.
    ReplyCode.FA_POORLY_FORMED_REQUEST: (_delivered_directly, _without_reverse_tunnel),
    ReplyCode.HA_POORLY_FORMED_REQUEST: (_without_reverse_tunnel,),
    ReplyCode.FA_ENCAPSULATION_UNAVAILABLE: (_ip_in_ip,),
    ReplyCode.HA_ENCAPSULATION_UNAVAILABLE: (_ip_in_ip,),
    ReplyCode.FA_REVERSE_TUNNEL_UNAVAILABLE: (_without_reverse_tunnel,),
    ReplyCode.HA_REVERSE_TUNNEL_UNAVAILABLE: (_without_reverse_tunnel,),
    ReplyCode.FA_REVERSE_TUNNEL_MANDATORY: (_with_reverse_tunnel,),
    ReplyCode.HA_REVERSE_TUNNEL_MANDATORY: (_with_reverse_tunnel,),
    ReplyCode.FA_DELIVERY_STYLE_NOT_SUPPORTED: (_delivered_directly,),
}
"""What can be given up at each code, one thing after the other."""
