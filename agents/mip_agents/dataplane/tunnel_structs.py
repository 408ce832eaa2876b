# SPDX-License-Identifier: GPL-2.0-only
"""The structures of `bpf/mip_tunnel.c`; their sizes are compared with the object's."""

from __future__ import annotations

import socket
from struct import Struct
from typing import Final

from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation

MAX_PEERS: Final = 8
"""Simultaneous bindings of one home address."""

REVERSE = 1
_SEND_KEY, _RECEIVE_KEY, _UDP = 1, 2, 4

HEAD = Struct("=4s4sIIBBBx")
FORM = Struct("=4sBB2s2sxx4s4s")
PLAIN = Struct("=4s4sIIBBBx4sB15x")
"""Head, and a form without keys and ports."""
COUNTERS = Struct("=5Q")
CONFIG = Struct("=III4s6s6s")
COUNT = Struct("=Q")
FORGOTTEN = Struct("=4sI")
NOWHERE = bytes(4)
_NO_PORT = bytes(2)
SIZES: Final = {
    "bindings": HEAD.size + MAX_PEERS * FORM.size,
    "counters": COUNTERS.size,
    "locals": 1,
    "ports": 1,
    "drops": COUNT.size,
    "config": CONFIG.size + len(NOWHERE),
}


def plain_rest(
    local: str,
    peers: tuple[str, ...],
    encapsulation: Encapsulation,
    reverse: bool,
    *,
    mark: int,
) -> bytes:
    """Return all behind the home address in the entry of a home agent's plain tunnel.

    It has one peer, and neither keys nor ports.
    """
    entry = bytearray(SIZES["bindings"])
    PLAIN.pack_into(
        entry,
        0,
        NOWHERE,
        socket.inet_aton(local),
        0,
        mark,
        1,
        1,
        REVERSE if reverse else 0,
        socket.inet_aton(peers[0]),
        encapsulation,
    )
    return bytes(entry[len(NOWHERE) :])


def pack_form(value: memoryview, offset: int, peer: str, form: Form) -> None:
    """Put one of the peers of a tunnel into its entry."""
    flags = 0
    send_key = receive_key = NOWHERE
    ours = theirs = _NO_PORT
    if form.send_key is not None:
        flags |= _SEND_KEY
        send_key = form.send_key.to_bytes(4, "big")
    if form.receive_key is not None:
        flags |= _RECEIVE_KEY
        receive_key = form.receive_key.to_bytes(4, "big")
    if form.ports is not None:
        flags |= _UDP
        ours, theirs = (port.to_bytes(2, "big") for port in form.ports)
    FORM.pack_into(
        value, offset, socket.inet_aton(peer), int(form.encapsulation),
        flags, ours, theirs, send_key, receive_key,
    )  # fmt: skip
