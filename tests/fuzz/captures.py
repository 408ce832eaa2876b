# SPDX-License-Identifier: GPL-2.0-only
"""Captures from anywhere: decoded and judged, or refused in one line."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fuzz.choices import Choices, damaged
from fuzz.refusals import refused
from mip_agents.captures.check import check_files
from mip_agents.captures.decode import decode_frame
from mip_agents.captures.lines import summary, usual
from mip_agents.captures.reader import read_frames
from mip_agents.protocol.discovery import build_advertisement
from scapy_mip.const import AgentFlag
from scapy_mip.keyring import KeyRing
from support.agents import FA, HA, HOME, KEY, A
from support.foreign import signed_request

_RING = KeyRing()
_RING.add(KEY)
_GLOBAL_HEADER = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
_ADDRESSES = (HOME, HA, A, FA, "255.255.255.255", "224.0.0.1")
_UDP, _ICMP = 17, 1
_PROTOCOLS = (_UDP, _ICMP, 4, 47, 55)
_BODIES = (
    b"",
    signed_request(identification=1),
    bytes.fromhex("0300025800010101") + bytes(12),
    build_advertisement(
        code=0,
        lifetime=9,
        router_addresses=(FA,),
        flags=AgentFlag.F,
        sequence_number=7,
        registration_lifetime=1800,
        care_of_addresses=(FA,),
    ),
    bytes.fromhex("4500001400000000400100000a01010a0a010114"),
)


def _pcap(order: str, magic: int, link_type: int, frame: bytes) -> bytes:
    """Return a capture of one frame."""
    head = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    return head + struct.pack(order + "IIII", 1, 2, len(frame), len(frame)) + frame


def _pcapng(frame: bytes) -> bytes:
    """Return a capture of one frame in the newer format, with a time resolution."""
    blocks = (
        (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        (1, struct.pack("<HHIHHIHH", 101, 0, 65535, 9, 1, 6, 0, 0)),
        (6, struct.pack("<IIIII", 0, 0, 1, len(frame), len(frame)) + frame),
        (3, struct.pack("<I", len(frame)) + frame),
    )
    content = b""
    for kind, body in blocks:
        body += bytes(-len(body) % 4)
        size = struct.pack("<I", 12 + len(body))
        content += struct.pack("<I", kind) + size + body + size
    return content


_FRAME = bytes.fromhex("4500001c00000000401100000a01010a0a01011401b201b200080000")
_ETHERNET = bytes(12) + b"\x81\0\0\5\x08\0" + _FRAME
_COOKED = bytes(14) + b"\x08\0" + _FRAME
_FILES = (
    b"",
    _pcap("<", 0xA1B2C3D4, 1, _ETHERNET),
    _pcap(">", 0xA1B23C4D, 113, _COOKED),
    _pcapng(_FRAME),
    gzip.compress(_pcap("<", 0xA1B2C3D4, 0, b"\2\0\0\0" + _FRAME), mtime=0),
)


def capture(data: bytes) -> None:
    """Read a damaged capture of any format, or what is none."""
    choices = Choices(data)
    content = damaged(choices, choices.pick(_FILES)) + choices.rest()
    with tempfile.NamedTemporaryFile(dir=_folder(), suffix=".pcap") as file:
        file.write(content)
        file.flush()
        with _quiet():
            if not refused(lambda: _decode(file.name)):
                list(check_files([file.name], _RING))


def frames(data: bytes) -> None:
    """Read a capture of a few IPv4 packets about Mobile IP, whole and damaged."""
    choices = Choices(data)
    content = _GLOBAL_HEADER
    for second in range(8):
        if not choices:
            break
        packet = _packet(choices)
        content += struct.pack("=IIII", second, 0, len(packet), len(packet)) + packet
    with tempfile.NamedTemporaryFile(dir=_folder()) as file:
        file.write(content)
        file.flush()
        _decode(file.name)
        for finding in check_files([file.name], _RING):
            json.dumps(finding.as_json())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Scapy say nothing of what is wrong with a file, as the commands do."""
    logger = logging.getLogger("scapy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _folder() -> str | None:
    """Return where files cost least."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _decode(path: str) -> None:
    for frame in read_frames(path):
        found, short = decode_frame(frame, _RING), usual(frame.packet)
        if found is None:
            assert short is None
            continue
        record, packet = found
        json.dumps(record)
        assert "\n" not in summary(record)
        assert short is None or short.message == record["message"]
        if packet is not None:
            packet.show(dump=True)


def _packet(choices: Choices) -> bytes:
    protocol = choices.pick(_PROTOCOLS)
    body = damaged(choices, choices.pick(_BODIES)) + choices.text()
    if protocol == _UDP:
        ports = choices.pick(((434, 434), (434, 5000), (5000, 434), (0, 434)))
        body = struct.pack("!HHHH", *ports, 8 + len(body), 0) + body
    header = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(body), 1, 0, 64, protocol)
    ends = (choices.pick(_ADDRESSES), choices.pick(_ADDRESSES))
    packed = b"".join(bytes(map(int, end.split("."))) for end in ends)
    return damaged(choices, header + b"\0\0" + packed + body)
