# SPDX-License-Identifier: GPL-2.0-only
"""Long wires: they carry frames later than they came, and not all of them.

A kernel often lacks netem. A wire is two cables whose inner ends lie in a box of their
own, where a process carries frames from one to the other.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import select
import signal
import socket
import time
from collections.abc import Mapping
from typing import IO, Final

from mip_agents.lab import namespaces
from mip_agents.lab.links import Port

WIRES: Final = "wires"
"""The network namespace of the inner ends."""

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_LARGEST = 65535
_BATCH = 64
_SEED = 434


class _Wire:
    """The two ends of a wire and what it does to frames."""

    def __init__(self, ends: tuple[Port, Port]) -> None:
        one, other = map(_open, ends)
        self.across = {one: other, other: one}
        self.delay = 0.0
        self.loss = 0.0
        self.cut = False

    def loses(self, chance: random.Random) -> bool:
        return self.cut or (self.loss > 0 and chance.random() < self.loss)


def _open(port: Port) -> socket.socket:
    with namespaces.inside(port.namespace):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.bind((port.name, _ETH_P_ALL))
    return sock


def carry(
    output: IO[bytes], orders: socket.socket, wires: Mapping[str, tuple[Port, Port]]
) -> None:
    """Carry frames until SIGTERM; runs in a child.

    Reports `ready`. An order is a JSON datagram that names a wire and what changes:
    `delay` in seconds, `loss` as a fraction, `cut`. Each is answered by one byte.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    known = {name: _Wire(ends) for name, ends in wires.items()}
    ends = {end: wire for wire in known.values() for end in wire.across}
    chance, order = random.Random(_SEED), itertools.count()
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    output.write(json.dumps({"ready": True}).encode() + b"\n")
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for sock in select.select([orders, *ends], [], [], pause)[0]:
            if sock is orders:
                _obey(orders, known)
                continue
            wire = ends[sock]
            for frame in _read(sock):
                if not wire.loses(chance):
                    due = time.monotonic() + wire.delay
                    far = wire.across[sock]
                    heapq.heappush(waiting, (due, next(order), far, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, far, frame = heapq.heappop(waiting)
            _send(far, frame)


def _obey(orders: socket.socket, known: Mapping[str, _Wire]) -> None:
    changes = json.loads(orders.recv(4096))
    wire = known[changes.pop("wire")]
    for name, value in changes.items():
        setattr(wire, name, value)
    orders.send(b"\0")


def _read(sock: socket.socket) -> list[bytes]:
    frames = []
    for _ in range(_BATCH):
        try:
            frames.append(sock.recv(_LARGEST))
        except OSError:  # nothing more, or the link is down
            break
    return frames


def _send(sock: socket.socket, frame: bytes) -> None:
    try:
        sock.send(frame)
    except OSError:  # the link is down, or its queue full: lost, as on any wire
        return
