# SPDX-License-Identifier: GPL-2.0-only
"""Replay protection with nonces, the home agent's end. RFC 5944 section 5.7.2 (HA-32).

Every reply gives out a new random number, which the node's next request has to carry
in the high half of its Identification. That of the last acceptance is durable together
with the binding. Those of denials are kept in memory: they stay good beside it until
the next acceptance, so that a stranger who replays an old request, and so makes us
answer 133, does not spoil the nonce that the node holds. After a restart a node that
held one of them gets a new one with one more 133.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mip_agents.protocol.effects import NonceRecord
from mip_agents.protocol.replay import Freshness
from scapy_mip.ident import LOW_MASK, split

MAX_OFFERED = 8
"""Nonces of denials that a node may still come back with; older ones are forgotten."""


class Nonces:
    """The nonces that each node may use.

    :param random_bytes: where they come from.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._accepted: dict[str, NonceRecord] = {}
        self._offered: dict[str, deque[int]] = {}

    def judge(self, node: str, identification: int) -> Freshness:
        """Judge the nonce of a request."""
        accepted = self._accepted.get(node)
        if accepted is not None and accepted.identification == identification:
            return Freshness.USED_NONCE
        nonce, _ = split(identification)
        known = accepted is not None and accepted.nonce == nonce
        if known or nonce in self._offered.get(node, ()):
            return Freshness.FRESH
        return Freshness.WRONG_NONCE

    def draw(self, node: str, identification: int) -> NonceRecord:
        """Return what is to be remembered if a request is accepted."""
        return NonceRecord(node, identification, self._random(identification))

    def accept(self, record: NonceRecord) -> None:
        """Take an acceptance for done: no nonce of before is good any more."""
        self._accepted[record.node] = record
        self._offered.pop(record.node, None)

    def current(self, node: str, identification: int) -> int:
        """Return the nonce of the last acceptance, for a reply that repeats it.

        Where only that is lost, as by a bad row of the journal, it is a new one.
        """
        accepted = self._accepted.get(node)
        if accepted is None:
            return self.offer(node, identification)
        return accepted.nonce

    def offer(self, node: str, identification: int) -> int:
        """Return a new nonce for a denial."""
        nonce = self._random(identification)
        self._offered.setdefault(node, deque(maxlen=MAX_OFFERED)).append(nonce)
        return nonce

    def _random(self, identification: int) -> int:
        """Return 32 random bits that differ from both halves of an Identification."""
        nonce = int.from_bytes(self._random_bytes(4), "big")
        while nonce in split(identification):
            nonce = (nonce + 1) & LOW_MASK
        return nonce
