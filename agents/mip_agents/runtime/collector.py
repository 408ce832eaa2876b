# SPDX-License-Identifier: GPL-2.0-only
"""The garbage collector, kept out of the way at the start."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def resting_collector() -> Iterator[None]:
    """Keep the collector away while very many objects are made that all stay.

    It would look through them again and again, which takes as long as the rest.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
