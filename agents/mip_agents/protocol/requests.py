# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node sends and installs for an attempt. RFC 5944 section 3.6.1."""

from __future__ import annotations

from mip_agents.protocol.attempts import Attempt, Goal
from mip_agents.protocol.effects import Send
from mip_agents.protocol.policy import MobileNodePolicy
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.view import build_request
from scapy_mip.const import (
    MIP_PORT,
    TTL_DIRECT,
    TTL_REVERSE_TUNNEL,
    Encapsulation,
    RequestFlag,
)

_FORM_FLAGS = {
    Encapsulation.IPIP: RequestFlag(0),
    Encapsulation.GRE: RequestFlag.G,
    Encapsulation.MINIMAL: RequestFlag.M,
}


def request_flags(policy: MobileNodePolicy, goal: Goal) -> RequestFlag:
    """Return the flags of a request (MN-20 to MN-22).

    At home there is no care-of address, and nothing is wanted of the home agent.
    """
    if goal is Goal.RETURN:
        return RequestFlag(0)
    flags = RequestFlag.D | _FORM_FLAGS[policy.encapsulation]
    if policy.broadcasts:  # we decapsulate ourselves (MN-21)
        flags |= RequestFlag.B
    return flags | RequestFlag.T if policy.reverse_tunnel else flags


def make_request(
    policy: MobileNodePolicy, attempt: Attempt, identification: int
) -> Send:
    """Make a request and address it (MN-18, MN-19, MN-24).

    Its source is the care-of address, or the home address at home. With T its TTL must
    be 255 (RT-02); otherwise it crosses routers like any other datagram (C-6).
    """
    flags = request_flags(policy, attempt.goal)
    data = build_request(
        flags=flags,
        lifetime=attempt.lifetime,
        home_address=policy.home_address,
        home_agent=attempt.home_agent,
        care_of_address=attempt.care_of_address,
        identification=identification,
        mobile_home=policy.security,
    )
    return Send(
        data=data,
        source=attempt.attachment.address,
        source_port=MIP_PORT,
        destination=attempt.home_agent,
        destination_port=MIP_PORT,
        interface=attempt.attachment.interface,
        ttl=TTL_REVERSE_TUNNEL if flags & RequestFlag.T else TTL_DIRECT,
    )


def make_tunnel(
    policy: MobileNodePolicy, attempt: Attempt, *, receive_only: bool
) -> Tunnel:
    """Return the tunnel of an attempt: what is asked for is what is granted.

    A home agent that cannot give the encapsulation or the reverse tunnel denies.
    """
    return Tunnel(
        home_address=policy.home_address,
        local=attempt.attachment.address,
        peers=(attempt.home_agent,),
        encapsulation=policy.encapsulation,
        reverse=policy.reverse_tunnel,
        interface=attempt.attachment.interface,
        gateway=attempt.attachment.gateway,
        receive_only=receive_only,
        broadcasts=policy.broadcasts,
    )
