# SPDX-License-Identifier: GPL-2.0-only
"""The one tunnel of a mobile node: what was asked of the data plane, and what is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Finished, InstallTunnel, RemoveTunnel, Severity
from mip_agents.protocol.outbox import Outbox
from mip_agents.protocol.tunnel import Tunnel

PATIENCE_S = 10.0
"""Seconds after which an unanswered order to the data plane counts as failed."""

NO_ANSWER = "the data plane does not answer"


class TunnelSlot:
    """Orders and answers about one tunnel; the data plane works in order."""

    def __init__(self, home_address: str, outbox: Outbox) -> None:
        self._home_address = home_address
        self._outbox = outbox
        self._installed: Tunnel | None = None
        self._orders: dict[int, Tunnel | None] = {}
        self._answers: dict[int, tuple[float, list[Finished]]] = {}
        self._last_token = 0
        self.wanted: Tunnel | None = None
        """What will be installed when all orders succeed."""

    @property
    def waits(self) -> bool:
        """Whether the latest order is not answered yet."""
        return self._last_token in self._orders

    def order(self, tunnel: Tunnel | None) -> None:
        """Ask for a tunnel, or for none."""
        self._last_token += 1
        token = self._last_token
        self._orders[token] = self.wanted = tunnel
        if tunnel is None:
            self._outbox.put(RemoveTunnel(token, self._home_address))
        else:
            self._outbox.put(InstallTunnel(token, tunnel))

    def ensure(
        self, tunnel: Tunnel | None, now: Instant, finished: Iterable[Finished] = ()
    ) -> None:
        """Order what is not there yet, and answer those who wait when it is."""
        if self.wanted != tunnel:
            self.order(tunnel)
        if not self.waits:
            self._outbox.put(*finished)
            return
        _, others = self._answers.get(self._last_token, (0.0, []))
        deadline = now.mono + PATIENCE_S
        self._answers[self._last_token] = (deadline, [*others, *finished])

    def settle(self, token: int, error: str | None) -> bool:
        """Take in an answer; return whether it is the one to the latest order.

        An answer to an order that is not known, or was given up, is no fault.
        """
        if token not in self._orders:
            return False
        tunnel = self._orders.pop(token)
        _, finished = self._answers.pop(token, (0.0, []))
        if error is None:
            self._installed = tunnel
        else:
            fields: dict[str, str | int | None] = {"reason": error}
            self._outbox.note("tunnel_failed", fields, severity=Severity.ERROR)
            finished = [
                dataclasses.replace(answer, error=f"tunnel: {error}")
                for answer in finished
            ]
        self._outbox.put(*finished)
        latest = token == self._last_token
        if latest:
            self.wanted = self._installed
        return latest

    def give_up(self) -> None:
        """Stop waiting for the answer to the latest order, as if it had failed."""
        self.settle(self._last_token, NO_ANSWER)

    def deadlines(self) -> list[float]:
        """Return the seconds at which `tick` has something to do."""
        return [deadline for deadline, _ in self._answers.values()]

    def tick(self, now: Instant) -> bool:
        """Stop waiting where it took too long; return whether the latest failed so."""
        late = [token for token, (end, _) in self._answers.items() if end <= now.mono]
        return True in [self.settle(token, NO_ANSWER) for token in late]
