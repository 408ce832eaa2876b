# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha` and `mip mn` as processes, ended by their ids."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mip_agents.protocol.errors import MipError
from mip_agents.runtime.client import AgentClient
from support.netns import Node, sh

KEY_HEX = "31323334353637383132333435363738"
COMMAND = [sys.executable, "-m", "mip_agents.cli"]
DIE_WITH_THE_TEST = ["setpriv", "--pdeathsig", "KILL"]
"""An `isolated` test is a process; what it started ends with it, also when it fails."""


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "MIP_SOCKET"}
    return {**kept, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80", **more}


def mip(*arguments: Any, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a subcommand to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Daemon:
    """A running `mip ROLE`, in this namespace or in that of a node.

    :param more: environment variables.
    """

    def __init__(
        self,
        role: str,
        config: Path,
        socket: Path,
        inside: Node | None = None,
        **more: str,
    ) -> None:
        self.config = config
        self.socket = socket
        enter = [] if inside is None else ["nsenter", "-t", str(inside.pid), "-n"]
        command = [*COMMAND, role, "--config", str(config), "--log-format", "json"]
        self.process = subprocess.Popen(
            [*DIE_WITH_THE_TEST, *enter, *command],
            env=environment(**more),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def wait_for(self, text: str, count: int = 1, timeout: float = 20) -> None:
        """Wait until the log has `count` lines with `text`."""

        def there() -> bool:
            return sum(text in line for line in self.lines) >= count

        with self._changed:
            self._changed.wait_for(
                lambda: there() or self.process.poll() is not None, timeout
            )
            assert there(), f"{text!r} never came; the log:\n{''.join(self.lines)}"

    def wait_ready(self) -> None:
        self.wait_for('"agent_started"')

    def client(self) -> AgentClient:
        return AgentClient(self.socket, timeout=15)

    def status(self) -> dict[str, Any]:
        with self.client() as client:
            return client.status()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = 20) -> int:
        """Wait for the end; return the exit code."""
        try:
            code = self.process.wait(timeout)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(5)
        return code

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.end()


def kernel_state(run: Callable[[str], str] = sh) -> list[str]:
    """Return what an agent could have changed, sorted.

    Without the operational state of links, which the kernel finds out later.
    """
    text = run(
        "cd /proc/sys/net/ipv4; grep . ip_forward conf/*/*forward* conf/*/*rp_filter* "
        "conf/*/*proxy* neigh/*/*proxy*; exec ip -4 -o -batch - << END\n"
        "rule\nroute show table all\naddress\nneigh show proxy\nlink\nEND"
    )
    return sorted(
        re.sub(r" state [A-Z]+", "", line.strip()) for line in text.splitlines()
    )


__all__ = [
    "COMMAND",
    "KEY_HEX",
    "Daemon",
    "MipError",
    "environment",
    "kernel_state",
    "mip",
]
