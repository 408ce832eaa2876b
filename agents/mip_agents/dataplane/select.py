# SPDX-License-Identifier: GPL-2.0-only
"""The choice of a data plane by the configuration key `dataplane`."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, NamedTuple

from mip_agents.dataplane import probe
from mip_agents.dataplane.api import Dataplane, DataplaneError
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.dataplane.tun import TunDataplane
from mip_agents.protocol.tunnel import Role

NAMES: Final = ("auto", "tun", "none")
"""What the key may say."""


class Selection(NamedTuple):
    """A data plane, and the drivers that were passed over, each with the reason."""

    dataplane: Dataplane
    passed_over: list[tuple[str, str]]


def create(
    name: str,
    role: Role,
    *,
    address: str | None = None,
    home_network: IPv4Network | None = None,
    home_interface: str | None = None,
    state_file: Path | None = None,
) -> Selection:
    """Make the data plane called `name`; the other arguments are those of the drivers.

    `auto` takes the fastest that this machine allows, and never `none`: an agent that
    carries nothing must have been asked for.
    :raises DataplaneError: the name is unknown, or no driver works here.
    """
    if name == "none":
        return Selection(RecorderDataplane(), [("tun", "not asked for")])
    if name not in NAMES:
        raise DataplaneError(
            f"unknown data plane {name!r}; use one of {', '.join(NAMES)}"
        )
    problem = probe.tun_driver_problem()
    if problem is not None:
        raise DataplaneError(
            f"no data plane works here (tun: {problem}): run as root, with "
            'CAP_NET_ADMIN and CAP_NET_RAW, or set dataplane = "none"'
        )
    tun = TunDataplane(
        role,
        address=address,
        home_network=home_network,
        home_interface=home_interface,
        state_file=state_file,
    )
    return Selection(tun, [])
