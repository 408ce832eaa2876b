# SPDX-License-Identifier: GPL-2.0-only
"""The library: agents as objects of a program, blocking or in asyncio."""

from __future__ import annotations

from mip_agents.node.agents import HomeAgent, MobileNode
from mip_agents.node.aio import (
    AsyncForeignAgent,
    AsyncHomeAgent,
    AsyncMobileNode,
    RegistrationFailed,
)
from mip_agents.node.foreign import ForeignAgent

__all__ = [
    "AsyncForeignAgent",
    "AsyncHomeAgent",
    "AsyncMobileNode",
    "ForeignAgent",
    "HomeAgent",
    "MobileNode",
    "RegistrationFailed",
]
