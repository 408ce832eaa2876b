# SPDX-License-Identifier: GPL-2.0-only
"""Writes what passes on the links of the laboratory to pcap files, without tcpdump.

One process serves all links: a packet socket stays in the namespace in which it was
opened. A switch in promiscuous mode passes each frame of its network up once, so that
a file has both directions and no frame twice. Each file is complete after each write:
when the process is killed, nothing that was written is lost.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from mip_agents.lab import namespaces
from mip_agents.lab.links import Port
from mip_agents.lab.topology import LAN

LINKS: dict[str, Port] = {
    "home": Port("home", LAN),
    "visited-a": Port("visited-a", LAN),
    "visited-b": Port("visited-b", LAN),
    "internet": Port("internet", "home"),
    "correspondent": Port("correspondent", "eth0"),
}
"""The captures of the demonstration: three LANs, the home network's way to the
Internet, where tunnels pass, and the correspondent's link."""

_SNAPLEN = 65535
# struct pcap_file_header: magic (microseconds, host order), 2.4, snaplen, Ethernet
_FILE_HEADER = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, 1)
_RECORD = struct.Struct("=IIII")

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_STATISTICS = 6
_PACKET_MR_PROMISC = 1
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_TIMESPEC = struct.Struct("@ll")
_BATCH = 256


class Capture:
    """One link and its file."""

    def __init__(self, port: Port, path: Path) -> None:
        self.path = path
        self.packets = 0
        with namespaces.inside(port.namespace):
            # Protocol 0 at first: nothing is received before the socket is bound.
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            index = socket.if_nametoindex(port.name)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        except OSError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(
            _SOL_PACKET,
            _PACKET_ADD_MEMBERSHIP,
            struct.pack("@iHH8s", index, _PACKET_MR_PROMISC, 0, b""),
        )
        self.socket.bind((port.name, _ETH_P_ALL))
        self.socket.setblocking(False)
        self._file = path.open("wb", buffering=0)
        self._file.write(_FILE_HEADER)

    def drain(self) -> None:
        """Write what has arrived, in one piece."""
        pieces: list[bytes] = []
        for _ in range(_BATCH):
            try:
                frame, ancillary, _, _ = self.socket.recvmsg(_SNAPLEN, 64)
            except OSError:  # nothing more, or the link went down
                break
            seconds, nanoseconds = _stamp(ancillary)
            size = len(frame)
            pieces.append(_RECORD.pack(seconds, nanoseconds // 1000, size, size))
            pieces.append(frame)
            self.packets += 1
        if pieces:
            self._file.write(b"".join(pieces))

    def close(self) -> int:
        """Write the rest; return the number of frames that the kernel dropped."""
        before = -1
        while self.packets != before:
            before = self.packets
            self.drain()
        statistics = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.socket.close()
        self._file.close()
        return int(struct.unpack("@II", statistics)[1])


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int]:
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return int(seconds), int(nanoseconds)
    return divmod(time.time_ns(), 10**9)


def capture(
    output: IO[bytes], folder: Path, links: Mapping[str, Port] | None = None
) -> None:
    """Capture the links into `folder/NAME.pcap` until SIGTERM; runs in a child.

    Reports `ready`, and at the end one line per link: `link`, `packets`, `dropped`.
    """
    wake, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(signalled)
    captures = {
        name: Capture(port, folder / f"{name}.pcap")
        for name, port in (LINKS if links is None else links).items()
    }
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ, None)
        for item in captures.values():
            selector.register(item.socket, selectors.EVENT_READ, item)
        _tell(output, ready=True)
        stopping = False
        while not stopping:
            for key, _ in selector.select():
                if isinstance(key.data, Capture):
                    key.data.drain()
                else:
                    stopping = True
    for name, item in captures.items():
        dropped = item.close()
        _tell(output, link=name, packets=item.packets, dropped=dropped)


def _tell(output: IO[bytes], **record: object) -> None:
    output.write(json.dumps(record).encode() + b"\n")
