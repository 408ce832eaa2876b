# SPDX-License-Identifier: GPL-2.0-only
"""A world of agents: home networks, visited networks, nodes that move among them.

    home      10.0.0.0/16   home agent 10.0.0.1, nodes from 10.0.1.0 on
    visited N 10.N.0.0/16   router and foreign agent 10.N.0.1, leases from 10.N.1.0 on

Everything follows from the plan and the seed: the same world, the same history.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from mip_agents.protocol.effects import Noted
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import (
    DiscoveryReceived,
    Event,
    InterfacesChanged,
    Received,
)
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.policy import (
    AdvertisementPolicy,
    CareOf,
    ForeignAgentPolicy,
    HomeAgentPolicy,
    MobileNodePolicy,
)
from mip_agents.protocol.security import SecurityTable
from mip_agents.simulation.agenda import Agenda
from mip_agents.simulation.network import Conditions, Internet, Link, Port
from mip_agents.simulation.shell import Shell
from scapy_mip.auth import SecurityAssociation

HOME = "home"
HOME_AGENT = "ha"
HOME_AGENT_ADDRESS = "10.0.0.1"
HOME_NETWORK = IPv4Network("10.0.0.0/16")
INTERFACES = ("eth0", "wlan0")
SPI, KEY = 256, b"1234567812345678"

_FIRST_HOST = 256
_LENGTH = 16
_SITE = "site-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A visited network."""

    foreign_agent: bool = False
    dhcp: bool = True
    """Whether nodes get addresses of their own there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a world is made of."""

    nodes: int = 1
    sites: tuple[Site, ...] = (Site(), Site(foreign_agent=True, dhcp=False))
    conditions: Conditions = field(default_factory=Conditions)
    lifetime: int = 60
    """Seconds that nodes ask for."""
    advertisement_interval: float = 3.0
    simultaneous: bool = False


