# SPDX-License-Identifier: GPL-2.0-only
"""Time that the monotonic clock did not see: a suspended machine, or a clock set ahead.

Lifetimes go on in the home agent meanwhile. Both look alike from here, and in doubt a
mobile node registers once more than needed.
"""

from __future__ import annotations

from mip_agents.protocol.clock import Instant
from scapy_mip.ident import difference, seconds

TOLERANCE_S = 2.0
"""What the clocks may be apart without any reason."""

MAX_DRIFT = 500e-6
"""How fast a clock may be corrected, as a share of the time that goes by."""


class JumpDetector:
    """Compares the two clocks from one moment to the next."""

    def __init__(self) -> None:
        self._last: Instant | None = None

    def missed(self, now: Instant) -> float:
        """Return the seconds that passed unseen since the moment before; usually 0.

        A clock that is set back tells nothing about time that went by.
        """
        last, self._last = self._last, now
        if last is None:
            return 0.0
        elapsed = now.mono - last.mono
        ahead = difference(now.ntp, last.ntp) / seconds(1) - elapsed
        return ahead if ahead > TOLERANCE_S + elapsed * MAX_DRIFT else 0.0
