# SPDX-License-Identifier: GPL-2.0-only
"""Flows that number what they send, each end a small process of the laboratory.

Every function here runs in a forked child until SIGTERM and reports JSON lines, which
`mip_agents.lab.ledger` adds up. Times are those of CLOCK_MONOTONIC, which all
namespaces share, so that one-way times can be told.

The *probe* is a numbered UDP datagram every 10 ms, from the correspondent to the home
address and back (RFC 862 echo). The *stream* is a TCP connection with bytes flowing
both ways all the time, each byte checked against what must be at its place.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import time
from typing import IO, Any

ECHO_PORT = 7
STREAM_PORT = 5001
PROBE_INTERVAL = 0.010
STREAM_INTERVAL = 0.020
STREAM_CHUNK = 1000
"""Bytes every `STREAM_INTERVAL`, a multiple of 8: 50 kB/s each way."""

_REPORT_INTERVAL = 0.1
_LINGER = 0.4
"""How long packets on the way are waited for at the end."""
_HEAD = struct.Struct("!4sId")
_MAGIC = b"MIPP"
_PAD = bytes(64 - _HEAD.size)


class _Reporter:
    """Collects times and reports them a few times a second."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._lists: dict[str, list[Any]] = {}
        self._due = time.monotonic() + _REPORT_INTERVAL
        self.stopping = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def note(self, key: str, value: object) -> None:
        self._lists.setdefault(key, []).append(value)

    def tell(self, **record: object) -> None:
        """Report at once."""
        self._output.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def tick(self, now: float) -> None:
        if now >= self._due:
            self.flush()
            self._due = now + _REPORT_INTERVAL

    def flush(self) -> None:
        if self._lists:
            self.tell(**self._lists)
            self._lists = {}


def _readable(sock: socket.socket, timeout: float) -> bool:
    return bool(select.select([sock], [], [], max(0.0, timeout))[0])


def send_probe(
    output: IO[bytes], target: str, interval: float = PROBE_INTERVAL
) -> None:
    """Send a numbered datagram every `interval` seconds, and take the echoes.

    Reports `sent` and `returned`: lists of [number, time]. A datagram that the kernel
    refuses is sent and lost.
    """
    report = _Reporter(output)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((target, ECHO_PORT))
        sock.setblocking(False)
        report.tell(ready=True)
        number, due = 0, time.monotonic()
        while not report.stopping:
            now = time.monotonic()
            if now >= due:
                report.note("sent", [number, round(now, 6)])
                _send(sock, _HEAD.pack(_MAGIC, number, now) + _PAD)
                number += 1
                # After a long pause of this process: go on, do not catch up in a burst.
                due = due + interval if now < due + 1 else now + interval
            elif _readable(sock, due - now):
                _take_echoes(sock, report)
            report.tick(now)
        end = time.monotonic() + _LINGER
        while (now := time.monotonic()) < end:
            if _readable(sock, end - now):
                _take_echoes(sock, report)
    report.flush()


def _send(sock: socket.socket, datagram: bytes) -> None:
    # The first attempt may report an ICMP error of an earlier one and send nothing.
    for _ in range(2):
        try:
            sock.send(datagram)
        except OSError:
            continue
        return


def _take_echoes(sock: socket.socket, report: _Reporter) -> None:
    while True:
        try:
            data = sock.recv(2048)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error: the loss shows in the numbers
            continue
        if data[:4] == _MAGIC and len(data) >= _HEAD.size:
            number = _HEAD.unpack_from(data)[1]
            report.note("returned", [number, round(time.monotonic(), 6)])


def echo_probe(output: IO[bytes], address: str) -> None:
    """Send every probe back from `address`; reports `echoed`: [number, time].

    The socket is bound to the home address while the node is at home, and stays so.
    While the address is on no interface the kernel refuses to send: that is a loss.
    """
    report = _Reporter(output)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, ECHO_PORT))
        sock.setblocking(False)
        report.tell(ready=True)
        while not report.stopping:
            if _readable(sock, _REPORT_INTERVAL):
                _echo(sock, report)
            report.tick(time.monotonic())
    report.flush()


