# SPDX-License-Identifier: GPL-2.0-only
"""Names from outside, as a report or a terminal can show them."""

from __future__ import annotations


def printable(name: str) -> str:
    """Escape what XML cannot hold, or a reader not see, so that names stay distinct.

    File names may have control characters, and bytes that are no UTF-8.
    """
    return "".join(
        one
        if one.isprintable() and one != "\\"
        else one.encode("unicode_escape").decode()
        for one in name
    )
