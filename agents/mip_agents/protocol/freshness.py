# SPDX-License-Identifier: GPL-2.0-only
"""A home agent's memory against replays, whatever style a node uses. RFC 5944 5.7.

The style belongs to the security association that a request is signed with (HA-28). It
decides how an Identification is judged, what is remembered of an accepted one, and what
Identification a reply has.
"""

from __future__ import annotations

from collections.abc import Callable

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import IdentificationRecord, NonceRecord
from mip_agents.protocol.nonces import Nonces
from mip_agents.protocol.quirks import NodeQuirk
from mip_agents.protocol.replay import Freshness, judge, resynchronisation
from mip_agents.protocol.request_checks import Asked
from mip_agents.protocol.security import ReplayStyle
from scapy_mip.const import ReplyCode
from scapy_mip.ident import difference, join, split

_NONCE = ReplayStyle.NONCE

Proof = IdentificationRecord | NonceRecord
"""What has to be durable so that a request is not accepted again, where no
`RenewedBinding` tells it."""


class ReplayGuard:
    """What each node must not send again, and must send next.

    :param tolerance: seconds that a node's clock may differ (HA-30).
    """

    def __init__(self, random_bytes: Callable[[int], bytes], tolerance: int) -> None:
        self._tolerance = tolerance
        self._identifications: dict[str, int] = {}
        self._nonces = Nonces(random_bytes)

    def judge(self, asked: Asked, now: Instant) -> Freshness:
        """Judge the Identification of a request (HA-09)."""
        node, identification = asked.node, asked.request.identification
        tolerance: int | None = self._tolerance
        special = asked.unusual
        if special is not None:
            if special.replay is _NONCE:
                return self._nonces.judge(node, identification)
            if NodeQuirk.ANY_CLOCK in special.quirks:
                tolerance = None
        accepted = self._identifications.get(node)
        return judge(identification, accepted, now.ntp, tolerance)

    def accepted_last(self, asked: Asked) -> bool:
        """Return whether nothing of this node was accepted after this very request."""
        node, identification = asked.node, asked.request.identification
        if _uses_nonces(asked):
            return self._nonces.judge(node, identification) is Freshness.USED_NONCE
        return self._identifications.get(node) == identification

    def proof(self, asked: Asked) -> Proof:
        """Return what is to be journaled with the acceptance of a request."""
        node, identification = asked.node, asked.request.identification
        if asked.unusual and _uses_nonces(asked):
            return self._nonces.draw(node, identification)
        return IdentificationRecord(node, identification)

    def accept(self, proof: Proof) -> None:
        """Count a request as accepted: it is durable."""
        if isinstance(proof, IdentificationRecord):
            self._identifications[proof.node] = proof.identification
        else:
            self._nonces.accept(proof)

    def uses_timestamps(self, asked: Asked) -> bool:
        """Return whether the sender of a request is one of those without nonces."""
        return not (asked.unusual and _uses_nonces(asked))

    def accept_timestamp(self, node: str, timestamp: int) -> None:
        """Count a request as accepted: what it renews is durable."""
        self._identifications[node] = timestamp

    def remember(self, *proofs: Proof) -> None:
        """Take note of what a former process accepted.

        Of two timestamps the later one counts, as in the judgement of requests: across
        the era change of 2036 it is the smaller number.
        """
        for proof in proofs:
            if isinstance(proof, IdentificationRecord):
                known = self._identifications.get(proof.node)
                if known is not None and difference(proof.identification, known) <= 0:
                    continue
            self.accept(proof)

    def granting(self, asked: Asked) -> int:
        """Return the Identification of a reply that grants (HA-29, HA-31)."""
        identification = asked.request.identification
        if asked.unusual and _uses_nonces(asked):
            nonce = self._nonces.current(asked.node, identification)
            return join(nonce, split(identification)[1])
        return identification

    def denying(self, asked: Asked, code: ReplyCode, now: Instant) -> int:
        """Return the Identification of a denial (HA-29, HA-31, HA-32).

        Whoever failed to authenticate gets no nonce: the node's own, which the request
        may well carry, stays good.
        """
        identification = asked.request.identification
        if code is ReplyCode.HA_MN_FAILED_AUTHENTICATION:
            return identification
        if _uses_nonces(asked):
            nonce = self._nonces.offer(asked.node, identification)
            return join(nonce, split(identification)[1])
        if code is ReplyCode.HA_IDENTIFICATION_MISMATCH:
            return resynchronisation(identification, now.ntp)
        return identification


def _uses_nonces(asked: Asked) -> bool:
    special = asked.unusual
    return special is not None and special.replay is _NONCE
