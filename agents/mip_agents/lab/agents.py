# SPDX-License-Identifier: GPL-2.0-only
"""The real agents as processes of the laboratory: configured, started, watched."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mip_agents
import scapy_mip
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import Child, Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.topology import (
    HOME_ADDRESS,
    HOME_AGENT,
    HOME_PREFIX,
    LAN,
    METRICS,
    NETWORKS,
)
from mip_agents.protocol.errors import MipError
from mip_agents.runtime.client import AgentClient

KEY = b"1234567812345678"
SPI = 256

_ASSOCIATION = {"spi": SPI, "algorithm": "hmac-md5", "key_hex": KEY.hex()}

Watcher = Callable[[str, dict[str, Any]], object]


class Agent:
    """One agent process.

    :param role: the subcommand of `mip`
    :param namespace: where it runs
    :param name: of its files; None: the role
    """

    def __init__(
        self,
        role: str,
        folder: Path,
        sockets: Path,
        *,
        namespace: str | None = None,
        name: str | None = None,
    ) -> None:
        self.role = role
        self.name = name or role
        self._namespace = namespace or role
        self.config = folder / f"{self.name}.toml"
        self.log = folder / f"{self.name}.log"
        self.socket = sockets / f"{self.name}.sock"
        self._child: Child | None = None

    @property
    def child(self) -> Child | None:
        """The process that was started last."""
        return self._child

    def configure(self, table: str, /, *associations: str, **values: object) -> None:
        """Write the configuration, which only its owner may read.

        :param associations: tables of security associations with the mobile node's key
        """
        values |= {"control_socket": str(self.socket)}
        text = f"[{table}]\n{_toml(values)}"
        for name in associations:
            text += (
                f"\n[[{name}]]\n{_toml({'home_address': HOME_ADDRESS, **_ASSOCIATION})}"
            )
        self.config.touch(mode=0o600)
        self.config.write_text(text)

    def start(self, children: Children) -> Child:
        """Run `mip ROLE --config FILE` in the agent's namespace."""
        command = [sys.executable, "-m", "mip_agents.cli", self.role]
        self._child = children.execute(
            self.name,
            [*command, "--config", str(self.config)],
            namespace=self._namespace,
            log=self.log,
            environment=_environment(),
        )
        return self._child

    def wait_ready(self, pump: Pump, timeout: float = 60.0) -> None:
        """Wait until the agent answers on its control socket.

        :raises LabError: it ended or did not answer; with the last line of its log.
        """
        child = self._child
        if child is None:
            raise LabError(f"{self.name} was not started")
        if not pump.until(lambda: child.poll() is not None or self._answers(), timeout):
            raise LabError(f"mip {self.role} does not answer; {self.last_words()}")
        if child.code is not None:
            raise LabError(
                f"mip {self.role} ended with exit code {child.code}; "
                + self.last_words()
            )

    def _answers(self) -> bool:
        # A client is made only when there is something to talk to.
        return self.socket.exists() and self.status() is not None

    def last_words(self) -> str:
        """Return the last line of the log, and where the log is."""
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
        said = f"it said: {lines[-1].strip()} " if lines else "it said nothing "
        return f"{said}({self.log})"

    def status(self) -> dict[str, Any] | None:
        """Return what the agent says of itself, or None if it does not answer."""
        try:
            with AgentClient(self.socket, timeout=2) as client:
                return client.status()
        except MipError:
            return None

    def watch(self, pump: Pump, watcher: Watcher) -> None:
        """Hand each event of the agent to `watcher`, as long as it lives."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(str(self.socket))
        # HTTP/1.0, so that lines come as they are, without chunks around them.
        stream.sendall(b"GET /v1/events HTTP/1.0\r\nHost: mip\r\n\r\n")

        def receive(line: bytes) -> None:
            field, _, value = line.strip().partition(b":")
            if field == b"data":
                with contextlib.suppress(ValueError):
                    event = json.loads(value)
                    if isinstance(event, dict):
                        watcher(self.name, event)

        pump.add(stream.detach(), receive)


def home_agent(folder: Path, sockets: Path, settings: Mapping[str, Any]) -> Agent:
    """Make the home agent; `settings` go before our own."""
    agent = Agent("ha", folder, sockets)
    own = {
        "address": HOME_AGENT,
        "home_network": HOME_PREFIX,
        "max_lifetime": 600,
        "state_dir": str(folder),
    }
    agent.configure("home_agent", "mobile_node", **{**own, **settings})
    return agent


def foreign_agent(
    name: str, network: str, folder: Path, sockets: Path, settings: Mapping[str, Any]
) -> Agent:
    """Make the foreign agent of a visited network, which runs on its router."""
    agent = Agent("fa", folder, sockets, namespace=network, name=name)
    own = {
        "interfaces": [LAN],
        "care_of_addresses": [NETWORKS[network].gateway],
    }
    agent.configure("foreign_agent", **{**own, **settings})
    return agent


def mobile_node(folder: Path, sockets: Path, settings: Mapping[str, Any]) -> Agent:
    """Make the mobile node; `settings` go before our own."""
    agent = Agent("mn", folder, sockets)
    own = {
        "home_address": HOME_ADDRESS,
        "home_network": HOME_PREFIX,
        "home_agent": HOME_AGENT,
        **_ASSOCIATION,
        "reverse_tunnel": True,
        "interfaces": list(METRICS),
    }
    agent.configure("mobile_node", **{**own, **settings})
    return agent


def _toml(values: Mapping[str, object]) -> str:
    """Write texts, numbers, truth values and lists of them, all as in JSON."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _environment() -> dict[str, str]:
    """Return our environment, in which a child imports the same packages as we do."""
    sources = [
        str(Path(package.__path__[0]).parent) for package in (mip_agents, scapy_mip)
    ]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join(filter(None, dict.fromkeys([*sources, *inherited])))
    return {**os.environ, "PYTHONPATH": path}
