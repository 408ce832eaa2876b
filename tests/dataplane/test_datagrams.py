# SPDX-License-Identifier: GPL-2.0-only
"""Packets of a link, held against Scapy's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP
from scapy.packet import Raw

from mip_agents.dataplane.datagrams import (
    Datagram,
    UdpDatagram,
    make_icmp,
    make_udp,
    open_datagram,
    open_udp,
)
from scapy_mip.all import MIPAgentSolicitation

A, B = "10.1.2.5", "10.1.2.1"


def packet(**udp):
    return IP(src=A, dst=B, ttl=255) / UDP(sport=5000, dport=434, **udp) / Raw(b"data!")


def opened(data, **how):
    datagram = open_datagram(bytes(data))
    assert datagram is not None
    return open_udp(datagram, **how)


@given(st.binary(max_size=80), st.integers(1, 255), st.integers(0, 0xFFFF))
def test_a_datagram_is_what_scapy_makes(data, ttl, port):
    """COM-06: with a checksum."""
    made = make_udp(A, B, ttl, UdpDatagram(434, port, data))
    known = IP(src=A, dst=B, ttl=ttl, id=0, flags="DF") / UDP(sport=434, dport=port)
    known /= Raw(data)
    assert made == bytes(known)
    assert opened(made) == UdpDatagram(434, port, data)


def test_a_checksum_that_would_be_zero_is_sent_as_ones():
    """COM-06."""
    data = b"\0\0"
    left = int.from_bytes(make_udp(A, B, 1, UdpDatagram(434, 434, data))[26:28], "big")
    made = make_udp(A, B, 1, UdpDatagram(434, 434, left.to_bytes(2, "big")))
    assert made[26:28] == b"\xff\xff"
    assert opened(made) is not None


def test_an_icmp_message_is_sent_as_it_is():
    """AG-02, MN-01: with the TTL that it is given."""
    message = bytes(MIPAgentSolicitation())
    made = make_icmp(A, "224.0.0.11", 1, message)
    assert made == bytes(
        IP(src=A, dst="224.0.0.11", ttl=1, id=0, flags="DF") / MIPAgentSolicitation()
    )
    assert open_datagram(made) == Datagram(A, "224.0.0.11", 1, 1, message)


def test_options_and_padding_are_no_part_of_the_data():
    whole = bytes(IP(src=A, dst=B, options=[IPOption_NOP()] * 4) / ICMP())
    datagram = open_datagram(whole + b"\0" * 18)
    assert datagram is not None
    assert datagram.data == bytes(ICMP())


@pytest.mark.parametrize("checksum", [None, 0])
def test_a_good_checksum_and_none_are_accepted(checksum):
    """COM-06."""
    assert opened(packet(chksum=checksum)) == UdpDatagram(5000, 434, b"data!")


def test_a_wrong_checksum_is_refused_unless_nobody_made_one_yet():
    """COM-07, FA-08."""
    wrong = packet(chksum=0xBAD)
    assert opened(wrong) is None
    assert opened(wrong, verify=False) == UdpDatagram(5000, 434, b"data!")


@pytest.mark.parametrize("length", [0, 7, 14, 0xFFFF])
def test_a_length_that_cannot_be_is_refused(length):
    assert opened(packet(len=length, chksum=0)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(packet())[:19],
        bytes(packet())[:-1],
        b"\x60" + bytes(packet())[1:],
        bytes(IP(src=A, dst=B, chksum=1) / UDP()),
        bytes(IP(src=A, dst=B, ihl=4) / UDP()),
    ],
)
def test_a_broken_header_is_refused(data):
    assert open_datagram(data) is None


@given(st.binary(max_size=60), st.integers(0, 40))
def test_no_bytes_raise(tail, cut):
    datagram = open_datagram(bytes(packet())[:cut] + tail)
    if datagram is not None:
        open_udp(datagram)
