# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent does for the sake of a mobile node with a fault.

Each quirk is off unless the configuration names it for that node, so that nobody else
gets less than the RFC says. Its value is its name there.
"""

from __future__ import annotations

import enum


class NodeQuirk(enum.StrEnum):
    """A fault of a mobile node that a home agent can live with."""

    ANY_CLOCK = "any_clock"
    """Its clock may be off by any amount: of its timestamps only the order counts. For
    nodes that do not heed the time in a reply with code 133 (RFC 5944 5.7.1)."""
    CODE_0_ONLY = "code_0_only"
    """What is granted is granted with code 0, even without simultaneous bindings. For
    nodes that take code 1 for a denial (RFC 5944 3.4)."""
