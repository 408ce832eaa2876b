# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node needs to know of its interfaces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """One interface at one moment."""

    name: str
    up: bool
    """Administratively up and with carrier."""
    addresses: tuple[str, ...] = ()
    """IPv4 addresses with prefix length, such as `10.1.2.5/24`, in kernel order."""
    gateway: str | None = None
    """Next hop of the default route through this interface, where it has one."""
    link_address: str | None = None
    """Its own link-layer address, as `02:00:00:00:00:01`, where it has one."""
