# SPDX-License-Identifier: GPL-2.0-only
"""Where a mobile node is, or could be: which interface, and home or away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import MobileNodePolicy

_HOST_PREFIX = 32


@dataclass(frozen=True, slots=True)
class Attachment:
    """An interface and the address that the node has there."""

    interface: str
    address: str
    """The home address at home, else the co-located care-of address."""
    is_home: bool
    gateway: str | None = field(default=None, compare=False)
    """Next hop from there; it makes no other place of it."""


def attach(
    policy: MobileNodePolicy,
    interfaces: Mapping[str, InterfaceState],
    name: str,
    current: Attachment | None = None,
) -> Attachment | str:
    """Return what the node could do with an interface, or why it can do nothing.

    An interface is home when it holds the home address with the prefix of a network;
    as a single host the home address is only parked while the node is away. The fixed
    care-of address counts only while the interface holds it. Of several others the
    first counts, unless `current` uses one that is still there.
    """
    interface = interfaces.get(name)
    if interface is None:
        return f"there is no interface {name}"
    if not interface.up:
        return f"{name} is down"
    fixed = policy.care_of_addresses.get(name)
    candidates = []
    for entry in interface.addresses:
        address, _, prefix = entry.partition("/")
        if address == policy.home_address:
            if prefix and int(prefix) < _HOST_PREFIX:
                return Attachment(name, address, is_home=True)
        elif not address.startswith(("127.", "169.254.")):
            # Loopback and link-local addresses cannot be reached by a home agent.
            candidates.append(address)
    if fixed is not None:
        if fixed in candidates:
            return Attachment(name, fixed, False, interface.gateway)
        return f"{name} does not have the care-of address {fixed}"
    if not candidates:
        return f"{name} has no IPv4 address to use as care-of address"
    if current is not None and current.interface == name:
        candidates.sort(key=lambda address: address != current.address)
    return Attachment(name, candidates[0], False, interface.gateway)


def choose(
    policy: MobileNodePolicy,
    interfaces: Mapping[str, InterfaceState],
    preferred: str | None = None,
    current: Attachment | None = None,
) -> Attachment | None:
    """Return the best attachment there is: `preferred`, else the first in order.

    The order is that of the policy, where one is given. A home link that the policy
    does not list goes before all others: nothing is better than being at home.
    """
    listed = policy.interfaces or tuple(interfaces)
    found = {
        name: attachment
        for name in interfaces
        if isinstance(
            attachment := attach(policy, interfaces, name, current), Attachment
        )
        and (name in listed or attachment.is_home)
    }
    if preferred is not None and preferred in found:
        return found[preferred]

    def rank(name: str) -> tuple[bool, int]:
        unranked = not policy.interfaces or name not in listed
        if unranked:
            return not found[name].is_home, 0
        return True, listed.index(name)

    best = min(found, key=rank, default=None)
    return None if best is None else found[best]
