# SPDX-License-Identifier: GPL-2.0-only
"""The garbage collector, kept out of the way of an agent's work."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_YOUNG = 20_000
"""New objects that may be alive before the collector looks for garbage: many times what
the requests of one wake-up need, none of which is garbage."""


@contextlib.contextmanager
def patient_collector() -> Iterator[None]:
    """Spare the collector what exists now, and what lives for one wake-up only.

    For an agent that has its process for itself, once it has started.
    """
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


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
