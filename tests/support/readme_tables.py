# SPDX-License-Identifier: GPL-2.0-only
"""The generated tables of the README; `make tables` writes them.

Each stands between two comments with its name.
"""

import pathlib

from support import deviations, dissectors, rules

README = pathlib.Path(__file__).parents[2] / "README.md"
TABLES = {
    "deviations": deviations.table,
    "dissectors": dissectors.table,
    "rules": rules.table,
}


def with_tables(text: str) -> str:
    """Return the README's text with the tables as they are now."""
    for name, table in TABLES.items():
        begin, end = (f"<!-- {name}: {side} -->" for side in ("begin", "end"))
        before, rest = text.split(begin)
        _old, after = rest.split(end)
        text = f"{before}{begin}\n{table()}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
