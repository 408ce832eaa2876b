# SPDX-License-Identifier: GPL-2.0-only
"""Words for the agents' events in the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "registration_accepted": "{home_address} is at {care_of_address}",
    "registration_refreshed": "{home_address} stays at {care_of_address}",
    "deregistration_accepted": "{home_address} is at home",
    "request_sent": "{care_of_address} on {interface}, lifetime {lifetime}",
    "interface_chosen": "{interface}",
    "interface_lost": "{interface}",
}
"""Details of events that tell what moved; others list the fields of `_TOLD`."""

_TOLD = ("interface", "care_of_address", "lifetime", "code", "reason", "error")


def describe(event: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return event and detail for people, or None for what is too small to tell."""
    name = event.get("event")
    if not isinstance(name, str) or event.get("severity") == "debug":
        return None
    try:
        detail = _WORDS[name].format_map(event)
    except KeyError:
        detail = ", ".join(
            f"{key.replace('_', ' ')} {event[key]}"
            for key in _TOLD
            if event.get(key) is not None
        )
    return name.replace("_", " "), detail
