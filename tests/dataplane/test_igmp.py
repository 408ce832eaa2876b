# SPDX-License-Identifier: GPL-2.0-only
"""IGMP and group memberships."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, IPOption_Router_Alert
from scapy.utils import checksum

from mip_agents.dataplane.igmp import Wish, general_query, is_routable_group, wishes
from mip_agents.dataplane.memberships import MOST_GROUPS, MOST_PER_NODE, Memberships

HOME = "10.1.1.10"
GROUP = bytes((239, 1, 2, 3))
SOURCES = ["10.9.0.2", "10.9.0.3"]


def igmp(head: bytes, rest: bytes = b"", **fields: object) -> bytes:
    """Return a packet with a message whose checksum, octets 2 and 3, is filled in."""
    message = head[:2] + bytes(2) + head[4:] + rest
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    defaults = {"src": HOME, "dst": "224.0.0.22", "ttl": 1, "proto": 2}
    return bytes(IP(**(defaults | fields)) / message)


def old_report(kind: int) -> bytes:
    """Return a message of version 1 or 2."""
    return igmp(bytes((kind, 0, 0, 0)) + GROUP, dst="239.1.2.3")


def record(kind: int, sources: list[str], group: bytes = GROUP) -> bytes:
    """Return a group record, with one word of auxiliary data."""
    listed = b"".join(map(socket.inet_aton, sources))
    return struct.pack("!BBH4s", kind, 1, len(sources), group) + listed + b"more"


def test_the_question_is_a_general_query_of_version_3() -> None:
    """HA-41: RFC 3376 section 4.1: one hop to live, and router alert."""
    body = struct.pack("!BBHIBBH", 0x11, 100, 0, 0, 2, 125, 0)
    expected = igmp(
        body,
        src="10.1.1.20",
        dst="224.0.0.1",
        id=0,
        tos=0xC0,
        flags="DF",
        options=[IPOption_Router_Alert()],
    )
    assert general_query(bytes((10, 1, 1, 20))) == expected


@pytest.mark.parametrize(("kind", "joins"), [(0x12, True), (0x16, True), (0x17, False)])
def test_reports_of_old_versions(kind: int, joins: bool) -> None:
    """HA-41: RFC 1112 and 2236, join and leave."""
    assert list(wishes(old_report(kind))) == [Wish(GROUP, joins)]


@pytest.mark.parametrize(
    ("kind", "sources", "expected"),
    [
        (1, SOURCES, True),
        (1, [], False),
        (2, [], True),
        (3, [], False),
        (3, SOURCES, True),
        (4, SOURCES, True),
        (5, SOURCES, True),
        (6, SOURCES, None),  # some sources less is no leave
    ],
)
def test_records_of_version_3(
    kind: int, sources: list[str], expected: bool | None
) -> None:
    """HA-41: RFC 3376 section 4.2.12, sources apart."""
    other = bytes((239, 9, 9, 9))
    records = record(kind, sources) + record(4, [], other)
    packet = igmp(
        struct.pack("!BBHHH", 0x22, 0, 0, 0, 2),
        records,
        options=[IPOption_Router_Alert()],
    )
    found = [] if expected is None else [Wish(GROUP, expected)]
    assert list(wishes(packet)) == [*found, Wish(other, True)]


@given(st.integers(0, 3), st.binary(max_size=80), st.integers(0, 40))
def test_nothing_that_arrives_raises(count: int, tail: bytes, cut: int) -> None:
    """Bad input is no wish, or some that came before it broke off."""
    head = struct.pack("!BBHHH", 0x22, 0, 0, 0, count)
    packet = igmp(head, tail)
    for wish in wishes(packet[: len(packet) - cut]):
        assert len(wish.group) == 4


def test_a_wrong_checksum_is_no_wish() -> None:
    data = bytearray(old_report(0x16))
    data[-1] ^= 1
    assert list(wishes(bytes(data))) == []


@pytest.mark.parametrize(
    ("address", "routable"),
    [
        ((224, 0, 0, 251), False),
        ((224, 0, 1, 1), True),
        ((239, 255, 255, 250), True),
        ((240, 0, 0, 1), False),
        ((10, 1, 1, 255), False),
    ],
)
def test_groups_of_a_link_stay_there(address: tuple[int, ...], routable: bool) -> None:
    """RFC 5771 section 4: routers do not forward 224.0.0.0/24."""
    assert is_routable_group(bytes(address)) is routable


def test_a_membership_ends_unless_it_is_reported_again() -> None:
    """HA-41, RFC 3376 section 6.2."""
    known, one, two = Memberships(), b"one.", b"two."
    known.join(GROUP, one, 10.0)
    known.join(GROUP, two, 10.0)
    known.join(GROUP, one, 20.0)
    known.expire(10.0)
    assert list(known.members(GROUP)) == [one]
    known.leave(GROUP, two)
    known.forget(one)
    assert not known.groups


def test_reports_cannot_exhaust_the_home_agent() -> None:
    known = Memberships()

    def group(number: int) -> bytes:
        return bytes((239, 0)) + number.to_bytes(2, "big")

    joined = [known.join(group(n), b"one.", 1.0) for n in range(MOST_PER_NODE + 1)]
    assert joined == [True] * MOST_PER_NODE + [False]
    assert known.join(group(0), b"one.", 2.0)  # again, and so no more
    for number in range(MOST_PER_NODE, MOST_GROUPS):
        assert known.join(group(number), number.to_bytes(4, "big"), 1.0)
    assert not known.join(group(MOST_GROUPS), b"two.", 1.0)
    assert known.join(group(0), b"two.", 1.0)
