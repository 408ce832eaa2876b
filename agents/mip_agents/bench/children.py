# SPDX-License-Identifier: GPL-2.0-only
"""What processes of their own cost."""

from __future__ import annotations

import functools
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence


def cpu_of(command: Sequence[str]) -> float:
    """Return the CPU time of a process and all that it starts, seconds.

    :raises subprocess.CalledProcessError: it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True, env=_environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def run_python(code: str) -> str:
    """Return what some code prints in an interpreter of its own.

    :raises subprocess.CalledProcessError: it fails.
    """
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    ).stdout


@functools.cache
def _compiled_modules() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mip-bench-")


def _environment() -> dict[str, str]:
    """Return an environment in which modules are compiled once, as installed ones are.

    A checkout may not be writable, or Python may be told not to write.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**kept, "PYTHONPYCACHEPREFIX": _compiled_modules().name}
