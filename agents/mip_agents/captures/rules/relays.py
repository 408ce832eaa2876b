# SPDX-License-Identifier: GPL-2.0-only
"""What foreign agents make of what they relay (FA), also over several captures.

RFC 5944 sections 3.7.2 and 3.7.3.
"""

from __future__ import annotations

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Kind, Observation
from mip_agents.captures.rules import Deviations

FA_16 = Rule("FA-16", Severity.ERROR, "RFC 5944 3.7.2.2")
FA_26 = Rule("FA-26", Severity.ERROR, "RFC 5944 3.7.3.2")

_MOST = 100_000
"""Messages that are remembered."""


class Relays:
    """Compares what is protected in a message on all its ways."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Observation] = {}

    def see(self, seen: Observation) -> Deviations:
        """Compare a request or a reply with the same one on another link."""
        packet = seen.packet
        key = (
            seen.kind,
            packet.home_address,
            packet.identification,
            packet.code if seen.kind is Kind.REPLY else packet.lifetime,
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) < _MOST:
                self._known[key] = seen
            return
        if known.enabling is None and seen.enabling is None:
            return  # nothing is protected
        if known.protected == seen.protected:
            return
        elsewhere = f"frame {known.frame}"
        if known.file != seen.file:
            elsewhere += f" of {known.file}"
        rule = FA_16 if seen.kind is Kind.REQUEST else FA_26
        yield rule, f"differs in what is protected from the same message in {elsewhere}"
