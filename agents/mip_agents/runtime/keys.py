# SPDX-License-Identifier: GPL-2.0-only
"""Where keys come from: hexadecimal or text in a configuration, or a file of its own.

No error text here holds any part of a key.
"""

from __future__ import annotations

import stat
from pathlib import Path

KEY_NAMES = ("key_hex", "key_text", "key_file")


def resolve_key(
    *,
    key_hex: str | None = None,
    key_text: str | None = None,
    key_file: str | None = None,
    folder: Path | None = None,
) -> bytes:
    """Return the bytes of a key that is given in exactly one of three ways.

    :param key_hex: pairs of hexadecimal digits, blanks and colons between them allowed.
    :param key_text: taken as UTF-8.
    :param key_file: a file with the key's bytes as they are; one line end at its end is
        not part of the key. A relative path starts at `folder`.
    :raises ValueError: with one line for people, which names what is allowed.
    """
    given = [key_hex is not None, key_text is not None, key_file is not None]
    if sum(given) != 1:
        raise ValueError("give exactly one of key_hex, key_text, key_file")
    if key_hex is not None:
        try:
            key = bytes.fromhex(key_hex.replace(":", " "))
        except ValueError:
            raise ValueError(
                "not hexadecimal: allowed are pairs of the digits 0-9 a-f"
            ) from None
    elif key_text is not None:
        key = key_text.encode()
    else:
        key = _read(key_path(key_file or "", folder))
    if not key:
        raise ValueError("the key is empty")
    return key


def key_path(key_file: str, folder: Path | None) -> Path:
    """Return where a `key_file` is."""
    return (folder or Path()) / key_file


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    for end in (b"\r\n", b"\n"):
        if content.endswith(end):
            return content[: -len(end)]
    return content


def readable_by_others(path: Path) -> bool:
    """Return whether any user of the machine may read the file."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
