# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node asks for with a registration. RFC 5944 section 3.6.1.2."""

from __future__ import annotations

from dataclasses import dataclass

from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.policy import DeliveryStyle, MobileNodePolicy
from scapy_mip.const import AgentFlag, Encapsulation

_OFFERED_BY = {
    Encapsulation.IPIP: AgentFlag(0),
    Encapsulation.GRE: AgentFlag.G,
    Encapsulation.MINIMAL: AgentFlag.M,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How packets are to travel, and for how long."""

    lifetime: int
    """Requested seconds; 65535 is infinite."""
    encapsulation: Encapsulation
    reverse_tunnel: bool
    encapsulating: bool = False
    """Whether packets go to the foreign agent in a tunnel (RFC 3024 section 5.2)."""
    simultaneous: bool = False
    """Whether the binding before is to be kept (S)."""


def first_terms(
    policy: MobileNodePolicy, attachment: Attachment, lifetime: int = 0
) -> Terms:
    """Return what the policy wants, as far as the foreign agent offers it.

    With a care-of address of its own the node ends the tunnel itself, so that the
    encapsulation is no matter of the agent (MN-22).
    """
    agent = attachment.agent
    if agent is None:
        return Terms(
            lifetime=lifetime,
            encapsulation=policy.encapsulation,
            reverse_tunnel=policy.reverse_tunnel,
        )
    encapsulation, reverse = policy.encapsulation, policy.reverse_tunnel
    if not attachment.is_co_located:
        if _OFFERED_BY[encapsulation] not in agent.flags:
            encapsulation = Encapsulation.IPIP
        reverse = reverse and AgentFlag.T in agent.flags
    return Terms(
        lifetime=min(lifetime, agent.registration_lifetime),  # MN-23
        encapsulation=encapsulation,
        reverse_tunnel=reverse,
        encapsulating=(
            reverse
            and not attachment.is_co_located
            and policy.delivery_style is DeliveryStyle.ENCAPSULATING
        ),
    )
