# SPDX-License-Identifier: GPL-2.0-only
"""Every fuzz target by name: a function that takes any bytes and must not raise."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from scapy.config import conf

Target = Callable[[bytes], None]

TARGETS = {
    "messages": "layers",
    "discovery": "layers",
    "minimal_encapsulation": "layers",
    "authentication": "layers",
    "frames": "captures",
    "capture": "captures",
    "home_agent_engine": "home_agent",
    "foreign_agent_engine": "foreign_agent",
    "mobile_node_engine": "mobile_node",
    "journal_rows": "journal",
    "configuration": "files",
    "nodes_file": "files",
    "key_file": "files",
    "control": "control",
}
"""The module of each, in this folder."""

MAX_BYTES = 2048
"""Longest input that is tried."""

CORPUS = Path(__file__).parent / "corpus"
"""A folder for each target, of inputs that reach different code each."""


def load(name: str) -> Target:
    """Import a target; what it imports is instrumented if imports are just now."""
    # Without this, an exception in a layer silently yields `Raw`.
    conf.debug_dissector = True
    module = importlib.import_module(f"fuzz.{TARGETS[name]}")
    target: Target = getattr(module, name)
    return target


def inputs(name: str) -> dict[str, bytes]:
    """Return the corpus of a target, by file name."""
    files = sorted((CORPUS / name).iterdir())
    return {file.name: file.read_bytes() for file in files}
