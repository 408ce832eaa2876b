# SPDX-License-Identifier: GPL-2.0-only
"""What a granted request makes of a node's bindings. RFC 5944 section 3.8.2.2."""

from __future__ import annotations

from collections.abc import Callable

from mip_agents.protocol.bindings import Bindings, expiry, new_binding
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.freshness import ReplayGuard
from mip_agents.protocol.gre_keys import assign_keys
from mip_agents.protocol.policy import HomeAgentPolicy
from mip_agents.protocol.request_checks import Asked, kept_bindings
from scapy_mip.const import LIFETIME_DEREGISTER


def granted_bindings(
    policy: HomeAgentPolicy,
    asked: Asked,
    before: Bindings,
    now: Instant,
    random_bytes: Callable[[int], bytes],
) -> Bindings:
    """Return the bindings that a node has after its request is granted (HA-19)."""
    request = asked.request
    care_of_address = request.care_of_address
    if request.lifetime == LIFETIME_DEREGISTER:
        if care_of_address == request.home_address:
            return ()
        return tuple(b for b in before if b.care_of_address != care_of_address)
    place = old = None
    for i, binding in enumerate(before):
        if binding.care_of_address == care_of_address:
            place, old = i, binding
            break
    send_key = receive_key = None
    if request.gre_key is not None:
        send_key, receive_key = assign_keys(request, old, random_bytes)
    lifetime = request.lifetime
    if lifetime > policy.max_lifetime:
        lifetime = policy.max_lifetime
    new = new_binding(
        (
            care_of_address,
            asked.received.source,
            request.flags,
            lifetime,
            expiry(lifetime, now),
            request.identification,
            asked.mobile_home.spi,
            send_key,
            receive_key,
        )
    )
    if place is not None and len(before) == 1:  # as nearly always
        return (new,)
    kept = kept_bindings(policy, request, before)
    # A refreshed binding keeps its place, so that the tunnel does not change.
    if place is None or not kept:
        return (*kept, new)
    return (*before[:place], new, *before[place + 1 :])


def granted_before(asked: Asked, before: Bindings, guard: ReplayGuard) -> int | None:
    """Return the lifetime that this very request was granted, if it was (HA-22)."""
    request = asked.request
    for binding in before:
        if (binding.care_of_address, binding.identification) == (
            request.care_of_address,
            request.identification,
        ):
            return binding.lifetime
    if request.lifetime == LIFETIME_DEREGISTER and guard.accepted_last(asked):
        return LIFETIME_DEREGISTER
    return None
