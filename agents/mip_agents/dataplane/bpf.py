# SPDX-License-Identifier: GPL-2.0-only
"""The system call bpf(2): maps and programs of the kernel, through ctypes.

Maps and programs are descriptors; the kernel releases them with the last descriptor,
filter or program that uses them, so that nothing is left of a process that was killed
but what its filters hold.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import sys
from collections.abc import Mapping
from struct import Struct
from typing import Final

from mip_agents.dataplane.bpf_object import MapDefinition, Program

_NUMBERS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280}
"""Of the system call, by machine."""

_MAP_CREATE, _MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE = 0, 1, 2, 3
_PROG_LOAD = 5
_PROG_RUN = 10  # BPF_PROG_TEST_RUN
_MAP_TAKE = 21  # BPF_MAP_LOOKUP_AND_DELETE_ELEM
_MAP_LOOKUP_MANY, _MAP_UPDATE_MANY = 24, 26  # BPF_MAP_LOOKUP_BATCH, ...
_TYPE_SCHED_CLS = 3
_PSEUDO_MAP_FD = 0x10  # source register 1, in the second octet of an instruction
_LOG_SIZE = 1 << 20
_STATISTICS: Final = re.compile(r"processed \d+ insns|verification time|stack depth")
_READ_AT_ONCE: Final = 4096
_CPUS_POSSIBLE = "/sys/devices/system/cpu/possible"

_CREATE = Struct("=7I16s")
_ELEMENT = Struct("=IxxxxQQQ")
_MANY = Struct("=QQQQIIQQ")
_COUNT_AT: Final = 32
"""Where in the attributes of a batch its size is, and afterwards how far it got."""
_LOAD = Struct("=IIQQIIQII16s")
_RUN = Struct("=IxxxxIIQQ8x")
_SIZE = Struct("=I")
_DESCRIPTOR = Struct("=i")
_KEY_END: Final = 16
"""Octets of an element's attributes up to the key."""

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
_number = _NUMBERS.get(platform.machine(), -1)


class VerifierError(OSError):
    """The kernel did not accept a program; the text is what its verifier said."""


def problem() -> str | None:
    """Say why there can be no eBPF here, by creating a map and loading a program.

    Whether the kernel takes programs of ours is another question: it is asked by
    loading them (`tunnel_programs.problem`, `gate.problem`).
    """
    if _number < 0:
        return f"bpf(2) is not known on {platform.machine()}"
    if sys.byteorder != "little":
        return "the programs are for little-endian machines"
    try:
        Map("mip_probe", MapDefinition(2, 4, 8, 1, 0)).close()
        # r0 = 0; exit
        nothing = Program(bytes.fromhex("b700000000000000 9500000000000000"), ())
        os.close(load_program("mip_probe", nothing, {}, b"GPL\0"))
    except OSError as failure:
        advice = ""
        if failure.errno == errno.EPERM:
            advice = ": no CAP_BPF in the initial user namespace"
        return f"bpf(2): {os.strerror(failure.errno or 0)}{advice}"
    return None


