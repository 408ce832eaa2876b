# SPDX-License-Identifier: GPL-2.0-only
"""The compiled path of the layers beside Scapy's own, and packets made comparable."""

import contextlib

from scapy.base_classes import Net
from scapy.fields import FlagValue, RawVal
from scapy.packet import NoPayload, Packet
from scapy.volatile import VolatileValue

from scapy_mip import _fastpath


@contextlib.contextmanager
def stock():
    """Switch the compiled path off."""
    _fastpath.ENABLED = False
    try:
        yield
    finally:
        _fastpath.ENABLED = True


def both(function):
    """Return the outcome of a call on the compiled path and on Scapy's own."""

    def outcome():
        try:
            return function()
        except Exception as error:  # noqa: BLE001
            return type(error), str(error)

    fast = outcome()
    with stock():
        return fast, outcome()


def plain(value):
    """Make a value of a field comparable, whatever it is."""
    if isinstance(value, FlagValue):
        return int(value), value.names, value.multi
    if isinstance(value, Packet):
        return state(value)
    if isinstance(value, dict):
        return [(key, plain(one)) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, RawVal | Net):
        return repr(value)
    if isinstance(value, VolatileValue):
        return type(value)
    return value


def watched(packet):
    """What an edit is recognised by; flags may be kept as integers."""
    kept = packet.raw_packet_cache_fields
    if kept is None:
        return None
    return {
        name: int(one) if isinstance(one, FlagValue) else plain(one)
        for name, one in kept.items()
    }


OTHER_SLOTS = sorted(
    _fastpath._KNOWN_SLOTS
    - {"fields", "default_fields", "overloaded_fields", "raw_packet_cache_fields"}
    - {"payload", "time", "_pkt", "_answered"}
)


def state(packet):
    """Return all that a packet consists of, except for the time of its making."""
    if isinstance(packet, NoPayload):
        return None
    return {
        "class": type(packet),
        "fields": plain(packet.fields),
        "defaults": plain(packet.default_fields),
        "overloaded": plain(packet.overloaded_fields),
        "watched": watched(packet),
        "payload": state(packet.payload),
        **{name: getattr(packet, name) for name in OTHER_SLOTS},
    }
