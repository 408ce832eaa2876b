# SPDX-License-Identifier: GPL-2.0-only
"""Outer headers, held against Scapy's and against broken input."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from mip_agents.dataplane.outer import (
    OUTER_TTL,
    OVERHEAD,
    Decapsulated,
    Drop,
    Encapsulator,
    check_inner,
    checksum,
    decapsulate,
)
from scapy_mip.const import Encapsulation

LOCAL, PEER = "10.1.1.20", "10.1.2.5"
IPIP, GRE_ = Encapsulation.IPIP, Encapsulation.GRE

encapsulations = st.sampled_from((IPIP, GRE_))
addresses = st.integers(0x0B000000, 0xDFFFFFFF).map(
    lambda number: socket.inet_ntoa(number.to_bytes(4, "big"))
)
inner_packets = st.builds(
    lambda src, dst, tos, ttl, flags, ident, options, data: bytes(
        IP(src=src, dst=dst, tos=tos, ttl=ttl, flags=flags, id=ident, options=options)
        / UDP(sport=1000, dport=2000)
        / Raw(data)
    ),
    addresses,
    addresses,
    st.integers(0, 255),
    st.integers(1, 255),
    st.sampled_from(["", "DF", "MF"]),
    st.integers(0, 65535),
    st.sampled_from([[], b"\x01\x01\x01\x00"]),
    st.binary(max_size=2000),
)


def encapsulator(encapsulation: Encapsulation) -> Encapsulator:
    return Encapsulator(
        socket.inet_aton(LOCAL), socket.inet_aton(PEER), encapsulation, complete=True
    )


@given(encapsulations, inner_packets)
def test_outer_header_equals_scapys(encapsulation: Encapsulation, inner: bytes) -> None:
    """TUN-01: type of service copied, DF set if set inside, TTL of the tunnel."""
    outer = encapsulator(encapsulation).encapsulate(inner)
    assert isinstance(outer, bytes)
    parsed = IP(inner)
    expected = IP(
        src=LOCAL,
        dst=PEER,
        ttl=OUTER_TTL,
        tos=parsed.tos,
        flags="DF" if parsed.flags.DF else "",
        id=1,
    )
    if encapsulation == GRE_:
        expected /= GRE() / IP(inner)
    else:
        expected /= IP(inner)
    assert outer == bytes(expected)


@given(encapsulations, inner_packets)
def test_round_trip(encapsulation: Encapsulation, inner: bytes) -> None:
    outer = encapsulator(encapsulation).encapsulate(inner)
    assert decapsulate(outer) == Decapsulated(
        socket.inet_aton(LOCAL), socket.inet_aton(PEER), int(encapsulation), inner
    )


@given(encapsulations, inner_packets)
def test_kernel_fills_ident_and_checksum(
    encapsulation: Encapsulation, inner: bytes
) -> None:
    """Without `complete` only the fields differ that IP_HDRINCL fills in."""
    plain = Encapsulator(
        socket.inet_aton(LOCAL), socket.inet_aton(PEER), encapsulation
    ).encapsulate(inner)
    full = bytearray(encapsulator(encapsulation).encapsulate(inner))
    full[4:6] = full[10:12] = b"\0\0"
    assert plain == bytes(full)


@given(st.binary(max_size=200))
def test_checksum_equals_scapys(data: bytes) -> None:
    from scapy.utils import checksum as reference

    assert checksum(data) == reference(data)


@given(st.binary(max_size=120))
def test_noise_never_raises(data: bytes) -> None:
    assert isinstance(decapsulate(data), Drop | Decapsulated)
    assert isinstance(decapsulate(data, verify=False), Drop | Decapsulated)
    check_inner(data)


@given(encapsulations, inner_packets, st.data())
@settings(max_examples=300)
def test_damage_never_raises_nor_invents(
    encapsulation: Encapsulation, inner: bytes, data: st.DataObject
) -> None:
    """A valid beginning and a broken rest: a reason, or a packet that is consistent."""
    outer = bytearray(encapsulator(encapsulation).encapsulate(inner))
    for _ in range(data.draw(st.integers(1, 4))):
        outer[data.draw(st.integers(0, min(60, len(outer) - 1)))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.integers(0, len(outer)))
    for verify in (True, False):
        result = decapsulate(bytes(outer[:cut]), verify=verify)
        if isinstance(result, Decapsulated):
            assert check_inner(result.inner) is None
            assert len(result.inner) == int.from_bytes(result.inner[2:4], "big")


def inner(**fields: object) -> bytes:
    return bytes(IP(**({"src": "10.9.0.2", "dst": "10.1.1.10"} | fields)) / UDP())


def gre(flags: int = 0, protocol: int = 0x0800, rest: bytes = b"") -> bytes:
    header = flags.to_bytes(2, "big") + protocol.to_bytes(2, "big") + rest
    return bytes(IP(src=PEER, dst=LOCAL, proto=47) / Raw(header + inner()))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", Drop.TRUNCATED),
        (gre(flags=0x4000), Drop.GRE_FLAGS),
        (gre(flags=0x2000), Drop.GRE_FLAGS),
        (gre(flags=0x1000), Drop.GRE_FLAGS),
        (gre(flags=0x0800), Drop.GRE_FLAGS),
        (gre(flags=0x0400), Drop.GRE_FLAGS),
        (gre(flags=0x0001), Drop.GRE_VERSION),
        (gre(protocol=0x86DD), Drop.GRE_PROTOCOL),
        (gre(flags=0x8000, rest=b"\1\2\0\0"), Drop.GRE_CHECKSUM),
        (bytes(IP(proto=47) / Raw(b"\0\0\x08")), Drop.TRUNCATED),
        (bytes(IP(proto=47) / Raw(b"\x80\0\x08\0\0")), Drop.TRUNCATED),
        (bytes(IP(proto=4) / Raw(b"\x45" + bytes(18))), Drop.TRUNCATED),
        (bytes(IP(proto=4) / Raw(b"\x65" + bytes(39))), Drop.NOT_IPV4),
        (bytes(IP(proto=4) / Raw(b"\x44" + inner()[1:])), Drop.BAD_LENGTH),
        (bytes(IP(proto=4) / Raw(inner()[:-1])), Drop.TRUNCATED),
        (bytes(IP(proto=4) / Raw(inner(ttl=0))), Drop.TTL_ZERO),
        (bytes(IP(proto=4) / Raw(inner(chksum=1))), Drop.BAD_CHECKSUM),
        (bytes(IP(proto=4, chksum=1) / Raw(inner())), Drop.BAD_CHECKSUM),
        (bytes(IP(proto=4, len=19) / Raw(inner())), Drop.BAD_LENGTH),
        (bytes(IP(proto=4, len=4000) / Raw(inner())), Drop.TRUNCATED),
        (bytes(IP(proto=4, ihl=4) / Raw(inner())), Drop.BAD_LENGTH),
        (bytes(IP(proto=4, frag=1) / Raw(inner())), Drop.FRAGMENT),
        (bytes(IP(proto=4, flags="MF") / Raw(inner())), Drop.FRAGMENT),
        (bytes(IP(proto=17) / Raw(inner())), Drop.UNKNOWN_PROTOCOL),
    ],
)
def test_what_is_dropped_says_why(packet: bytes, reason: Drop) -> None:
    """TUN-01 (TTL 0 at the exit), TUN-07 (GRE), lying lengths."""
    assert decapsulate(packet) is reason


def test_gre_checksum_is_accepted_when_right() -> None:
    """TUN-07: a receiver accepts the checksum."""
    packet = bytes(IP(src=PEER, dst=LOCAL) / GRE(chksum_present=1) / IP(inner(id=7)))
    result = decapsulate(packet)
    assert isinstance(result, Decapsulated)
    assert result.inner == inner(id=7)


@pytest.mark.parametrize("bit", range(6, 13))
def test_reserved_gre_bits_are_ignored(bit: int) -> None:
    """TUN-07: only bits 1-5 discard; RFC 2784 section 2.2 ignores the rest."""
    assert isinstance(decapsulate(gre(flags=0x8000 >> bit)), Decapsulated)


def test_trailing_octets_are_cut_off() -> None:
    packet = bytes(IP(src=PEER, dst=LOCAL, proto=4) / Raw(inner() + b"tail"))
    assert decapsulate(packet + b"padding").inner == inner()


def test_ttl_zero_is_never_encapsulated() -> None:
    """TUN-01."""
    assert check_inner(inner(ttl=0)) is Drop.TTL_ZERO


def test_source_at_the_exit_is_never_encapsulated() -> None:
    """TUN-02 and HA-36: it would loop."""
    assert encapsulator(IPIP).encapsulate(inner(src=PEER)) is Drop.EXIT_ADDRESS


def test_own_tunnel_packets_are_never_encapsulated_again() -> None:
    """TUN-02: two care-of addresses that are home addresses would loop for ever."""
    nested = bytes(IP(src=LOCAL, dst="10.1.1.11", proto=4) / Raw(inner()))
    assert encapsulator(IPIP).encapsulate(nested) is Drop.OWN_TUNNEL


def test_own_answers_reach_the_mobile_node() -> None:
    """HA-38: a question inside the tunnel is answered inside the tunnel."""
    assert isinstance(encapsulator(IPIP).encapsulate(inner(src=LOCAL)), bytes)


def test_too_long_for_an_outer_header() -> None:
    packet = bytes(IP(src="10.9.0.2") / Raw(bytes(65500)))
    assert encapsulator(GRE_).encapsulate(packet) is Drop.TOO_BIG


def test_minimal_encapsulation_is_refused() -> None:
    assert Encapsulation.MINIMAL not in OVERHEAD
    with pytest.raises(ValueError, match="MINIMAL"):
        Encapsulator(bytes(4), bytes(4), Encapsulation.MINIMAL)
