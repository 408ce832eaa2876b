# SPDX-License-Identifier: GPL-2.0-only
"""The README's table of what `mip check` finds in captures of other implementations."""

from pathlib import Path

from support.manifest import entries, is_own


def table() -> str:
    """Return the table, a row for each capture with findings."""
    lines = ["| capture | made by | findings |", "|---|---|---|"]
    for entry in entries():
        if is_own(entry):
            continue
        found = ", ".join(
            rule if count == 1 else f"{rule} x{count}"
            for rule, count in entry["findings"].items()
        )
        if found:
            name = Path(entry["file"]).stem
            lines.append(f"| `{name}` | {entry['agents']} | {found} |")
    return "\n".join(lines)
