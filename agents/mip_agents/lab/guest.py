# SPDX-License-Identifier: GPL-2.0-only
"""The first process of a lab kernel: runs one command and powers the machine off.

The kernel that `mip_agents.lab.vm` boots has the host's files as its root, read-only,
and no other user space than Python with this file, which therefore uses the standard
library alone. It loads modules, lays a file system in memory over the root so that the
command may write where it likes, and runs it. The order comes in `order.json` of a
folder that host and guest share; `stdout`, `stderr` and `status` go back in it.

    guest.py FILESYSTEM SOURCE     how the shared folder is mounted
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

ORDER = "order.json"
"""`command`, `directory` and `environment` of the command; `modules`, where they are
below the folder `module_folder`."""
STATUS = "status"
"""Exit status of the command, or what kept it from running."""

_MS_RDONLY, _MS_MOVE = 1, 8192
_POWER_OFF = 0x4321FEDC
_FINIT_MODULE = 313  # x86-64
_EEXIST = 17

_OVER = Path("/dev/lab")
_ROOT = _OVER / "root"
_SHARED = Path("/run/mip-lab")

_libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: Path, source: str = "none", options: str = "") -> None:
    """Mount a file system, on a folder that is made if need be."""
    target.mkdir(parents=True, exist_ok=True)
    arguments = (source.encode(), os.fsencode(target), kind.encode())
    if _libc.mount(*arguments, ctypes.c_ulong(0), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind} on {target}: {os.strerror(number)}")


def depends(module: Path) -> list[str]:
    """Return the names of the modules that one needs, by its `.modinfo` section."""
    found = re.search(rb"\0depends=([a-z0-9_,-]*)\0", module.read_bytes())
    return found[1].decode().split(",") if found and found[1] else []


def load_modules(folder: Path, names: Iterable[str]) -> None:
    """Load modules and what they need; what the kernel has built in is no file."""
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    loaded: set[str] = set()

    def load(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None or name in loaded:
            return
        loaded.add(name)
        for other in depends(path):
            load(other)
        with path.open("rb") as file:
            done = _libc.syscall(_FINIT_MODULE, file.fileno(), b"", 0)
        if done != 0 and ctypes.get_errno() != _EEXIST:
            sys.stderr.write(f"{path}: {os.strerror(ctypes.get_errno())}\n")

    for name in names:
        load(name)


def enter_writable_root() -> None:
    """Make the root a file system in memory above the host's files."""
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


def main(kind: str, source: str) -> None:
    """Do all of it; never returns, since the kernel has nothing else to run."""
    shared = _OVER.parent / "lab-order"
    try:
        mount("proc", Path("/proc"))
        mount("sysfs", Path("/sys"))
        _mount_shared(kind, source, shared)
        order = json.loads((shared / ORDER).read_text())
        load_modules(Path(order["module_folder"]), order["modules"])
        enter_writable_root()
        shared = _SHARED
        _mount_shared(kind, source, shared)
        status = run(shared)
    except BaseException:  # noqa: BLE001 - told to the host, whatever it is
        status = traceback.format_exc()
    (shared / STATUS).write_text(status)
    os.sync()
    _libc.reboot(_POWER_OFF)


def _mount_shared(kind: str, source: str, target: Path) -> None:
    if kind == "hostfs":  # it names the folder of the host by an option
        mount(kind, target, options=source)
    else:
        mount(kind, target, source)


if __name__ == "__main__":
    main(*sys.argv[1:3])
