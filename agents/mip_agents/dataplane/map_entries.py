# SPDX-License-Identifier: GPL-2.0-only
"""Map entries that differ in their home addresses only: what they have in common.

A foreign agent is the other end of many tunnels. What the path to it allows is asked
for once a second at most, and all behind the home address is packed once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from mip_agents.dataplane.tunnel_structs import plain_rest
from mip_agents.protocol.tunnel import Tunnel
from scapy_mip.const import Encapsulation

_GOOD_S: Final = 1.0

Kind = tuple[str, tuple[str, ...], Encapsulation, bool]
"""Both ends of a tunnel, what it is made of, and whether it is a reverse tunnel."""


class Template(NamedTuple):
    """What the entries of one kind have in common."""

    mtu: int
    """Size of the largest inner packet."""
    rest: bytes
    """What is behind the home address."""


def kind_of(tunnel: Tunnel) -> Kind | None:
    """Return the kind of a tunnel that is but a map entry; None if it is more.

    With minimal encapsulation, for one, the port has to prepare packets.
    """
    if (
        tunnel.peer_forms
        or tunnel.deliveries
        or tunnel.receive_only
        or len(tunnel.peers) != 1
        or tunnel.encapsulation is Encapsulation.MINIMAL
    ):
        return None
    return tunnel.local, tunnel.peers, tunnel.encapsulation, tunnel.reverse


class RecentTemplates:
    """Those of the last second."""

    def __init__(self) -> None:
        self._known: dict[Kind, Template] = {}
        self._good_until = 0.0

    def known(self) -> Mapping[Kind, Template]:
        """Return all that hold good now; what no longer does is in another one."""
        if self._known and time.monotonic() > self._good_until:
            self._known = {}
        return self._known

    def add(self, kind: Kind, mtu: int, mark: int) -> None:
        """Note what was measured now."""
        if not self._known:
            self._good_until = time.monotonic() + _GOOD_S
        self._known[kind] = Template(mtu, plain_rest(*kind, mark=mark))

    def forget(self) -> None:
        """Have all measured anew: a path has changed."""
        self._known = {}
