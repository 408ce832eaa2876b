# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node sees of the networks around it, and which way is the best.

The way in use stays while it works, unless a better interface has been usable for a
while: nodes at the edge of a network would otherwise register to and fro.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mip_agents.protocol.agents_heard import AgentsHeard
from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.discovery import build_solicitation
from mip_agents.protocol.effects import HoldAddress, SendDiscovery
from mip_agents.protocol.homecoming import Homecoming
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import CareOf, MobileNodePolicy
from mip_agents.protocol.setbacks import Setbacks
from mip_agents.protocol.solicit import Solicitations
from mip_agents.protocol.ways import ways

ALL_MOBILITY_AGENTS = "224.0.0.11"
"""Where solicitations go (MN-01)."""


class Surroundings:
    """Interfaces, the agents that are heard there, and what was tried in vain."""

    def __init__(
        self, policy: MobileNodePolicy, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._policy = policy
        self._interfaces: Mapping[str, InterfaceState] = {}
        self.agents = AgentsHeard()
        self.setbacks = Setbacks(random_bytes)
        self._solicitations = Solicitations(random_bytes)
        self._homecoming = Homecoming(policy)
        self._usable_since: dict[str, float] = {}
        self._settled_at: float | None = None
        self._known: dict[tuple[str, Attachment | None], list[Attachment] | str] = {}
        """What `_ways` has found, while interfaces and agents stay what they are."""
        self._known_of = self.agents.changes
        self.next_timer: float | None = None
        """Monotonic second at which there is something to do or to be looked at."""

    def update(self, interfaces: Mapping[str, InterfaceState]) -> None:
        """Take in the interfaces as they are now.

        One that was down may be on another link: what was known of it counts no more.
        """
        for name, before in self._interfaces.items():
            after = interfaces.get(name)
            if before.up and (after is None or not after.up):
                self.agents.forget(name)
                self.setbacks.forget_interface(name)
                self._solicitations.moved(name)
        self._interfaces = interfaces
        self._homecoming.update(interfaces)
        self._known.clear()

    def hold(self, home_agent: str, *, claim: bool) -> HoldAddress | None:
        """Return where the home address is to be, if that has changed (MN-13).

        :param claim: put it on another home link; False: only leave the one that was.
        """
        interfaces = self._interfaces
        home = [
            name
            for name in self._policy.interfaces
            if name in interfaces and self.agents.hears_home_agent(name, home_agent)
        ]
        held = self._homecoming.place(interfaces, home, claim=claim)
        if held is not None:
            self._known.clear()
        return held

    def is_up(self, interface: str) -> bool:
        """Return whether an interface exists and is up."""
        state = self._interfaces.get(interface)
        return state is not None and state.up

    def attach(
        self, interface: str, current: Attachment | None, now: float
    ) -> Attachment | str:
        """Return the best way with an interface, or why there is none."""
        found = self._ways(interface, current)
        if isinstance(found, str):
            return found
        return next((way for way in found if not self._avoids(way, now)), found[0])

    def has(self, attachment: Attachment) -> bool:
        """Return whether an attachment can still be used."""
        found = self._ways(attachment.interface, attachment)
        if isinstance(found, list) and attachment in found:
            return True
        # That an agent would rather be asked (R) does not end what goes past it.
        state = self._interfaces.get(attachment.interface)
        if state is None or attachment.agent is not None:
            return False
        direct = ways(self._policy, state, (), attachment)
        return isinstance(direct, list) and attachment in direct

    def best(
        self, preferred: str | None, current: Attachment | None, now: float
    ) -> Attachment | None:
        """Return the best way of all: with `preferred`, else the first in order.

        The order is that of the policy, where one is given. A home link that the policy
        does not list goes before all others: nothing is better than being at home.
        What was tried in vain is left out; it is no better than nothing.
        """
        found = self._usable(current, now)
        self._settled_at = None
        if current is not None and self.has(current):
            if not found:
                return current
            if not self._avoids(current, now):
                found = self._settled(found, current, now)
        if preferred is not None and preferred in found:
            return found[preferred]
        listed = self._policy.interfaces

        def rank(name: str) -> tuple[bool, int]:
            if name not in listed:
                return not found[name].is_home, 0
            return True, listed.index(name)

        name = min(found, key=rank, default=None)
        return None if name is None else found[name]

    def other_than(
        self, attachment: Attachment, now: float, *, roam: bool
    ) -> Attachment | None:
        """Return the best way besides one that has just failed, if there is any.

        :param roam: look at other interfaces as well.
        """
        if roam:
            found = self.best(None, attachment, now)
            return None if found == attachment else found
        here = self._ways(attachment.interface, attachment)
        if isinstance(here, str):
            return None
        return next((way for way in here if not self._avoids(way, now)), None)

    def ways_through(self, attachment: Attachment) -> list[Attachment]:
        """Return all ways through the same agent as an attachment."""
        here = self._ways(attachment.interface, attachment)
        if isinstance(here, str):
            return [attachment]
        return [way for way in here if way.agent == attachment.agent]

    def solicit(self, now: float, *, search: bool) -> list[SendDiscovery]:
        """Return the solicitations that are due, and plan the next wake-up.

        :param search: False: the node wants no agent.
        """
        wanted = [name for name in self._interfaces if search and self._lacks(name)]
        self._solicitations.search(wanted, now)
        due = self._solicitations.take(now)
        if self._settled_at is not None and self._settled_at <= now:
            self._settled_at = None
        times = (
            self.agents.next_expiry(),
            self.setbacks.next_end(now),
            self._solicitations.next_timer(),
            self._settled_at,
        )
        self.next_timer = min((t for t in times if t is not None), default=None)
        return [
            SendDiscovery(
                data=build_solicitation(),
                # The answer may come to it alone (AG-03).
                source=self._policy.home_address,
                destination=ALL_MOBILITY_AGENTS,
                interface=name,
            )
            for name in due
        ]

    def _ways(self, name: str, current: Attachment | None) -> list[Attachment] | str:
        """Return the ways with an interface; each event asks for them several times."""
        here = current if current and current.interface == name else None
        if self._known_of != self.agents.changes:
            self._known.clear()
            self._known_of = self.agents.changes
        found = self._known.get((name, here))
        if found is None:
            found = self._known[name, here] = self._find_ways(name, here)
        return found

    def _find_ways(self, name: str, here: Attachment | None) -> list[Attachment] | str:
        state = self._interfaces.get(name)
        if state is None:
            return f"there is no interface {name}"
        state = self._homecoming.without_leftovers(state)
        agents = self.agents.foreign_agents(name)
        return ways(self._policy, state, agents, here)

    def _avoids(self, way: Attachment, now: float) -> bool:
        return self.setbacks.avoids(way, now)

    def _usable(self, current: Attachment | None, now: float) -> dict[str, Attachment]:
        """Return the best way of each interface, and note since when there is one."""
        listed = self._policy.interfaces or tuple(self._interfaces)
        usable = {}
        for name in self._interfaces:
            found = self._ways(name, current)
            if isinstance(found, str) or not (name in listed or found[0].is_home):
                continue
            worthwhile = [way for way in found if not self._avoids(way, now)]
            if worthwhile:
                usable[name] = worthwhile[0]
        since = self._usable_since
        self._usable_since = {name: since.get(name, now) for name in usable}
        return usable

    def _settled(
        self, found: dict[str, Attachment], current: Attachment, now: float
    ) -> dict[str, Attachment]:
        """Leave out the interfaces that have not been usable for long enough."""
        settled, later = {}, []
        for name, way in found.items():
            moment = self._usable_since[name] + self._policy.hysteresis
            if name == current.interface or moment <= now:
                settled[name] = way
            else:
                later.append(moment)
        self._settled_at = min(later, default=None)
        return settled

    def _lacks(self, name: str) -> bool:
        """Return whether an interface has neither an agent nor an address (MN-02)."""
        policy, state = self._policy, self._interfaces[name]
        if policy.care_of is CareOf.CO_LOCATED or not state.up:
            return False
        return (
            name in policy.interfaces
            and not self.agents.hears_any(name)
            and isinstance(self._ways(name, None), str)
        )
