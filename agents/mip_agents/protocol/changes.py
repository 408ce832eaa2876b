# SPDX-License-Identifier: GPL-2.0-only
"""Changes of a home agent's bindings: durable and in place before they count.

A change goes to the journal and, where the tunnel differs, to the data plane. Only when
both have answered well does it enter the table. If one fails, the other is taken back.
A renewal goes to the journal alone: there is nothing to take back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from mip_agents.protocol import effects
from mip_agents.protocol.bindings import (
    Bindings,
    BindingTable,
    flags_of_tunnels,
    has_care_of_address,
    record,
    same_tunnel,
    tunnel_of,
)
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import (
    DroppedBinding,
    Effect,
    InstallTunnel,
    Journal,
    LeaseRecord,
    RemoveTunnel,
    RenewedBinding,
)
from mip_agents.protocol.freshness import Proof, ReplayGuard
from mip_agents.protocol.policy import HomeAgentPolicy

_T = TypeVar("_T")

RETRY_S = 10.0
"""Seconds until a journal or data plane that failed is asked again."""


@dataclass(slots=True)
class BindingChange:
    """One change of the bindings of one home address, under way."""

    home_address: str
    before: Bindings
    after: Bindings
    proof: Proof | None
    """Of the request that is accepted with the change; None where none is behind it."""
    lease: LeaseRecord | None
    """Of the address that the node is given with the change."""
    reversible: bool
    """False: it counts whatever happens, as with an expiry."""
    recorded: Bindings
    """What the journal holds now."""
    carried: Bindings
    """What the data plane has now."""
    outstanding: int = 0
    """How many answers are still to come."""
    journal_token: int | None = None
    error: str | None = None
    """The first failure."""
    taking_back: bool = False
    """Whether a part of it failed, and the rest is undone."""


Renewal = tuple[str, int, Bindings]
"""A home address, the timestamp that it is renewed by, and its bindings after that."""


class Ledger:
    """The bindings that count, the changes under way, and what is really in place."""

    def __init__(self, policy: HomeAgentPolicy, guard: ReplayGuard) -> None:
        self._policy = policy
        self._counting = flags_of_tunnels(policy.broadcasts)
        self._guard = guard
        self.table = BindingTable()
        self._changes: dict[str, BindingChange] = {}
        self._tokens: dict[int, BindingChange] = {}
        self._renewals: dict[int, Renewal] = {}
        """What is no change, since only the journal can refuse it, by its token."""
        self._last_token = 0
        # What journal and data plane hold where, after a failure, it is not what the
        # table says, and when to try again.
        self._recorded: dict[str, Bindings] = {}
        self._carried: dict[str, Bindings] = {}
        self._retries: dict[str, float] = {}
        """Entered at the end, and all wait as long: so they are in order."""
        self._leftovers: tuple[DroppedBinding, ...] = ()
        """Of a former process: what the journal is to forget."""
        self._leftovers_token: int | None = None
        self._leftovers_due: float | None = None

    def change_of(self, home_address: str) -> BindingChange | None:
        """Return the change under way for a home address."""
        return self._changes.get(home_address)

    def restore(self, home_address: str, bindings: Bindings) -> None:
        """Enter bindings of a former process; `retry` then finds no tunnel there."""
        self.table.replace(home_address, bindings)
        self._carried[home_address] = ()

    def forget(self, dropped: tuple[DroppedBinding, ...]) -> list[Effect]:
        """Drop records from the journal that no binding stands behind any more."""
        self._leftovers, self._leftovers_due = dropped, None
        if not dropped:
            return []
        self._last_token += 1
        self._leftovers_token = self._last_token
        return [Journal(self._last_token, dropped)]

    def forget_again(self, now: Instant) -> list[Effect]:
        """Try once more where `forget` failed a while ago.

        What stands in the journal by right since then stays.
        """
        if self._leftovers_due is None or self._leftovers_due > now.mono:
            return []
        if any(gone.home_address in self._changes for gone in self._leftovers):
            self._leftovers_due = now.mono + RETRY_S
            return []
        return self.forget(
            tuple(
                gone
                for gone in self._leftovers
                if not has_care_of_address(
                    self.table.get(gone.home_address), gone.care_of_address
                )
            )
        )

    def renew(
        self, home_address: str, before: Bindings, after: Bindings, now: Instant
    ) -> Journal | None:
        """Return the order that renews one binding, which `renewed` takes the end of.

        None where it takes a change: the tunnel is to differ, or the journal or the
        data plane is not as the table says.

        :param before: what the table holds.
        :param after: what it is to hold then, with a timestamp in what is new.
        """
        if not same_tunnel(before, after, self._counting):
            return None
        if home_address in self._carried or home_address in self._recorded:
            return None
        new = after[0]
        if len(after) > 1:
            (new,) = [binding for binding in after if binding not in before]
        kept = record(home_address, self._policy.address, new, now)
        self._last_token = token = self._last_token + 1
        self._renewals[token] = home_address, new.identification, after
        return Journal(token, (RenewedBinding(kept),))

    def renewed(self, token: int, error: str | None) -> Renewal | None:
        """Take in what became of a renewal; return it, or None if it is none."""
        renewal = self._renewals.pop(token, None)
        if renewal is not None and error is None:
            home_address, timestamp, after = renewal
            self._guard.accept_timestamp(home_address, timestamp)
            self.table.replace(home_address, after)
        return renewal

    def begin(
        self,
        home_address: str,
        before: Bindings,
        after: Bindings,
        now: Instant,
        proof: Proof | None = None,
        lease: LeaseRecord | None = None,
    ) -> list[Effect]:
        """Start a change; no effects mean that there was nothing to change.

        :param before: what the table holds.

        A change with a proof stems from a request and can be taken back. One without
        counts at once: the time of a binding is over, whatever the disk says.
        """
        change = BindingChange(
            home_address,
            before,
            after,
            proof,
            lease,
            proof is not None,
            self._recorded.get(home_address, before) if self._recorded else before,
            self._carried.get(home_address, before) if self._carried else before,
        )
        if proof is None:
            self.table.replace(home_address, after)
            self._retries.pop(home_address, None)
        asked = self._ask(change, after, now)
        if asked:
            self._changes[home_address] = change
        return asked

    def settle(
        self, token: int, error: str | None, now: Instant
    ) -> tuple[BindingChange | None, list[Effect]]:
        """Take in an answer; return the change that ended with it, or further effects.

        Answers to unknown tokens are ignored: nothing waits for them.
        """
        change = self._tokens.pop(token, None)
        if change is None:
            if token == self._leftovers_token:
                if error is None:
                    self._leftovers = ()
                else:
                    self._leftovers_due = now.mono + RETRY_S
            return None, []
        change.outstanding -= 1
        if error is not None:
            change.error = change.error or error
        elif token == change.journal_token:
            change.recorded = change.before if change.taking_back else change.after
            if change.proof is not None:
                # What is durable is used up, even if the change is taken back: a
                # restart must not make a difference, nor an older request overtake.
                self._guard.accept(change.proof)
        else:
            change.carried = change.before if change.taking_back else change.after
        if change.outstanding:
            return None, []
        if change.error is not None and change.reversible and not change.taking_back:
            change.taking_back = True
            undo = self._take_back(change, now)
            if undo:
                return None, undo
        self._finish(change, now)
        return change, []

    def _take_back(self, change: BindingChange, now: Instant) -> list[Effect]:
        change.proof = change.lease = None
        return self._ask(change, change.before, now)

    def _finish(self, change: BindingChange, now: Instant) -> None:
        home_address = change.home_address
        del self._changes[home_address]
        if change.error is None and change.reversible:
            bindings = change.after
            self.table.replace(home_address, bindings)
        else:
            bindings = self.table.get(home_address)
        if change.recorded is bindings is change.carried and not (
            self._recorded or self._carried or self._retries
        ):
            return  # as nearly always
        as_recorded = change.recorded == bindings
        as_carried = same_tunnel(change.carried, bindings, self._counting)
        _hold(self._recorded, home_address, None if as_recorded else change.recorded)
        _hold(self._carried, home_address, None if as_carried else change.carried)
        self._retries.pop(home_address, None)
        if not (as_recorded and as_carried):
            self._retries[home_address] = now.mono + RETRY_S

    def next_timer(self) -> float | None:
        """Return the second at which `due` may have something."""
        expiry = self.table.next_expiry()
        # All that is tried again waits as long, so that no exact order is needed.
        retry = next(iter(self._retries.values()), self._leftovers_due)
        if expiry is None or retry is None:
            return retry if expiry is None else expiry
        return min(expiry, retry)

    def due(self, now: Instant) -> list[str]:
        """Return the home addresses that need attention, each once."""
        found = dict.fromkeys(self.table.overdue(now.mono))
        while self._retries:
            home_address, moment = next(iter(self._retries.items()))
            if moment > now.mono:
                break
            del self._retries[home_address]
            found[home_address] = None
        return list(found)

    def _ask(
        self, change: BindingChange, wanted: Bindings, now: Instant
    ) -> list[Effect]:
        """Ask for what is missing; no effects mean that nothing is."""
        asked: list[Effect] = []
        carried = change.carried
        # Same addresses, same form: no call of the kernel.
        same = same_tunnel(carried, wanted, self._counting)
        if same:
            change.carried = wanted
        records = self._records(change, wanted, now)
        if records:
            change.journal_token = token = self._token(change)
            asked.append(Journal(token, tuple(records)))
        if not same:
            asked.append(self._tunnel(change.home_address, wanted, self._token(change)))
        return asked

    def _token(self, change: BindingChange) -> int:
        self._last_token = token = self._last_token + 1
        self._tokens[token] = change
        change.outstanding += 1
        return token

    def _records(
        self, change: BindingChange, wanted: Bindings, now: Instant
    ) -> list[effects.Change]:
        """Return what the journal lacks."""
        home_address, recorded = change.home_address, change.recorded
        records: list[effects.Change] = [
            DroppedBinding(home_address, binding.care_of_address)
            for binding in recorded
            if not has_care_of_address(wanted, binding.care_of_address)
        ]
        records += [
            record(home_address, self._policy.address, binding, now)
            for binding in wanted
            if binding not in recorded
        ]
        if change.proof is not None:
            records.append(change.proof)
        if change.lease is not None:
            records.append(change.lease)
        return records

    def _tunnel(self, home_address: str, wanted: Bindings, token: int) -> Effect:
        if not wanted:
            return RemoveTunnel(token, home_address)
        policy = self._policy
        tunnel = tunnel_of(
            home_address,
            policy.address,
            wanted,
            policy.encapsulations,
            policy.broadcasts,
        )
        return InstallTunnel(token, tunnel)


def _hold(held: dict[str, _T], home_address: str, content: _T | None) -> None:
    """Note something about a home address; None: nothing any more."""
    if content is not None:
        held[home_address] = content
    elif held:
        held.pop(home_address, None)
