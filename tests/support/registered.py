# SPDX-License-Identifier: GPL-2.0-only
"""Layers against the layouts of the registry: where each field lies, how wide it is."""

import ipaddress
from typing import Any

from hypothesis import strategies as st

UNSEEN = {"type", "length", "extensions", "options", "entries", "payload"}
"""Fields that a layout test leaves alone: they are set by the layer or are lists."""


def fixed(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of an entry that have a width."""
    return [field for field in entry["fields"] if isinstance(field["bits"], int)]


def flags(entry: dict[str, Any], cls: Any) -> list[dict[str, Any]]:
    """Return the single bits that the layer holds in its `flags`."""
    own = {field.name for field in cls.fields_desc}
    return [one for one in fixed(entry) if one["bits"] == 1 and one["name"] not in own]


def read_bits(data: bytes, field: dict[str, Any]) -> int:
    """Return the bits of the registry's field in `data`."""
    size = len(data) * 8
    place = size - (field["off"] * 8 + field["bit"]) - field["bits"]
    return int.from_bytes(data, "big") >> place & ((1 << field["bits"]) - 1)


@st.composite
def values(draw: st.DrawFn, entry: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Draw a value for each fixed field of an entry, as the layer takes them."""
    drawn: dict[str, Any] = {}
    letters = flags(entry, cls)
    if letters:
        drawn["flags"] = 0
    own = {field.name: field for field in cls.fields_desc}
    for field in fixed(entry):
        name, bits = field["name"], field["bits"]
        if name in UNSEEN or ("value" in field and name != "addr_entry_size"):
            continue
        number = draw(st.integers(0, (1 << bits) - 1), label=name)
        if field in letters:
            place = own["flags"].names.index(name)
            drawn["flags"] |= number << place
        elif field.get("kind") == "ip4":
            drawn[name] = str(ipaddress.IPv4Address(number))
        else:
            drawn[name] = number
    return drawn


def shown_bits(packet: Any, field: dict[str, Any], cls: Any, entry: Any) -> int:
    """Return what the layer says of the registry's field, as a number."""
    name = field["name"]
    if any(one["name"] == name for one in flags(entry, cls)):
        return int(getattr(packet.flags, name))
    value = packet.getfieldval(name)
    if field.get("kind") == "ip4":
        return int(ipaddress.IPv4Address(value))
    return int(value) % (1 << field["bits"])


def check_layout(packet: Any, data: bytes, cls: Any, entry: Any) -> None:
    """Hold each fixed field of a packet against its place in the bytes."""
    for field in fixed(entry):
        expected = shown_bits(packet, field, cls, entry)
        assert read_bits(data, field) == expected, field["name"]
        if "value" in field and field["name"] == "type":
            assert expected == field["value"]
    names = {field["name"] for field in entry["fields"]}
    own = {field.name for field in cls.fields_desc}
    letters = {field["name"] for field in flags(entry, cls)}
    missing = names - own - letters - {"payload"}
    assert not missing, f"{cls.__name__} lacks {missing}"
