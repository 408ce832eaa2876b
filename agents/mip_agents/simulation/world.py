# SPDX-License-Identifier: GPL-2.0-only
"""A world of agents: home networks, visited networks, nodes that move among them.

    home      10.0.0.0/16   home agent 10.0.0.1, nodes from 10.0.1.0 on
    home-N    10.M.0.0/16   further ones, from 2 on, with M = 256 - N
    visited N 10.N.0.0/16   router and foreign agent 10.N.0.1, leases from 10.N.1.0 on;
                            behind a NAT the Internet sees 198.51.100.N in their place

Everything follows from the plan and the seed: the same world, the same history.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from mip_agents.protocol.effects import HoldAddress, Noted
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
from mip_agents.simulation.nat import Nat
from mip_agents.simulation.network import Conditions, Internet, Link, Port
from mip_agents.simulation.shell import Shell
from scapy_mip.auth import SecurityAssociation

HOME = "home"
HOME_AGENT = "ha"
INTERFACES = ("eth0", "wlan0")
SPI, KEY = 256, b"1234567812345678"

_FIRST_HOST = 256
_ROUTER = 254
"""Of a home network, among its hosts."""
_LENGTH = 16
_SITE = "site-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A visited network."""

    foreign_agent: bool = False
    dhcp: bool = True
    """Whether nodes get addresses of their own there."""
    nat: bool = False
    """Whether a box with one address of the Internet hides it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a world is made of."""

    nodes: int = 1
    homes: int = 1
    """Home networks, each with a home agent; nodes belong to them in turn."""
    sites: tuple[Site, ...] = (Site(), Site(foreign_agent=True, dhcp=False))
    conditions: Conditions = field(default_factory=Conditions)
    lifetime: int = 60
    """Seconds that nodes ask for."""
    advertisement_interval: float = 3.0
    simultaneous: bool = False
    configured: bool = True
    """Whether nodes have their address on the home link; else the agents see to it."""
    mapping_lifetime: float = 30.0
    """Seconds for which a NAT keeps what is not used."""


