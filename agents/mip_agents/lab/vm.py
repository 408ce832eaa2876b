# SPDX-License-Identifier: GPL-2.0-only
"""`tools/lab run -- COMMAND`: runs a command under a kernel that has tunnel devices.

Where the running kernel has them, that is all; else a stock Debian kernel is booted,
with the host's files as its root. What the command writes to files is lost with the
machine; its output and its exit status come back.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mip_agents.dataplane.probe import tunnel_devices_problem
from mip_agents.lab import qemu, uml
from mip_agents.lab.interrupt import Interrupted, catch_signals
from mip_agents.lab.machine import Order, UnavailableError
from mip_agents.lab.namespaces import LabError

FAILED = 2
"""Exit status where the command did not begin or did not end."""


class Way(NamedTuple):
    """One way to run a command."""

    problem: Callable[[], str | None]
    """Says why it cannot work here."""
    run: Callable[[Order], int]
    """Returns the exit status of the command."""


def _run_here(order: Order) -> int:
    """Run an order under the running kernel."""
    process = subprocess.Popen(
        order.command,
        cwd=order.directory,
        env=dict(order.environment),
        start_new_session=True,
    )
    try:
        code = process.wait(order.timeout)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"not finished after {order.timeout:g} s; stopped") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code if code >= 0 else 128 - code


WAYS: dict[str, Way] = {
    "native": Way(tunnel_devices_problem, _run_here),
    "kvm": Way(qemu.kvm_problem, qemu.run_kvm),
    "uml": Way(uml.problem, uml.run),
    "tcg": Way(qemu.problem, qemu.run_tcg),
}
"""By name, the best first."""


def choose(name: str = "auto") -> Way:
    """Return the way called `name`, or the best that works.

    :raises UnavailableError: it does not work here, or none does.
    """
    reasons = []
    for candidate, way in WAYS.items():
        if name in (candidate, "auto"):
            problem = way.problem()
            if problem is None:
                return way
            reasons.append(f"{candidate}: {problem}")
    raise UnavailableError("; ".join(reasons))


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="lab", description=__doc__.partition("\n")[0])
    run = parser.add_subparsers(required=True).add_parser("run", help="run a command")
    run.add_argument("--way", choices=("auto", *WAYS), default="auto")
    run.add_argument("--timeout", type=float, default=600, metavar="SECONDS")
    run.add_argument(
        "--or-skip",
        metavar="NAME",
        help="if there is no such kernel, say that NAME is skipped and exit with 0",
    )
    run.add_argument("command", nargs="+", metavar="COMMAND")
    given = parser.parse_args(arguments)
    order = Order(given.command, Path.cwd(), dict(os.environ), given.timeout)
    catch_signals()
    try:
        return choose(given.way).run(order)
    except LabError as error:
        if given.or_skip is not None and isinstance(error, UnavailableError):
            sys.stdout.write(f"SKIPPED {given.or_skip}: {error}\n")
            return 0
        sys.stderr.write(f"lab: {error}\n")
        return FAILED
    except Interrupted as interrupted:
        return 128 + interrupted.number


if __name__ == "__main__":
    sys.exit(main())
