# SPDX-License-Identifier: GPL-2.0-only
"""Validation errors of pydantic in the words of a configuration file.

Pydantic's own texts name Python types and may repeat a value; these name the path of
the key, what is wrong and what is allowed, and repeat nothing.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

_TYPES = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list in [ ]",
    "model_type": "a table",
    "dict_type": "a table",
}

_NAME = re.compile(r"[A-Za-z0-9_-]{1,25}")
"""What a key looks like. Anything else is not repeated: it may be a secret that changed
places with its name (16 bytes in hexadecimal have 32 digits), or end a line."""

Location = tuple[int | str, ...]


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line `path: what is wrong; allowed: ...` for each problem.

    A missing key that was only misspelt is reported once, as the unknown key it became.
    """
    found = error.errors(include_url=False, include_input=False)
    unknown: list[str] = []
    suggested: set[Location] = set()
    for item in found:
        if item["type"] == "extra_forbidden":
            line, suggestion = _unknown_key(item["loc"], model)
            unknown.append(line)
            if suggestion is not None:
                suggested.add(suggestion)
    rest: dict[str, str] = {}
    for item in found:
        if item["type"] == "extra_forbidden" or (
            item["type"] == "missing" and item["loc"] in suggested
        ):
            continue
        where = path_of(item["loc"])
        rest.setdefault(where, f"{where}: {_text(item)}")
    return [*unknown, *rest.values()]


def path_of(location: Iterable[int | str]) -> str:
    """Write a location as in `mobile_node[0].spi`; entries of a list count from 0."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _NAME.fullmatch(part) else "a key that is no name"
            text += f".{name}" if text else name
    return text


def _unknown_key(
    location: Location, model: type[BaseModel]
) -> tuple[str, Location | None]:
    known = sorted(_fields_at(location[:-1], model))
    name = str(location[-1])
    path = path_of(location)
    near = nearest(name, known)
    if near is not None:
        text = f"{path}: unknown key; did you mean {near}?"
        return text, (*location[:-1], near)
    return f"{path}: unknown key; allowed: {', '.join(known)}", None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was probably meant to be."""
    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def _fields_at(location: Location, model: type[BaseModel]) -> Iterable[str]:
    """Return the keys of the table at `location`."""
    current: type[BaseModel] = model
    for part in location:
        if isinstance(part, str) and part in current.model_fields:
            inner = _model_in(current.model_fields[part].annotation)
            if inner is not None:
                current = inner
    return current.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, itself or in a list."""
    arguments = typing.get_args(annotation)
    if not arguments:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
        return None
    inner = (_model_in(argument) for argument in arguments)
    return next((found for found in inner if found is not None), None)


def _text(item: Any) -> str:
    kind: str = item["type"]
    context: dict[str, Any] = item.get("ctx", {})
    if kind == "missing":
        return "is missing and needed"
    if kind == "value_error":
        # Raised by our own checks, which repeat no value.
        return str(context["error"])
    if kind in _TYPES:
        return f"wrong type; allowed: {_TYPES[kind]}"
    if kind in {"too_short", "string_too_short"}:
        return "is empty; allowed: at least one entry"
    return "not valid here"
