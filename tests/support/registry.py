# SPDX-License-Identifier: GPL-2.0-only
"""The protocol registry and the test vectors, as they lie in `tests/data`."""

import functools
import pathlib
import tomllib
from typing import Any

DATA = pathlib.Path(__file__).parents[1] / "data"


@functools.cache
def registry() -> dict[str, Any]:
    """Return the registry of the protocol's numbers, names and layouts."""
    return tomllib.loads((DATA / "registry.toml").read_text())


@functools.cache
def vectors() -> dict[str, dict[str, Any]]:
    """Return the test vectors by name."""
    listed = tomllib.loads((DATA / "vectors.toml").read_text())["vector"]
    return {vector["name"]: vector for vector in listed}


def message(number: int) -> dict[str, Any]:
    """Return the registry's entry of a message type."""
    return next(one for one in registry()["message"] if one["type"] == number)


def extension(number: int) -> dict[str, Any]:
    """Return the registry's entry of an extension of control messages."""
    return next(one for one in control_extensions() if one["type"] == number)


def control_extensions() -> list[dict[str, Any]]:
    """Return the extensions of control messages, without those of advertisements."""
    return [one for one in registry()["extension"] if one["space"] == "control"]
