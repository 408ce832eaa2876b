# SPDX-License-Identifier: GPL-2.0-only
"""Key files for judging captures: `KEYS.toml` with security associations."""

from __future__ import annotations

import re
import tomllib
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from mip_agents.protocol.errors import InputError
from scapy_mip.auth import Algorithm, SecurityAssociation
from scapy_mip.keyring import KeyRing

_KNOWN = {"spi", "algorithm", "key_hex", "key_text", "key_file", "peer"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,25}")
"""What is repeated of an unknown key; anything else may be a secret, or end a line."""
_KEY_SOURCES = ("key_hex", "key_text", "key_file")


class KeyFileError(InputError):
    """A key file is wrong; the text names the file, the place and what is allowed."""


def load_keys(path: str | Path) -> KeyRing:
    """Read a key file.

    :raises KeyFileError: in one line, without ever showing a key.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeyFileError(f"{path}: is no UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # numbers of 5000 digits, too
        raise KeyFileError(f"{path}: {error or 'nested too deeply'}") from None
    entries = document.pop("security_association", None)
    if not isinstance(entries, list) or document:
        raise KeyFileError(f"{path}: only [[security_association]] tables are allowed")
    ring = KeyRing()
    for number, entry in enumerate(entries):
        where = f"{path}: security_association[{number}]"
        if not isinstance(entry, dict):
            raise KeyFileError(f"{where}: is no table")
        for key in entry.keys() - _KNOWN:
            shown = f".{key}" if _NAME.fullmatch(key) else ""
            raise KeyFileError(f"{where}{shown}: unknown key, allowed are {_listed()}")
        ring.add(_association(entry, where, path.parent), _peer(entry, where))
    return ring


def _peer(entry: dict[str, Any], where: str) -> str | None:
    peer = entry.get("peer")
    if peer is None:
        return None
    try:
        return str(IPv4Address(str(peer)))
    except ValueError:
        raise KeyFileError(f"{where}.peer: must be an IPv4 address") from None


def _listed() -> str:
    return ", ".join(sorted(_KNOWN))


def _association(
    entry: dict[str, Any], where: str, folder: Path
) -> SecurityAssociation:
    spi = entry.get("spi")
    if not isinstance(spi, int) or isinstance(spi, bool):
        raise KeyFileError(f"{where}.spi: must be a number from 0 to 4294967295")
    algorithm = entry.get("algorithm")  # if none is named, the SPI says
    if algorithm is not None and algorithm not in list(Algorithm):
        raise KeyFileError(f"{where}.algorithm: allowed are {', '.join(Algorithm)}")
    given = [source for source in _KEY_SOURCES if source in entry]
    if len(given) != 1 or not isinstance(entry[given[0]], str):
        raise KeyFileError(f"{where}: give exactly one of {', '.join(_KEY_SOURCES)}")
    source, value = given[0], entry[given[0]]
    try:
        if source == "key_hex":
            key = bytes.fromhex(value)
        elif source == "key_text":
            key = value.encode()
        else:
            key = (folder / value).read_bytes().rstrip(b"\r\n")
        return SecurityAssociation(spi, key, algorithm)
    except OSError as error:
        raise KeyFileError(f"{where}.key_file: {error.strerror}") from None
    except ValueError as error:
        reason = (
            "is no hex text"
            if source == "key_hex" and "SPI" not in str(error)
            else error
        )
        if not value:
            reason = "is empty"
        raise KeyFileError(f"{where}.{source}: {reason}") from None
