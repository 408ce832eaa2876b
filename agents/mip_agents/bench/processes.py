# SPDX-License-Identifier: GPL-2.0-only
"""What starting costs, in time and memory, against `scapy.all`."""

from __future__ import annotations

import sys
from pathlib import Path

from mip_agents.bench.case import Case, Gauges, NotInstalledError
from mip_agents.bench.children import cpu_of, run_python

LAYERS = "import mip_agents.protocol.view"
"""What an agent imports of the layers: every message and extension."""
EVERYTHING = "import scapy.all"

_PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        print(int(line.split()[1]) / 1024)
"""


def import_ms(code: str) -> float:
    """Return the CPU time of a process that only imports, milliseconds."""
    return cpu_of([sys.executable, "-c", code]) * 1000


def peak_mib(code: str) -> float:
    """Return the most memory that a process had resident, MiB."""
    return float(run_python(code + _PEAK))


def help_ms() -> float:
    """Return the CPU time of `mip --help`, milliseconds."""
    return cpu_of([sys.executable, "-m", "mip_agents.cli", "--help"]) * 1000


def imports_work() -> bool:
    """Try both once, which also compiles the modules."""
    return "ok" in run_python(LAYERS + "; print('ok')") and "ok" in run_python(
        EVERYTHING + "; print('ok')"
    )


def importing() -> Gauges:
    """Prepare `import`."""
    return Gauges(
        lambda: import_ms(LAYERS), lambda: import_ms(EVERYTHING), imports_work
    )


def memory() -> Gauges:
    """Prepare `import-memory`."""
    if not Path("/proc/self/status").exists():
        raise NotInstalledError("this system has no /proc")
    return Gauges(lambda: peak_mib(LAYERS), lambda: peak_mib(EVERYTHING), imports_work)


def helping() -> Gauges:
    """Prepare `help`."""
    return Gauges(
        help_ms, lambda: import_ms(EVERYTHING), lambda: help_ms() > 0 and imports_work()
    )


CASES = (
    Case(
        name="import",
        what="import the layers",
        rival="scapy.all",
        goal=2.8,
        prepare=importing,
        unit="ms",
    ),
    Case(
        name="import-memory",
        what="memory of that",
        rival="scapy.all",
        goal=1.5,
        prepare=memory,
        unit="MiB",
    ),
    Case(
        name="help",
        what="mip --help",
        rival="import scapy.all",
        goal=8,
        prepare=helping,
        unit="ms",
    ),
)
