# SPDX-License-Identifier: GPL-2.0-only
"""Words for the agents' events in the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_TOLD = frozenset(
    {"event", "time", "severity", "level", "rule", "identification", "spi", "role"}
)
"""Fields that the table has already, or has no room for."""


def describe(event: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return event and detail for people, or None for what is too small to tell."""
    name = event.get("event")
    if not isinstance(name, str) or event.get("severity") in ("debug", 10):
        return None
    inner = event.get("fields")
    fields = {**event, **inner} if isinstance(inner, Mapping) else dict(event)
    fields.pop("fields", None)
    detail = ", ".join(
        f"{key.replace('_', ' ')} {value}"
        for key, value in fields.items()
        if key not in _NOT_TOLD and value is not None
    )
    return name.replace("_", " "), detail
