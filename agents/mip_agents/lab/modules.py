# SPDX-License-Identifier: GPL-2.0-only
"""Kernel modules as files, in the order in which they can be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def depends(module: Path) -> list[str]:
    """Return the names of the modules that one needs, by its `.modinfo` section."""
    found = re.search(rb"\0depends=([a-z0-9_,-]*)\0", module.read_bytes())
    return found[1].decode().split(",") if found and found[1] else []


def in_order(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of modules, each behind those that it needs.

    What the kernel has built in is no file.
    """
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    found: dict[str, Path] = {}

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in files and name not in found:
            for other in depends(files[name]):
                add(other)
            found[name] = files[name]

    for name in names:
        add(name)
    return list(found.values())
