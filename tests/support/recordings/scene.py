# SPDX-License-Identifier: GPL-2.0-only
"""What a recording of our own agents is made of: agents, links, and what happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mip_agents.lab.topology import HOME_ADDRESS, HOME_AGENT, HOME_PREFIX, LAN, NETWORKS
from scapy_mip.auth import SecurityAssociation

if TYPE_CHECKING:
    from support.recordings.stage import Stage

Document = dict[str, Any]
"""A configuration: tables, and lists of tables, by name."""


class Shared(NamedTuple):
    """A key that everybody may know, for HMAC-MD5."""

    spi: int
    text: str

    @property
    def association(self) -> SecurityAssociation:
        """The same for the layers."""
        return SecurityAssociation(self.spi, self.text)


NODE_KEY: Final = Shared(256, "1234567812345678")
"""Mobile nodes and the home agent."""
VISITOR_KEY: Final = Shared(400, "a visitor's key")
"""Mobile nodes and the foreign agent."""
AGENTS_KEY: Final = Shared(300, "between the agents")
WRONG_KEY: Final = Shared(256, "8765432187654321")
"""A mobile node's own idea of its key."""

FOREIGN_AGENT: Final = NETWORKS["visited-a"].gateway
LEASE_A, LEASE_B = (
    NETWORKS[name].lease.partition("/")[0] for name in ("visited-a", "visited-b")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run of agents, and the captures that it leaves."""

    name: str
    holds: str
    """What there is to see, in a line."""
    links: Mapping[str, str]
    """By name of a capture: the link that is captured."""
    play: Callable[[Stage], None]
    agents: Mapping[str, Document]
    """Configurations by `ha`, `fa` and `mn`, to be started in that order."""
    dhcp: bool = True
    """Whether a mobile node gets addresses where it visits."""
    keys: tuple[Shared, ...] = (NODE_KEY,)
    """What a reader needs in order to judge every authenticator."""
    by_hand: tuple[str, ...] = ()
    """Sources of messages that were crafted, and may be wrong on purpose."""


def association(shared: Shared, **who: str) -> Document:
    """Return a table for a security association."""
    return {**who, "spi": shared.spi, "key_text": shared.text}


def home_agent(
    *,
    nodes: list[Document] | None = None,
    foreign_agents: list[Document] | None = None,
    **settings: Any,
) -> Document:
    """Configure a home agent that serves its network with one key."""
    everyone = association(NODE_KEY, home_address=HOME_PREFIX)
    own = {"address": HOME_AGENT, "home_network": HOME_PREFIX, "max_lifetime": 600}
    return {
        "home_agent": own | settings,
        "mobile_node": [everyone] if nodes is None else nodes,
        "foreign_agent": foreign_agents or [],
    }


def foreign_agent(
    *,
    nodes: list[Document] | None = None,
    home_agents: list[Document] | None = None,
    **settings: Any,
) -> Document:
    """Configure the foreign agent of the first visited network."""
    own = {"interfaces": [LAN], "care_of_addresses": [FOREIGN_AGENT]}
    own |= {"advertisement_interval": 1.0}
    return {
        "foreign_agent": own | settings,
        "mobile_node": nodes or [],
        "home_agent": home_agents or [],
    }


def mobile_node(
    *, foreign_agents: list[Document] | None = None, **settings: Any
) -> Document:
    """Configure a mobile node."""
    own = {
        "home_address": HOME_ADDRESS,
        "home_agent": HOME_AGENT,
        "home_network": HOME_PREFIX,
        "interfaces": ["eth0", "wlan0"],
        "lifetime": 300,
    }
    own |= association(NODE_KEY)
    return {"mobile_node": own | settings, "foreign_agent": foreign_agents or []}


def toml(document: Document) -> str:
    """Write a configuration; values are as in JSON."""
    lines = []
    for name, value in document.items():
        several = isinstance(value, list)
        for table in value if several else [value]:
            lines.append(f"[[{name}]]" if several else f"[{name}]")
            lines += [f"{key} = {json.dumps(entry)}" for key, entry in table.items()]
    return "\n".join(lines) + "\n"