class World:
    """All agents, started, with every node at home."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.chance = random.Random(seed)
        self.agenda = Agenda()
        self.internet = Internet(self.agenda, self.chance)
        self.shells: dict[str, Shell] = {}
        self.nodes: list[Shell] = []
        self.on_note: Callable[[Shell, Noted], None] | None = None
        self._key = SecurityAssociation(SPI, KEY)
        self._ports = 0
        self._add_link(HOME, 0)
        self._add_home_agent()
        for number, site in enumerate(plan.sites, 1):
            self._add_site(number, site)
        for number in range(plan.nodes):
            self._add_node(number)

    # Building

    def _add_link(self, name: str, number: int) -> Link:
        prefix = IPv4Network(f"10.{number}.0.0/{_LENGTH}")
        router = f"10.{number}.0.1" if number else "10.0.0.254"
        given = self.plan.conditions
        own = Conditions(
            given.delay,
            given.jitter,
            given.loss,
            given.duplication,
            given.corruption,
            given.cut,
        )
        return self.internet.add(Link(name, prefix, router, own))

    def _add_home_agent(self) -> None:
        policy = HomeAgentPolicy(
            address=HOME_AGENT_ADDRESS,
            home_network=HOME_NETWORK,
            mobile_nodes=SecurityTable.for_network(HOME_NETWORK, [self._key]),
            max_lifetime=3600,
            advertisement=AdvertisementPolicy(
                interval=self.plan.advertisement_interval
            ),
        )
        shell = self._shell(HOME_AGENT, lambda: HomeAgentEngine(policy, self._bytes))
        self._port(shell, "lan0", HOME, [HOME_AGENT_ADDRESS])

    def _add_site(self, number: int, site: Site) -> None:
        name = site_name(number)
        link = self._add_link(name, number)
        if not site.foreign_agent:
            return
        policy = ForeignAgentPolicy(
            interfaces=("lan0",),
            care_of_addresses=(link.router,),
            registration_required=False,
            advertisement=AdvertisementPolicy(
                interval=self.plan.advertisement_interval
            ),
            max_pending=max(5, self.plan.nodes),
            max_visitors=max(1000, self.plan.nodes),
        )
        shell = self._shell(
            agent_name(number), lambda: ForeignAgentEngine(policy, self._bytes)
        )
        self._port(shell, "lan0", name, [link.router])

    def _add_node(self, number: int) -> None:
        policy = MobileNodePolicy(
            home_address=home_address(number),
            home_agent=HOME_AGENT_ADDRESS,
            security=self._key,
            home_network=HOME_NETWORK,
            lifetime=self.plan.lifetime,
            interfaces=INTERFACES,
            care_of=CareOf.AUTO,
            simultaneous=self.plan.simultaneous,
        )
        shell = self._shell(
            node_name(number), lambda: MobileNodeEngine(policy, self._bytes)
        )
        for interface in INTERFACES:
            self._port(shell, interface, None, [])
        self._place(shell.ports[INTERFACES[0]], number, HOME)
        self.nodes.append(shell)

    def _shell(self, name: str, make: Callable[[], Engine]) -> Shell:
        shell = Shell(name, make, self.agenda, self.internet, self.chance)
        shell.on_note = self._noted
        self.shells[name] = shell
        return shell

    def _port(
        self, shell: Shell, name: str, link: str | None, addresses: list[str]
    ) -> None:
        self._ports += 1
        count = self._ports
        mac = f"02:00:{count >> 24 & 255:02x}:{count >> 16 & 255:02x}"
        mac += f":{count >> 8 & 255:02x}:{count & 255:02x}"

        def hear(event: Received | DiscoveryReceived) -> None:
            shell.post(event)

        port = Port(shell.name, name, mac, hear)
        port.plug(None if link is None else self.internet.links[link], addresses)
        shell.ports[name] = port

    def _bytes(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    def _noted(self, shell: Shell, noted: Noted) -> None:
        if self.on_note is not None:
            self.on_note(shell, noted)

    # Running

    def start(self) -> None:
        """Start all agents."""
        for shell in self.shells.values():
            self.boot(shell)

    def boot(self, shell: Shell) -> None:
        """Start an agent, and tell it of its interfaces."""
        shell.start(self.interfaces(shell))

    def run(self, seconds: float) -> None:
        """Let time go by."""
        self.agenda.run(self.agenda.now + seconds)

    def interfaces(self, shell: Shell) -> Event:
        """Return the state of an agent's interfaces as an event."""
        states = {}
        for name, port in shell.ports.items():
            link = port.link
            states[name] = InterfaceState(
                name=name,
                up=link is not None,
                addresses=tuple(f"{one}/{_LENGTH}" for one in port.addresses),
                gateway=link.router if link is not None and port.addresses else None,
                link_address=port.link_address,
            )
        return InterfacesChanged(states)

    def move(self, number: int, interface: str, link: str | None) -> None:
        """Plug an interface of a node in elsewhere, or pull it out."""
        shell = self.nodes[number]
        self._place(shell.ports[interface], number, link)
        shell.post(self.interfaces(shell))

    def _place(self, port: Port, number: int, link: str | None) -> None:
        addresses = []
        if link == HOME:
            addresses = [home_address(number)]
        elif link is not None and self.plan.sites[int(link[len(_SITE) :]) - 1].dhcp:
            offset = INTERFACES.index(port.name) << 15
            base = int(self.internet.links[link].prefix.network_address)
            addresses = [str(IPv4Address(base + offset + _FIRST_HOST + number))]
        port.plug(None if link is None else self.internet.links[link], addresses)


def site_name(number: int) -> str:
    """Return the name of a visited network, from 1."""
    return f"{_SITE}{number}"


def agent_name(number: int) -> str:
    """Return the name of a visited network's foreign agent."""
    return f"fa-{number}"


def node_name(number: int) -> str:
    """Return the name of a node, from 0."""
    return f"mn-{number}"


def home_address(number: int) -> str:
    """Return the home address of a node."""
    return str(HOME_NETWORK.network_address + _FIRST_HOST + number)
