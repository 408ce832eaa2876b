# SPDX-License-Identifier: GPL-2.0-only
"""Asks an address for an echo, as `ping` does, from any box of the laboratory."""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from mip_agents.lab import namespaces

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_HEADER = struct.Struct("!BBHHH")
_INTERVAL_S = 0.1


def reach(namespace: str, address: str, timeout: float) -> float | None:
    """Return after how many seconds an echo came, or None.

    A request is sent ten times a second until then.
    """
    with namespaces.inside(namespace):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    begun = time.monotonic()
    mark = os.getpid() & 0xFFFF
    with sock:
        number = 0
        while time.monotonic() - begun < timeout:
            try:
                sock.sendto(_request(mark, number), (address, 0))
            except OSError:
                time.sleep(_INTERVAL_S)  # no route at the moment
            number += 1
            due = time.monotonic() + _INTERVAL_S
            while (left := due - time.monotonic()) > 0:
                if select.select([sock], [], [], left)[0] and _is_echo(
                    sock.recv(2048), mark, address
                ):
                    return time.monotonic() - begun
    return None


def _request(mark: int, number: int) -> bytes:
    words = (_ECHO_REQUEST << 8, mark, number)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return _HEADER.pack(_ECHO_REQUEST, 0, ~total & 0xFFFF, mark, number)


def _is_echo(packet: bytes, mark: int, address: str) -> bool:
    message = packet[(packet[0] & 15) * 4 :]
    if len(message) < _HEADER.size or packet[12:16] != socket.inet_aton(address):
        return False
    kind, _, _, found, _ = _HEADER.unpack_from(message)
    return (kind, found) == (_ECHO_REPLY, mark)
