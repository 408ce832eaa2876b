# SPDX-License-Identifier: GPL-2.0-only
"""Replies held against the requests that they answer (HA, FA, NAI, COM).

RFC 5944 sections 3.7.2.3, 3.8.3 and 5.7, RFC 2794 section 3.
"""

from __future__ import annotations

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Observation
from mip_agents.captures.rules import Deviations
from mip_agents.captures.rules.messages import HA_27
from mip_agents.protocol.reply_checks import ACCEPTING
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    MIP_PORT,
    REPLAY_TOLERANCE_DEFAULT,
    REPLY_CODES,
    ExtensionType,
    Issuer,
    ReplyCode,
)
from scapy_mip.ident import from_unix_ns, split

COM_18 = Rule("COM-18", Severity.ERROR, "RFC 5944 3.4")
FA_27 = Rule("FA-27", Severity.ERROR, "RFC 5944 3.7.2.3")
HA_14 = Rule("HA-14", Severity.ERROR, "RFC 5944 3.8.3.2")
HA_24 = Rule("HA-24", Severity.ERROR, "RFC 5944 3.8.3.2")
HA_25 = Rule("HA-25", Severity.ERROR, "RFC 5944 3.8.3.1")
HA_30 = Rule("HA-30", Severity.ERROR, "RFC 5944 5.7.1")
HA_31 = Rule("HA-31", Severity.ERROR, "RFC 5944 5.7.1")
NAI_03 = Rule("NAI-03", Severity.ERROR, "RFC 2794 3")

_ANY, _ALL = "0.0.0.0", "255.255.255.255"
_BROADCAST_END = ".255"
"""Of the broadcast address of most networks."""


def fits(request: Observation, reply: Observation) -> bool:
    """Whether a reply goes to where a request came from: relays carry both on."""
    return request.ip.source == reply.ip.destination


def _is_of_home_agent(reply: Observation) -> bool:
    """Whether a home agent has made a reply, which foreign agents relay."""
    known = REPLY_CODES.get(reply.packet.code)
    return known is None or known.issuer in (Issuer.HA, Issuer.ACCEPT)


def check_answer(asked: Observation, seen: Observation) -> Deviations:
    """Check where a reply goes and comes from, and what it has of its request."""
    of_home_agent = _is_of_home_agent(seen)
    if fits(asked, seen):
        yield from _check_way(asked, seen, HA_25 if of_home_agent else FA_27)
    if of_home_agent:
        yield from _check_names(asked, seen)


def _check_way(asked: Observation, seen: Observation, rule: Rule) -> Deviations:
    wanted = asked.ip.destination
    if seen.ip.source != wanted and not _is_to_a_network(asked, seen):
        yield rule, f"the reply comes from {seen.ip.source}, asked was {wanted}"
    if seen.destination_port != asked.source_port:
        yield rule, f"the reply goes to port {seen.destination_port}"
    if seen.source_port != MIP_PORT:
        yield rule, f"the reply comes from port {seen.source_port}"


def _is_to_a_network(asked: Observation, seen: Observation) -> bool:
    """Whether a request went to a group or to all hosts of a network.

    What is the broadcast address of the home network is seen by the answer to home
    agent discovery (HA-13), whatever the length of its prefix; else the end tells.
    """
    found = (
        seen.packet.code == ReplyCode.HA_UNKNOWN_HOME_AGENT
        and seen.packet.home_agent == seen.ip.source
        and asked.packet.home_agent == asked.ip.destination
    )
    return asked.is_to_many or found or asked.ip.destination.endswith(_BROADCAST_END)


def _check_names(asked: Observation, seen: Observation) -> Deviations:
    """Check the addresses and the NAI that a reply repeats."""
    request, reply = asked.packet, seen.packet
    if reply.home_address == _ANY:
        if reply.code in ACCEPTING:
            yield NAI_03, "accepted without a home address"
    elif request.home_address not in (_ANY, reply.home_address):
        text = f"the reply is for {reply.home_address}"
        yield HA_24, f"{text}, asked was for {request.home_address}"
    named = ExtensionType.MOBILE_NODE_NAI
    if asked.extension(named) is not None and seen.extension(named) is None:
        yield NAI_03, "the request has an NAI, the reply has none"


def check_grant(asked: Observation, seen: Observation) -> Deviations:
    """Check what a home agent has accepted, and how."""
    request, reply = asked.packet, seen.packet
    if reply.lifetime > request.lifetime:
        text = f"{reply.lifetime} s granted where {request.lifetime} s were asked"
        yield COM_18, text
    # With 0 or 255.255.255.255 a home agent is asked for: RFC 4433.
    is_free = request.home_agent in (_ANY, _ALL) and reply.home_agent != _ANY
    if reply.home_agent != request.home_agent and not is_free:
        text = f"accepted by home agent {reply.home_agent}"
        yield HA_14, f"{text} where {request.home_agent} was asked"
    proof = ExtensionType.FOREIGN_HOME_AUTHENTICATION
    proves = asked.extension(proof) is not None and seen.extension(proof) is None
    if proves and reply.lifetime != LIFETIME_DEREGISTER:
        text = "accepted without foreign-home authentication"
        yield HA_27, f"{text}, which the request has"
    yield from _check_freshness(asked, seen)


def _check_freshness(asked: Observation, seen: Observation) -> Deviations:
    """Check the Identification of a request that was accepted.

    With nonces a reply has another one; then nothing is known of clocks.
    """
    high = split(asked.packet.identification)[0]
    offset = abs(high - split(from_unix_ns(int(asked.time * 1e9)))[0])
    if seen.packet.identification == asked.packet.identification:
        if offset > REPLAY_TOLERANCE_DEFAULT:
            yield HA_30, f"accepted an Identification that is {offset} s off the clock"
    elif offset <= REPLAY_TOLERANCE_DEFAULT:
        yield HA_31, "accepted with another Identification than the request has"


def check_resynchronisation(asked: Observation, seen: Observation) -> Deviations:
    """Check that a 133 tells the time of the home agent (HA-31)."""
    told = split(seen.packet.identification)[0]
    sent = split(asked.packet.identification)[0]
    now = split(from_unix_ns(int(seen.time * 1e9)))[0]
    if told == sent and abs(told - now) > REPLAY_TOLERANCE_DEFAULT:
        yield HA_31, "denied with 133 and the request's own time, not the home agent's"
