# SPDX-License-Identifier: GPL-2.0-only
"""Whether this kernel has the tc qdisc `clsact`, found out on `lo`.

This speaks netlink by hand because a probe may run inside of an event loop, which
pyroute2's blocking sockets do not permit.
"""

from __future__ import annotations

import errno
import os
import socket
from struct import Struct
from typing import Final

_RTM_NEWQDISC: Final = 36
_RTM_DELQDISC: Final = 37
_REQUEST_ACK: Final = 0x1 | 0x4
_CREATE_EXCLUSIVELY: Final = 0x400 | 0x200
_LOOPBACK: Final = 1
_HANDLE: Final = 0xFFFF0000
_PARENT: Final = 0xFFFFFFF1
_TCA_KIND: Final = 1

_HEADER = Struct("=IHHII")
_MESSAGE = Struct("=BxxxiIII")
_KIND = Struct("=HH8s")
_CODE = Struct("=i")


def clsact_problem() -> str | None:
    """Say why there can be no `clsact`, or None; nothing stays behind."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        code = _ask(sock, _RTM_NEWQDISC, _CREATE_EXCLUSIVELY)
        if code == 0:
            _ask(sock, _RTM_DELQDISC, 0)
    if code in (0, errno.EEXIST):
        return None
    return f"tc qdisc clsact: {os.strerror(code)}"


def _ask(sock: socket.socket, kind: int, flags: int) -> int:
    """Send one request about the qdisc of `lo`; return the error number."""
    body = _MESSAGE.pack(0, _LOOPBACK, _HANDLE, _PARENT, 0)
    body += _KIND.pack(_KIND.size - 1, _TCA_KIND, b"clsact\0")
    size = _HEADER.size + len(body)
    sock.send(_HEADER.pack(size, kind, flags | _REQUEST_ACK, 1, 0) + body)
    answer = sock.recv(65536)
    return -int(_CODE.unpack_from(answer, _HEADER.size)[0])
