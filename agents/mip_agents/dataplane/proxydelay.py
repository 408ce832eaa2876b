# SPDX-License-Identifier: GPL-2.0-only
"""The delay before a proxy ARP answer, per interface.

The kernel waits up to 0.8 s, at random, before it answers for another host: too long at
a handover (ARP-01). The sysctl `neigh/IFACE/proxy_delay` exists in the initial user
namespace alone, so this speaks netlink, which is allowed in all; pyroute2 cannot write
neighbour tables.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from struct import Struct
from typing import Final

_RTM_NEWNEIGHTBL: Final = 64
_RTM_GETNEIGHTBL: Final = 66
_RTM_SETNEIGHTBL: Final = 67
_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NDTA_NAME: Final = 1
_NDTA_PARMS: Final = 6
_NDTPA_IFINDEX: Final = 1
_NDTPA_PROXY_DELAY: Final = 13

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_FAMILY = Struct("=Bxxx")
_U32 = Struct("=I")
_U64 = Struct("=Q")


def get_proxy_delay(interface: str) -> int:
    """Return the delay of `interface` in milliseconds.

    :raises OSError: where there is no such interface.
    """
    ifindex = socket.if_nametoindex(interface)
    for kind, body in _ask(_RTM_GETNEIGHTBL, _NLM_F_DUMP, b""):
        if kind != _RTM_NEWNEIGHTBL:
            continue
        table = dict(_attributes(body[_FAMILY.size :]))
        parameters = dict(_attributes(table.get(_NDTA_PARMS, b"")))
        if parameters.get(_NDTPA_IFINDEX) == _U32.pack(ifindex):
            return int(_U64.unpack(parameters[_NDTPA_PROXY_DELAY])[0])
    raise OSError(19, os.strerror(19), interface)


def set_proxy_delay(interface: str, milliseconds: int) -> None:
    """Set the delay of `interface`. :raises OSError: as the kernel answers."""
    ifindex = socket.if_nametoindex(interface)
    parameters = _attribute(_NDTPA_IFINDEX, _U32.pack(ifindex))
    parameters += _attribute(_NDTPA_PROXY_DELAY, _U64.pack(milliseconds))
    body = _attribute(_NDTA_NAME, b"arp_cache\0") + _attribute(_NDTA_PARMS, parameters)
    for _ in _ask(_RTM_SETNEIGHTBL, _NLM_F_ACK, body):
        pass


def _ask(kind: int, flags: int, attributes: bytes) -> Iterator[tuple[int, bytes]]:
    """Send one request and give the messages of the answer."""
    request = _FAMILY.pack(socket.AF_INET) + attributes
    size = _HEADER.size + len(request)
    header = _HEADER.pack(size, kind, flags | _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.send(header + request)
        while True:
            data = sock.recv(65536)
            while data:
                length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(data)
                body = data[_HEADER.size : length]
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    code = -Struct("=i").unpack_from(body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield kind, body
                data = data[(length + 3) & ~3 :]


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * padding


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
