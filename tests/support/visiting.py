# SPDX-License-Identifier: GPL-2.0-only
"""Foreign agents as a mobile node hears them, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from mip_agents.protocol.discovery import build_advertisement
from mip_agents.protocol.events import DiscoveryReceived, InterfacesChanged, Received
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.mobile_node import MobileNodeEngine
from mip_agents.protocol.policy import CareOf
from mip_agents.protocol.security import SecurityTable
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import AgentFlag
from support.agents import answers, extension, mobile_node
from support.scenario import Scenario

AGENT, OTHER_AGENT, FAR_AGENT = "10.1.2.1", "10.1.2.2", "10.1.3.1"
MAC, OTHER_MAC, FAR_MAC = (f"02:00:00:00:00:0{n}" for n in (1, 2, 3))
_MACS = {AGENT: MAC, OTHER_AGENT: OTHER_MAC, FAR_AGENT: FAR_MAC}
VISITOR_KEY = SecurityAssociation(400, b"key with an agent")
F, FT, RFT = AgentFlag.F, AgentFlag.F | AgentFlag.T, AgentFlag.R | AgentFlag.F
RFT |= AgentFlag.T


def link(**addresses: str | None) -> InterfacesChanged:
    """Say which interfaces are up: with an address, or with none as an empty text."""
    return InterfacesChanged(
        {
            name: InterfaceState(
                name, address is not None, (address,) if address else ()
            )
            for name, address in addresses.items()
        }
    )


BARE_A = link(home0=None, eth0="", wlan0=None)
BARE_BOTH = link(home0=None, eth0="", wlan0="")
BARE_B = link(home0=None, eth0=None, wlan0="")
ALL_DOWN = link(home0=None, eth0=None, wlan0=None)


def visitor(*, shared: bool = False, **policy: Any) -> MobileNodeEngine:
    """Make a mobile node that uses foreign agents where it has no address."""
    table = SecurityTable()
    if shared:
        table.add(AGENT, VISITOR_KEY)
    settings: dict[str, Any] = {"care_of": CareOf.AUTO, "foreign_agents": table}
    return mobile_node(**settings | policy)


def advertises(
    source: str = AGENT,
    interface: str = "eth0",
    link_address: str | None = None,
    **fields: Any,
) -> DiscoveryReceived:
    """Make the advertisement of an agent as it arrives."""
    settings: dict[str, Any] = {
        "code": 0,
        "lifetime": 9,
        "router_addresses": (source,),
        "flags": FT,
        "sequence_number": 7,
        "registration_lifetime": 1800,
        "care_of_addresses": (source,),
    }
    made = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (settings | fields).items()
    }
    return DiscoveryReceived(
        data=build_advertisement(**made),
        source=source,
        destination="224.0.0.1",
        interface=interface,
        ttl=1,
        link_address=link_address or _MACS.get(source, "02:00:00:00:00:99"),
    )


def relays(
    code: int = 0,
    *,
    shared: SecurityAssociation | None = None,
    source: str | None = None,
    **changes: Any,
) -> Callable[[Scenario], Received]:
    """Relay the home agent's answer to the latest request, or deny it.

    A foreign agent's own denial has no mobile-home authentication.
    """
    if 64 <= code < 128 or code == 194:
        changes = {"mobile_home": None} | changes

    def tail(data: bytes) -> bytes:
        return data if shared is None else data + extension(33, shared, data)

    def make(running: Scenario) -> Received:
        answer = answers(code, tail, **changes)(running)
        return replace(answer, source=source or answer.source)

    return make
