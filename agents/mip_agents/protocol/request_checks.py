# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent checks in a Registration Request. RFC 5944 section 3.8.2.1.

Each check is a function of the policy and the request; none changes anything. The
engine calls them in the RFC's order: authentication, Identification, the foreign
agent's authentication, and then whether the request can be granted.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapy.utils import inet_aton

from mip_agents.protocol.bindings import (
    Bindings,
    choose_encapsulation,
    has_care_of_address,
)
from mip_agents.protocol.events import Received
from mip_agents.protocol.policy import HomeAgentPolicy, ReverseTunnel
from mip_agents.protocol.security import NodeAssociation, unusual
from mip_agents.protocol.values import Value
from mip_agents.protocol.view import AUTHORIZING, Request
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    ExtensionType,
    ReplyCode,
    RequestFlag,
)

# Plain integers: operations on enumerated flags take ten times as long.
_S, _D, _T = RequestFlag.S.value, RequestFlag.D.value, RequestFlag.T.value
_RESERVED = RequestFlag.r.value | RequestFlag.x.value
_FOREIGN_HOME = ExtensionType.FOREIGN_HOME_AUTHENTICATION.value


@dataclass(frozen=True, slots=True)
class Dropped:
    """The request gets no answer."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Denied:
    """The request is answered with a code that does not grant it."""

    code: ReplyCode
    rule: str
    reason: str


class Asked(Value, frozen=True):
    """A request whose sender is known, with what it takes to answer it."""

    received: Received
    request: Request
    node: str
    """Whom we know the sender as: the NAI, or else the home address."""
    mobile_home: SecurityAssociation
    """Vouches for the request, and signs the reply."""
    unusual: NodeAssociation | None
    """The same, where its node is not treated as most are."""
    foreign_home: SecurityAssociation | None = None
    """Signs the reply for the foreign agent (HA-27)."""
    foreign_valid: bool = False
    """Exactly one foreign-home authentication extension is there, and it is valid."""
    foreign_present: bool = False

    @property
    def is_named(self) -> bool:
        """Whether the sender is known by an NAI."""
        return "@" in self.node


_UNICAST = frozenset(str(octet) for octet in range(1, 224) if octet != 127)
"""What the address of one host on a network begins with."""


def is_unicast(address: str) -> bool:
    """Return whether a dotted string can be one host's address on a network.

    >>> is_unicast("10.1.2.50"), is_unicast("224.0.0.11"), is_unicast("0.0.0.0")
    (True, False, False)
    """
    return address.partition(".")[0] in _UNICAST


def authenticate(
    policy: HomeAgentPolicy, received: Received, request: Request, node: str
) -> tuple[Asked, Denied | None] | Dropped:
    """Judge who sent the request (HA-06 to HA-08, COM-15).

    With an invalid authenticator the association is one for the denial, which the node
    is likely to have.

    :param node: whose associations to try, an NAI or a home address.
    """
    authorizing = [a for a in request.authentications if a.type in AUTHORIZING]
    if not authorizing:
        return Dropped("HA-06", "no authorization-enabling extension")
    first = authorizing[0]
    association = policy.association(node, first.spi)
    mobile_home = association or policy.any_association(node)
    if mobile_home is None:
        return Dropped("HA-06", "no security association with the mobile node")
    if request.authentications[0] is not first:
        return Dropped("COM-15", "another authentication extension comes first")
    asked = _asked(policy, received, request, node, mobile_home)
    for extension in authorizing:
        if extension is not first:
            association = policy.association(node, extension.spi)
        if association and verify(association, request.data, extension.offset):
            continue
        reason = "invalid authenticator" if association else "unknown SPI"
        shared = policy.foreign_agents.serves(received.source)
        if shared and not asked.foreign_valid:
            # HA-07 allows an answer with a valid extension of the foreign agent or
            # where no association with it exists; this is neither.
            return Dropped("HA-07", f"{reason}, foreign agent not authenticated")
        code = ReplyCode.HA_MN_FAILED_AUTHENTICATION
        return asked, Denied(code, "HA-07", reason)
    return asked, None


def _asked(
    policy: HomeAgentPolicy,
    received: Received,
    request: Request,
    node: str,
    mobile_home: SecurityAssociation,
) -> Asked:
    special = unusual(mobile_home)
    if policy.foreign_agents.is_empty and len(request.authentications) == 1:
        return Asked(received, request, node, mobile_home, special)
    foreign = [a for a in request.authentications if a.type == _FOREIGN_HOME]
    found = None
    if len(foreign) == 1:
        found = policy.foreign_agents.find(received.source, foreign[0].spi)
    valid = found is not None and verify(found, request.data, foreign[0].offset)
    signing = None
    if request.lifetime != LIFETIME_DEREGISTER:
        # Not on deregistrations (HA-27, C-3).
        signing = found if valid else policy.foreign_agents.any_of(received.source)
    present = bool(foreign)
    return Asked(received, request, node, mobile_home, special, signing, valid, present)


def check_foreign_agent(
    policy: HomeAgentPolicy, asked: Asked
) -> Denied | Dropped | None:
    """Judge the foreign agent's authentication (HA-10 to HA-12)."""
    known = policy.foreign_agents
    if not asked.foreign_present and known.is_empty:  # nothing to judge
        return None
    received, request = asked.received, asked.request
    if not known.serves(received.source):
        if asked.foreign_present:
            return Dropped("HA-11", "no security association with the foreign agent")
        return None
    if request.lifetime == LIFETIME_DEREGISTER or asked.foreign_valid:
        return None
    co_located = request.flags & _D
    if co_located and request.care_of_address != received.source:
        # A foreign agent that relays for a co-located address must not add its
        # extension (section 3.5.4), so it cannot be asked for.
        return None
    code = ReplyCode.HA_FA_FAILED_AUTHENTICATION
    return Denied(code, "HA-10", "not one valid foreign-home authentication")


