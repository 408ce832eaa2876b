# SPDX-License-Identifier: GPL-2.0-only
"""The README's table of what `mip check` finds in captures of other implementations."""

import tomllib
from pathlib import Path

MANIFEST = Path(__file__).parents[2] / "pcaps/manifest.toml"


def table() -> str:
    """Return the table, a row for each capture with findings."""
    lines = ["| capture | made by | findings |", "|---|---|---|"]
    for entry in tomllib.loads(MANIFEST.read_text(encoding="utf-8"))["capture"]:
        found = ", ".join(
            rule if count == 1 else f"{rule} x{count}"
            for rule, count in entry["findings"].items()
        )
        if found:
            name = Path(entry["file"]).stem
            lines.append(f"| `{name}` | {entry['agents']} | {found} |")
    return "\n".join(lines)
