# SPDX-License-Identifier: GPL-2.0-only
"""Replay protection with timestamps, both ends of it. RFC 5944 section 5.7.1.

Identification is a 64-bit integer throughout; nothing here makes a float of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from scapy_mip.ident import difference, join, split

RANDOM_BITS = 16
"""Lowest bits of a timestamp that are random: what is left resolves 15 microseconds."""

COARSE_BITS = 11
"""Bits that a peer loses which keeps the Identification in a double."""

_MASK = 0xFFFFFFFFFFFFFFFF
_HALF = 1 << 63


class Freshness(enum.Enum):
    """What a home agent thinks of a timestamp (HA-30) or a nonce (HA-32)."""

    FRESH = "fresh"
    TOO_FAR = "too far from the home agent's clock"
    NOT_INCREASING = "not greater than the last accepted one"
    WRONG_NONCE = "not the nonce of a reply"
    USED_NONCE = "the request that was accepted last"


_FRESH = Freshness.FRESH


def judge(
    identification: int, last_accepted: int | None, clock: int, tolerance: int | None
) -> Freshness:
    """Judge the timestamp of a request (HA-30).

    :param last_accepted: the greatest one accepted from this node, None for none.
    :param clock: the home agent's own 64-bit NTP time.
    :param tolerance: seconds that the two clocks may be apart; None: any number.
    """
    # What `ident.difference` does, without its calls: they took longer than the rest.
    if tolerance is not None:
        limit = tolerance << 32
        if (identification - clock + limit) & _MASK > 2 * limit:
            return Freshness.TOO_FAR
    if last_accepted is not None:
        ahead = (identification - last_accepted) & _MASK
        if not 0 < ahead < _HALF:
            return Freshness.NOT_INCREASING
    return _FRESH


def resynchronisation(identification: int, clock: int) -> int:
    """Return the Identification of a reply with code 133 (HA-29, HA-31).

    Its high half is the home agent's time of day, its low half the request's.
    """
    return join(split(clock)[0], split(identification)[1])


class Timestamps:
    """Identifications of a mobile node: strictly increasing, hard to foresee.

    :param random_bytes: source of the lowest `RANDOM_BITS` bits (RFC 5944 5.7.1).
    :param coarse: leave the lowest `COARSE_BITS` zero, for home agents that compute
        with doubles and would otherwise answer 131.
    """

    def __init__(
        self, random_bytes: Callable[[int], bytes], *, coarse: bool = False
    ) -> None:
        self._random_bytes = random_bytes
        self._coarse = coarse
        self._last: int | None = None
        self.offset = 0
        """What the home agent's clock is ahead of ours, in units of 2**-32 s."""

    def next(self, clock: int) -> int:
        """Return the Identification for a request that leaves now.

        It follows our clock, but never falls back, even if the clock does (MN-25).
        :param clock: our own 64-bit NTP time.
        """
        noise = int.from_bytes(self._random_bytes(RANDOM_BITS // 8), "big")
        moment = (clock + self.offset) & _MASK
        value = (moment >> RANDOM_BITS << RANDOM_BITS) | noise
        if self._coarse:
            value = value >> COARSE_BITS << COARSE_BITS
        if self._last is not None and difference(value, self._last) <= 0:
            step = 1 << COARSE_BITS if self._coarse else 1 + noise
            value = (self._last + step) & _MASK
        self._last = value
        return value

    def resynchronise(self, sent: int, received: int, clock: int) -> bool:
        """Take over the home agent's time from an authenticated denial (MN-35).

        Afterwards the next Identification may be smaller than the ones before: a node
        whose clock was ahead has no other way, and the home agent compares with
        accepted ones only. Return False, and change nothing, where the reply repeats
        what was sent and so tells no time, as some home agents do.
        """
        if received == sent:
            return False
        # The fraction is the request's own; on average half a second has passed.
        home_agent_clock = join(split(received)[0], 1 << 31)
        self.offset = difference(home_agent_clock, clock)
        self._last = None
        return True
