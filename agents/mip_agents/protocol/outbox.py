# SPDX-License-Identifier: GPL-2.0-only
"""Where a mobile node's parts put what is to be done."""

from __future__ import annotations

from collections.abc import Iterable

from mip_agents.protocol.effects import Effect, Finished, Noted, Severity

Fields = dict[str, str | int | None]


class Outbox:
    """Effects in order, until the engine hands them out."""

    def __init__(self, home_address: str) -> None:
        self._home_address = home_address
        self._effects: list[Effect] = []

    def empty(self) -> list[Effect]:
        """Take everything out."""
        effects, self._effects = self._effects, []
        return effects

    def put(self, *effects: Effect) -> None:
        """Add effects as they are."""
        self._effects += effects

    def finish(
        self,
        requesters: Iterable[int],
        error: str | None = None,
        code: int | None = None,
    ) -> None:
        """Answer those who wait."""
        self.put(*[Finished(token=t, error=error, code=code) for t in requesters])

    def note(
        self,
        event: str,
        fields: Fields,
        *,
        rule: str | None = None,
        severity: Severity = Severity.INFO,
    ) -> None:
        """Note an event of this node."""
        fields = {"home_address": self._home_address, **fields}
        self.put(Noted(event=event, severity=severity, rule=rule, fields=fields))

    def warn(self, event: str, fields: Fields, *, rule: str | None = None) -> None:
        """Note an event that someone may want to look into."""
        self.note(event, fields, rule=rule, severity=Severity.WARNING)
