# SPDX-License-Identifier: GPL-2.0-only
"""A correspondent, a home agent and a mobile node in a row, to measure data planes on.

    cn 10.9.0.2 -- 10.9.0.1 ha 10.1.2.1 -- 10.1.2.5 mn

Each is a network namespace. Offloads stay on, as on the machines of an operator. What
is sent to the care-of address is routed and no more, what is sent to the home address
goes through the tunnel: the same links, hops and processors.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from typing import IO, Any, Final

from mip_agents.dataplane.api import Dataplane, DataplaneError
from mip_agents.dataplane.rawsockets import refuse_tunnel_data
from mip_agents.dataplane.select import DRIVERS
from mip_agents.lab import namespaces
from mip_agents.lab.links import Links, Port
from mip_agents.lab.namespaces import NETNS_DIR
from mip_agents.lab.processes import Child, Children
from mip_agents.protocol.tunnel import Form, Role, Tunnel
from scapy_mip.const import MIP_PORT, Encapsulation

HOME_ADDRESS: Final = "10.1.1.10"
HOME_AGENT: Final = "10.1.2.1"
CARE_OF: Final = "10.1.2.5"
_HOME_NETWORK: Final = IPv4Network("10.1.1.0/24")
_CORRESPONDENT: Final = "10.9.0.2"

FORMS: Final = {
    "ipip": Form(Encapsulation.IPIP),
    "gre": Form(Encapsulation.GRE),
    "gre, key": Form(Encapsulation.GRE, send_key=1, receive_key=2),
    "minimal": Form(Encapsulation.MINIMAL),
    "ipip, UDP": Form(Encapsulation.IPIP, ports=(MIP_PORT, MIP_PORT)),
    "gre, UDP": Form(Encapsulation.GRE, ports=(MIP_PORT, MIP_PORT)),
    "minimal, UDP": Form(Encapsulation.MINIMAL, ports=(MIP_PORT, MIP_PORT)),
}
"""What is measured, as the home agent sees it."""


class CrashError(Exception):
    """A process of the testbed has ended before its time."""


class Testbed:
    """The namespaces, and the agents while there are some."""

    def __init__(self) -> None:
        self.links = links = Links()
        self.children = Children()
        for name in ("cn", "ha", "mn"):
            namespaces.create(name)
            links.up(Port(name, "lo"))
        namespaces.set_sysctl("ha", "net/ipv4/ip_forward", "1")
        self._join(Port("cn", "eth0"), _CORRESPONDENT, Port("ha", "home0"), "10.9.0.1")
        self._join(Port("ha", "out0"), HOME_AGENT, Port("mn", "eth0"), CARE_OF)
        links.add_route(Port("cn", "eth0"), "default", "10.9.0.1")
        links.add_route(Port("ha", "out0"), "default", CARE_OF)
        links.add_route(Port("mn", "eth0"), "default", HOME_AGENT)

    def _join(self, one: Port, address: str, other: Port, far: str) -> None:
        self.links.of(one.namespace).link(
            "add",
            ifname=one.name,
            kind="veth",
            peer={"ifname": other.name, "net_ns_fd": str(NETNS_DIR / other.namespace)},
        )
        for port, own in ((one, address), (other, far)):
            self.links.add_address(port, f"{own}/24")
            self.links.up(port)
        self.links.wait_up(one)

    def close(self) -> None:
        """End what runs here."""
        self.children.stop()
        self.links.close()

    def tunnel(self, driver: str, form: Form) -> tuple[Child, Child]:
        """Open a data plane at both ends, in a process each.

        :raises DataplaneError: the driver cannot carry the form.
        """
        ours = Tunnel(
            home_address=HOME_ADDRESS,
            local=HOME_AGENT,
            peers=(CARE_OF,),
            encapsulation=form.encapsulation,
            reverse=True,
            peer_forms=(form,),
        )
        theirs = Tunnel(
            home_address=HOME_ADDRESS,
            local=CARE_OF,
            peers=(HOME_AGENT,),
            encapsulation=form.encapsulation,
            reverse=True,
            interface="eth0",
            peer_forms=(
                form._replace(send_key=form.receive_key, receive_key=form.send_key),
            ),
        )
        agents = (
            self._agent("ha", driver, Role.HOME_AGENT, ours),
            self._agent("mn", driver, Role.MOBILE_NODE, theirs),
        )
        try:
            for agent in agents:
                problem = answer_of(agent)
                if problem is not None:
                    raise DataplaneError(problem)
        except DataplaneError:
            for agent in agents:
                agent.stop()
            raise
        return agents

    def _agent(self, name: str, driver: str, role: Role, tunnel: Tunnel) -> Child:
        def run(output: IO[bytes]) -> None:
            asyncio.run(_carry(make(driver, role), tunnel, output))

        return self.children.fork(f"{driver} {name}", run, name)

    def in_child(
        self, name: str, work: Callable[[], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        """Carry out `work` in a process of its own; return what it returns, as JSON.

        In the place of a `DataplaneError` comes its text, as `problem`.
        """

        async def body(output: IO[bytes]) -> None:
            try:
                tell(output, await work())
            except DataplaneError as error:
                tell(output, {"problem": str(error)})

        child = self.children.fork(name, lambda output: asyncio.run(body(output)), "ha")
        answer: dict[str, Any] = answer_of(child)
        child.wait(60)
        return answer


def make(driver: str, role: Role, **options: Any) -> Dataplane:
    """Make a data plane for one of the ends."""
    values: dict[str, Any] = {"address": HOME_AGENT, "home_interface": "home0"}
    if role is Role.MOBILE_NODE:
        values = {"home_network": _HOME_NETWORK}
    return DRIVERS[driver].make(role, **(values | options))


async def _carry(dataplane: Dataplane, tunnel: Tunnel, output: IO[bytes]) -> None:
    """Carry packets until the end of this process, and say when that begins."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        refuse_tunnel_data(control)
        control.bind(("", MIP_PORT))
        try:
            await dataplane.open()
            await dataplane.install(tunnel)
        except DataplaneError as error:
            tell(output, str(error))
        else:
            tell(output, None)
            await done.wait()
        finally:
            await dataplane.close()


def tell(output: IO[bytes], value: object) -> None:
    """Answer the parent in a line of JSON."""
    output.write(json.dumps(value).encode() + b"\n")


def answer_of(child: Child) -> Any:
    """Wait for a child's answer. :raises CrashError: it ended without one."""
    assert child.output is not None
    descriptor, child.output = child.output, None
    with os.fdopen(descriptor, "rb") as reader:
        line = reader.readline()
    if not line:
        raise CrashError(f"{child.name} has crashed; see above")
    return json.loads(line)
