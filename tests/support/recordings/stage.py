# SPDX-License-Identifier: GPL-2.0-only
"""The sandbox of a scene: the laboratory's networks, real agents, and captures."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from scapy.packet import Packet

from mip_agents.lab import namespaces
from mip_agents.lab.agents import Agent
from mip_agents.lab.capture import LINKS, capture
from mip_agents.lab.links import Port
from mip_agents.lab.processes import Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.reach import reach
from mip_agents.lab.topology import HOME_ADDRESS, HOME_AGENT, LAN, NETWORKS, Topology
from mip_agents.runtime.client import AgentClient
from scapy_mip.all import MIP, MIPMHAE, MIPRRQ
from scapy_mip.const import MIP_PORT
from scapy_mip.ident import from_unix_ns
from support.recordings.scene import NODE_KEY, Scene, Shared, toml
from support.visitor import HandVisitor

_WHERE = {"ha": "ha", "fa": "visited-a", "mn": "mn"}
"""Namespaces of the agents."""
_PATIENCE_S = 20.0
TO_ALL_PORT = 9999
"""Where broadcasts go that are no business of Mobile IP."""


class Stage:
    """What a scene has at hand."""

    def __init__(self, scene: Scene, folder: Path, children: Children) -> None:
        self.scene, self.folder = scene, folder
        self.topology = Topology(without_dhcp=() if scene.dhcp else NETWORKS)
        self.pump = Pump()
        self._children = children
        self._running: dict[str, Agent] = {}
        self._closing: list[Callable[[], object]] = []

    # Agents

    def start(self, *names: str) -> None:
        """Start agents, one after the other."""
        for name in names:
            agent = Agent(name, self.folder, self.folder, namespace=_WHERE[name])
            document = dict(self.scene.agents[name])
            role = next(iter(document))
            own = {"control_socket": str(agent.socket), "state_dir": str(self.folder)}
            document[role] = own | document[role]
            agent.config.touch(mode=0o600)
            agent.config.write_text(toml(document))
            agent.start(self._children)
            agent.wait_ready(self.pump)
            self._running[name] = agent

    def end(self, name: str) -> None:
        """Stop an agent, as a user would."""
        child = self._running.pop(name).child
        assert child is not None
        child.send(signal.SIGTERM)
        assert child.wait(_PATIENCE_S) == 0, f"{name} did not end well"

    @contextmanager
    def client(self, name: str) -> Iterator[AgentClient]:
        """Give the control interface of an agent."""
        with AgentClient(self._running[name].socket) as client:
            yield client

    def until(self, name: str, **wanted: Any) -> None:
        """Wait until an agent says so of itself."""

        def holds() -> bool:
            status = self._running[name].status() or {}
            return all(status.get(key) == value for key, value in wanted.items())

        assert self.pump.until(holds, _PATIENCE_S), f"{name} is never {wanted}"

    def echo(self, box: str = "correspondent") -> None:
        """Have a box exchange an echo with the mobile node."""
        assert reach(box, HOME_ADDRESS, _PATIENCE_S), f"{box} gets no echo"

    # Hands

    def hand(self, address: str) -> Hand:
        """Return a node that registers by hand from an address of the mobile node."""
        hand = Hand(address)
        self._closing.append(hand.sock.close)
        return hand

    def visitor(
        self, home_address: str = HOME_ADDRESS, interface: str = "wlan0"
    ) -> HandVisitor:
        """Return a node that visits by hand, on an interface of the mobile node."""
        with namespaces.inside("mn"):
            visitor = HandVisitor(interface, home_address, HOME_AGENT, NODE_KEY.text)
        self._closing.append(visitor.close)
        return visitor

    def listener(self, box: str, address: str, port: int = MIP_PORT) -> socket.socket:
        """Return a socket that takes what comes, and does not answer by itself."""
        with namespaces.inside(box):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._closing.append(sock.close)
        sock.settimeout(_PATIENCE_S)
        sock.bind((address, port))
        return sock

    def tunnel_ear(self, box: str) -> socket.socket:
        """Return a socket that hears what arrives in IP-in-IP tunnels."""
        with namespaces.inside(box):
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
        self._closing.append(sock.close)
        sock.settimeout(_PATIENCE_S)
        return sock

    def broadcast(self, box: str, address: str) -> None:
        """Send a datagram to all hosts of a link."""
        with namespaces.inside(box):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LAN.encode())
            sock.sendto(b"to all", (address, TO_ALL_PORT))

    def close(self) -> None:
        """End what still runs, the mobile node first."""
        for close in self._closing:
            close()
        for name in reversed(list(self._running)):
            self.end(name)
        self.topology.close()


class Hand:
    """A socket from which requests are sent, and that reads the replies."""

    def __init__(self, address: str) -> None:
        self.address = address
        with namespaces.inside("mn"):
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(_PATIENCE_S)
        self.sock.bind((address, 0))

    def ask(self, **fields: Any) -> Any:
        """Send a request to the home agent, and return the reply's layer.

        :param fields: see `request`.
        """
        own = {"care_of_address": self.address, "flags": "DT"}
        self.sock.sendto(request(**(own | fields)), (HOME_AGENT, MIP_PORT))
        return MIP(self.sock.recv(2048))


def request(
    *,
    key: Shared | None = NODE_KEY,
    before: Sequence[Packet] = (),
    behind: Sequence[Packet] = (),
    **fields: Any,
) -> bytes:
    """Craft a request.

    :param key: what it is signed with; None: it is not.
    :param before: extensions that stand before the authentication.
    :param behind: those that stand behind it.
    """
    own: dict[str, Any] = {
        "flags": "T",
        "lifetime": 300,
        "home_address": HOME_ADDRESS,
        "home_agent": HOME_AGENT,
        "identification": now(),
    }
    signature = [] if key is None else [MIPMHAE(association=key.association)]
    return bytes(MIPRRQ(extensions=[*before, *signature, *behind], **(own | fields)))


def now(seconds: float = 0) -> int:
    """Return the Identification of this moment, or of another one."""
    return from_unix_ns(time.time_ns() + int(seconds * 1e9))


def perform(scene: Scene, folder: Path) -> None:
    """Play a scene in this process, which is a sandbox; captures go into a folder.

    :raises AssertionError: it did not go as it should.
    """
    with Children() as children:
        stage = Stage(scene, folder, children)
        links = {name: LINKS[link] for name, link in scene.links.items()}
        recorder = _Recorder(stage, children, links)
        try:
            scene.play(stage)
        finally:
            stage.close()
            recorder.stop()
            stage.pump.close()


class _Recorder:
    """The process that captures."""

    def __init__(
        self, stage: Stage, children: Children, links: dict[str, Port]
    ) -> None:
        self._pump = stage.pump
        self._said: list[dict[str, Any]] = []
        take = partial(capture, folder=stage.folder, links=links)
        self._child = children.fork("capture", take)
        output = self._child.output
        assert output is not None
        self._output = output
        stage.pump.add(output, lambda line: self._said.append(json.loads(line)))
        assert stage.pump.until(lambda: self._said, _PATIENCE_S), "no capture"

    def stop(self) -> None:
        self._child.send(signal.SIGTERM)
        self._pump.finish({self._output}, _PATIENCE_S)
        self._child.stop()
        assert not any(one.get("dropped") for one in self._said), "frames were dropped"
