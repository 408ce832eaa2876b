# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a failing history when all that does not matter is taken away.

Delta debugging: parts are left out, the world is made simpler and times are rounded, as
long as the history still fails in the same way.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from mip_agents.simulation.script import Act, Player, Script, Wait
from mip_agents.simulation.shell import SimulationError
from mip_agents.simulation.world import Plan

MOST_PLAYS = 1000
"""Histories that are played in search of a shorter one."""


def failure(script: Script) -> str | None:
    """Play a history; return why it fails, if it does."""
    try:
        Player(script).play()
    except SimulationError as error:
        return str(error)
    return None


def shrink(script: Script) -> Script:
    """Return a short history that fails as this one does; itself if it does not."""
    return _Search(script).run()


class _Search:
    def __init__(self, script: Script) -> None:
        self._best = script
        self._kind = self._kind_of(script)
        self._left = MOST_PLAYS

    @staticmethod
    def _kind_of(script: Script) -> str | None:
        error = failure(script)
        # Moments, addresses and names are not what it is about.
        return None if error is None else re.sub(r"\d+(\.\d+)*|\[[^]]*\]", "", error)

    def run(self) -> Script:
        if self._kind is None:
            return self._best
        before = None
        while before != self._best and self._left > 0:
            before = self._best
            self._leave_out()
            self._join_waits()
            self._simplify()
        return self._best

    def _try(self, script: Script) -> bool:
        """Take a history if it fails alike."""
        if script == self._best or self._left <= 0:
            return False
        self._left -= 1
        try:
            alike = self._kind_of(script) == self._kind
        except LookupError:  # it speaks of somebody who is not in this world
            return False
        if alike:
            self._best = script
        return alike

    def _leave_out(self) -> None:
        """Leave out runs of acts, long ones first."""
        size = len(self._best.acts)
        while size:
            start = 0
            while start < len(self._best.acts):
                acts = self._best.acts
                rest = acts[:start] + acts[start + size :]
                if not self._try(replace(self._best, acts=rest)):
                    start += size
            size //= 2

    def _join_waits(self) -> None:
        number = 0
        while number + 1 < len(self._best.acts):
            acts = self._best.acts
            one, other = acts[number : number + 2]
            if isinstance(one, Wait) and isinstance(other, Wait):
                joined = Wait(round(one.seconds + other.seconds, 3))
                rest = (*acts[:number], joined, *acts[number + 2 :])
                if self._try(replace(self._best, acts=rest)):
                    continue
            number += 1

    def _simplify(self) -> None:
        for simpler in _SIMPLER:
            self._try(replace(self._best, plan=simpler(self._best.plan)))
        for number, act in enumerate(self._best.acts):
            for other in _rounded(act):
                acts = list(self._best.acts)
                acts[number] = other
                if self._try(replace(self._best, acts=tuple(acts))):
                    break


def _without_nat(plan: Plan) -> Plan:
    return replace(plan, sites=tuple(replace(site, nat=False) for site in plan.sites))


_SIMPLER: tuple[Callable[[Plan], Plan], ...] = (
    lambda plan: replace(plan, nodes=1),
    lambda plan: replace(plan, homes=1),
    lambda plan: replace(plan, simultaneous=False),
    lambda plan: replace(plan, configured=True),
    lambda plan: replace(plan, lifetime=Plan().lifetime),
    lambda plan: replace(plan, sites=plan.sites[:1]),
    lambda plan: replace(plan, sites=plan.sites[:-1]),
    _without_nat,
)


def _rounded(act: Act) -> Iterator[Act]:
    if isinstance(act, Wait):
        yield Wait(float(math.floor(act.seconds)))
        yield Wait(float(math.ceil(act.seconds)))
