# SPDX-License-Identifier: GPL-2.0-only
"""The keys of GRE tunnels that a foreign agent asks for. RFC 6245 section 4.2 (TUN-08).

The foreign agent's key stands in the packets that we send, ours in those that it sends.
The extension has room for one key: where it asks with zero for both to be assigned, one
key serves both directions.
"""

from __future__ import annotations

from collections.abc import Callable

from mip_agents.protocol.bindings import Binding, Bindings
from mip_agents.protocol.view import Request


def assign_keys(
    request: Request, before: Binding | None, random_bytes: Callable[[int], bytes]
) -> tuple[int | None, int | None]:
    """Return the keys to send with and to receive with; None for packets without.

    :param before: what is refreshed: its key stays, so that the tunnel does.
    """
    if request.gre_key is None:
        return None, None
    ours = before.receive_key if before is not None else None
    if ours is None:
        # Zero would ask the foreign agent for something.
        ours = int.from_bytes(random_bytes(4), "big") or 1
    return request.gre_key or ours, ours


def answered_key(request: Request, bindings: Bindings) -> int | None:
    """Return the key for a reply that grants: ours, if the request asked and has one.

    :param bindings: those after a registration, those before a deregistration.
    """
    if request.gre_key is None:
        return None
    return next(
        (
            binding.receive_key
            for binding in bindings
            if binding.care_of_address == request.care_of_address
        ),
        None,
    )