def _echo(sock: socket.socket, report: _Reporter) -> None:
    while True:
        try:
            data, peer = sock.recvfrom(2048)
        except BlockingIOError:
            return
        except OSError:
            continue
        if data[:4] == _MAGIC and len(data) >= _HEAD.size:
            number = _HEAD.unpack_from(data)[1]
            report.note("echoed", [number, round(time.monotonic(), 6)])
            try:
                sock.sendto(data, peer)
            except OSError:
                continue


def pattern(offset: int, length: int, start: int = 0) -> bytes:
    """Return the bytes that belong at `offset` of a stream.

    They are big-endian 64-bit numbers counted up from `start`, so that no shifted,
    repeated or missing piece looks right.
    """
    first, skip = divmod(offset, 8)
    count = (skip + length + 7) // 8
    words = range(start + first, start + first + count)
    return struct.pack(f"!{count}Q", *words)[skip : skip + length]


def serve_stream(output: IO[bytes], address: str) -> None:
    """Accept one connection and stream both ways."""
    with socket.create_server((address, STREAM_PORT)) as listener:
        report = _Reporter(output)
        report.tell(ready=True)
        while not _readable(listener, _REPORT_INTERVAL):
            if report.stopping:
                return
        sock, _ = listener.accept()
        with sock:
            _stream(sock, report, ours=1 << 40, theirs=0)


def open_stream(output: IO[bytes], address: str, target: str) -> None:
    """Connect from `address` and stream both ways."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind((address, 0))
        report = _Reporter(output)
        sock.settimeout(10)
        try:
            sock.connect((target, STREAM_PORT))
        except OSError as error:
            report.tell(broken=f"connect: {error.strerror or error}")
            return
        report.tell(ready=True)
        _stream(sock, report, ours=0, theirs=1 << 40)


def _stream(sock: socket.socket, report: _Reporter, ours: int, theirs: int) -> None:
    """Send our pattern and check theirs until SIGTERM, then end in an orderly way.

    Reports `arrivals` (times), and at the end `sent`, `received` (bytes); `broken` in
    words when the connection is reset, closed too early, or carries wrong bytes.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    sent = received = 0
    closing: float | None = None
    backlog = b""
    due = time.monotonic()
    try:
        while closing is None or time.monotonic() < closing:
            now = time.monotonic()
            if report.stopping and closing is None:
                backlog, closing = b"", now + 2.0
                sock.shutdown(socket.SHUT_WR)
            if closing is None and now >= due:
                backlog = backlog or pattern(sent, STREAM_CHUNK, ours)
                try:
                    count = sock.send(backlog)
                except BlockingIOError:
                    count = 0
                sent, backlog = sent + count, backlog[count:]
                due = max(due + STREAM_INTERVAL, now)
            if _readable(sock, min(due - now, STREAM_INTERVAL) if not closing else 0.1):
                data = sock.recv(65536)
                if not data:
                    if closing is None and not _stops_soon(report):
                        report.tell(broken="closed by the other end")
                    break
                if data != pattern(received, len(data), theirs):
                    report.tell(broken=f"wrong bytes after {received}")
                    break
                received += len(data)
                report.note("arrivals", round(time.monotonic(), 6))
            report.tick(now)
    except OSError as error:
        report.tell(broken=error.strerror or str(error))
    report.flush()
    report.tell(sent_bytes=sent, received_bytes=received)


def _stops_soon(report: _Reporter) -> bool:
    """Tell a stop of both ends, which they learn one after the other, from a break."""
    end = time.monotonic() + _LINGER
    while not report.stopping and (now := time.monotonic()) < end:
        select.select([], [], [], end - now)
    return report.stopping