def check_destination(
    policy: HomeAgentPolicy, received: Received, request: Request
) -> Denied | None:
    """Judge whom the request is for, and whether it is formed well (HA-13 to HA-15).

    The reserved bits r and x are ignored, as section 3.3 has it, or denied, as section
    3.8.2.3 has it, where the policy is strict (C-1).
    """
    if received.destination in policy.broadcast_addresses:
        code = ReplyCode.HA_UNKNOWN_HOME_AGENT
        return Denied(code, "HA-13", "sent to a broadcast address")
    if request.home_agent != policy.address:
        code = ReplyCode.HA_UNKNOWN_HOME_AGENT
        return Denied(code, "HA-14", "asks for another home agent")
    if policy.strict and request.flags & _RESERVED:
        code = ReplyCode.HA_POORLY_FORMED_REQUEST
        return Denied(code, "HA-15", "reserved bits are set")
    return None


def serves(policy: HomeAgentPolicy, home_address: str) -> bool:
    """Return whether an address can be the home address of a node (HA-16)."""
    if home_address == policy.address:
        return False
    return int.from_bytes(inet_aton(home_address), "big") in policy.hosts


def check_service(
    policy: HomeAgentPolicy, request: Request, bindings: Bindings
) -> Denied | None:
    """Judge whether what the request asks for can be given; bindings are the present.

    A deregistration asks for nothing and passes. The order is that of RFC 3024
    section 4.3.1 (RT-05) with the number of bindings (HA-17) behind it.
    """
    if request.lifetime == LIFETIME_DEREGISTER:
        return None
    care_of_address = request.care_of_address
    # What has a binding was found to be fit, at the start as well.
    if not has_care_of_address(bindings, care_of_address):
        unfit = unfit_care_of_address(policy, request.home_address, care_of_address)
        if unfit is not None:
            # No code names this. The request contradicts itself: 134.
            return Denied(ReplyCode.HA_POORLY_FORMED_REQUEST, "HA-17", unfit)
    keyed = request.gre_key is not None
    flags = request.flags
    if choose_encapsulation(flags, policy.encapsulations, with_key=keyed) is None:
        code = ReplyCode.HA_ENCAPSULATION_UNAVAILABLE
        rule = "TUN-08" if keyed else "HA-43"
        return Denied(code, rule, "encapsulation not allowed")
    if not flags & _T:
        if policy.reverse_tunnel is ReverseTunnel.REQUIRED:
            code = ReplyCode.HA_REVERSE_TUNNEL_MANDATORY
            return Denied(code, "RT-05", "reverse tunnel is required")
    elif policy.reverse_tunnel is ReverseTunnel.OFF:
        code = ReplyCode.HA_REVERSE_TUNNEL_UNAVAILABLE
        return Denied(code, "RT-05", "reverse tunnel is switched off")
    limit = policy.max_bindings_per_node
    if len(bindings) >= limit <= len(kept_bindings(policy, request, bindings)):
        code = ReplyCode.HA_TOO_MANY_BINDINGS
        return Denied(code, "HA-17", "too many simultaneous bindings")
    return None


def kept_bindings(
    policy: HomeAgentPolicy, request: Request, bindings: Bindings
) -> Bindings:
    """Return the other bindings that stay beside the requested one (HA-19)."""
    if not request.flags & _S or policy.max_bindings_per_node == 1:
        return ()
    return tuple(b for b in bindings if b.care_of_address != request.care_of_address)


def unfit_care_of_address(
    policy: HomeAgentPolicy, home_address: str, care_of_address: str
) -> str | None:
    """Return why a tunnel to the care-of address would make no sense."""
    if care_of_address == home_address:
        return "care-of address is the home address"
    if care_of_address == policy.address:
        return "care-of address is the home agent's"
    if not is_unicast(care_of_address) or (
        care_of_address in policy.broadcast_addresses
    ):
        return "care-of address is not a unicast address"
    return None
