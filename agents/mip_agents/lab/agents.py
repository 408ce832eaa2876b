# SPDX-License-Identifier: GPL-2.0-only
"""The real agents as processes of the laboratory: configured, started, watched."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mip_agents
import scapy_mip
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import Child, Children
from mip_agents.lab.pump import Pump
from mip_agents.lab.topology import HOME_ADDRESS, HOME_AGENT, HOME_PREFIX, METRICS
from mip_agents.protocol.errors import MipError
from mip_agents.runtime.client import AgentClient

KEY = b"1234567812345678"
SPI = 256

HOME_AGENT_TOML = """\
[home_agent]
address = "{agent}"
home_network = "{prefix}"
max_lifetime = 600
encapsulations = ["ipip", "gre"]
reverse_tunnel = "optional"
state_dir = "{folder}"
control_socket = "{socket}"
dataplane = "{dataplane}"

[[mobile_node]]
home_address = "{home}"
spi = {spi}
algorithm = "hmac-md5"
key_hex = "{key}"
replay = "timestamp"
"""

MOBILE_NODE_TOML = """\
[mobile_node]
home_address = "{home}"
home_network = "{prefix}"
home_agent = "{agent}"
spi = {spi}
algorithm = "hmac-md5"
key_hex = "{key}"
lifetime = {lifetime}
reverse_tunnel = true
encapsulation = "{encapsulation}"
interfaces = {interfaces}
care_of = "co-located"
control_socket = "{socket}"
dataplane = "{dataplane}"
"""

Watcher = Callable[[str, dict[str, Any]], object]


class Agent:
    """One agent process; `role` is the subcommand of `mip` and its namespace."""

    def __init__(self, role: str, folder: Path, sockets: Path) -> None:
        self.role = role
        self.config = folder / f"{role}.toml"
        self.log = folder / f"{role}.log"
        self.socket = sockets / f"{role}.sock"
        self._child: Child | None = None

    def configure(self, template: str, folder: Path, **values: object) -> None:
        """Write the configuration, which only its owner may read."""
        text = template.format(
            agent=HOME_AGENT,
            prefix=HOME_PREFIX,
            home=HOME_ADDRESS,
            spi=SPI,
            key=KEY.hex(),
            folder=folder,
            socket=self.socket,
            interfaces=json.dumps(list(METRICS)),
            **values,
        )
        self.config.touch(mode=0o600)
        self.config.write_text(text)

    def start(self, children: Children) -> Child:
        """Run `mip ROLE --config FILE` in the agent's namespace."""
        command = [sys.executable, "-m", "mip_agents.cli", self.role]
        self._child = children.execute(
            self.role,
            [*command, "--config", str(self.config)],
            namespace=self.role,
            log=self.log,
            environment=_environment(),
        )
        return self._child

    def wait_ready(self, pump: Pump, timeout: float = 15.0) -> None:
        """Wait until the agent answers on its control socket.

        :raises LabError: it ended or did not answer; with the last line of its log.
        """
        child = self._child
        if child is None:
            raise LabError(f"mip {self.role} was not started")
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
                        watcher(self.role, event)

        pump.add(stream.detach(), receive)


def _environment() -> dict[str, str]:
    """Return our environment, in which a child imports the same packages as we do."""
    sources = [
        str(Path(package.__path__[0]).parent) for package in (mip_agents, scapy_mip)
    ]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join(filter(None, dict.fromkeys([*sources, *inherited])))
    return {**os.environ, "PYTHONPATH": path}