def reason_of(error: Exception) -> str:
    """Return what is wrong, without the number of the error."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


class Map:
    """One map, with buffers for one key and one value.

    To store an entry, put key and value into the buffers and call `update`: that is one
    system call and no copying.
    """

    __slots__ = (
        "_attributes",
        "_buffers",
        "_pointer",
        "definition",
        "descriptor",
        "key",
        "name",
        "value",
    )

    def __init__(self, name: str, definition: MapDefinition) -> None:
        """Create it. :raises OSError: as the kernel answers."""
        self.name = name
        self.definition = definition
        attributes = _CREATE.pack(*definition, 0, 0, name.encode()[:15])
        self.descriptor = _bpf(_MAP_CREATE, attributes, f"map {name}")
        copies = 1
        if definition.kind in (5, 6):  # a value for each CPU
            copies = _possible_cpus()
        key = ctypes.create_string_buffer(definition.key_size)
        value = ctypes.create_string_buffer(definition.value_size * copies)
        self.key = memoryview(key).cast("B")
        self.value = memoryview(value).cast("B")
        element = _ELEMENT.pack(
            self.descriptor, ctypes.addressof(key), ctypes.addressof(value), 0
        )
        self._attributes = ctypes.create_string_buffer(element, len(element))
        self._buffers = (key, value)
        self._pointer = ctypes.addressof(self._attributes)

    def update(self) -> None:
        """Store `value` under `key`, replacing an entry in one step.

        :raises OSError: E2BIG where the map is full, ENOMEM
        """
        if _syscall(_number, _MAP_UPDATE, self._pointer, _ELEMENT.size) < 0:
            raise _failure(f"map {self.name}")

    def update_many(self, keys: bytes, values: bytes) -> int:
        """Store many entries, each in one step, with one system call for all.

        Return how many of the first are stored. Where that is not all, the next one was
        refused, or this kernel does it for none; `update` tells which.
        """
        count = len(keys) // self.definition.key_size
        if not count:
            return 0
        attributes = ctypes.create_string_buffer(
            _MANY.pack(
                0, 0, _address(keys), _address(values), count, self.descriptor, 0, 0
            ),
            _MANY.size,
        )
        pointer = ctypes.addressof(attributes)
        if _syscall(_number, _MAP_UPDATE_MANY, pointer, _MANY.size) >= 0:
            return count
        # Where the kernel has not come to the first it has not changed the number.
        (stored,) = _SIZE.unpack_from(attributes, _COUNT_AT)
        return int(stored) if stored < count else 0

    def read_all(self) -> tuple[bytes, bytes] | None:
        """Return all keys and all values of a hash map, some thousand with one call.

        None: this kernel gives them one by one only. What comes or goes meanwhile may
        be there or not.
        """
        key_size, value_size = self.definition.key_size, self.definition.value_size
        keys = ctypes.create_string_buffer(key_size * _READ_AT_ONCE)
        values = ctypes.create_string_buffer(value_size * _READ_AT_ONCE)
        place = ctypes.create_string_buffer(_SIZE.size)
        all_keys, all_values = bytearray(), bytearray()
        from_place = 0
        while True:
            attributes = ctypes.create_string_buffer(
                _MANY.pack(
                    from_place,
                    ctypes.addressof(place),
                    ctypes.addressof(keys),
                    ctypes.addressof(values),
                    _READ_AT_ONCE,
                    self.descriptor,
                    0,
                    0,
                ),
                _MANY.size,
            )
            pointer = ctypes.addressof(attributes)
            result = _syscall(_number, _MAP_LOOKUP_MANY, pointer, _MANY.size)
            ended = result < 0 and ctypes.get_errno() == errno.ENOENT
            if result < 0 and not ended:
                return None
            (count,) = _SIZE.unpack_from(attributes, _COUNT_AT)
            all_keys += keys.raw[: count * key_size]
            all_values += values.raw[: count * value_size]
            if ended:
                return bytes(all_keys), bytes(all_values)
            from_place = ctypes.addressof(place)

    def delete(self) -> bool:
        """Delete the entry under `key`; tell whether there was one."""
        # The kernel wants nothing behind the fields that a command has.
        return self._find(_MAP_DELETE, _KEY_END)

    def lookup(self) -> bool:
        """Fill `value` with the entry under `key`; tell whether there is one."""
        return self._find(_MAP_LOOKUP)

    def take(self) -> bool:
        """Do what `lookup` and `delete` do, in one step."""
        return self._find(_MAP_TAKE)

    def _find(self, command: int, size: int = _ELEMENT.size) -> bool:
        if _syscall(_number, command, self._pointer, size) >= 0:
            return True
        if ctypes.get_errno() != errno.ENOENT:
            raise _failure(f"map {self.name}")
        return False

    def close(self) -> None:
        """Release it; programs that use it hold it on their own."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def load_program(
    name: str, program: Program, maps: Mapping[str, Map], license_: bytes
) -> int:
    """Load a tc program and return its descriptor.

    :raises VerifierError: the program was refused
    :raises OSError: as the kernel answers else
    """
    code = bytearray(program.instructions)
    for offset, used in program.maps:
        code[offset + 1] |= _PSEUDO_MAP_FD
        _DESCRIPTOR.pack_into(code, offset + 4, maps[used].descriptor)
    instructions = ctypes.create_string_buffer(bytes(code), len(code))
    terms = ctypes.create_string_buffer(license_)
    log = ctypes.create_string_buffer(_LOG_SIZE)

    def load(level: int) -> int:
        attributes = _LOAD.pack(
            _TYPE_SCHED_CLS,
            len(code) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(terms),
            level,
            _LOG_SIZE if level else 0,
            ctypes.addressof(log) if level else 0,
            0,
            0,
            name.encode()[:15],
        )
        return _bpf(_PROG_LOAD, attributes, f"program {name}")

    try:
        return load(0)
    except OSError as refused:
        if refused.errno not in (errno.EACCES, errno.EINVAL):
            raise
        try:
            return load(1)  # the log costs time: only where there is something to say
        except OSError as again:
            text = _verdict(log.value.decode(errors="replace"))
            text = text or os.strerror(again.errno or 0)
            raise VerifierError(again.errno, f"program {name}: {text}") from again


def _verdict(log: str) -> str:
    """Return the line of the verifier's log that says what is wrong."""
    lines = [line for line in log.splitlines() if line and not _STATISTICS.match(line)]
    return lines[-1] if lines else ""


def run_program(name: str, descriptor: int, data: bytearray) -> None:
    """Run a tc program on a packet of ours, in place. :raises OSError: from the kernel.

    :param data: no more than a page can hold, with an Ethernet header
    """
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    pointer, size = ctypes.addressof(buffer), len(data)
    attributes = _RUN.pack(descriptor, size, size, pointer, pointer)
    _bpf(_PROG_RUN, attributes, f"program {name}")


def _address(data: bytes) -> int:
    """Return where octets are, for as long as there is a name for them."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _bpf(command: int, attributes: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = _syscall(_number, command, ctypes.addressof(buffer), len(attributes))
    if result < 0:
        raise _failure(what)
    return int(result)


def _failure(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")


def _possible_cpus() -> int:
    """Return how many CPUs there may be: a map has a value for each."""
    with open(_CPUS_POSSIBLE) as handle:  # noqa: PTH123  # a constant
        last = handle.read().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1
