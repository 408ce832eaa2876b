# SPDX-License-Identifier: GPL-2.0-only
"""How much comes through from the correspondent to an address of the mobile node."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from mip_agents.bench.testbed import Testbed, answer_of, tell
from mip_agents.lab import namespaces

SENDERS: Final = (1, 2)
"""Processes that send packets as fast as they can. The better number counts: where a
data plane needs a processor for itself, a second sender only takes it away."""

PACKET: Final = 64
"""Octets of the packets that are counted, from the IPv4 header on."""

_HEADERS = 28
_PORT = 7000
_CHUNK = 1 << 16
_WARM_UP_S = 0.2


def tcp_gbps(bed: Testbed, address: str, seconds: float) -> float:
    """Return what one TCP connection carries, in Gbit/s of its payload."""
    with namespaces.inside("mn"):
        server = socket.create_server(("", 0))
    with server:
        port = server.getsockname()[1]
        sink = bed.children.fork("sink", lambda output: _take_tcp(server, output))
    with namespaces.inside("cn"):
        sock = socket.create_connection((address, port), timeout=10)
    data = bytes(_CHUNK)
    with sock:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sock.sendall(data)
    octets, duration = answer_of(sink)
    sink.wait(5)
    return float(octets * 8 / duration / 1e9)


def _take_tcp(server: socket.socket, output: IO[bytes]) -> None:
    """Count what one client sends, from its first octets to the last."""
    client, _ = server.accept()
    buffer = bytearray(4 * _CHUNK)
    with client:
        total = client.recv_into(buffer)
        start = time.monotonic()
        while taken := client.recv_into(buffer):
            total += taken
    tell(output, (total, time.monotonic() - start))


def packets_per_second(bed: Testbed, address: str, seconds: float) -> float:
    """Return how many small UDP packets a second arrive, of more that are sent."""
    return max(_packets(bed, address, seconds, senders) for senders in SENDERS)


def _packets(bed: Testbed, address: str, seconds: float, senders: int) -> float:
    with _full_socket():
        children = [
            bed.children.fork("sender", lambda _output: _send(address), "cn")
            for _ in range(senders)
        ]
        try:
            time.sleep(_WARM_UP_S)
            before, start = _arrived(), time.monotonic()
            time.sleep(seconds)
            return (_arrived() - before) / (time.monotonic() - start)
        finally:
            for child in children:
                child.stop()


@contextlib.contextmanager
def _full_socket() -> Iterator[None]:
    """Have a socket that nobody reads: counting there costs the receiver nothing."""
    with namespaces.inside("mn"):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.bind(("", _PORT))
        yield


def _arrived() -> int:
    """Return how many packets the full socket has turned away."""
    with namespaces.inside("mn"):
        table = Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
    for line in table:
        columns = line.split()
        if int(columns[1].partition(":")[2], 16) == _PORT:
            return int(columns[-1])
    raise RuntimeError("the socket to count at is gone")


def _send(address: str) -> None:
    """Send until this process is ended."""
    data = bytes(PACKET - _HEADERS)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, _PORT))
        while True:
            with contextlib.suppress(OSError):  # a full queue, an ICMP error
                while True:
                    sock.send(data)
