# SPDX-License-Identifier: GPL-2.0-only
"""What tshark makes of packets: one run for many, names and values in their order."""

import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import wrpcap

TSHARK = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")


class Pairs(list[tuple[str, Any]]):
    """A JSON object whose names may recur, in order."""


class Shown:
    """What tshark shows of one frame."""

    def __init__(self, layers: Pairs) -> None:
        self._layers = layers
        self.protocols = [name for name, _tree in layers]
        """Its names of the layers, outermost first."""

    def pairs(self, protocol: str) -> list[tuple[str, str]]:
        """Return all names and values below the first layer of a protocol."""
        for name, tree in self._layers:
            if name == protocol and isinstance(tree, Pairs):
                return list(_flat(tree))
        return []

    def values(self, name: str) -> list[str]:
        """Return the values of all fields of that name, in order."""
        return [value for key, value in _flat(self._layers) if key == name]

    @property
    def is_clean(self) -> bool:
        """Whether tshark finds nothing to complain of."""
        names = {name for name, _value in _flat(self._layers)}
        return "_ws.malformed" not in self.protocols and not any(
            name.startswith("_ws.expert") for name in names
        )


def _flat(tree: Pairs) -> Iterator[tuple[str, str]]:
    for name, value in tree:
        if isinstance(value, Pairs):
            yield from _flat(value)
        else:
            yield name, value


def framed(packet: Packet, sport: int = 4000, dport: int = 434) -> Packet:
    """Put a message into UDP, and what is no frame yet into Ethernet."""
    if not isinstance(packet, IP):
        packet = (
            IP(src="10.0.0.1", dst="10.0.0.2")
            / UDP(sport=sport, dport=dport)
            / (packet)
        )
    return Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet


def decoded(frames: Iterable[Packet]) -> list[Shown]:
    """Return what tshark shows of frames, in one run."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "frames.pcap"
        wrpcap(str(path), list(frames))
        run = subprocess.run(
            [str(TSHARK), "-r", path, "-T", "json"],
            capture_output=True,
            timeout=60,
            check=True,
        )
    found = json.loads(run.stdout, object_pairs_hook=Pairs)
    return [Shown(dict(dict(one)["_source"])["layers"]) for one in found]


def agrees(shown: str, ours: Any) -> bool:
    """Return whether a shown value is ours: a number, bytes, or text."""
    if isinstance(ours, int):
        return int(shown, 0) == ours
    if isinstance(ours, bytes):
        return bytes.fromhex(shown.replace(":", "")) == ours
    return shown == str(ours)
