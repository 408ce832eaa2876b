# SPDX-License-Identifier: GPL-2.0-only
"""Maps of eBPF programs as tables of numbers."""

from __future__ import annotations

from struct import Struct

from mip_agents.dataplane.bpf import Map
from mip_agents.dataplane.bpf_object import MapDefinition

HASH, ARRAY = 1, 2
"""Kinds of tables."""


class Table:
    """A map whose keys and values are packed and unpacked."""

    def __init__(
        self, name: str, kind: int, key: Struct, value: Struct, entries: int
    ) -> None:
        """Make one. :raises OSError: as the kernel answers."""
        self._key, self._value = key, value
        self.map = Map(name, MapDefinition(kind, key.size, value.size, entries, 0))

    def put(self, key: tuple[int, ...], value: tuple[int, ...]) -> None:
        """Add or replace an entry in one step. :raises OSError: the map is full."""
        self._key.pack_into(self.map.key, 0, *key)
        self._value.pack_into(self.map.value, 0, *value)
        self.map.update()

    def get(self, key: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return an entry."""
        self._key.pack_into(self.map.key, 0, *key)
        return self._value.unpack(self.map.value) if self.map.lookup() else None

    def drop(self, key: tuple[int, ...]) -> None:
        """Remove an entry; one that is not there is no error."""
        self._key.pack_into(self.map.key, 0, *key)
        self.map.delete()

    def close(self) -> None:
        """Let go of it."""
        self.map.close()
