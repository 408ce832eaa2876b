# SPDX-License-Identifier: GPL-2.0-only
"""The one tunnel of a mobile node: what was asked of the data plane, and what is."""

from __future__ import annotations

from mip_agents.protocol.effects import InstallTunnel, RemoveTunnel
from mip_agents.protocol.tunnel import Tunnel


class TunnelSlot:
    """Orders and answers about one tunnel; the data plane works in order."""

    def __init__(self, home_address: str) -> None:
        self._home_address = home_address
        self._installed: Tunnel | None = None
        self._orders: dict[int, Tunnel | None] = {}
        self._last_token = 0
        self.wanted: Tunnel | None = None
        """What will be installed when all orders succeed."""

    def order(self, tunnel: Tunnel | None) -> InstallTunnel | RemoveTunnel:
        """Ask for a tunnel, or for none; the effect carries a new token."""
        self._last_token += 1
        self._orders[self._last_token] = self.wanted = tunnel
        if tunnel is None:
            return RemoveTunnel(self._last_token, self._home_address)
        return InstallTunnel(self._last_token, tunnel)

    def settle(self, token: int, *, ready: bool) -> bool:
        """Take in an answer; return whether it is the one to the latest order.

        An answer to an order that is not known, or was given up, is no fault.
        """
        if token not in self._orders:
            return False
        tunnel = self._orders.pop(token)
        if ready:
            self._installed = tunnel
        latest = token == self._last_token
        if latest:
            self.wanted = self._installed
        return latest

    def give_up(self) -> None:
        """Stop waiting for the answer to the latest order, as if it had failed."""
        self.settle(self._last_token, ready=False)

    @property
    def latest(self) -> int:
        """The token of the latest order."""
        return self._last_token

    @property
    def waits(self) -> bool:
        """Whether the latest order is not answered yet."""
        return self._last_token in self._orders
