# SPDX-License-Identifier: GPL-2.0-only
"""What the schema of the control interface promises."""

from __future__ import annotations

from mip_agents.runtime.schema import SCHEMA

_ROLES = ("home agents", "foreign agents", "mobile nodes")


def answer(path: str) -> dict:
    """Return the schema of the answer of a route that is read."""
    (found,) = (
        route["answer"]
        for route in SCHEMA["routes"]
        if (route["method"], route["path"]) == ("GET", path)
    )
    return found


def named_for(role: str) -> set[str]:
    """Return the keys of a status that agents of a role have, such as `home agents`."""
    others = tuple(one for one in _ROLES if one != role)
    return {
        name
        for name, schema in answer("/v1/status")["properties"].items()
        if not schema.get("description", "").startswith(others)
    }
