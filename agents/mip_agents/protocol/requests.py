# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node sends and installs for an attempt. RFC 5944 section 3.6.1."""

from __future__ import annotations

from mip_agents.protocol.attempts import Attempt, Goal
from mip_agents.protocol.effects import Send
from mip_agents.protocol.policy import MobileNodePolicy
from mip_agents.protocol.tunnel import AgentLink, Tunnel
from mip_agents.protocol.view import build_request
from scapy_mip.const import (
    MIP_PORT,
    TTL_DIRECT,
    TTL_LINK,
    TTL_REVERSE_TUNNEL,
    Encapsulation,
    RequestFlag,
)

_FORM_FLAGS = {
    Encapsulation.IPIP: RequestFlag(0),
    Encapsulation.GRE: RequestFlag.G,
    Encapsulation.MINIMAL: RequestFlag.M,
}


def request_flags(policy: MobileNodePolicy, attempt: Attempt) -> RequestFlag:
    """Return the flags of a request (MN-20 to MN-22).

    At home there is no care-of address, and nothing is wanted of the home agent.
    Broadcasts are wanted only where we take packets out of the tunnel ourselves.
    """
    if attempt.goal is Goal.RETURN:
        return RequestFlag(0)
    terms = attempt.terms
    flags = _FORM_FLAGS[terms.encapsulation]
    if attempt.attachment.is_co_located:
        flags |= RequestFlag.D
        if policy.broadcasts:
            flags |= RequestFlag.B
    if terms.simultaneous:
        flags |= RequestFlag.S
    return flags | RequestFlag.T if terms.reverse_tunnel else flags


def make_request(
    policy: MobileNodePolicy, attempt: Attempt, identification: int
) -> Send:
    """Make a request and address it (MN-18, MN-19, MN-24).

    Its source is the care-of address where that is the node's own, else the home
    address. With T its TTL must be 255 (RT-02); otherwise it stays on the link of the
    foreign agent, or crosses routers like any other datagram (C-6).
    """
    flags = request_flags(policy, attempt)
    attachment = attempt.attachment
    agent = attachment.agent
    own = agent is None or attachment.is_co_located
    usual_ttl = TTL_DIRECT if agent is None else TTL_LINK
    data = build_request(
        flags=flags,
        lifetime=attempt.terms.lifetime,
        home_address=policy.home_address,
        home_agent=attempt.home_agent,
        care_of_address=attempt.care_of_address,
        identification=identification,
        mobile_home=policy.security,
        encapsulating=attempt.terms.encapsulating,
        mobile_foreign=(
            None if agent is None else policy.foreign_agents.any_of(agent.address)
        ),
    )
    return Send(
        data=data,
        source=attachment.address if own else policy.home_address,
        source_port=MIP_PORT,
        destination=attempt.home_agent if agent is None else agent.address,
        destination_port=MIP_PORT,
        interface=attachment.interface,
        ttl=TTL_REVERSE_TUNNEL if flags & RequestFlag.T else usual_ttl,
        link_address=None if agent is None else agent.link_address,
    )


def make_tunnel(
    policy: MobileNodePolicy, attempt: Attempt, *, receive_only: bool
) -> Tunnel:
    """Return the tunnel of an attempt: what is asked for is what is granted.

    A home agent that cannot give the encapsulation or the reverse tunnel denies.
    """
    attachment, terms = attempt.attachment, attempt.terms
    agent = None
    if attachment.agent is not None and not attachment.is_co_located:
        agent = AgentLink(
            address=attachment.agent.address,
            link_address=attachment.agent.link_address,
            encapsulating=terms.encapsulating,
        )
    return Tunnel(
        home_address=policy.home_address,
        local=attachment.address,
        peers=(attempt.home_agent,),
        encapsulation=terms.encapsulation,
        reverse=terms.reverse_tunnel,
        interface=attachment.interface,
        gateway=attachment.gateway,
        receive_only=receive_only,
        broadcasts=policy.broadcasts and agent is None,
        agent=agent,
    )
