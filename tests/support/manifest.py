# SPDX-License-Identifier: GPL-2.0-only
"""`pcaps/manifest.toml`: what each capture holds, read, and made from captures."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from mip_agents.captures.check import check_files
from mip_agents.captures.decode import decode_file
from scapy_mip.auth import SecurityAssociation
from scapy_mip.keyring import KeyRing, make_ring

PCAPS = Path(__file__).parents[2] / "pcaps"
MANIFEST = PCAPS / "manifest.toml"
OWN = "own"
"""Folder of the captures of our own agents."""

KINDS = {
    "registration_request": "RRQ",
    "registration_reply": "RRP",
    "agent_advertisement": "AA",
    "agent_solicitation": "AS",
    "ip_in_ip": "IPIP",
    "gre": "GRE",
    "minimal_encapsulation": "MINIMAL",
}
"""How the manifest calls what `mip decode` shows."""

Entry = dict[str, Any]


def entries() -> list[Entry]:
    """Return what the manifest says of each capture."""
    document = tomllib.loads(MANIFEST.read_text(encoding="utf-8"))
    return list(document["capture"])


def is_own(entry: Entry) -> bool:
    """Return whether a capture is of our own agents."""
    return str(entry["file"]).startswith(f"{OWN}/")


def ring_of(entry: Entry) -> KeyRing | None:
    """Return the keys with which a capture is judged."""
    shared = [
        SecurityAssociation(key["spi"], key["key"], key["algorithm"])
        for key in entry.get("keys", [])
    ]
    return make_ring(shared) if shared else None


def decoded(path: Path, keys: KeyRing | None = None) -> list[dict[str, Any]]:
    """Return the objects that `mip decode --json` gives for a capture."""
    return [record for record, _packet in decode_file(path, keys)]


def describe(entry: Entry) -> Entry:
    """Return what is in a capture, as the manifest says it.

    :param entry: of it, the file and the keys are looked at.
    """
    path, ring = PCAPS / entry["file"], ring_of(entry)
    records = decoded(path, ring)
    registrations = [r for r in records if r["message"].startswith("registration")]
    extensions = [e for r in registrations for e in r["extensions"]]
    verdicts = Counter(e["verdict"] for e in extensions if "verdict" in e)
    codes = [r["fields"]["code"] for r in registrations if "code" in r["fields"]]
    discovery = [r for r in records if r["message"].startswith("agent")]
    found: dict[str, list[int]] = {}
    for finding in check_files([path], ring):
        found.setdefault(finding.rule.id, []).append(finding.frame)
    described = {
        "counts": _sorted(Counter(KINDS[r["message"]] for r in records)),
        "codes": {str(code): codes.count(code) for code in sorted(set(codes))},
        "extension_types": sorted({e["type"] for e in extensions}),
        "discovery_extension_types": sorted(
            {e["type"] for r in discovery for e in r["extensions"]}
        ),
        "verdicts": _sorted(verdicts),
        "findings": {rule: len(found[rule]) for rule in sorted(found)},
        "found_in": {rule: found[rule] for rule in sorted(found)},
    }
    return {
        name: value for name, value in described.items() if value or name == "findings"
    }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}
