# SPDX-License-Identifier: GPL-2.0-only
"""Errors of local misuse. What a peer sends never raises."""

from __future__ import annotations


class MipError(Exception):
    """Base of every error that this package raises; its text is one line for people."""

    exit_code = 1
    """What the command line exits with."""


class InputError(MipError):
    """A file, key or value that a user gave is wrong; the text says where and what."""

    exit_code = 2
