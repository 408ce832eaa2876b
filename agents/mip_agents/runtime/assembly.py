# SPDX-License-Identifier: GPL-2.0-only
"""The parts of an agent, by its policy and its options.

What is heavy, pyroute2 above all, is imported when it is needed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from mip_agents.dataplane.api import Dataplane
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.policy import (
    AgentPolicy,
    CareOf,
    ForeignAgentPolicy,
    HomeAgentPolicy,
    MobileNodePolicy,
    role_of,
)
from mip_agents.protocol.tunnel import BROADCASTS, Category, Role
from mip_agents.runtime.fit import encapsulates
from mip_agents.runtime.linknet import AGENT_GROUPS, LinkNeeds
from mip_agents.runtime.options import AgentOptions
from mip_agents.runtime.ports import Notes, Store
from mip_agents.runtime.store import MemoryStore, SqliteStore
from scapy_mip.const import Encapsulation

AgentEngine = HomeAgentEngine | ForeignAgentEngine | MobileNodeEngine


def make_engine(policy: AgentPolicy) -> AgentEngine:
    """Make the engine that the policy is for."""
    match policy:
        case HomeAgentPolicy():
            return HomeAgentEngine(policy, os.urandom)
        case ForeignAgentPolicy():
            return ForeignAgentEngine(policy, os.urandom)
        case MobileNodePolicy():
            return MobileNodeEngine(policy, os.urandom)


def open_store(options: AgentOptions, role: str, notes: Notes) -> Store:
    """Open the journal, or memory where there is no `state_dir`.

    :raises StoreError: in one line.
    """
    if options.state_dir is None:
        return MemoryStore()
    return SqliteStore(options.state_dir, role.replace("_", "-"), notes)


def settings_file(options: AgentOptions, role: str) -> Path | None:
    """Return where the data plane remembers settings that it changed.

    It means something until the next boot only, so that the folder of the control
    socket, usually below /run, will do as well as `state_dir`.
    """
    name = role.replace("_", "-") + ".settings"
    if options.state_dir is not None:
        return options.state_dir / name
    if options.control_socket is not None:
        return options.control_socket.parent / name
    return None


def choose_dataplane(
    policy: AgentPolicy, options: AgentOptions
) -> tuple[Dataplane, dict[str, str]]:
    """Return the data plane, and why each faster one was passed over.

    :raises DataplaneError: none works here.
    """
    # pyroute2 takes its time; what never changes the kernel never waits for it.
    from mip_agents.dataplane import select

    address = home_network = None
    categories: frozenset[Category] = frozenset()
    match policy:
        case HomeAgentPolicy():
            role, address = Role.HOME_AGENT, policy.address
            home_network = policy.home_network
            encapsulations = policy.encapsulations
            categories = policy.broadcasts
        case ForeignAgentPolicy():
            role, encapsulations = Role.FOREIGN_AGENT, policy.encapsulations
        case MobileNodePolicy():
            role, home_network = Role.MOBILE_NODE, policy.home_network
            encapsulations = frozenset((policy.encapsulation,))
            categories = BROADCASTS if policy.broadcasts else categories
            if policy.care_of is not CareOf.CO_LOCATED:
                # What is left where an agent does not offer the other (MN-22, MN-39).
                encapsulations |= {Encapsulation.IPIP}
    chosen = select.create(
        options.dataplane,
        role,
        address=address,
        home_network=home_network,
        state_file=settings_file(options, role_of(policy)),
        encapsulations=encapsulations,
        encapsulating=isinstance(policy, MobileNodePolicy) and encapsulates(policy),
        categories=categories,
    )
    return chosen.dataplane, dict(chosen.passed_over)


def link_needs(policy: AgentPolicy) -> LinkNeeds:
    """Return what an agent is to hear of its links."""
    match policy:
        case HomeAgentPolicy():
            advertises = policy.advertisement is not None
            return LinkNeeds(
                wanted=lambda link: advertises and policy.home_entry(link) is not None,
                groups=AGENT_GROUPS,
            )
        case ForeignAgentPolicy():
            return LinkNeeds(
                wanted=lambda link: link.name in policy.interfaces,
                groups=AGENT_GROUPS,
                addresses=frozenset(policy.care_of_addresses),
                own_addresses=True,
                required=True,
            )
        case MobileNodePolicy():
            # Its home address may not be one of its kernel yet (MN-19).
            hears = policy.care_of is not CareOf.CO_LOCATED
            return LinkNeeds(
                wanted=lambda link: hears and link.name in policy.interfaces,
                addresses=frozenset((policy.home_address,)),
            )


async def watch_links(
    changed: Callable[[Mapping[str, InterfaceState]], None],
) -> None:
    """Call `changed` with the state of all interfaces, now and after every change."""
    from mip_agents.dataplane import linkwatch

    await linkwatch.follow(changed)


async def network_of(address: str) -> IPv4Network:
    """Return the network of the interface that holds an address of ours.

    :raises MipError: none does.
    """
    from mip_agents.dataplane import linkwatch

    first: asyncio.Future[Mapping[str, InterfaceState]] = asyncio.Future()

    def look(snapshot: Mapping[str, InterfaceState]) -> None:
        if not first.done():
            first.set_result(snapshot)

    watch = asyncio.ensure_future(linkwatch.follow(look))
    both: set[asyncio.Future[Any]] = {watch, first}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
    interfaces = await first if first.done() else {}
    for state in interfaces.values():
        for entry in map(IPv4Interface, state.addresses):
            if str(entry.ip) == address:
                return entry.network
    raise MipError(
        f"no interface has the address {address}: configure it, or give home_network"
    )
