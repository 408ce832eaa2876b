# SPDX-License-Identifier: GPL-2.0-only
"""The `kernel` driver: tunnels that `ip link`, `ip tunnel` and `ip route` show.

The two ends differ. A home agent has many bindings, a mobile node one tunnel that
moves; so each has the shape that suits it (`kernelhome.py`, `kernelnode.py`). Both
need a kernel with `ipip` and `gre` devices, which know neither minimal encapsulation
nor UDP.
"""

from __future__ import annotations

from typing import Any

from mip_agents.dataplane.kernelhome import KernelHomeAgent
from mip_agents.dataplane.kernelnode import KernelMobileNode
from mip_agents.protocol.tunnel import Role


def make_kernel(role: Role, **arguments: Any) -> KernelHomeAgent | KernelMobileNode:
    """Make the driver of a role; the arguments are those of `RoutedDataplane`."""
    if role is Role.HOME_AGENT:
        return KernelHomeAgent(role, **arguments)
    return KernelMobileNode(role, **arguments)
