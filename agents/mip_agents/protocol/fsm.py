# SPDX-License-Identifier: GPL-2.0-only
"""State machines whose transition table is data and is enforced."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Generic, TypeVar

from mip_agents.protocol.errors import MipError

S = TypeVar("S", bound=enum.Enum)


class Transitions(Generic[S]):
    """Which state may follow which, and why.

    :param table: for every state its possible successors, each with the reason in a
        few words; a state that may be entered again names itself.
    :raises MipError: a state has no row.
    """

    def __init__(self, initial: S, table: Mapping[S, Mapping[S, str]]) -> None:
        missing = [state.name for state in type(initial) if state not in table]
        if missing:
            raise MipError(f"no transitions declared for {', '.join(missing)}")
        self.initial = initial
        self.table = table

    def allows(self, old: S, new: S) -> bool:
        """Return whether `new` may follow `old`."""
        return new in self.table[old]

    def step(self, old: S, new: S) -> S:
        """Return the new state.

        :raises MipError: the table does not declare the transition. That is a fault of
            the program, never of a peer.
        """
        if new not in self.table[old]:
            raise MipError(f"undeclared transition {old.name} -> {new.name}")
        return new

    def to_dot(self, name: str) -> str:
        """Draw the table in the language of Graphviz."""
        lines = [f"digraph {name} {{", f'  "{self.initial.name}" [peripheries=2];']
        lines += [
            f'  "{old.name}" -> "{new.name}" [label="{reason}"];'
            for old, row in self.table.items()
            for new, reason in row.items()
        ]
        return "\n".join([*lines, "}", ""])


class Machine(Generic[S]):
    """A state that only moves along its table."""

    __slots__ = ("_state", "transitions")

    def __init__(self, transitions: Transitions[S]) -> None:
        self.transitions = transitions
        self._state = transitions.initial

    @property
    def state(self) -> S:
        """The present state; see `Transitions.step` for setting it."""
        return self._state

    @state.setter
    def state(self, new: S) -> None:
        self._state = self.transitions.step(self._state, new)
