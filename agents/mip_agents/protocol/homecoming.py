# SPDX-License-Identifier: GPL-2.0-only
"""The home link that a mobile node knows by its home agent. RFC 5944 2.4.3 (MN-13).

Where the home agent advertises itself and nobody has configured the home address, the
node has it put there; from then on that link is home like any other that has it. Where
the home agent is heard no more, it is taken away again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mip_agents.protocol.effects import HoldAddress
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import MobileNodePolicy

USUAL_PREFIX_LENGTH = 24
"""Of a home network that nobody has configured."""

_HOST = 32


def home_entries(policy: MobileNodePolicy, state: InterfaceState) -> list[str]:
    """Return the entries of an interface that make it home.

    That is the home address with the prefix of a network; as a single host it is only
    parked while the node is away.
    """
    found = []
    for entry in state.addresses:
        address, _, prefix = entry.partition("/")
        if address == policy.home_address and prefix and int(prefix) < _HOST:
            found.append(entry)
    return found


class Homecoming:
    """Which interface has the home address from us."""

    def __init__(self, policy: MobileNodePolicy) -> None:
        self._policy = policy
        self._holder: str | None = None
        self._ours: set[str] = set()
        """Interfaces that have it, or may have it still, because we asked for it."""

    def update(self, interfaces: Mapping[str, InterfaceState]) -> None:
        """Take in the interfaces as they are now."""
        self._ours = {
            name
            for name in self._ours
            if name == self._holder
            or (name in interfaces and home_entries(self._policy, interfaces[name]))
        }

    def place(
        self,
        interfaces: Mapping[str, InterfaceState],
        home: Iterable[str],
        *,
        claim: bool,
    ) -> HoldAddress | None:
        """Return where the home address is to be, if that has changed.

        :param home: the interfaces on which the home agent is heard.
        :param claim: put it on another one; False: only leave the one that was.
        """
        policy = self._policy
        fit = [
            name
            for name in home
            if name == self._holder
            or (
                claim
                and (name in self._ours or not home_entries(policy, interfaces[name]))
            )
        ]
        holder = fit[0] if fit else None
        if holder == self._holder:
            return None
        self._holder = holder
        if holder is not None:
            self._ours.add(holder)
        network = policy.home_network
        length = USUAL_PREFIX_LENGTH if network is None else network.prefixlen
        return HoldAddress(f"{policy.home_address}/{length}", holder)

    def without_leftovers(self, state: InterfaceState) -> InterfaceState:
        """Return an interface without what we are about to take away from it."""
        if state.name not in self._ours or state.name == self._holder:
            return state
        leftovers = home_entries(self._policy, state)
        left = tuple(entry for entry in state.addresses if entry not in leftovers)
        return replace(state, addresses=left)