class World:
    """All agents, started, with every node at home."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.chance = random.Random(seed)
        self.agenda = Agenda()
        self.internet = Internet(self.agenda, self.chance)
        self.shells: dict[str, Shell] = {}
        self.nodes: list[Shell] = []
        self._held: dict[str, str] = {}
        """The interface that has the home address from a node's agent, by node."""
        self.on_note: Callable[[Shell, Noted], None] | None = None
        self._key = SecurityAssociation(SPI, KEY)
        self._ports = 0
        for number in range(plan.homes):
            self._add_home(number)
        for number, site in enumerate(plan.sites, 1):
            self._add_site(number, site)
        for number in range(plan.nodes):
            self._add_node(number)

    # Building

    def _add_link(
        self, name: str, prefix: IPv4Network, router: str, nat: Nat | None = None
    ) -> Link:
        given = self.plan.conditions
        own = Conditions(
            given.delay,
            given.jitter,
            given.loss,
            given.duplication,
            given.corruption,
            given.cut,
        )
        return self.internet.add(Link(name, prefix, router, own, nat=nat))

    def _add_home(self, number: int) -> None:
        network = home_network(number)
        address = home_agent_address(number)
        self._add_link(home_name(number), network, str(network[_ROUTER]))
        policy = HomeAgentPolicy(
            address=address,
            home_network=network,
            mobile_nodes=SecurityTable.for_network(network, [self._key]),
            max_lifetime=3600,
            advertisement=AdvertisementPolicy(
                interval=self.plan.advertisement_interval
            ),
        )
        shell = self._shell(
            home_agent_name(number), lambda: HomeAgentEngine(policy, self._bytes)
        )
        self._port(shell, "lan0", home_name(number), [address])

    def _add_site(self, number: int, site: Site) -> None:
        name = site_name(number)
        prefix = IPv4Network(f"10.{number}.0.0/{_LENGTH}")
        nat = None
        if site.nat:
            nat = Nat(f"198.51.100.{number}", self.plan.mapping_lifetime)
        link = self._add_link(name, prefix, str(prefix[1]), nat)
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
            home_address=self.home_address(number),
            home_agent=home_agent_address(self.home_of(number)),
            security=self._key,
            home_network=home_network(self.home_of(number)),
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
        self._place(shell.ports[INTERFACES[0]], number, self.place_name(number, 0))
        shell.on_hold = self._hold
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
            shell.hear(event)

        port = Port(shell.name, name, mac, hear)
        port.plug(None if link is None else self.internet.links[link], addresses)
        shell.ports[name] = port

    def _bytes(self, size: int) -> bytes:
        return self.chance.randbytes(size)

    def _noted(self, shell: Shell, noted: Noted) -> None:
        if self.on_note is not None:
            self.on_note(shell, noted)

    # Who is where

    def home_of(self, node: int) -> int:
        """Return the number of a node's home network, from 0."""
        return node % self.plan.homes

    def home_address(self, node: int) -> str:
        """Return the home address of a node."""
        return str(home_network(self.home_of(node))[_FIRST_HOST + node])

    def home_agent_of(self, node: int) -> Shell:
        """Return the home agent of a node."""
        return self.shells[home_agent_name(self.home_of(node))]

    def home_agents(self) -> list[Shell]:
        """Return all home agents."""
        return [self.shells[home_agent_name(n)] for n in range(self.plan.homes)]

    def home_link_of(self, shell: Shell) -> str:
        """Return the name of a node's home link."""
        return self.place_name(self.nodes.index(shell), 0)

    def place_name(self, node: int, place: int) -> str:
        """Return the name of a link: 0 is a node's home, others are visited."""
        return site_name(place) if place else home_name(self.home_of(node))

    # Running

    def start(self) -> None:
        """Start all agents."""
        for shell in self.shells.values():
            self.boot(shell)

    def boot(self, shell: Shell) -> None:
        """Start an agent, and tell it of its interfaces.

        What a former process left there is taken away first.
        """
        if shell.name in self._held:
            self._put_address(shell, None)
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

    def _hold(self, shell: Shell, order: HoldAddress) -> None:
        self._put_address(shell, order.interface)
        shell.post(self.interfaces(shell))

    def _put_address(self, shell: Shell, interface: str | None) -> None:
        """Have the home address of a node on an interface, and on no other."""
        number = self.nodes.index(shell)
        before = self._held.pop(shell.name, None)
        if interface is not None:
            self._held[shell.name] = interface
        for name in filter(None, (before, interface)):
            link = shell.ports[name].link
            self._place(shell.ports[name], number, None if link is None else link.name)

    def _place(self, port: Port, number: int, link: str | None) -> None:
        addresses = []
        if link == self.place_name(number, 0):
            if self.plan.configured:
                addresses = [self.home_address(number)]
        elif link is not None and self.plan.sites[int(link[len(_SITE) :]) - 1].dhcp:
            offset = INTERFACES.index(port.name) << 15
            base = int(self.internet.links[link].prefix.network_address)
            addresses = [str(IPv4Address(base + offset + _FIRST_HOST + number))]
        if self._held.get(port.owner) == port.name:
            # It stays on an interface that is plugged in elsewhere.
            addresses.append(self.home_address(number))
        port.plug(None if link is None else self.internet.links[link], addresses)


@functools.cache
def home_network(number: int) -> IPv4Network:
    """Return the prefix of a home network, from 0."""
    return IPv4Network(f"10.{255 - number if number else 0}.0.0/{_LENGTH}")


def home_agent_address(number: int) -> str:
    """Return the address of a home network's home agent."""
    return str(home_network(number)[1])


def home_name(number: int) -> str:
    """Return the name of a home network."""
    return f"{HOME}-{number + 1}" if number else HOME


def home_agent_name(number: int) -> str:
    """Return the name of a home network's home agent."""
    return f"{HOME_AGENT}-{number + 1}" if number else HOME_AGENT


def site_name(number: int) -> str:
    """Return the name of a visited network, from 1."""
    return f"{_SITE}{number}"


def agent_name(number: int) -> str:
    """Return the name of a visited network's foreign agent."""
    return f"fa-{number}"


def node_name(number: int) -> str:
    """Return the name of a node, from 0."""
    return f"mn-{number}"
