# SPDX-License-Identifier: GPL-2.0-only
"""Errors of local misuse. What a peer sends never raises."""

from __future__ import annotations


class MipError(Exception):
    """Base of every error that this package raises; its text is one line for people."""
