# SPDX-License-Identifier: GPL-2.0-only
"""A fuzzer's bytes as a series of choices, and damage to valid bytes made of them.

The same bytes are the same choices on every Python, with and without a fuzzer, so that
an input replays everywhere. When they run out every choice is the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Return whether any bytes are left."""
        return self._at < len(self._data)

    def number(self, size: int = 1) -> int:
        """Take a number of `size` bytes."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"), "big")

    def take(self, size: int) -> bytes:
        """Take up to `size` bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def text(self) -> bytes:
        """Take some bytes, after one that says how many."""
        return self.take(self.number())

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._data))

    def pick(self, several: Sequence[T]) -> T:
        """Choose one of up to 256."""
        return several[self.number() % len(several)]


def damaged(choices: Choices, data: bytes) -> bytes:
    """Return valid bytes with up to three changes, often none."""
    for _change in range(choices.number() % 4):
        at = choices.number(2) % (len(data) + 1)
        kind = choices.number() % 5
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + choices.text() + data[at:]
        elif kind == 2:
            new = choices.take(1 + choices.number() % 4)
            data = data[:at] + new + data[at + len(new) :]
        elif kind == 3:
            data += data[at:]
        else:
            data = data[:at] + data[at + 1 + choices.number() :]
    return data
