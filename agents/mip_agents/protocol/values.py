# SPDX-License-Identifier: GPL-2.0-only
"""Values that are made by the thousand.

A home agent makes a dozen for each registration. A frozen dataclass sets each field
through a call of its own; one of these takes a fifth of the time, and the garbage
collector does not look at it.
"""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, gc=False):
    """Fields that nobody changes, and that lead to nothing which leads back here.

    Subclasses say `frozen=True` again, which mypy does not inherit.
    """
