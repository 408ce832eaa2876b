# SPDX-License-Identifier: GPL-2.0-only
"""A history as a capture: every message that was sent, when and on which link."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import PcapNgWriter

from mip_agents.simulation.network import Packet
from mip_agents.simulation.shell import BEGINNING
from scapy_mip.const import NTP_UNIX_OFFSET

_EPOCH = BEGINNING - NTP_UNIX_OFFSET
_RAW_IP = 101


def write_capture(path: Path, packets: list[Packet]) -> None:
    """Write a pcapng file in which each packet's comment names its link.

    :raises OSError: the file cannot be written.
    """
    with PcapNgWriter(str(path)) as writer:
        writer.linktype = _RAW_IP
        for packet in packets:
            made: Any = IP(src=packet.source, dst=packet.destination, ttl=packet.ttl)
            if packet.icmp:
                made = made / Raw(packet.data)
                made.proto = 1
            else:
                made /= UDP(sport=packet.source_port, dport=packet.destination_port)
                made /= Raw(packet.data)
            frame = Raw(bytes(made))
            frame.time = _EPOCH + packet.time
            frame.comments = [packet.link.encode()]
            writer.write(frame)
