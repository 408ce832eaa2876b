# SPDX-License-Identifier: GPL-2.0-only
"""`make pcaps`: records the scenes anew, and writes their part of the manifest."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scapy.utils import RawPcapReader, RawPcapWriter

from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import run_in_sandbox
from support.manifest import OWN, PCAPS
from support.recordings.own_entries import write_manifest
from support.recordings.scene import Scene
from support.recordings.scenes import SCENES
from support.recordings.stage import perform

_IPV4, _ARP, _IGMP = b"\x08\x00", b"\x08\x06", 2


def main(names: list[str]) -> int:
    """Record the scenes that are named, or all."""
    unknown = [name for name in names if name not in SCENES]
    if unknown:
        sys.stderr.write(f"no scene {unknown[0]}: there are {', '.join(SCENES)}\n")
        return 2
    (PCAPS / OWN).mkdir(exist_ok=True)
    try:
        for name in names or SCENES:
            record(SCENES[name])
            print(f"recorded {name}")
    except LabError as error:
        sys.stderr.write(f"make pcaps: {error}\n")
        return 1
    write_manifest()
    return 0


def record(scene: Scene) -> None:
    """Play a scene in a sandbox of its own, and keep its captures."""
    with tempfile.TemporaryDirectory(prefix="mip-") as made:
        folder = Path(made)
        try:
            run_in_sandbox(
                lambda _how: perform(scene, folder),
                keep=(folder, Path(sys.prefix)),
            )
        except Exception as error:
            for log in sorted(folder.glob("*.log")):
                error.add_note(f"{log.name}:\n{log.read_text()}")
            raise
        for name in scene.links:
            _copy(folder / f"{name}.pcap", PCAPS / OWN / f"{name}.pcap")


def _copy(source: Path, target: Path) -> None:
    """Copy what a capture is about."""
    with (
        RawPcapReader(str(source)) as frames,
        RawPcapWriter(str(target), linktype=frames.linktype) as kept,
    ):
        kept.write_header(None)
        for frame, meta in frames:
            kind = frame[12:14]
            if kind == _ARP or (kind == _IPV4 and frame[23] != _IGMP):
                kept.write_packet(
                    frame, sec=meta.sec, usec=meta.usec, wirelen=meta.wirelen
                )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
