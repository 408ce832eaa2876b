# SPDX-License-Identifier: GPL-2.0-only
"""Outer headers, held against Scapy's and against broken input."""

import shutil
import socket
import struct
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE
from scapy.packet import Raw

from mip_agents.dataplane.decap import Decapsulated, decapsulate
from mip_agents.dataplane.outer import (
    OUTER_TTL,
    OVERHEAD,
    Drop,
    Encapsulator,
    check_inner,
    checksum,
    is_fragment,
    make_encapsulator,
)
from mip_agents.protocol.tunnel import Form
from scapy_mip.const import Encapsulation
from support.registry import vectors

LOCAL, PEER = "10.1.1.20", "10.1.2.5"
IPIP, GRE_, MINIMAL = Encapsulation.IPIP, Encapsulation.GRE, Encapsulation.MINIMAL

with_outer_header = st.sampled_from((IPIP, GRE_))
encapsulations = st.sampled_from((IPIP, GRE_, MINIMAL))
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
    return make_encapsulator(
        socket.inet_aton(LOCAL),
        socket.inet_aton(PEER),
        Form(encapsulation),
        complete=True,
    )


@given(with_outer_header, inner_packets)
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
    form = IPIP if encapsulation is MINIMAL and is_fragment(inner) else encapsulation
    assert decapsulate(outer) == Decapsulated(
        socket.inet_aton(LOCAL), socket.inet_aton(PEER), int(form), inner
    )


@given(encapsulations, inner_packets)
def test_kernel_fills_ident_and_checksum(
    encapsulation: Encapsulation, inner: bytes
) -> None:
    """Without `complete` only the fields differ that IP_HDRINCL fills in."""
    plain = make_encapsulator(
        socket.inet_aton(LOCAL), socket.inet_aton(PEER), Form(encapsulation)
    ).encapsulate(inner)
    full = bytearray(encapsulator(encapsulation).encapsulate(inner))
    full[10:12] = b"\0\0"
    if full[9] != MINIMAL:
        full[4:6] = b"\0\0"
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


SHORT = bytes.fromhex(vectors()["minimal forwarding header S=0"]["header"])
LONG = bytes.fromhex(vectors()["minimal forwarding header S=1"]["header"])


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
        (bytes(IP(proto=41) / Raw(inner())), Drop.UNKNOWN_PROTOCOL),
        (bytes(IP(proto=55)), Drop.TRUNCATED),
        (bytes(IP(proto=55) / Raw(SHORT[:-1])), Drop.TRUNCATED),
        (bytes(IP(proto=55) / Raw(LONG[:-1])), Drop.TRUNCATED),
        (bytes(IP(proto=55) / Raw(bytes(12))), Drop.MINIMAL_CHECKSUM),
        (bytes(IP(proto=55) / Raw(b"\6" + LONG[1:])), Drop.MINIMAL_CHECKSUM),
        (bytes(IP(proto=55) / Raw(b"\x11\0" + LONG[2:])), Drop.MINIMAL_CHECKSUM),
        (bytes(IP(proto=55, ttl=0) / Raw(LONG)), Drop.TTL_ZERO),
        (bytes(IP(proto=55, chksum=1) / Raw(LONG)), Drop.BAD_CHECKSUM),
        (bytes(IP(proto=55, flags="MF") / Raw(LONG)), Drop.FRAGMENT),
        (bytes(IP(proto=55, len=40) / Raw(LONG)), Drop.TRUNCATED),
    ],
)
def test_what_is_dropped_says_why(packet: bytes, reason: Drop) -> None:
    """TUN-01 (TTL 0 at the exit), TUN-06 (minimal), TUN-07 (GRE), lying lengths."""
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


every_form = pytest.mark.parametrize(
    "form", list(Encapsulation), ids=lambda form: form.title
)


@every_form
def test_source_at_the_exit_is_never_encapsulated(form: Encapsulation) -> None:
    """TUN-02 and HA-36: it would loop."""
    assert encapsulator(form).encapsulate(inner(src=PEER)) is Drop.EXIT_ADDRESS


@every_form
@pytest.mark.parametrize("protocol", [4, 47, 55])
def test_a_tunnel_to_the_mobile_node_is_encapsulated_again(
    form: Encapsulation, protocol: int
) -> None:
    """HA-37: whoever tunnels to the home address, the inner packet is no business."""
    nested = bytes(IP(src="10.9.0.2", dst="10.1.1.10", proto=protocol) / Raw(inner()))
    outer = encapsulator(form).encapsulate(nested)
    assert isinstance(outer, bytes)
    assert IP(outer).dst == PEER
    found = decapsulate(bytes(IP(outer)), verify=False)
    assert isinstance(found, Decapsulated)
    assert found.inner[12:] == nested[12:]


@every_form
@pytest.mark.parametrize("protocol", [4, 47, 55])
def test_own_tunnel_packets_are_never_encapsulated_again(
    form: Encapsulation, protocol: int
) -> None:
    """TUN-02: two care-of addresses that are home addresses would loop for ever."""
    nested = bytes(IP(src=LOCAL, dst="10.1.1.11", proto=protocol) / Raw(inner()))
    assert encapsulator(form).encapsulate(nested) is Drop.OWN_TUNNEL


@every_form
def test_own_answers_reach_the_mobile_node(form: Encapsulation) -> None:
    """HA-38: a question inside the tunnel is answered inside the tunnel."""
    outer = encapsulator(form).encapsulate(inner(src=LOCAL))
    assert isinstance(outer, bytes)
    assert decapsulate(outer).inner == inner(src=LOCAL)


