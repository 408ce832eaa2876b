# SPDX-License-Identifier: GPL-2.0-only
"""Requests held against what the foreign agents of their link advertise (MN).

RFC 5944 section 3.6.1.2.
"""

from __future__ import annotations

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Observation
from mip_agents.captures.rules import Deviations
from mip_agents.captures.rules.discovery import Agents
from scapy_mip.const import LIFETIME_DEREGISTER, RequestFlag

MN_20 = Rule("MN-20", Severity.ERROR, "RFC 5944 3.6.1.2")
MN_22 = Rule("MN-22", Severity.ERROR, "RFC 5944 3.6.1.2")
MN_23 = Rule("MN-23", Severity.WARNING, "RFC 5944 3.6.1.2")


def check_visit(seen: Observation, agents: Agents) -> Deviations:
    """Compare a request with the last advertisement of the agent that it is for.

    An agent that has not advertised cannot be judged by, nor one that has no visitors.
    """
    offer = agents.offer(seen.ip.destination)
    if offer is None or not offer.flags.F:
        return
    packet = seen.packet
    if packet.care_of_address in offer.care_of_addresses:
        if packet.flags & RequestFlag.D:
            yield MN_20, "D, with a care-of address of the foreign agent"
        for flag in "MG":
            if flag in str(packet.flags) and flag not in str(offer.flags):
                yield MN_22, f"{flag} is asked for, which the agent does not offer"
    most = offer.registration_lifetime
    if packet.lifetime > most and packet.lifetime != LIFETIME_DEREGISTER:
        yield MN_23, f"asks for {packet.lifetime} s where the agent offers {most} s"
