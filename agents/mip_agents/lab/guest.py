# SPDX-License-Identifier: GPL-2.0-only
"""The first process of a lab kernel: runs one command and powers the machine off.

The kernel that `mip_agents.lab.vm` boots has the host's files as its root, read-only,
and no other user space than Python with this file, which therefore uses the standard
library alone. It loads modules, lays a file system in memory over the root so that the
command may write where it likes, and runs it. The order comes in `order.json` of a
folder that host and guest share; `stdout`, `stderr` and `status` go back in it.

    guest.py FILESYSTEM SOURCE [OPTIONS]     how the shared folder is mounted
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

ORDER = "order.json"
"""`command`, `directory` and `environment` of the command; files of `modules`, each
behind those that it needs."""
STATUS = "status"
"""Exit status of the command, or what kept it from running."""

_MS_MOVE = 8192
_POWER_OFF = 0x4321FEDC
_FINIT_MODULE = 313  # x86-64
_EEXIST = 17

_OVER = Path("/dev/lab")
_ROOT = _OVER / "root"
_SHARED = Path("/run/mip-lab")

_libc = ctypes.CDLL(None, use_errno=True)


def mount(
    kind: str, target: Path, source: str = "none", options: str = "", flags: int = 0
) -> None:
    """Mount a file system, on a folder that is made if need be."""
    target.mkdir(parents=True, exist_ok=True)
    arguments = (source.encode(), os.fsencode(target), kind.encode())
    if _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind} on {target}: {os.strerror(number)}")


def load(module: Path) -> None:
    """Load a module; a refusal is told and does no harm to the others."""
    with module.open("rb") as file:
        done = _libc.syscall(_FINIT_MODULE, file.fileno(), b"", 0)
    if done != 0 and ctypes.get_errno() != _EEXIST:
        sys.stderr.write(f"{module}: {os.strerror(ctypes.get_errno())}\n")


def enter_writable_root(shared: Path) -> None:
    """Make the root a file system in memory above the host's files.

    The shared folder, which some kinds of machine can mount only once, comes along.
    """
    mount("tmpfs", _OVER, options="mode=755")
    upper, work = _OVER / "upper", _OVER / "work"
    upper.mkdir()
    work.mkdir()
    mount(
        "overlay", _ROOT, options=f"lowerdir=/,upperdir={upper},workdir={work},xino=off"
    )
    for kind, name in (
        ("proc", "proc"),
        ("sysfs", "sys"),
        ("devtmpfs", "dev"),
        ("tmpfs", "dev/shm"),
        ("devpts", "dev/pts"),
        ("tmpfs", "run"),
    ):
        mount(kind, _ROOT / name)
    mount("none", Path(f"{_ROOT}{_SHARED}"), str(shared), flags=_MS_MOVE)
    os.chroot(_ROOT)
    os.chdir("/")


def run(shared: Path) -> str:
    """Run the command of the order; return what `STATUS` is to say."""
    order = json.loads((shared / ORDER).read_text())
    with (shared / "stdout").open("ab") as out, (shared / "stderr").open("ab") as err:
        done = subprocess.run(
            order["command"],
            cwd=order["directory"],
            env=order["environment"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=False,
        )
    return str(done.returncode)


def main(kind: str, source: str, options: str = "") -> None:
    """Do all of it; never returns, since the kernel has nothing else to run."""
    shared = _OVER.parent / "lab-order"
    try:
        mount("proc", Path("/proc"))
        mount("sysfs", Path("/sys"))
        if kind == "hostfs":  # it names the folder of the host by an option
            source, options = "none", source
        mount(kind, shared, source, options)
        order = json.loads((shared / ORDER).read_text())
        for module in order["modules"]:
            load(Path(module))
        enter_writable_root(shared)
        shared = _SHARED
        status = run(shared)
    except BaseException:  # noqa: BLE001 - told to the host, whatever it is
        status = traceback.format_exc()
    (shared / STATUS).write_text(status)
    os.sync()
    _libc.reboot(_POWER_OFF)


if __name__ == "__main__":
    main(*sys.argv[1:4])
