# SPDX-License-Identifier: GPL-2.0-only
"""What a user gave is taken, or refused in lines that each stand for one problem."""

from __future__ import annotations

from collections.abc import Callable

from mip_agents.protocol.errors import InputError


def refused(read: Callable[[], object]) -> bool:
    """Return whether input was refused; any other error than that is passed on."""
    try:
        read()
    except InputError as error:
        text = str(error)
        lines = getattr(error, "problems", (text,))
        assert text.strip()
        assert len(text.splitlines()) == len(lines), text
        assert text.isprintable() or len(lines) > 1, text
        return True
    return False
