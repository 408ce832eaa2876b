# SPDX-License-Identifier: GPL-2.0-only
"""Settings that we changed, with the values they had, on disk.

Routes and the like carry a mark, so that a later process can tell which are ours; a
sysctl or an offload cannot. So each old value is written down before the new one is
set, and a process that follows a killed one puts it back. Nothing is synced to disk:
what survives a crash of the machine needs no undo.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from mip_agents.dataplane.port import get_gro, set_gro
from mip_agents.dataplane.proxydelay import get_proxy_delay, set_proxy_delay


class StateFile:
    """Old values of changed settings; with no path they are in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._values: dict[tuple[str, str], tuple[str, str]] = {}

    def load(self) -> None:
        """Read what a predecessor left.

        A file of an earlier boot or of another network namespace says nothing about
        this one; nor does one that is broken, as it is never left half-written.
        """
        if self._path is None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(self._path.read_text())
            if content["place"] == _place():
                self._values = {
                    (kind, key): (before, after)
                    for kind, key, before, after in content["values"]
                }

    def remember(self, kind: str, key: str, before: str, after: str) -> None:
        """Note a value that is about to be changed. :raises OSError: from the disk."""
        self._values.setdefault((kind, key), (before, after))
        self._save()

    def restore(self, kind: str, key: str) -> None:
        """Put one value back, unless someone else has changed it since.

        :raises OSError: where that is refused.
        """
        values = self._values.pop((kind, key), None)
        if values is None:
            return
        before, after = values
        with contextlib.suppress(FileNotFoundError):  # with its interface
            if read_setting(kind, key) == after:
                write_setting(kind, key, before)
        self._save()

    def restore_all(self) -> None:
        """Put everything back, the latest first; an interface may be gone by now."""
        for kind, key in reversed(list(self._values)):
            with contextlib.suppress(OSError):
                self.restore(kind, key)

    def _save(self) -> None:
        if self._path is None:
            return
        if not self._values:
            self._path.unlink(missing_ok=True)
            return
        values = [[*name, *value] for name, value in self._values.items()]
        new = self._path.with_name(self._path.name + ".new")
        new.write_text(json.dumps({"place": _place(), "values": values}) + "\n")
        new.replace(self._path)


def read_setting(kind: str, key: str) -> str:
    """Return a setting: `sysctl` with its path below /proc/sys/net/ipv4, `gro` or
    `proxy_delay` (milliseconds) with an interface. :raises OSError: if it is not there.
    """
    if kind == "gro":
        return str(int(get_gro(key)))
    if kind == "proxy_delay":
        return str(get_proxy_delay(key))
    return Path("/proc/sys/net/ipv4", key).read_text().strip()


def write_setting(kind: str, key: str, value: str) -> None:
    """Change a setting, named as in `read_setting`. :raises OSError: if refused."""
    if kind == "gro":
        set_gro(key, value == "1")
    elif kind == "proxy_delay":
        set_proxy_delay(key, int(value))
    else:
        Path("/proc/sys/net/ipv4", key).write_text(value)


def _place() -> str:
    """Name this boot and this network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/net').stat().st_ino}"
