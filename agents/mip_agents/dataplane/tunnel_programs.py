# SPDX-License-Identifier: GPL-2.0-only
"""The programs of `bpf/mip_tunnel.c` with their maps, and whether they can be had."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Final

from mip_agents.dataplane.bpf import Map, load_program, reason_of
from mip_agents.dataplane.bpf_object import read_object
from mip_agents.dataplane.tunnel_structs import SIZES
from mip_agents.protocol.tunnel import Role

OBJECT: Final = Path(__file__).with_name("bpf") / "mip_tunnel.o"

TROUBLE: Final = (OSError, ValueError, KeyError)
"""From the kernel, or from an object that is not of this version."""

PROGRAMS: Final = {
    Role.HOME_AGENT: ("ha_link_in", "ha_link_out", "ha_port", "ha_forget"),
    Role.MOBILE_NODE: ("mn_link_in", "mn_port"),
}


def problem(role: Role) -> str | None:
    """Say why this kernel does not take the programs, by loading them.

    That takes some 50 ms and leaves nothing. A yes holds good for this process.
    """
    try:
        _try(role)
    except TROUBLE as error:
        return reason_of(error)
    return None


@functools.cache
def _try(role: Role) -> None:
    Loaded(role, most_entries=1).close()


class Loaded:
    """Maps and programs of one role."""

    def __init__(self, role: Role, most_entries: int | None = None) -> None:
        """Create and load them.

        :param most_entries: of each map; None: as many as the source says
        :raises OSError: as the kernel answers
        :raises ValueError, KeyError: the object is not of this version
        """
        self.programs: dict[str, int] = {}
        """Descriptors by the names in the source."""
        self.maps: dict[str, Map] = {}
        try:
            self._load(role, most_entries)
        except BaseException:
            self.close()
            raise

    def _load(self, role: Role, most_entries: int | None) -> None:
        content = read_object(OBJECT)
        for name, size in SIZES.items():
            definition = content.maps[name]
            if definition.value_size != size:
                raise ValueError(f"{OBJECT}: {name} has another size: `make bpf`")
            if most_entries is not None:
                definition = definition._replace(max_entries=most_entries)
            self.maps[name] = Map(name, definition)
        for name in PROGRAMS[role]:
            self.programs[name] = load_program(
                name, content.programs[name], self.maps, content.license
            )

    def close(self) -> None:
        """Release everything; what a filter uses lives as long as the filter."""
        for descriptor in self.programs.values():
            os.close(descriptor)
        self.programs.clear()
        for one in self.maps.values():
            one.close()
        self.maps.clear()
