# SPDX-License-Identifier: GPL-2.0-only
"""The library: agents as objects of a program, blocking or in asyncio."""

from __future__ import annotations

from mip_agents.node.agents import HomeAgent, MobileNode
from mip_agents.node.aio import AsyncHomeAgent, AsyncMobileNode, RegistrationFailed

__all__ = [
    "AsyncHomeAgent",
    "AsyncMobileNode",
    "HomeAgent",
    "MobileNode",
    "RegistrationFailed",
]
