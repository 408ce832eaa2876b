# SPDX-License-Identifier: GPL-2.0-only
"""What a foreign agent checks before it relays. RFC 5944 sections 3.7.2.1, 3.7.3.1.

Each check is a function of the policy and the message; none changes anything.
`check_request` has those of a request in their order: those of RFC 5944 (FA-09 to
FA-14), behind them those of RFC 3024 section 4.2.1 (RT-04).
"""

from __future__ import annotations

from collections.abc import Container

from mip_agents.protocol.bindings import choose_encapsulation
from mip_agents.protocol.names import canonical
from mip_agents.protocol.policy import ForeignAgentPolicy, ReverseTunnel
from mip_agents.protocol.reply_checks import ACCEPTING
from mip_agents.protocol.request_checks import Denied, Dropped, is_unicast
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.view import (
    AUTHORIZING,
    Reply,
    Request,
    authorized_end,
    extension_types_in,
)
from mip_agents.protocol.visitors import UNKNOWN, Visit, Visitor
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    TTL_REVERSE_TUNNEL,
    ExtensionType,
    ReplyCode,
    RequestFlag,
)

_D, _T = RequestFlag.D.value, RequestFlag.T.value
_RESERVED = RequestFlag.r.value | RequestFlag.x.value
_MOBILE_FOREIGN = ExtensionType.MOBILE_FOREIGN_AUTHENTICATION.value
_FOREIGN_HOME = ExtensionType.FOREIGN_HOME_AUTHENTICATION.value
_DELIVERY_STYLE = ExtensionType.ENCAPSULATING_DELIVERY_STYLE.value


def check_request(
    policy: ForeignAgentPolicy,
    request: Request,
    *,
    ttl: int | None,
    offered: Container[str],
    own: Container[str],
) -> Denied | None:
    """Judge whether a request is relayed.

    :param ttl: of the datagram, where it is known.
    :param offered: care-of addresses that we offer.
    :param own: addresses of ours, on any interface.
    """
    return _check_form(policy, request, offered, own) or _check_service(
        policy, request, ttl
    )


def wants_encapsulating(request: Request) -> bool:
    """Return whether the encapsulating delivery style is asked for (RT-03).

    Its extension is for us, behind what is for the home agent, and means nothing
    without T.
    """
    end = authorized_end(request)
    if end is None or not request.flags & _T:
        return False
    return _DELIVERY_STYLE in extension_types_in(request.data, end)


def _check_form(
    policy: ForeignAgentPolicy,
    request: Request,
    offered: Container[str],
    own: Container[str],
) -> Denied | None:
    if policy.strict and request.flags & _RESERVED:
        code = ReplyCode.FA_POORLY_FORMED_REQUEST
        return Denied(code, "FA-09", "reserved bits are set")
    if not request.authentications or request.authentications[0].type not in (
        AUTHORIZING
    ):
        # No home agent would answer it.
        code = ReplyCode.FA_POORLY_FORMED_REQUEST
        return Denied(code, "COM-15", "no authorization-enabling extension comes first")
    if is_for_our_tunnel(request) and request.care_of_address not in offered:
        code = ReplyCode.FA_INVALID_CARE_OF_ADDRESS
        return Denied(code, "FA-10", "care-of address is not offered here")
    if policy.mobile_nodes.serves(request.home_address) and not vouching(
        request, _MOBILE_FOREIGN, policy.mobile_nodes, request.home_address
    ):
        code = ReplyCode.FA_MN_FAILED_AUTHENTICATION
        reason = "not one valid mobile-foreign authentication extension"
        return Denied(code, "FA-11", reason)
    if request.lifetime > policy.registration_lifetime:
        code = ReplyCode.FA_LIFETIME_TOO_LONG
        return Denied(code, "FA-12", "lifetime is too long")
    if request.home_agent in own:
        code = ReplyCode.FA_INVALID_HOME_AGENT
        return Denied(code, "FA-13", "home agent's address is one of ours")
    if not is_unicast(request.home_agent):
        code = ReplyCode.FA_NONZERO_HA_REQD
        return Denied(code, "DHA-02", "home agent's address is no unicast address")
    return _check_name(request, own)


def _check_name(request: Request, own: Container[str]) -> Denied | None:
    """Judge whether we can tell the node from others."""
    home_address = request.home_address
    if home_address == UNKNOWN:
        if request.nai is None or canonical(request.nai) is None:
            code = ReplyCode.FA_NONZERO_HOMEADDR_REQD
            return Denied(code, "FA-14", "neither a home address nor an NAI")
    elif not is_unicast(home_address) or home_address in own:
        # No code names this. Packets for it could not be handed to the node.
        code = ReplyCode.FA_POORLY_FORMED_REQUEST
        return Denied(code, "FA-09", "home address is no address of a node")
    return None


