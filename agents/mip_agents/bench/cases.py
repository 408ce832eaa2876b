# SPDX-License-Identifier: GPL-2.0-only
"""All that is measured, in the order of the table."""

from __future__ import annotations

from mip_agents.bench import agents, captures, layers, memory, processes
from mip_agents.bench.case import Case

CASES: tuple[Case, ...] = (
    *layers.CASES,
    *agents.CASES,
    *captures.CASES,
    *processes.CASES,
    *memory.CASES,
)
