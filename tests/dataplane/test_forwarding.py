# SPDX-License-Identifier: GPL-2.0-only
"""What a router does to packets, held against Scapy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP, IPOption_Router_Alert, IPOption_Timestamp
from scapy.packet import Raw

from mip_agents.dataplane.forwarding import fragments, next_hop, with_udp_checksum
from mip_agents.dataplane.outer import Drop, checksum

ENDS = {"src": "10.1.1.1", "dst": "10.1.1.255", "id": 7}


def test_the_next_hop_is_one_less_and_takes_no_padding() -> None:
    """TUN-01."""
    packet = IP(**ENDS, ttl=9) / UDP(dport=7) / Raw(b"x")
    expected = IP(**ENDS, ttl=8) / UDP(dport=7) / Raw(b"x")
    assert next_hop(bytes(packet) + b"padding") == bytes(expected)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ttl": 1}, Drop.TTL_ZERO),
        ({"ttl": 0}, Drop.TTL_ZERO),
        ({"chksum": 1}, Drop.BAD_CHECKSUM),
        ({"len": 19}, Drop.BAD_LENGTH),
        ({"len": 1000}, Drop.TRUNCATED),
    ],
)
def test_what_must_not_go_on(fields: dict[str, int], reason: Drop) -> None:
    """TUN-01: and nothing raises."""
    assert next_hop(bytes(IP(**ENDS, **fields) / Raw(b"x"))) is reason


@given(st.integers(68, 1500), st.integers(0, 4000), st.booleans(), st.booleans())
def test_fragments_are_whole_packets_that_make_up_the_first(
    size: int, length: int, options: bool, fragment: bool
) -> None:
    """RFC 791 section 3.2: they fit, and only the first has all options."""
    fields = {"flags": "MF", "frag": 185} if fragment else {}
    if options:
        fields["options"] = [IPOption_Timestamp(), IPOption_Router_Alert()]
    packet = bytes(
        IP(**ENDS, proto=253, **fields) / Raw(bytes(i % 251 for i in range(length)))
    )
    header = (packet[0] & 15) * 4
    data = b""
    pieces = list(fragments(packet, size))
    for piece in pieces:
        parsed = IP(piece)
        head = parsed.ihl * 4
        assert len(piece) == parsed.len <= size
        assert not checksum(piece[:head])
        assert parsed.frag * 8 == IP(packet).frag * 8 + len(data)
        assert bool(parsed.flags & 1) is (piece is not pieces[-1] or fragment)
        kinds = [option.option for option in parsed.options if option.option > 1]
        if options:
            assert kinds == ([4, 20] if not data else [20])
        data += piece[head:]
    assert data == packet[header:]


def test_what_must_not_be_fragmented_is_not() -> None:
    packet = bytes(IP(**ENDS, flags="DF") / Raw(bytes(100)))
    assert list(fragments(packet, 100)) == []
    assert list(fragments(packet, 120)) == [packet]


def test_an_open_checksum_is_filled_in() -> None:
    """The sender's kernel had left it to a network card."""
    whole = bytes(IP(**ENDS) / UDP(sport=1, dport=2) / Raw(b"abc"))
    assert with_udp_checksum(whole[:26] + b"\x12\x34" + whole[28:]) == whole
    part = bytes(IP(**ENDS, flags="MF") / UDP(sport=1, dport=2) / Raw(b"abc"))
    assert with_udp_checksum(part) == part
