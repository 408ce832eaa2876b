# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with what was captured, as values."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any


class Severity(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Against a MUST, or against the format."""
    WARNING = "warning"
    """Against a SHOULD."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the checklist that a capture can be held against."""

    id: str
    """As in the checklist, such as `COM-01`."""
    severity: Severity
    source: str
    """Where it is written, such as `RFC 5944 1.8`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation, in one sentence."""

    file: str
    frame: int
    """Number of the frame, from 1."""
    rule: Rule
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return it as the object that `mip check --json` prints."""
        shown = asdict(self)
        rule = shown.pop("rule")
        return {
            "file": shown["file"],
            "frame": shown["frame"],
            "severity": str(rule["severity"]),
            "rule": rule["id"],
            "source": rule["source"],
            "text": shown["text"],
        }
