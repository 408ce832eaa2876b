# SPDX-License-Identifier: GPL-2.0-only
"""The manifest's part about our own captures, made from scenes and files."""

from __future__ import annotations

import json
from typing import Any

from support.manifest import MANIFEST, OWN, describe
from support.recordings.scene import Scene
from support.recordings.scenes import SCENES

_ROLES = {"ha": "home agent", "fa": "foreign agent", "mn": "mobile node"}
_MARK = "\n# own/: "
_HEAD = f"""{_MARK}recorded from this project's agents in its laboratory by
# `make pcaps`, which writes from here to the end. IGMP is left out, and what is neither
# IPv4 nor ARP.
#
# by_hand   sources of messages that were crafted; only there may be findings
# found_in  the frames with findings, by rule
"""


def write_manifest() -> None:
    """Write the manifest's part about our own captures, as the files are now."""
    kept = MANIFEST.read_text(encoding="utf-8").partition(_MARK)[0]
    MANIFEST.write_text(kept + generated_part(), encoding="utf-8")


def generated_part() -> str:
    """Return the manifest's part about our own captures."""
    tables = [
        _table(_entry(scene, name)) for scene in SCENES.values() for name in scene.links
    ]
    return _HEAD + "".join(tables)


def _entry(scene: Scene, name: str) -> dict[str, Any]:
    roles = [_ROLES[role] for role in scene.agents]
    entry: dict[str, Any] = {
        "file": f"{OWN}/{name}.pcap",
        "agents": f"our {', '.join(roles)}",
        "holds": scene.holds,
        "command": f"make pcaps PCAPS={scene.name}",
    }
    if scene.by_hand:
        entry["by_hand"] = list(scene.by_hand)
    keys = [
        {"spi": key.spi, "key": key.text, "algorithm": "hmac-md5"} for key in scene.keys
    ]
    entry |= describe({"file": entry["file"], "keys": keys})
    return entry | {"keys": keys}


def _table(entry: dict[str, Any]) -> str:
    lines = ["", "[[capture]]"]
    for name, value in entry.items():
        if name == "keys":
            rows = "".join(f"  {_inline(one)},\n" for one in value)
            lines.append(f"{name} = [\n{rows}]")
        else:
            lines.append(f"{name} = {_inline(value)}")
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    pairs = ", ".join(f"{_key(name)} = {_inline(one)}" for name, one in value.items())
    return f"{{ {pairs} }}" if pairs else "{}"


def _key(name: str) -> str:
    return json.dumps(name) if name.isdigit() else name
