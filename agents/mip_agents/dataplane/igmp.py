# SPDX-License-Identifier: GPL-2.0-only
"""IGMP as a home agent needs it: who joins which group, and the question. No I/O.

RFC 1112, 2236 and 3376. Which sources of a group a host wants is not looked at: it
gets all that is sent to the group, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from mip_agents.dataplane.outer import check_inner, checksum, is_fragment

IGMP: Final = 2
"""IP protocol number."""
ALL_HOSTS: Final = bytes((224, 0, 0, 1))

QUERY_INTERVAL: Final = 125
"""Seconds between two questions. RFC 3376 section 8.2."""
ROBUSTNESS: Final = 2
RESPONSE_TIME: Final = 10
"""Seconds within which hosts answer. RFC 3376 section 8.3."""
MEMBERSHIP_S: Final = ROBUSTNESS * QUERY_INTERVAL + RESPONSE_TIME
"""Seconds after which a membership ends that is not reported again (section 8.4)."""

_QUERY, _REPORT_V1, _REPORT_V2, _LEAVE, _REPORT_V3 = 0x11, 0x12, 0x16, 0x17, 0x22
_SHORT: Final = 8
"""Octets of a message, and of the head of a version 3 report and of its records."""
_IS_INCLUDE, _IS_EXCLUDE, _TO_INCLUDE, _TO_EXCLUDE, _ALLOW = range(1, 6)

_HEAD = Struct("!BBHHHBBH4s4sI")
"""An IPv4 header with one option."""
_TOS: Final = 0xC0
_DONT_FRAGMENT: Final = 0x4000
_ROUTER_ALERT: Final = 0x94040000
_QUERY_BODY = Struct("!BBHIBBH")
_REPORT = Struct("!BxHxxH")
_RECORD = Struct("!BBH4s")


class Wish(NamedTuple):
    """What a host says about one group."""

    group: bytes
    joins: bool
    """False: it leaves."""


def is_routable_group(address: bytes) -> bool:
    """Tell whether four bytes are a group whose packets routers pass on.

    Those of 224.0.0.0/24 stay on their link (RFC 5771 section 4).
    """
    return 0xE0 <= address[0] < 0xF0 and address[:3] != ALL_HOSTS[:3]


def wishes(packet: bytes) -> Iterator[Wish]:
    """Yield what an IPv4 packet with IGMP says; nothing if it is not well formed."""
    if check_inner(packet) is not None or packet[9] != IGMP or is_fragment(packet):
        return
    start = (packet[0] & 15) * 4
    message = packet[start : (packet[2] << 8) | packet[3]]
    if len(message) < _SHORT or checksum(message):
        return
    kind = message[0]
    if kind in (_REPORT_V1, _REPORT_V2, _LEAVE):
        yield Wish(message[4:8], kind != _LEAVE)
    elif kind == _REPORT_V3:
        yield from _records(message)


def _records(message: bytes) -> Iterator[Wish]:
    """Yield what the group records of a report say. RFC 3376 section 4.2."""
    _kind, _check, count = _REPORT.unpack_from(message)
    at = _REPORT.size
    for _ in range(count):
        if at + _RECORD.size > len(message):
            return
        kind, auxiliary, sources, group = _RECORD.unpack_from(message, at)
        at += _RECORD.size + 4 * (sources + auxiliary)
        if at > len(message):
            return
        if kind in (_IS_EXCLUDE, _TO_EXCLUDE):
            yield Wish(group, joins=True)
        elif kind in (_IS_INCLUDE, _TO_INCLUDE):
            yield Wish(group, joins=sources > 0)
        elif kind == _ALLOW and sources:
            yield Wish(group, joins=True)


def general_query(source: bytes) -> bytes:
    """Return the question who is in which group, which all versions understand."""
    body = _QUERY_BODY.pack(
        _QUERY, RESPONSE_TIME * 10, 0, 0, ROBUSTNESS, QUERY_INTERVAL, 0
    )
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    head = _HEAD.pack(
        0x46, _TOS, _HEAD.size + len(body), 0, _DONT_FRAGMENT, 1, IGMP, 0,
        source, ALL_HOSTS, _ROUTER_ALERT,
    )  # fmt: skip
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body
