# SPDX-License-Identifier: GPL-2.0-only
"""User Mode Linux: a Debian kernel as an ordinary program, ready in two seconds.

It has one processor, and takes one command after the other to its end, so that it hides
how much is lost while something is being changed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from mip_agents.lab import guest, packages
from mip_agents.lab.machine import Launch, Order, UnavailableError, carry_out

PACKAGE = "user-mode-linux"

_MEMORY = 2 << 30
_PTRACE_SOURCE = Path(__file__).with_name("uml_ptrace.c")


def problem() -> str | None:
    """Say why it cannot work here, as far as that can be told without a download."""
    if platform.machine() != "x86_64":
        return f"User Mode Linux runs on x86-64, not on {platform.machine()}"
    if _has_tiles() and _compiler() is None:
        return "on this processor it needs a C compiler: sudo apt install gcc"
    return None


def run(order: Order) -> int:
    """Run an order.

    :raises UnavailableError: the package cannot be had.
    :raises LabError: the machine failed.
    """
    files = packages.unpacked(PACKAGE)
    kernel = files / "usr/bin/linux.uml"
    modules = files / "usr/lib/uml/modules"
    preload = _ptrace_library(packages.cache()) if _has_tiles() else None

    def launch(shared: Path) -> Launch:
        command = [
            str(kernel),
            f"mem={_MEMORY >> 20}M",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "con=null",
            "con0=null,fd:2",
            f"init={Path(sys.executable).resolve()}",
            "--",
            "-I",
            "-S",
            str(Path(guest.__file__).resolve()),
            "hostfs",
            str(shared),
        ]
        environment = dict(os.environ)
        if not _fits("/dev/shm"):  # where the machine's memory goes otherwise
            environment["TMPDIR"] = str(shared.parent)
        if preload is not None:
            environment["LD_PRELOAD"] = str(preload)
        # Its processes take turns, hundreds of thousands of times in a minute: on one
        # processor they wake each other in half of the time.
        return Launch(command, environment, frozenset({max(os.sched_getaffinity(0))}))

    return carry_out(order, modules, launch)


def _fits(folder: str) -> bool:
    try:
        state = os.statvfs(folder)
    except OSError:
        return False
    return state.f_bavail * state.f_frsize >= _MEMORY


def _has_tiles() -> bool:
    """Tell whether the processor has AMX; see `uml_ptrace.c`."""
    return " amx_tile" in Path("/proc/cpuinfo").read_text()


def _compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def _ptrace_library(folder: Path) -> Path:
    """Compile `uml_ptrace.c`, unless that is done.

    :raises UnavailableError: it failed.
    """
    library = folder / "uml_ptrace.so"
    compiler = _compiler()
    if library.exists() or compiler is None:
        return library
    draft = library.with_suffix(f".{os.getpid()}")
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(draft)]
    done = subprocess.run(
        [*command, str(_PTRACE_SOURCE), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(f"{_PTRACE_SOURCE.name}: {done.stderr.strip()}")
    draft.rename(library)
    return library
