# SPDX-License-Identifier: GPL-2.0-only
"""Faults put into the engines on purpose: the simulator must find each of them."""

from mip_agents.protocol import bindings, freshness, grants, tunnel_slot
from mip_agents.protocol.bindings import BindingTable
from mip_agents.protocol.effects import RemoveTunnel
from mip_agents.protocol.replay import Freshness
from mip_agents.simulation.script import Player, make_script
from mip_agents.simulation.shell import SimulationError

BUDGET = 200
"""Histories, of the two thousand of a test run."""


def first_failure():
    """Return the seed of the first history that fails, and why."""
    for seed in range(BUDGET):
        try:
            Player(make_script(seed)).play()
        except SimulationError as error:
            return seed, str(error)
    return None


def test_replay_check_that_was_removed_is_found(monkeypatch):
    judge = freshness.ReplayGuard.judge

    def forgiving(self, asked, now):
        found = judge(self, asked, now)
        return Freshness.FRESH if found is Freshness.NOT_INCREASING else found

    monkeypatch.setattr(freshness.ReplayGuard, "judge", forgiving)
    found = first_failure()
    assert found is not None
    assert "accepted twice" in found[1]


def test_expiry_that_was_forgotten_is_found(monkeypatch):
    monkeypatch.setattr(BindingTable, "next_expiry", lambda self: None)
    monkeypatch.setattr(BindingTable, "overdue", lambda self, now: [])
    found = first_failure()
    assert found is not None
    assert "has bound" in found[1] or "no timer" in found[1]


def test_undo_that_was_forgotten_is_found(monkeypatch):
    order = tunnel_slot.TunnelSlot.order

    def forgetful(self, tunnel):
        order(self, tunnel)
        if tunnel is None:
            sent = self._outbox._effects
            (at,) = [n for n, one in enumerate(sent) if isinstance(one, RemoveTunnel)]
            del sent[at]
            self.settle(self._last_token, None)

    monkeypatch.setattr(tunnel_slot.TunnelSlot, "order", forgetful)
    found = first_failure()
    assert found is not None
    assert "is left over" in found[1]


def test_lifetime_that_is_too_long_is_found(monkeypatch):
    right = bindings.expiry
    monkeypatch.setattr(bindings, "expiry", lambda *given: right(*given) + 60)
    monkeypatch.setattr(grants, "expiry", bindings.expiry)
    found = first_failure()
    assert found is not None
    assert "outlives its lifetime" in found[1]
