# SPDX-License-Identifier: GPL-2.0-only
"""What tshark reads rightly of tunnels: IP-in-IP, GRE, and IP in tunnel data."""

import random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE

from scapy_mip.all import MIPTunnelData
from support import oracle
from support.strategies import random_address

pytestmark = oracle.needs_tshark

EACH = 60


def random_ip(rng):
    return IP(src=random_address(rng), dst=random_address(rng))


def random_gre(rng):
    options = {}
    if rng.random() < 0.5:
        options |= {"key_present": 1, "key": rng.getrandbits(32)}
    if rng.random() < 0.5:
        options |= {"seqnum_present": 1, "sequence_number": rng.getrandbits(32)}
    if rng.random() < 0.5:
        options |= {"chksum_present": 1}
    return GRE(**options)


@pytest.fixture(scope="module")
def seen():
    """Frames with a tunnel as we read them, beside what tshark shows."""
    rng = random.Random(47)
    made = []
    for _n in range(EACH):
        inner = random_ip(rng) / UDP(sport=rng.getrandbits(15) + 9000, dport=9)
        made += [
            random_ip(rng) / inner,
            random_ip(rng) / random_gre(rng) / inner,
            random_ip(rng) / UDP(sport=5000) / MIPTunnelData() / inner,
        ]
    frames = [oracle.framed(one) for one in made]
    shown = oracle.decoded(frames)
    return [(IP(bytes(one)), theirs) for one, theirs in zip(made, shown, strict=True)]


def test_both_headers_agree(seen):
    assert len(seen) == 3 * EACH
    for ours, theirs in seen:
        headers = [ours, ours.getlayer(IP, 2)]
        for field in ("src", "dst", "ttl", "len", "proto"):
            values = [str(one.getfieldval(field)) for one in headers]
            assert theirs.values(f"ip.{field}") == values
        assert theirs.values("udp.srcport")[-1] == str(ours.lastlayer(UDP).sport)
        assert theirs.protocols[-1] != "_ws.malformed"


def test_gre_agrees(seen):
    found = [(ours[GRE], theirs) for ours, theirs in seen if GRE in ours]
    assert len(found) == EACH
    for ours, theirs in found:
        assert [int(one, 0) for one in theirs.values("gre.proto")] == [ours.proto]
        for name, present, value in (
            ("gre.key", ours.key_present, ours.key),
            ("gre.sequence_number", ours.seqnum_present, ours.sequence_number),
            ("gre.checksum", ours.chksum_present, ours.chksum),
        ):
            shown = [int(one, 0) for one in theirs.values(name)]
            assert shown == ([value] if present else []), name
