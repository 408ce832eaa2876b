# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent for tests, nodes on its links, and home agents behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mip_agents.protocol.events import InterfacesChanged, Received, TimerFired
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import AdvertisementPolicy, ForeignAgentPolicy
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.view import Reply, Request, build_reply, parse
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import ExtensionType
from scapy_mip.messages import MIP
from scapy_mip.registration import MIPRegistrationRequest
from support.agents import FA, HA, HOME, KEY, MHAE, counting_bytes, extension
from support.scenario import Scenario, instant

LINK, OTHER_LINK, UPLINK = "eth1", "eth2", "eth0"
CARE_OF = FA
NODE, STRANGER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
MN_KEY = SecurityAssociation(400, b"visitor's own key")
MFAE = ExtensionType.MOBILE_FOREIGN_AUTHENTICATION
ENCAPSULATING = bytes([ExtensionType.ENCAPSULATING_DELIVERY_STYLE, 0])

HERE = InterfacesChanged(
    {
        LINK: InterfaceState(LINK, True, ("10.1.2.1/24",), None, "02:00:00:00:01:01"),
        OTHER_LINK: InterfaceState(
            OTHER_LINK, True, ("10.1.4.1/24",), None, "02:00:00:00:01:02"
        ),
        UPLINK: InterfaceState(UPLINK, True, ("192.0.2.1/24",)),
    }
)
"""The foreign agent's interfaces; its care-of address is that of eth1."""


def table(peer: str, association: SecurityAssociation | None) -> SecurityTable:
    """Return a table with at most one association."""
    found = SecurityTable()
    if association is not None:
        found.add(peer, association)
    return found


def foreign_agent(
    *,
    node_key: SecurityAssociation | None = None,
    agent_key: SecurityAssociation | None = None,
    **policy: Any,
) -> ForeignAgentEngine:
    """Make a foreign agent that advertises when asked, with its interfaces up."""
    settings: dict[str, Any] = {
        "interfaces": (LINK, OTHER_LINK),
        "care_of_addresses": (CARE_OF,),
        "advertisement": AdvertisementPolicy(interval=0),
        "mobile_nodes": table(HOME, node_key),
        "home_agents": table(HA, agent_key),
    }
    engine = ForeignAgentEngine(
        ForeignAgentPolicy(**settings | policy), counting_bytes()
    )
    engine.handle(HERE, instant(0))
    engine.handle(TimerFired(), instant(0))
    return engine


def frame(data: bytes, **changes: Any) -> Received:
    """Wrap a payload as it arrives from a node on a visited link."""
    settings: dict[str, Any] = {
        "source": HOME,
        "source_port": 434,
        "destination": FA,
        "destination_port": 434,
        "interface": LINK,
        "ttl": 255,
        "link_address": NODE,
    }
    return Received(data=data, **settings | changes)


def signed_request(*extensions: bytes, **fields: Any) -> bytes:
    """Build a request that ends with MHAE; `extensions` stand before that."""
    settings: dict[str, Any] = {
        "flags": "T",
        "lifetime": 600,
        "home_address": HOME,
        "home_agent": HA,
        "care_of_address": CARE_OF,
    }
    data = bytes(MIPRegistrationRequest(**settings | fields)) + b"".join(extensions)
    return data + extension(MHAE, KEY, data)


def unsigned(data: bytes) -> bytes:
    """Leave the extensions away."""
    return data[: MIP(data).fixed_size]


class Visits:
    """A request from a visited link; its Identification is the time unless given.

    :param behind: makes what stands behind MHAE out of the request so far.
    :param udp: changes to the datagram.
    """

    def __init__(
        self,
        *extensions: bytes,
        behind: Callable[[bytes], bytes] = lambda data: data,
        udp: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        self.extensions, self.behind = extensions, behind
        self.udp, self.fields = udp or {}, fields

    def __call__(self, running: Scenario) -> Received:
        # A request that is sent twice is the same in both.
        self.fields.setdefault("identification", running.now.ntp)
        data = self.behind(signed_request(*self.extensions, **self.fields))
        return frame(data, **self.udp)

    def __repr__(self) -> str:
        return f"visits({self.fields})"


visits = Visits


def signed_with(
    kind: int, *associations: SecurityAssociation, first: bytes = b""
) -> Callable[[bytes], bytes]:
    """Return what puts `first` and authentication extensions behind a message."""

    def tail(data: bytes) -> bytes:
        data += first
        for association in associations:
            data += extension(kind, association, data)
        return data

    return tail


def last_relayed(running: Scenario) -> Request:
    """Return the request that the foreign agent passed on last."""
    for send in reversed(running.sent):
        message = parse(send.data)
        if isinstance(message, Request):
            return message
    raise AssertionError("no request was relayed")


def last_answer(running: Scenario) -> Reply:
    """Return the reply that a node got last."""
    message = parse(running.sent[-1].data)
    assert isinstance(message, Reply)
    return message


def grants(
    code: int = 0,
    *,
    behind: Callable[[bytes], bytes] = lambda data: data,
    udp: dict[str, Any] | None = None,
    **changes: Any,
) -> Callable[[Scenario], Received]:
    """Answer, as the home agent, the request that was relayed last."""

    def make(running: Scenario) -> Received:
        request = last_relayed(running)
        fields: dict[str, Any] = {
            "code": code,
            "lifetime": request.lifetime,
            "home_address": request.home_address,
            "home_agent": request.home_agent,
            "identification": request.identification,
            "mobile_home": KEY,
            "nai": request.nai,
        }
        settings: dict[str, Any] = {
            "source": request.home_agent,
            "source_port": 434,
            "destination": CARE_OF,
            "destination_port": 434,
            "interface": UPLINK,
        }
        data = behind(build_reply(**fields | changes))
        return Received(data=data, **settings | (udp or {}))

    return make
