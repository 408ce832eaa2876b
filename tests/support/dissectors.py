# SPDX-License-Identifier: GPL-2.0-only
"""The README's table of what is decoded here and elsewhere.

What is decoded here is counted from the registered classes and tables; what others
decode is in `tests/data/dissectors.toml`, which the tests against tshark use, too.
"""

import functools
import tomllib
from collections.abc import Iterator
from typing import Any

from scapy_mip import const
from scapy_mip.base import message_classes
from scapy_mip.discovery import icmp_classes
from scapy_mip.discovery_extensions import discovery_extension_classes
from scapy_mip.extensions.base import MIPExtension, extension_classes, subtype_classes
from scapy_mip.extensions.vendor import vendor_items
from support import accounting, registry

PLAIN = [field.name for field in MIPExtension.fields_desc]
OTHERS = {"wireshark": "Wireshark", "tcpdump": "tcpdump", "scapy": "Scapy's own"}


@functools.cache
def known_elsewhere() -> dict[str, Any]:
    """Return what others decode."""
    return tomllib.loads((registry.DATA / "dissectors.toml").read_text())


def found(table: str) -> int:
    """Return how many entries of a table of the registry have a home."""
    return sum(home is not None for _name, home in accounting.homes(table))


def bodies() -> int:
    """Return how many extension types have a layout beyond bytes."""
    return sum(
        [field.name for field in cls.fields_desc] != PLAIN
        for cls in extension_classes().values()
    )


def rows() -> Iterator[tuple[str, str, str]]:
    """Give what is counted, its name with the others, and the count here."""
    types = len(extension_classes())
    yield "messages on UDP port 434", "message", str(len(message_classes()))
    yield "extensions of messages", "extension", f"{bodies()} of {types}"
    yield "their subtypes", "extension_subtype", str(len(subtype_classes()))
    yield "their vendors' items", "vendor_extension", str(len(vendor_items()))
    yield "reply codes, by name", "reply_code", str(len(const.REPLY_CODES))
    yield "flags, by name", "flag", str(found("flag"))
    yield "ICMP messages 9, 10, 41", "icmp", str(len(icmp_classes()))
    options = len(discovery_extension_classes())
    yield "their extensions and options", "discovery", str(options)
    yield "encapsulations", "encapsulation", str(found("encapsulation"))
    inside = len(const.TUNNEL_DATA_HEADERS)
    yield "kinds of packets in tunnel data", "inside", str(inside)
    checked = found("auth_algorithm")
    yield "algorithms of authenticators, checked", "auth_algorithm", str(checked)


def cell(decoded: Any) -> str:
    """Say how many entries another dissector decodes, and how many it misreads."""
    if isinstance(decoded, int):
        return str(decoded)
    full = len(decoded.get("full", []))
    wrong = sum(len(listed) for listed in decoded.get("wrong", {}).values())
    return f"{full or '-'}, misreads {wrong}" if wrong else str(full or "-")


def table() -> str:
    """Return the table in Markdown."""
    known = known_elsewhere()
    heads = [f"{title} {known['versions'][name]}" for name, title in OTHERS.items()]
    lines = [
        f"| decoded to the last field | scapy-mip | {' | '.join(heads)} |",
        "|---|---|---|---|---|",
    ]
    for title, key, ours in rows():
        theirs = [cell(known[name].get(key, {})) for name in OTHERS]
        lines.append(f"| {title} | {ours} | {' | '.join(theirs)} |")
    return "\n".join(lines)