@every_form
def test_too_long_for_a_tunnel(form: Encapsulation) -> None:
    fits = bytes(IP(src="10.9.0.2") / Raw(bytes(0xFFFF - 20 - OVERHEAD[form])))
    assert len(encapsulator(form).encapsulate(fits)) == 0xFFFF
    longer = bytes(IP(src="10.9.0.2") / Raw(bytes(0xFFFF - 19 - OVERHEAD[form])))
    assert encapsulator(form).encapsulate(longer) is Drop.TOO_BIG


# Minimal encapsulation: the bytes expected are put together from RFC 2004 section 3.


def internet_checksum(data: bytes) -> int:
    """RFC 1071 section 4.1, word by word."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("source", ["198.51.100.99", "10.1.1.20"])
@pytest.mark.parametrize("options", [b"", b"\x07\x07\x04\0\0\0\0\0", b"\1" * 40])
@pytest.mark.parametrize("fragment", [0, 0x4000, 0x8000])
def test_minimal_encapsulation_is_what_the_rfc_says(
    source: str, options: bytes, fragment: int
) -> None:
    """TUN-06: protocol, addresses, length and checksum change, all else stays."""
    ends = socket.inet_aton(source), socket.inet_aton("192.0.2.10")
    mine, peer = socket.inet_aton(LOCAL), socket.inet_aton(PEER)
    payload = b"some octets"
    first = 0x45 + len(options) // 4
    length = 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", first, 0xB9, length, 4711, fragment, 7, 17, 0)
    check = internet_checksum(head + b"".join(ends) + options)
    original = head[:10] + check.to_bytes(2, "big") + b"".join(ends) + options + payload

    forwarding = SHORT if source == LOCAL else LONG
    assert internet_checksum(forwarding) == 0
    length += len(forwarding)
    head = struct.pack("!BBHHHBBH", first, 0xB9, length, 4711, fragment, 7, 55, 0)
    check = internet_checksum(head + mine + peer + options)
    expected = (
        head[:10] + check.to_bytes(2, "big") + mine + peer + options + forwarding
    ) + payload

    assert encapsulator(MINIMAL).encapsulate(original) == expected
    assert decapsulate(expected) == Decapsulated(mine, peer, 55, original)
    assert decapsulate(expected + b"padding") == decapsulate(expected)
    assert encapsulator(MINIMAL).encapsulate(original + b"padding") == expected


@pytest.mark.parametrize("fragment", [0x2000, 0x0001, 0x1FFF, 0x3000, 0x6000])
def test_fragments_are_never_encapsulated_minimally(fragment: int) -> None:
    """TUN-05: they go to the same peer in IP-in-IP."""
    packet = inner(flags=fragment >> 13, frag=fragment & 0x1FFF)
    assert is_fragment(packet)
    outer = encapsulator(MINIMAL).encapsulate(packet)
    assert outer == encapsulator(IPIP).encapsulate(packet)
    assert outer[9] == 4


@pytest.mark.parametrize("bit", range(7))
def test_reserved_bits_of_the_forwarding_header_are_ignored(bit: int) -> None:
    """RFC 2004 section 3; the checksum covers them nevertheless."""
    header = bytearray(LONG)
    header[1] |= 1 << bit
    header[2:4] = bytes(2)
    header[2:4] = internet_checksum(bytes(header)).to_bytes(2, "big")
    plain = decapsulate(bytes(IP(proto=55) / Raw(LONG)))
    assert isinstance(plain, Decapsulated)
    assert decapsulate(bytes(IP(proto=55) / Raw(header))) == plain


@given(st.binary(max_size=24), st.booleans())
def test_forwarding_headers_of_noise(data: bytes, mend: bool) -> None:
    """Whatever stands there: a reason, or a packet with a right header."""
    if mend and len(data) >= 12:
        header = bytearray(data)
        size = 12 if header[1] & 0x80 else 8
        header[2:4] = bytes(2)
        header[2:4] = internet_checksum(bytes(header[:size])).to_bytes(2, "big")
        data = bytes(header)
    result = decapsulate(bytes(IP(src=PEER, dst=LOCAL, proto=55) / Raw(data)))
    if mend and len(data) >= 12:
        assert isinstance(result, Decapsulated)
    if isinstance(result, Decapsulated):
        assert internet_checksum(result.inner[:20]) == 0
        assert len(result.inner) == int.from_bytes(result.inner[2:4], "big")


def test_tcpdump_reads_minimal_encapsulation() -> None:
    program = shutil.which("tcpdump")
    if program is None:
        pytest.skip("no tcpdump command: sudo apt install tcpdump")
    wrong = bytearray(encapsulator(MINIMAL).encapsulate(inner()))
    wrong[20 + 5] ^= 1
    packets = [
        encapsulator(MINIMAL).encapsulate(inner()),
        encapsulator(MINIMAL).encapsulate(inner(src=LOCAL)),
        bytes(wrong),
    ]
    capture = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, 101)
    for packet in packets:
        capture += struct.pack("=IIII", 0, 0, len(packet), len(packet)) + packet
    done = subprocess.run(
        [program, "-ntvr", "-"], input=capture, capture_output=True, check=True
    )
    printed = [line.strip() for line in done.stdout.decode().splitlines()]
    heads, lines = printed[::2], printed[1::2]
    ways = f"{LOCAL} > {PEER}: mobile: "
    assert lines[0] == ways + "[S] 10.9.0.2 > 10.1.1.10 (oproto=17)"
    assert lines[1] == ways + "[] > 10.1.1.10 (oproto=17)"
    assert "bad checksum" in lines[2]
    assert not any("bad" in head for head in heads)


def test_minimal_encapsulation_has_a_class_of_its_own() -> None:
    with pytest.raises(ValueError, match="MinimalEncapsulator"):
        Encapsulator(bytes(4), bytes(4), Encapsulation.MINIMAL)
