# SPDX-License-Identifier: GPL-2.0-only
"""Mobile IPv4 agents for Linux, made of the layers of `scapy_mip`.

The agents are a library first: `HomeAgent`, `ForeignAgent` and `MobileNode` are a few
lines each, blocking or in asyncio. Importing this package costs next to nothing; the
names load what they need when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scapy_mip import __version__

if TYPE_CHECKING:
    from mip_agents.node import (
        ForeignAgent,
        HomeAgent,
        MobileNode,
        RegistrationFailed,
    )
    from mip_agents.protocol.errors import MipError

__all__ = [
    "ForeignAgent",
    "HomeAgent",
    "MipError",
    "MobileNode",
    "RegistrationFailed",
    "__version__",
    "scapy_ext",
]

_HOMES = {
    "ForeignAgent": "mip_agents.node",
    "HomeAgent": "mip_agents.node",
    "MobileNode": "mip_agents.node",
    "RegistrationFailed": "mip_agents.node",
    "MipError": "mip_agents.protocol.errors",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def scapy_ext(ext: Any) -> None:
    """Do nothing: Scapy's extension loader calls this on every package of ours."""
