# SPDX-License-Identifier: GPL-2.0-only
"""The choice of a data plane by the configuration key `dataplane`."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final, NamedTuple

from mip_agents.dataplane import probe
from mip_agents.dataplane.api import Dataplane, DataplaneError
from mip_agents.dataplane.ebpfhome import make_ebpf
from mip_agents.dataplane.kernel import make_kernel
from mip_agents.dataplane.recorder import RecorderDataplane
from mip_agents.dataplane.tunforeign import make_tun
from mip_agents.protocol.tunnel import Category, Role
from scapy_mip.const import Encapsulation


class Driver(NamedTuple):
    """One way to carry packets."""

    problem: Callable[[Role], str | None]
    """Says why it cannot work here."""
    make: Callable[..., Dataplane]
    """Takes the arguments of `RoutedDataplane`."""


DRIVERS: Final[dict[str, Driver]] = {
    "ebpf": Driver(probe.ebpf_driver_problem, make_ebpf),
    "kernel": Driver(probe.kernel_driver_problem, make_kernel),
    "tun": Driver(probe.tun_driver_problem, make_tun),
}
"""By name, the fastest first."""

NAMES: Final = ("auto", *DRIVERS, "none")
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
    encapsulations: frozenset[Encapsulation] = frozenset(),
    encapsulating: bool = False,
    categories: frozenset[Category] = frozenset(),
) -> Selection:
    """Make the data plane called `name`; the other arguments are those of the drivers.

    `auto` takes the fastest that this machine allows, and never `none`: an agent that
    carries nothing must have been asked for.
    :param encapsulations: what `auto` has to find a driver for
    :param encapsulating: likewise, whether a mobile node's packets go to foreign agents
        in a tunnel
    :param categories: likewise, of what is sent to many
    :raises DataplaneError: the name is unknown, or no driver works here.
    """
    if name not in NAMES:
        raise DataplaneError(
            f"unknown data plane {name!r}; use one of {', '.join(NAMES)}"
        )
    asked = DRIVERS if name == "auto" else [name] if name in DRIVERS else []
    passed_over: list[tuple[str, str]] = []
    for candidate, driver in DRIVERS.items():
        problem = driver.problem(role) if candidate in asked else "not asked for"
        if problem is None:
            made = driver.make(
                role,
                address=address,
                home_network=home_network,
                home_interface=home_interface,
                state_file=state_file,
            )
            lacking = sorted(one.title for one in encapsulations - made.encapsulations)
            if encapsulating and not made.encapsulating:
                lacking.append("packets to foreign agents in a tunnel")
            lacking += sorted(categories - made.categories)
            if not lacking or name != "auto":
                return Selection(made, passed_over)
            problem = f"it cannot carry {', '.join(lacking)}"
        passed_over.append((candidate, problem))
    if name == "none":
        return Selection(RecorderDataplane(forgetful=True), passed_over)
    reasons = "; ".join(f"{one}: {why}" for one, why in passed_over if one in asked)
    raise DataplaneError(
        f"no data plane works here ({reasons}): run as root, with "
        'CAP_NET_ADMIN and CAP_NET_RAW, or set dataplane = "none"'
    )
