# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node could do with one interface, in the order of preference."""

from __future__ import annotations

from collections.abc import Sequence

from mip_agents.protocol.attachment import Attachment, ForeignAgent
from mip_agents.protocol.homecoming import home_entries
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import CareOf, MobileNodePolicy
from mip_agents.protocol.terms import first_terms
from scapy_mip.const import AgentFlag


def ways(
    policy: MobileNodePolicy,
    interface: InterfaceState,
    agents: Sequence[ForeignAgent] = (),
    current: Attachment | None = None,
) -> list[Attachment] | str:
    """Return the ways to attach there, the best first, or why there is none.

    :param agents: the foreign agents that are heard there.
    :param current: what is in use. If it is a way still, it stays the best one: nobody
        changes agents while the present one is heard (MN-14).
    """
    if not interface.up:
        return f"{interface.name} is down"
    own = _own(policy, interface, current)
    if isinstance(own, Attachment) and own.is_home:
        return [own]
    if policy.care_of is CareOf.CO_LOCATED:
        return [own] if isinstance(own, Attachment) else own
    welcoming = [
        agent
        for agent in agents
        if AgentFlag.B not in agent.flags or (current and current.agent == agent)
    ]
    welcoming.sort(key=lambda agent: _lacks(policy, interface.name, agent))
    relayed = [
        Attachment(interface.name, address, False, None, agent)
        for agent in welcoming
        for address in agent.care_of_addresses
    ]
    found = relayed
    if policy.care_of is CareOf.AUTO and isinstance(own, Attachment):
        strict = [agent for agent in welcoming if AgentFlag.R in agent.flags]
        through = [
            Attachment(own.interface, own.address, False, own.gateway, agent)
            for agent in strict
        ]
        # MN-09: where registration is required, nothing goes past the agent.
        required = [way for way in relayed if way.agent in strict]
        found = [*through, *required] if strict else [own, *relayed]
    if not found:
        if policy.care_of is CareOf.AUTO and isinstance(own, str):
            return f"{own}, and no foreign agent is heard there"
        return f"no foreign agent is heard on {interface.name}"
    if current is not None and current.agent is not None:
        found.sort(key=lambda way: way != current)
    return found


def _own(
    policy: MobileNodePolicy, interface: InterfaceState, current: Attachment | None
) -> Attachment | str:
    """Return the attachment without an agent, or why there is none.

    The fixed care-of address counts only while the interface holds it. Of several
    others the first counts, unless `current` uses one that is still there.
    """
    name = interface.name
    fixed = policy.care_of_addresses.get(name)
    if home_entries(policy, interface):
        return Attachment(name, policy.home_address, is_home=True)
    addresses = (entry.partition("/")[0] for entry in interface.addresses)
    candidates = [
        address
        for address in addresses
        # Loopback and link-local addresses cannot be reached by a home agent.
        if address != policy.home_address
        and not address.startswith(("127.", "169.254."))
    ]
    if fixed is not None:
        if fixed in candidates:
            return Attachment(name, fixed, False, interface.gateway)
        return f"{name} does not have the care-of address {fixed}"
    if not candidates:
        return f"{name} has no IPv4 address to use as care-of address"
    if current is not None and current.interface == name:
        candidates.sort(key=lambda address: address != current.address)
    return Attachment(name, candidates[0], False, interface.gateway)


def _lacks(policy: MobileNodePolicy, interface: str, agent: ForeignAgent) -> int:
    """Count what the policy asks for and an agent does not offer."""
    way = Attachment(interface, agent.care_of_addresses[0], False, None, agent)
    terms = first_terms(policy, way)
    return (terms.encapsulation is not policy.encapsulation) + (
        terms.reverse_tunnel is not policy.reverse_tunnel
    )
