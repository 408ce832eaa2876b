# SPDX-License-Identifier: GPL-2.0-only
"""Filters that the kernel applies to what arrives for a socket: classic BPF.

A process whose sockets have them does not wake up for packets that it would throw away.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

_SO_ATTACH_FILTER = 26
_RETURN = 0x06
_NOTHING, _ALL = 0, 0xFFFFFFFF

Instruction = tuple[int, int, int, int]
"""Operation, instructions to skip if true and if false, k."""

# Operations (linux/bpf_common.h); the accumulator is A, the index register X.
LOAD_WORD: Final = 0x20
"""A = four octets of the packet from k on."""
LOAD_PAIR: Final = 0x28
"""A = two octets of the packet from k on."""
LOAD_OCTET: Final = 0x30
"""A = packet[k]."""
LOAD_SIZE: Final = 0x80
"""A = octets of the packet."""
LOAD_X_OCTET: Final = 0x50
"""A = packet[X + k]."""
LOAD_X_PAIR: Final = 0x48
"""A = two octets from X + k on."""
LOAD_X_HEADER: Final = 0xB1
"""X = octets of the IPv4 header at k."""
AND: Final = 0x54
"""A = A & k."""
JUMP_EQUAL: Final = 0x15
"""Whether A = k."""
JUMP_GREATER: Final = 0x25
"""Whether A > k."""

PACKET_TYPE: Final = 0xFFFFF000 + 4
"""Where a packet socket's filter finds whom the link-layer address is of."""

REFUSE: Final[Instruction] = (_RETURN, 0, 0, _NOTHING)
ACCEPT: Final[Instruction] = (_RETURN, 0, 0, _ALL)


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Have the kernel judge what arrives for `sock`, in the place of another filter."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    argument = struct.pack("HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, argument)
