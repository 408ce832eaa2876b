# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages unpacked into a cache of the user's, without installing them.

`apt-get download` asks the archives that this machine is set up for, and needs no
root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mip_agents.lab.machine import UnavailableError

_PATIENCE_S = 180


def cache() -> Path:
    """Return the folder for what was fetched."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "scapy-mip", "lab")


def real_name(package: str) -> str:
    """Return the package that one without files of its own depends on.

    :raises UnavailableError: it is not known.
    """
    folder = Path("/")
    said = _run(["apt-cache", "depends", "--important", package], folder)
    for line in said.splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends":
            return name
    raise UnavailableError(f"no package {package}")


def unpacked(package: str) -> Path:
    """Return the folder with the files of a package; fetch it if it is not there.

    :raises UnavailableError: it cannot be had.
    """
    target = cache() / package
    if target.is_dir():
        return target
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"no package {package}: there is no {tool} here")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            _fetch(package, Path(folder))
            (archive,) = Path(folder).glob("*.deb")
            files = Path(folder, "files")
            _run(["dpkg", "-x", str(archive), str(files)], Path(folder))
            files.rename(target)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"no package {package}: {error}") from error
    return target


def _fetch(package: str, folder: Path) -> None:
    """Download a package; root may refresh the lists that know where it is."""
    download = ["apt-get", "-qq", "download", package]
    try:
        _run(download, folder)
    except UnavailableError:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "-qq", "update"], folder)
        _run(download, folder)


def _run(command: Sequence[str], folder: Path) -> str:
    """Run a command; return its output.

    :raises UnavailableError: with the last line that it said.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnavailableError(f"{' '.join(command)}: {lines[-1]}")
    return done.stdout
