# SPDX-License-Identifier: GPL-2.0-only
"""Where a mobile node is, or could be: which interface, which agent, home or away."""

from __future__ import annotations

from dataclasses import dataclass, field

from scapy_mip.const import AgentFlag


@dataclass(frozen=True, slots=True)
class ForeignAgent:
    """A foreign agent on a link, as it advertises itself. RFC 5944 section 2.1.1.

    What it offers may change while it stays the same agent.
    """

    address: str
    """IP source of its advertisements: where requests go (MN-19)."""
    link_address: str
    flags: AgentFlag = field(compare=False)
    registration_lifetime: int = field(compare=False)
    """Longest lifetime that it relays, in seconds; 65535 is infinite."""
    care_of_addresses: tuple[str, ...] = field(compare=False)
    """In the order in which they are to be tried (MN-07)."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface, the address that the node has there, and who is between."""

    interface: str
    address: str
    """The home address at home, else the care-of address."""
    is_home: bool
    gateway: str | None = field(default=None, compare=False)
    """Next hop from there; it makes no other place of it."""
    agent: ForeignAgent | None = None
    """Through whom the node registers; None: directly with the home agent."""

    @property
    def is_co_located(self) -> bool:
        """Whether the care-of address is the node's own, so that tunnels end at it."""
        if self.agent is None:
            return not self.is_home
        return self.address not in self.agent.care_of_addresses
