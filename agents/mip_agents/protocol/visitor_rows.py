# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent's visitors and pending requests as JSON-able values."""

from __future__ import annotations

from typing import Any

from mip_agents.protocol.bindings import NEVER
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.policy import DeliveryStyle
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.visitors import (
    Pending,
    PendingList,
    Place,
    Visitor,
    VisitorList,
)
from scapy_mip.const import flag_letters


def rows(
    visitors: VisitorList, pending: PendingList, now: Instant
) -> list[dict[str, Any]]:
    """Return each visitor and each request that waits, named as in the registry."""
    found = [
        _registered(place, visitor, now)
        for place, visitor in visitors
        if visitor.expires > now.mono
    ]
    return found + [_pending(request, now) for request in pending]


def _registered(place: Place, visitor: Visitor, now: Instant) -> dict[str, Any]:
    tunnel, remaining = visitor.tunnel, visitor.expires - now.mono
    return {
        "home_address": place.home_address,
        "nai": visitor.nai,
        "interface": place.interface,
        "link_address": visitor.link_address,
        "source": visitor.source,
        "care_of_address": visitor.care_of_address,
        "home_agent": visitor.home_agent,
        "state": "registered",
        "tunnel": None if tunnel is None else tunnel.key,
        "lifetime": visitor.lifetime,
        "remaining": None if remaining == NEVER else int(remaining),
        "flags": flag_letters(visitor.flags),
        "encapsulation": None if tunnel is None else tunnel.encapsulation.slug,
        "delivery_style": _delivery_style(tunnel),
        "identification": f"{visitor.identification:016x}",
    }


def _delivery_style(tunnel: Tunnel | None) -> str | None:
    """Return how packets for the reverse tunnel come; None: there is none here."""
    if tunnel is None or tunnel.visitor is None or not tunnel.reverse:
        return None
    if tunnel.visitor.encapsulating:
        return DeliveryStyle.ENCAPSULATING.value
    return DeliveryStyle.DIRECT.value


def _pending(pending: Pending, now: Instant) -> dict[str, Any]:
    visit = pending.visit
    request = visit.request
    return {
        "home_address": request.home_address,
        "nai": visit.nai,
        "interface": visit.interface,
        "link_address": visit.link_address,
        "source": visit.received.source,
        "care_of_address": request.care_of_address,
        "home_agent": request.home_agent,
        "state": "pending",
        "tunnel": None,
        "lifetime": request.lifetime,
        "remaining": max(0, int(pending.expires - now.mono)),
        "flags": flag_letters(request.flags),
        "encapsulation": None,
        "delivery_style": None,
        "identification": f"{request.identification:016x}",
    }
