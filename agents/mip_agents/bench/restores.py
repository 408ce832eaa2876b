# SPDX-License-Identifier: GPL-2.0-only
"""How long a home agent takes to start with the bindings of a former process.

It has a home link, whose hosts ask for the home addresses: `tun` and `kernel` make a
route and a proxy neighbour for each.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Final

from mip_agents.bench.bindings import care_of
from mip_agents.bench.testbed import CrashError, Testbed, make
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.lab.links import Port
from mip_agents.protocol.effects import BindingRecord
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.security import SecurityTable, parse_security
from mip_agents.protocol.tunnel import Role
from mip_agents.runtime.agent import Agent
from mip_agents.runtime.options import AgentOptions
from mip_agents.runtime.store import MemoryStore
from scapy_mip.const import LIFETIME_INFINITE, RequestFlag

NOWHERE: Final = "none"
"""The data plane that carries nothing."""

_HOME_NETWORK: Final = IPv4Network("10.64.0.0/10")
_HOME_AGENT: Final = "10.64.0.1"
_FIRST = 256
"""Number of the first home address in the network."""


@dataclass(frozen=True, slots=True)
class Restore:
    """One line."""

    driver: str
    count: int
    start_s: float = 0.0
    """Seconds of processor time until the agent serves."""
    stop_s: float = 0.0
    """Seconds until nothing of it is left in the kernel."""
    problem: str | None = None
    """Why there are no figures."""


def prepare(bed: Testbed) -> None:
    """Give the testbed a home link with room for many."""
    bed.links.add_address(Port("ha", "home0"), f"{_HOME_AGENT}/10")


def restore(bed: Testbed, driver: str, count: int) -> Restore:
    """Measure one start, in a process of its own."""
    try:
        return Restore(driver, count, **bed.in_child(driver, _work(driver, count)))
    except CrashError as error:
        return Restore(driver, count, problem=str(error))


def _work(driver: str, count: int) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def work() -> dict[str, Any]:
        agent = _agent(driver, count)
        begun = time.process_time()
        async with agent.running():
            serving = time.process_time()
            carried = agent.status()["bindings"]
        ended = time.process_time()
        if carried != count:
            return {"problem": f"{carried} of {count} bindings were restored"}
        return {"start_s": serving - begun, "stop_s": ended - serving}

    return work


def _agent(driver: str, count: int) -> Agent:
    """Return an agent with a store of bindings, not yet started."""
    keys = parse_security({256: "a key of many mobile nodes"})
    policy = HomeAgentPolicy(
        address=_HOME_AGENT,
        home_network=_HOME_NETWORK,
        mobile_nodes=SecurityTable.for_network(_HOME_NETWORK, keys),
    )
    store = MemoryStore()
    for number in range(count):
        home, end = str(_HOME_NETWORK[_FIRST + number]), care_of(number)
        store.bindings[home, end] = BindingRecord(
            home_address=home,
            care_of_address=end,
            home_agent=_HOME_AGENT,
            flags=RequestFlag.T.value,
            lifetime=LIFETIME_INFINITE,
            expires=0,
            identification=1 << 32,
            spi=256,
            source=end,
        )
    dataplane: Any = RecorderDataplane(forgetful=True)
    if driver != NOWHERE:
        dataplane = make(
            driver, Role.HOME_AGENT, address=_HOME_AGENT, home_network=_HOME_NETWORK
        )
    return Agent(policy, AgentOptions(), store=store, dataplane=dataplane)