def _check_service(
    policy: ForeignAgentPolicy, request: Request, ttl: int | None
) -> Denied | None:
    """Judge whether we can do our part, in the order of RT-04.

    A deregistration asks for nothing, and the tunnels of a co-located care-of address
    do not end here. The distance is judged in any case (RT-02).
    """
    reverse = request.flags & _T
    ours = is_for_our_tunnel(request)
    form = choose_encapsulation(request.flags, policy.encapsulations)
    if ours and form is None:
        code = ReplyCode.FA_ENCAPSULATION_UNAVAILABLE
        return Denied(code, "RT-04", "encapsulation not allowed")
    if ours and not policy.encapsulating_delivery and wants_encapsulating(request):
        code = ReplyCode.FA_DELIVERY_STYLE_NOT_SUPPORTED
        return Denied(code, "RT-04", "no encapsulating delivery style")
    if ours and not reverse and policy.reverse_tunnel is ReverseTunnel.REQUIRED:
        code = ReplyCode.FA_REVERSE_TUNNEL_MANDATORY
        return Denied(code, "RT-04", "reverse tunnel is required")
    if reverse and ttl not in (None, TTL_REVERSE_TUNNEL):
        return Denied(ReplyCode.FA_MN_TOO_DISTANT, "RT-02", "TTL is not 255")
    if ours and reverse and policy.reverse_tunnel is ReverseTunnel.OFF:
        code = ReplyCode.FA_REVERSE_TUNNEL_UNAVAILABLE
        return Denied(code, "RT-04", "reverse tunnel is switched off")
    return None


def is_for_our_tunnel(request: Request) -> bool:
    """Return whether a request asks for a tunnel that ends here."""
    return request.lifetime != LIFETIME_DEREGISTER and not request.flags & _D


def check_claim(
    visit: Visit, others: list[Visit], visitor: Visitor | None
) -> Dropped | Denied | None:
    """Judge whether a home address may be claimed from a link-layer address.

    A request that another link-layer address sends again, byte for byte or with the
    same Identification, could take over what its sender is granted. And of two nodes
    with one private address, from different home networks, only one can be reached on
    a link.

    :param others: requests with the same low half of Identification that wait.
    :param visitor: who has the home address on this link now.
    """
    identification, link_address = visit.request.identification, visit.link_address
    taken = [
        (other.request.identification, other.link_address)
        for other in others
        if other.place == visit.place and other.nai == visit.nai
    ]
    if visitor is not None:
        taken.append((visitor.identification, visitor.link_address))
    if any(i == identification and a != link_address for i, a in taken):
        return Dropped("FA-22", "came before, from another link-layer address")
    if visitor is not None and is_another(
        visitor, link_address, visit.request.home_agent
    ):
        code = ReplyCode.FA_INSUFFICIENT_RESOURCES
        return Denied(code, "FA-22", "home address has a visitor of another home agent")
    return None


def is_another(visitor: Visitor, link_address: str, home_agent: str) -> bool:
    """Return whether a visitor is another node than who has the same home address.

    A node may change its home agent or its link-layer address, but not both at once.
    """
    return visitor.link_address != link_address and visitor.home_agent != home_agent


def check_reply(
    policy: ForeignAgentPolicy, visit: Visit, reply: Reply, source: str
) -> Dropped | Denied | None:
    """Judge a reply that matches a request.

    What the node could not believe is not passed on (MN-31). `Denied` is what the node
    gets in the place of the reply.
    """
    home_agent = visit.request.home_agent
    if authorized_end(reply) is None:
        return Dropped("COM-15", "no authorization-enabling extension")
    if reply.code in ACCEPTING and source != home_agent:
        return Dropped("FA-22", "grants, but is not from the home agent")
    # A grant for no time at all ends what the visitor has: it needs no less proof. Of a
    # deregistration we ask for none (C-3): it has no `foreign_home`.
    signed = visit.foreign_home is not None and (
        reply.lifetime != LIFETIME_DEREGISTER or reply.code in ACCEPTING
    )
    if signed and not vouching(reply, _FOREIGN_HOME, policy.home_agents, home_agent):
        code = ReplyCode.FA_HA_FAILED_AUTHENTICATION
        reason = "not one valid foreign-home authentication extension"
        return Denied(code, "FA-23", reason)
    return None


def check_grant(visit: Visit, reply: Reply, own: Container[str]) -> Denied | None:
    """Judge what an accepting reply says (NAI-03).

    A denial is relayed as it is: its own code says more than that something is missing.
    A home agent that is not the one that was asked may not say that it grants (HA-14):
    by the name of another it could get at the visitors of that one.
    """
    if visit.nai is not None and (
        reply.nai is None or canonical(reply.nai) != visit.nai
    ):
        return Denied(ReplyCode.FA_MISSING_NAI, "NAI-03", "reply lacks the NAI")
    if reply.home_agent == UNKNOWN:
        code = ReplyCode.FA_MISSING_HOME_AGENT
        return Denied(code, "NAI-03", "reply lacks the home agent's address")
    if reply.home_address == UNKNOWN:
        code = ReplyCode.FA_MISSING_HOMEADDR
        return Denied(code, "NAI-03", "reply lacks the home address")
    code = ReplyCode.FA_POORLY_FORMED_REPLY
    if reply.home_agent != visit.request.home_agent:
        return Denied(code, "HA-14", "reply names another home agent")
    if not is_unicast(reply.home_address) or reply.home_address in own:
        return Denied(code, "FA-26", "reply has no address of a node")
    return None


def vouching(
    message: Request | Reply, kind: int, table: SecurityTable, peer: str
) -> SecurityAssociation | None:
    """Return the association of the one extension of a kind, if it is valid.

    None where there is no such extension, or more than one, or where it is not valid
    (FA-11, FA-23).
    """
    found = [one for one in message.authentications if one.type == kind]
    if len(found) != 1:
        return None
    association = table.find(peer, found[0].spi)
    if association and verify(association, message.data, found[0].offset):
        return association
    return None
