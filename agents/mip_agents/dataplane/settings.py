# SPDX-License-Identifier: GPL-2.0-only
"""What drivers set on interfaces, and why."""

from __future__ import annotations

from pathlib import Path

from mip_agents.dataplane.changes import Change, Setting

_ANSWER_LESS = ("2", "8")
"""Values of `arp_ignore`: to the subnet of the address alone, and to nobody."""


def sysctl(interface: str, name: str, value: str = "1") -> Setting:
    """Return a setting of IPv4 on one interface, or on `all`."""
    return Setting(kind="sysctl", key=f"conf/{interface}/{name}", value=value)


def forwarding(home_interface: str, *ports: str) -> list[Change]:
    """Return the settings by which a home agent forwards and answers ARP at once."""
    return [
        *(sysctl(name, "forwarding") for name in (*ports, home_interface)),
        Setting(kind="proxy_delay", key=home_interface, value="0", optional=True),
    ]


def answer_on_own_links() -> Setting:
    """Answer ARP requests for an address on the link alone that it is configured on.

    A home address on `lo` is none that a visited link is told (ARP-03).
    """
    before = Path("/proc/sys/net/ipv4/conf/all/arp_ignore").read_text().strip()
    value = before if before in _ANSWER_LESS else "1"
    return Setting(kind="sysctl", key="conf/all/arp_ignore", value=value, optional=True)


def no_reverse_path_filter(port: str) -> Setting:
    """Let the port deliver packets whose way back is another interface.

    The kernel takes the larger of the setting for all interfaces and the one for this,
    so that where filtering is on for all, only "loose" (2) is weaker than "strict" (1).
    """
    general = Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text().strip()
    value = "0" if general == "0" else "2"
    return sysctl(port, "rp_filter", value)


def no_merging(interface: str) -> Setting:
    """Switch generic receive offload off where tunnel packets arrive.

    It merges TCP segments inside of tunnel packets into one of up to 64 KB with an
    unfinished checksum. The kernel's own tunnels take that apart again, a raw socket
    hands it out as it is.
    """
    return Setting(kind="gro", key=interface, value="0", optional=True)
