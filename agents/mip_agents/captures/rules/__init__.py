# SPDX-License-Identifier: GPL-2.0-only
"""The rules that captures are held against, by chapter of the checklist.

A module has its rules as constants, and functions that look at one packet, or objects
that are shown one packet after the other. All of them yield a rule and a sentence for
each deviation that they see.
"""

from __future__ import annotations

from collections.abc import Iterator

from mip_agents.captures.findings import Rule

Deviations = Iterator[tuple[Rule, str]]
