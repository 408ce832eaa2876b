# SPDX-License-Identifier: GPL-2.0-only
"""Small eBPF programs without a compiler."""

from __future__ import annotations

from struct import Struct
from typing import Final

from mip_agents.dataplane.bpf_object import Program

LICENSE: Final = b"GPL\0"
"""Of these programs, as the kernel wants to know it."""

_INSTRUCTION = Struct("=BBhi")


class Assembler:
    """The instructions of one program, in the words of the kernel's documentation.

    Registers are numbers; jumps name a label that `label` puts somewhere later.
    """

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int | str]] = []
        self._labels: dict[str, int] = {}
        self._maps: list[tuple[int, str]] = []

    def _emit(
        self, code: int, to: int = 0, of: int = 0, offset: int | str = 0, value: int = 0
    ) -> None:
        self._code.append((code, to, of, value, offset))

    def missing(self) -> list[str]:
        """Return the labels that jumps name and no place has yet."""
        named = {offset for *_, offset in self._code if isinstance(offset, str)}
        return sorted(named - self._labels.keys())

    def label(self, name: str) -> None:
        """Name this place."""
        self._labels[name] = len(self._code)

    def move(self, to: int, of: int) -> None:
        """Copy a register."""
        self._emit(0xBF, to, of)

    def set(self, to: int, value: int) -> None:
        """Set a register to a constant."""
        self._emit(0xB7, to, value=value)

    def add(self, to: int, value: int) -> None:
        """Add a constant to a register."""
        self._emit(0x07, to, value=value)

    def to_network_order(self, to: int) -> None:
        """Turn the lower 32 bits of a register into network byte order, or back."""
        self._emit(0xDC, to, value=32)

    def load(self, to: int, base: int, offset: int, size: int = 4) -> None:
        """Load from memory."""
        self._emit({1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}[size], to, base, offset)

    def store(self, base: int, offset: int, of: int, size: int = 4) -> None:
        """Store a register to memory."""
        self._emit({1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}[size], base, of, offset)

    def count(self, base: int, offset: int, of: int) -> None:
        """Add a register to 64 bits of memory, atomically."""
        self._emit(0xDB, base, of, offset)

    def load_map(self, to: int, name: str) -> None:
        """Load the address of a map, which is known when the program is loaded."""
        self._maps.append((len(self._code) * _INSTRUCTION.size, name))
        self._emit(0x18, to)
        self._emit(0)

    def call(self, helper: int) -> None:
        """Call a helper of the kernel."""
        self._emit(0x85, value=helper)

    def jump(self, label: str) -> None:
        """Go on at a label."""
        self._emit(0x05, offset=label)

    def jump_if_equal(self, one: int, value: int, label: str) -> None:
        """Go on at a label if a register has this value."""
        self._emit(0x15, one, offset=label, value=value)

    def jump_if_not_equal(self, one: int, value: int, label: str) -> None:
        """Go on at a label if a register has another value."""
        self._emit(0x55, one, offset=label, value=value)

    def jump_if_same(self, one: int, other: int, label: str) -> None:
        """Go on at a label if two registers have the same value."""
        self._emit(0x1D, one, other, offset=label)

    def jump_if_different(self, one: int, other: int, label: str) -> None:
        """Go on at a label if two registers have different values."""
        self._emit(0x5D, one, other, offset=label)

    def leave(self) -> None:
        """Return with the value of register 0."""
        self._emit(0x95)

    def assembled(self) -> Program:
        """Return the program, for `bpf.load_program`."""
        whole = bytearray()
        for place, (code, to, of, value, offset) in enumerate(self._code):
            if isinstance(offset, str):
                offset = self._labels[offset] - place - 1
            whole += _INSTRUCTION.pack(code, of << 4 | to, offset, value)
        return Program(bytes(whole), tuple(self._maps))
