# SPDX-License-Identifier: GPL-2.0-only
"""A box that hides a link behind one address. RFC 2663 section 4.1.2, RFC 4787.

A mapping is the same for all whom an inside port speaks to, and lets in only those; it
lives on by what leaves through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PORT, LAST_PORT = 1024, 65535

Endpoint = tuple[str, int]


@dataclass(slots=True, eq=False)
class Mapping:
    """An outside port, who is behind it, and whom that has spoken to."""

    port: int
    inside: Endpoint
    expires: float
    peers: set[str] = field(default_factory=set)


class Nat:
    """Mappings between a link and the Internet. Times are seconds of the world.

    :param outside: the address that the Internet sees.
    :param lifetime: seconds for which a mapping lives without being used.
    """

    def __init__(self, outside: str, lifetime: float) -> None:
        self.outside = outside
        self.lifetime = lifetime
        self._by_inside: dict[Endpoint, Mapping] = {}
        self._by_port: dict[int, Mapping] = {}
        self._last = FIRST_PORT - 1

    def leave(self, inside: Endpoint, peer: str, now: float) -> int:
        """Return the outside port of what leaves; it is a new one for a new mapping."""
        mapping = self._by_inside.get(inside)
        if mapping is None or mapping.expires <= now:
            if mapping is not None:
                self._forget(mapping)
            mapping = Mapping(self._next_port(now), inside, now)
            self._by_inside[inside] = self._by_port[mapping.port] = mapping
        mapping.expires = now + self.lifetime
        mapping.peers.add(peer)
        return mapping.port

    def enter(self, port: int, peer: str, now: float) -> Endpoint | None:
        """Return who gets what comes in at an outside port; None: nobody."""
        mapping = self._by_port.get(port)
        if mapping is None or mapping.expires <= now or peer not in mapping.peers:
            return None
        return mapping.inside

    def rebind(self) -> None:
        """Forget all mappings, as a box does that starts anew: other ports follow."""
        self._by_inside.clear()
        self._by_port.clear()

    def __len__(self) -> int:
        return len(self._by_port)

    def _forget(self, mapping: Mapping) -> None:
        del self._by_inside[mapping.inside], self._by_port[mapping.port]

    def _next_port(self, now: float) -> int:
        """Return the next free port, so that one just lapsed is not given again.

        Where all are in use, whoever has the next one loses it.
        """
        for _ in range(FIRST_PORT, LAST_PORT + 2):
            self._last = FIRST_PORT if self._last >= LAST_PORT else self._last + 1
            holder = self._by_port.get(self._last)
            if holder is None or holder.expires <= now:
                break
        if holder is not None:
            self._forget(holder)
        return self._last
