# SPDX-License-Identifier: GPL-2.0-only
"""The engines of the tests, their addresses and keys, and messages for them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

from mip_agents.protocol.effects import Send
from mip_agents.protocol.events import InterfacesChanged, Received
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.policy import HomeAgentPolicy, MobileNodePolicy
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.view import Request, build_reply, build_request, parse
from scapy_mip.auth import SecurityAssociation, sign
from scapy_mip.const import ExtensionType
from support.scenario import Scenario

HOME, HA, A, B, FA = "10.1.1.10", "10.1.1.20", "10.1.2.50", "10.1.3.50", "10.1.2.1"
NETWORK = IPv4Network("10.1.1.0/24")
KEY = SecurityAssociation(256, b"1234567812345678")
WRONG = SecurityAssociation(256, b"another key that")
FA_KEY = SecurityAssociation(300, b"foreign agent key")
MHAE = ExtensionType.MOBILE_HOME_AUTHENTICATION
FHAE = ExtensionType.FOREIGN_HOME_AUTHENTICATION


def counting_bytes() -> Callable[[int], bytes]:
    """Return a source of bytes that differ and repeat from run to run."""
    count = 0

    def take(size: int) -> bytes:
        nonlocal count
        count += 1
        return (count * 40503 & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")[-size:]

    return take


def home_agent(*, foreign_agent: bool = False, **policy: Any) -> HomeAgentEngine:
    """Make a home agent that serves its network with one key."""
    foreign = SecurityTable()
    if foreign_agent:
        foreign.add(FA, FA_KEY)
    settings: dict[str, Any] = {
        "address": HA,
        "home_network": NETWORK,
        "mobile_nodes": SecurityTable.for_network(NETWORK, [KEY]),
        "foreign_agents": foreign,
    }
    return HomeAgentEngine(HomeAgentPolicy(**settings | policy), counting_bytes())


def mobile_node(**policy: Any) -> MobileNodeEngine:
    """Make a mobile node that prefers home, then eth0, then wlan0."""
    settings: dict[str, Any] = {
        "home_address": HOME,
        "home_agent": HA,
        "security": KEY,
        "interfaces": ("home0", "eth0", "wlan0"),
    }
    return MobileNodeEngine(MobileNodePolicy(**settings | policy), counting_bytes())


def extension(kind: int, association: SecurityAssociation, covered: bytes) -> bytes:
    """Return an authentication extension for the message before it."""
    head = bytes([kind, 4 + association.size]) + association.spi.to_bytes(4, "big")
    return head + sign(association, covered + head)


def relayed_with(
    *more: bytes, association: SecurityAssociation | None = None
) -> Callable[[bytes], bytes]:
    """Return what a foreign agent appends: extensions, and FHAE behind them."""

    def tail(data: bytes) -> bytes:
        data += b"".join(more)
        if association is not None:
            data += extension(FHAE, association, data)
        return data

    return tail


def received(data: bytes, source: str = A, **changes: Any) -> Received:
    """Wrap a payload as it arrives at the home agent."""
    settings: dict[str, Any] = {
        "source": source,
        "source_port": 434,
        "destination": HA,
        "destination_port": 434,
        "interface": "eth9",
    }
    return Received(data=data, **settings | changes)


_REQUEST = {"flags": 0x22, "lifetime": 600, "home_address": HOME, "home_agent": HA}


class Asks:
    """A request that arrives; its Identification is the time unless it is given."""

    def __init__(
        self,
        tail: Callable[[bytes], bytes] = lambda data: data,
        source: str | None = None,
        udp: dict[str, Any] | None = None,
        identification: int | None = None,
        ahead_s: int = 0,
        **fields: Any,
    ) -> None:
        self.tail = tail
        self.source = source
        self.udp = udp or {}
        self.identification = identification
        self.ahead_s = ahead_s
        self.fields = fields

    def __call__(self, running: Scenario) -> Received:
        fields: dict[str, Any] = {"care_of_address": A, "mobile_home": KEY}
        fields |= _REQUEST | self.fields
        if self.identification is None:
            clock = running.now.ntp + (self.ahead_s << 32)
            # A request that is sent twice is the same in both.
            self.identification = clock
        fields["identification"] = self.identification
        data = self.tail(build_request(**fields))
        source = self.source or fields["care_of_address"]
        return received(data, source, **self.udp)

    def __repr__(self) -> str:
        return f"asks({self.fields})"


asks = Asks


def interfaces(**addresses: str | None) -> InterfacesChanged:
    """Say which interfaces are up, each with one address; None is down."""
    return InterfacesChanged(
        {
            name: InterfaceState(
                name, address is not None, (address,) if address else ()
            )
            for name, address in addresses.items()
        }
    )


AT_HOME = interfaces(home0="10.1.1.10/24", eth0=None, wlan0=None)
ON_A = interfaces(home0=None, eth0="10.1.2.50/24", wlan0=None)
ON_B = interfaces(home0=None, eth0=None, wlan0="10.1.3.50/24")
ON_BOTH = interfaces(home0=None, eth0="10.1.2.50/24", wlan0="10.1.3.50/24")
NOWHERE = interfaces(home0=None, eth0=None, wlan0=None)


def last_request(running: Scenario) -> Request:
    """Return the request that the mobile node sent last."""
    view = parse(running.sent[-1].data)
    assert isinstance(view, Request)
    return view


def answers(
    code: int = 0,
    tail: Callable[[bytes], bytes] = lambda data: data,
    high: int | None = None,
    **changes: Any,
) -> Callable[[Scenario], Received]:
    """Answer the latest request; `high` replaces the high half of Identification."""

    def make(running: Scenario) -> Received:
        request = last_request(running)
        identification = request.identification
        if high is not None:
            identification = high << 32 | identification & 0xFFFFFFFF
        fields: dict[str, Any] = {
            "code": code,
            "lifetime": request.lifetime,
            "home_address": request.home_address,
            "home_agent": request.home_agent,
            "identification": identification,
            "mobile_home": KEY,
        }
        data = tail(build_reply(**fields | changes))
        send: Send = running.sent[-1]
        return received(
            data,
            send.destination,
            destination=send.source,
            interface=send.interface,
        )

    return make
