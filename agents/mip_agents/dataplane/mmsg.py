# SPDX-License-Identifier: GPL-2.0-only
"""Many datagrams in one system call: recvmmsg(2) and sendmmsg(2), through ctypes.

Python's `socket` has neither. All buffers are made once, with their addresses in the
headers; what a datagram needs is then copied or unpacked by `struct`, whose native
mode aligns as the C compiler does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from scapy_mip.values import DOTTED, OCTETS

# struct mmsghdr: name and its size, iovec and how many, control and its size, flags;
# then, behind the padding of struct msghdr, the bytes of the datagram.
_HEADER = struct.Struct("@PIPNPNi0PI0P")
_IOVEC = struct.Struct("@PN")
# struct sockaddr_in; the family is in the host's order, the port in the network's.
_NAME = struct.Struct("2s2s4s8x")
# Of what was received: flags and size, port and address.
_RECEIVED = struct.Struct(f"@{struct.calcsize('@PIPNPN')}xi0PI0P")
_SENDER = struct.Struct("!2xH4B8x")
_FAMILY = struct.pack("=H", socket.AF_INET)
_CMSG = struct.Struct("@Nii0N")

Control = Sequence[tuple[int, int, bytes]]
"""Ancillary data as `socket.sendmsg` takes it: level, type, content."""


Datagram = tuple[bytes, str, int, int, bytes]
"""What was received: data, IPv4 address and port of the source, the flags of
recvmsg(2), and the content of the control message, empty where there came none."""


def pack_control(control: Control) -> bytes:
    """Return ancillary data as the kernel reads it."""
    packed = b""
    for level, kind, content in control:
        size = len(content)
        message = _CMSG.pack(socket.CMSG_LEN(size), level, kind) + content
        packed += message.ljust(socket.CMSG_SPACE(size), b"\0")
    return packed


def pack_name(address: str, port: int) -> bytes:
    """Return a destination as the kernel reads it.

    :raises OSError: it is no IPv4 address.
    """
    return _NAME.pack(_FAMILY, port.to_bytes(2, "big"), socket.inet_aton(address))


class _Buffers:
    """Headers for some number of datagrams, each with an iovec, a name and control.

    :param control: bytes of control for each.
    """

    def __init__(self, count: int, control: int) -> None:
        self.headers = bytearray(_HEADER.size * count)
        self.iovecs = bytearray(_IOVEC.size * count)
        self.names = bytearray(_NAME.size * count)
        self.control = bytearray(control * count)
        self.address = _address(self.headers)
        iovecs, names = _address(self.iovecs), _address(self.names)
        controls = _address(self.control)
        self._places = [
            (
                names + number * _NAME.size,
                iovecs + number * _IOVEC.size,
                controls + number * control,
            )
            for number in range(count)
        ]
        for number in range(count):
            self.set_control_size(number, control)

    def set_control_size(self, number: int, size: int) -> None:
        """Say how much of its control a datagram uses."""
        name, iovec, control = self._places[number]
        fields = name, _NAME.size, iovec, 1, control, size, 0, 0
        _HEADER.pack_into(self.headers, number * _HEADER.size, *fields)


class DatagramReader:
    """Reads what waits in a socket, many datagrams at once.

    :param count: of datagrams at most.
    :param size: bytes of each at most.
    :param control: level, type and size of the control message that each has.
    """

    def __init__(self, count: int, size: int, control: tuple[int, int, int]) -> None:
        level, kind, length = control
        self._count, self._size = count, size
        self._begin = _CMSG.pack(socket.CMSG_LEN(length), level, kind)
        space = socket.CMSG_SPACE(length)
        rest = space - _CMSG.size - length
        self._control = struct.Struct(f"{_CMSG.size}s{length}s{rest}x")
        self._buffers = buffers = _Buffers(count, space)
        self._data = bytearray(size * count)
        start = _address(self._data)
        for number in range(count):
            place = start + number * size
            _IOVEC.pack_into(buffers.iovecs, number * _IOVEC.size, place, size)
        self._template = bytes(buffers.headers)
        self._no_control = bytes(len(buffers.control))
        self._view = memoryview(self._data)

    def read(self, descriptor: int, most: int) -> Iterator[Datagram]:
        """Return what waits, without waiting; it has to be used up before the next.

        :param most: of datagrams; never more than there is room for.
        :raises BlockingIOError: nothing waits. :raises OSError: as recvmmsg(2) says.
        """
        count = min(most, self._count)
        buffers = self._buffers
        buffers.headers[:] = self._template  # sizes and flags of the last time
        buffers.control[:] = self._no_control
        flags = socket.MSG_DONTWAIT
        found = _recvmmsg(descriptor, buffers.address, count, flags, None)
        if found < 0:
            raise _last_error()
        return self._unpack(found)

    def _unpack(self, found: int) -> Iterator[Datagram]:
        buffers, view, size = self._buffers, self._view, self._size
        wanted = self._begin
        start = 0
        for _number, (flags, length), (port, a, b, c, d), (begin, content) in zip(
            range(found),
            _RECEIVED.iter_unpack(buffers.headers),
            _SENDER.iter_unpack(buffers.names),
            self._control.iter_unpack(buffers.control),
            strict=False,
        ):
            data = view[start : start + length].tobytes()
            source = f"{DOTTED[a]}{DOTTED[b]}{DOTTED[c]}{OCTETS[d]}"
            yield data, source, port, flags, content if begin == wanted else b""
            start += size


class DatagramWriter:
    """Sends many datagrams at once.

    :param count: of datagrams at most.
    :param size: bytes of all their data together at most.
    :param control: bytes of control of each at most.
    """

    def __init__(self, count: int, size: int, control: int) -> None:
        self.count = count
        self._size, self._space = size, control
        self._buffers = _Buffers(count, control)
        self._data = bytearray(size)
        self._start = _address(self._data)
        self._controls: list[bytes | None] = [None] * count
        """What stands in the buffers; it is mostly right for the next one, too."""

    def write(
        self, descriptor: int, datagrams: Sequence[tuple[bytes, bytes, bytes]]
    ) -> int:
        """Send data to a packed name with packed control; return how many were sent.

        The first that cannot be sent ends it.

        :raises BlockingIOError: there is no room for the first.
        :raises OSError: as sendmmsg(2) says of the first.
        """
        buffers, space, controls = self._buffers, self._space, self._controls
        place = self._start
        iovecs: list[int] = []
        end = place + self._size
        number = 0
        for data, _name, control in datagrams[: self.count]:
            length = len(data)
            if place + length > end:
                break
            iovecs += place, length
            place += length
            if controls[number] != control:
                buffers.set_control_size(number, len(control))
                start = number * space
                buffers.control[start : start + len(control)] = control
                controls[number] = control
            number += 1
        if not number:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        taken = datagrams[:number]
        self._data[: place - self._start] = b"".join([one[0] for one in taken])
        buffers.names[: number * _NAME.size] = b"".join([one[1] for one in taken])
        struct.pack_into("@" + "PN" * number, buffers.iovecs, 0, *iovecs)
        sent: int = _sendmmsg(descriptor, buffers.address, number, socket.MSG_DONTWAIT)
        if sent < 0:
            raise _last_error()
        return sent


def _address(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _load() -> tuple[Any, Any]:
    """Return the two functions of the C library; None where it has not both."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        receive, send = library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError):
        return None, None
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    receive.argtypes = integer, pointer, ctypes.c_uint, integer, pointer
    send.argtypes = integer, pointer, ctypes.c_uint, integer
    return receive, send


_recvmmsg, _sendmmsg = _load()

AVAILABLE = _recvmmsg is not None
"""Whether this system has both calls."""
