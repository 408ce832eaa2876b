# SPDX-License-Identifier: GPL-2.0-only
"""A virtual machine that runs one command: its order, its output, its end.

Host and guest share a folder; `mip_agents.lab.guest` says what is in it. The machine is
a process group of its own, of which nothing is left afterwards, whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mip_agents.lab import guest, namespaces
from mip_agents.lab.modules import in_order
from mip_agents.lab.namespaces import LabError

MODULES = (
    "overlay",
    "veth",
    "bridge",
    "tun",
    "ipip",
    "ip_gre",
    "sch_ingress",
    "cls_bpf",
    "dummy",
)
"""What the tests and the demonstration need of the kernel."""

_LOOK_S = 0.05
_LAST_LINES = 5


class UnavailableError(LabError):
    """There can be no such machine here; what was to be run did not begin."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run."""

    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    timeout: float
    """Seconds after which the machine is switched off."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a machine is started."""

    command: Sequence[str]
    environment: Mapping[str, str]
    processors: frozenset[int] | None = None
    """Where it may run; None: everywhere."""


def carry_out(
    order: Order, module_folder: Path, launch: Callable[[Path], Launch]
) -> int:
    """Run an order in a machine; pass its output on, and return its exit status.

    :param module_folder: where the machine's kernel has its modules
    :param launch: is given the shared folder
    :raises LabError: the machine did not do it; with the last lines of its console.
    """
    with tempfile.TemporaryDirectory(prefix="mip-lab-") as folder:
        shared, console = Path(folder, "shared"), Path(folder, "console")
        shared.mkdir()
        content = {
            "command": list(order.command),
            "directory": str(order.directory),
            "environment": dict(order.environment),
            "modules": [str(path) for path in in_order(module_folder, MODULES)],
        }
        (shared / guest.ORDER).write_text(json.dumps(content))
        start = launch(shared)
        with (
            _relay(shared / "stdout", sys.stdout.buffer) as pass_output,
            _relay(shared / "stderr", sys.stderr.buffer) as pass_errors,
            _running(start, console) as process,
        ):
            deadline = time.monotonic() + order.timeout
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise LabError(
                        f"not finished after {order.timeout:g} s; the machine was "
                        "switched off"
                    )
                time.sleep(_LOOK_S)
                pass_output()
                pass_errors()
        return _status(shared, console)


def _status(shared: Path, console: Path) -> int:
    """Return the exit status that the guest left."""
    said = ""
    with contextlib.suppress(FileNotFoundError):
        said = (shared / guest.STATUS).read_text().strip()
    if said.lstrip("-").isdigit():
        return int(said) if int(said) >= 0 else 128 - int(said)
    text = said or console.read_text(errors="replace").strip()
    lines = [line.strip() for line in text.splitlines()[-_LAST_LINES:]]
    raise LabError(f"the machine failed: {' / '.join(lines) or 'it said nothing'}")


@contextlib.contextmanager
def _running(start: Launch, console: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a machine, and end all of its processes when the block is left."""
    parent = os.getpid()

    def prepare() -> None:
        namespaces.die_with_parent(parent)
        if start.processors is not None:
            os.sched_setaffinity(0, start.processors)

    with console.open("wb") as log:
        process = subprocess.Popen(
            start.command,
            env=dict(start.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _relay(source: Path, target: IO[bytes]) -> Iterator[Callable[[], None]]:
    """Give a function that passes on what has been added to a file."""
    source.touch()
    with source.open("rb") as file:

        def pass_on() -> None:
            data = file.read()
            if data:
                target.write(data)
                target.flush()

        try:
            yield pass_on
        finally:
            pass_on()
