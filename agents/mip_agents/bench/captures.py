# SPDX-License-Identifier: GPL-2.0-only
"""Reading captures: `mip decode`, its reader, and Scapy's own with these layers."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapReader

from mip_agents.bench import samples
from mip_agents.bench.case import Case, Gauges, NotInstalledError
from mip_agents.bench.children import cpu_of, run_python
from mip_agents.captures.reader import read_frames
from scapy_mip.base import MIP
from scapy_mip.const import MIP_PORT

_FILE_HEADER_BYTES = 24
_UDP_PAYLOAD = 28
"""Where the message starts behind an IPv4 header without options."""


@contextmanager
def capture(copies: int) -> Iterator[Path]:
    """Write a capture of the usual requests, each of them so many times."""
    carrier = bytes(
        Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02", type=0x800)
        / IP(src="10.1.2.3", dst=samples.HOME_AGENT)
        / UDP(sport=MIP_PORT, dport=MIP_PORT, chksum=0)
        / bytes(46)
    )[:-46]
    with tempfile.TemporaryDirectory(prefix="mip-bench-") as directory:
        path = Path(directory) / "requests.pcap"
        frames = [
            carrier + data for data in samples.requests(samples.one_extension)
        ] * copies
        with path.open("wb") as file:
            file.write(struct.pack("!IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for number, frame in enumerate(frames):
                file.write(struct.pack("!IIII", number, 0, len(frame), len(frame)))
                file.write(frame)
        yield path


def read_ours(path: Path) -> list[Any]:
    """Return the messages of a capture, dissected."""
    return [MIP(frame.packet[_UDP_PAYLOAD:]) for frame in read_frames(path)]


def per_packet_us(path: Path) -> float:
    """Return the CPU time that the reader and the layer take for one packet."""
    count = 0
    start = time.thread_time_ns()
    for frame in read_frames(path):
        MIP(frame.packet[_UDP_PAYLOAD:])
        count += 1
    return (time.thread_time_ns() - start) / count / 1000


_PCAP_READER = """\
import sys, time
import scapy.all
from scapy.utils import PcapReader
{layers}
count = 0
with PcapReader({path!r}) as reader:
    start = time.thread_time_ns()
    for packet in reader:
        count += 1
    spent = time.thread_time_ns() - start
print(packet.lastlayer().__class__.__name__, spent / count / 1000)
"""


def pcap_reader(path: Path, layers: str) -> tuple[str, float]:
    """Read with Scapy after `scapy.all`, in a process of its own.

    Return the class of the last layer, and the CPU time per packet.
    """
    last, spent = run_python(_PCAP_READER.format(layers=layers, path=str(path))).split()
    return last, float(spent)


def reader() -> Gauges:
    """Prepare `capture`."""

    def ours() -> float:
        with capture(4) as path:
            return per_packet_us(path)

    def rival() -> float:
        with capture(1) as path:
            return pcap_reader(path, "")[1]

    def agree() -> bool:
        with capture(1) as path, PcapReader(str(path)) as theirs:
            return [bytes(packet[UDP].payload) for packet in theirs] == [
                bytes(message) for message in read_ours(path)
            ]

    return Gauges(ours, rival, agree)


def plain_reader() -> Gauges:
    """Prepare `capture-scapy`."""

    def cost(layers: str) -> float:
        with capture(1) as path:
            return pcap_reader(path, layers)[1]

    def agree() -> bool:
        with capture(1) as path:
            lasts = (
                pcap_reader(path, "import scapy_mip.all")[0],
                pcap_reader(path, "")[0],
            )
        return lasts == ("MIPRegistrationRequest", "Raw")

    return Gauges(lambda: cost("import scapy_mip.all"), lambda: cost(""), agree)


_MANY = 4 * 4096
"""Packets for tshark, whose start alone takes as long as some ten thousand of them."""
_TSHARK_FIELDS = ("mip.type", "mip.homeaddr", "mip.coa", "mip.life")


def tshark_reader() -> Gauges:
    """Prepare `capture-tshark`: its start is measured, too, and taken off."""
    program = shutil.which("tshark")
    if program is None:
        raise NotInstalledError("tshark is not installed")
    fields = [word for name in _TSHARK_FIELDS for word in ("-e", name)]

    def command(path: Path, count: int) -> list[str]:
        limit = ["-c", str(count)] if count else []
        return [program, "-n", "-r", str(path), *limit, "-T", "fields", *fields]

    copies = _MANY // samples.MESSAGES

    def ours() -> float:
        with capture(copies) as path:
            return per_packet_us(path)

    def rival() -> float:
        with capture(copies) as path:
            start = cpu_of(command(path, 1))
            spent = (cpu_of(command(path, 0)) - start) * 1e6
        return spent / (copies * samples.MESSAGES)

    def agree() -> bool:
        with capture(1) as path:
            run = subprocess.run(
                command(path, 0), capture_output=True, text=True, check=True
            )
            shown = [line.split("\t")[1:] for line in run.stdout.splitlines()]
            return shown == [
                [one.home_address, one.care_of_address, str(one.lifetime)]
                for one in read_ours(path)
            ]

    return Gauges(ours, rival, agree)


_LINES = 16 * 4096
"""Packets for `mip decode`, whose start, too, is measured and taken off."""


def _decode(path: Path) -> list[str]:
    return [sys.executable, "-m", "mip_agents.cli", "decode", str(path)]


def _line_us() -> float:
    """Return the CPU time of `mip decode` for one packet and its line."""
    with capture(_LINES // samples.MESSAGES) as path:
        spent = cpu_of(_decode(path))
        with path.open("r+b") as file:
            file.truncate(_FILE_HEADER_BYTES)
        return (spent - cpu_of(_decode(path))) / _LINES * 1e6


def _decode_agrees() -> bool:
    """Return whether the lines say what the layers find."""
    with capture(1) as path:
        run = subprocess.run(_decode(path), capture_output=True, text=True, check=True)
        shown = [
            line.split("RRQ ")[1].split(" ")[:3:2] for line in run.stdout.splitlines()
        ]
        return shown == [
            [one.home_address, one.care_of_address] for one in read_ours(path)
        ]


def decoder() -> Gauges:
    """Prepare `decode`: the whole command, line by line, against Scapy's reader."""
    return Gauges(_line_us, reader().rival, _decode_agrees)


def tshark_decoder() -> Gauges:
    """Prepare `decode-tshark`: command against command."""
    return Gauges(_line_us, tshark_reader().rival, _decode_agrees)


CASES = (
    Case(
        name="capture",
        what="read a capture",
        rival="PcapReader",
        goal=20,
        prepare=reader,
    ),
    Case(
        name="capture-tshark",
        what="read a capture",
        rival="tshark -T fields",
        goal=2,
        prepare=tshark_reader,
    ),
    Case(
        name="decode",
        what="mip decode, by packet",
        rival="PcapReader",
        goal=20,
        prepare=decoder,
    ),
    Case(
        name="decode-tshark",
        what="mip decode, by packet",
        rival="tshark -T fields",
        goal=2,
        prepare=tshark_decoder,
    ),
    Case(
        name="capture-scapy",
        what="PcapReader, our layers",
        rival="Scapy's built-in",
        goal=1.5,
        prepare=plain_reader,
    ),
)
