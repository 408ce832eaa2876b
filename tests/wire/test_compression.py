# SPDX-License-Identifier: GPL-2.0-only
"""Compression of prefixes and realms. RFC 6521 section 4."""

from ipaddress import IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapy_mip.all import (
    MIP,
    MIPRRP,
    MIPRouteOptimizationData,
    compress_prefix,
    compress_realms,
    expand_prefix,
    expand_realms,
    prefix_records,
)
from scapy_mip.compression import DICTIONARY_SIZE, RealmDictionary, prefix_bytes
from support import registry

REALMS = [
    "foo.example.com",
    "bar.foo.example.com",
    "buz.foo.example.org",
    "example.com",
    "bar.example.com.org",
]


def test_realms_of_the_rfc():
    """RFC 6521 section 4.2.3, as the registry has it."""
    text = registry.registry()["rfc6521_compression"]["test_vector_realms"]
    realms, encoded = text.split(" -> ")
    assert realms.split(", ") == REALMS
    expected = [bytes.fromhex(one) for one in encoded.split(" / ")]
    assert compress_realms(REALMS) == expected
    assert expand_realms(expected) == REALMS


def test_prefixes_of_the_rfc():
    """RFC 6521 section 4.1."""
    master = IPv4Network("192.0.2.0/28")
    assert compress_prefix(master) == (False, bytes.fromhex("c0000200"))
    assert compress_prefix("192.0.2.64/26", master) == (True, b"\x09")
    assert compress_prefix("192.0.2.128/25", master) == (True, b"\x05")
    assert compress_prefix("192.1.2.0/28", master) == (
        False,
        bytes.fromhex("c0010200"),
    )


labels = st.text("abc", min_size=1, max_size=3)
realms = st.lists(labels, max_size=6).map(".".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(realms, max_size=120))
def test_realms_come_back(listed):
    assert expand_realms(compress_realms(listed)) == listed


def test_dictionary_starts_anew_after_its_last_entry():
    listed = [f"host{n}.net{n}" for n in range(DICTIONARY_SIZE)] * 2
    assert expand_realms(compress_realms(listed)) == listed
    dictionary = RealmDictionary()
    for realm in listed:
        dictionary.compress(realm)
    assert len(dictionary) == DICTIONARY_SIZE


networks = st.builds(
    lambda value, length: IPv4Network((value, length), strict=False),
    st.integers(0, (1 << 32) - 1),
    st.integers(0, 32),
)


@settings(max_examples=300, deadline=None)
@given(networks, networks)
def test_prefixes_come_back(network, master):
    delta, data = compress_prefix(network, master)
    assert len(data) == prefix_bytes(network.prefixlen, delta)
    assert expand_prefix(data, network.prefixlen, delta, master) == network


@pytest.mark.parametrize(
    "data", [b"", b"\x03ab", b"\x80\0", b"\x01a", b"\x01a\0\0", b"\x7f"]
)
def test_realm_that_cannot_be_is_refused(data):
    with pytest.raises(ValueError, match=r"realm|index"):
        RealmDictionary().expand(data)


@pytest.mark.parametrize("realm", ["a..b", "x" * 128, "."])
def test_label_that_cannot_be_told_is_refused(realm):
    with pytest.raises(ValueError, match="label"):
        RealmDictionary().compress(realm)


def test_prefix_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="illegal"):
        expand_prefix(bytes(4), 33, False)
    with pytest.raises(ValueError, match="bytes"):
        expand_prefix(bytes(3), 28, False)
    with pytest.raises(ValueError, match="before"):
        expand_prefix(bytes(1), 28, True)


def test_networks_travel_in_a_reply():
    told = [
        ("10.0.0.1", IPv4Network("192.0.2.0/28"), "foo.example.com"),
        ("10.0.0.1", IPv4Network("192.0.2.64/26"), "bar.foo.example.com"),
        ("10.0.0.2", IPv4Network("192.0.2.128/25"), ""),
        ("10.0.0.2", IPv4Network("203.0.113.0/24"), "example.com"),
    ]
    data = bytes(MIPRRP() / MIPRouteOptimizationData(records=prefix_records(told)))
    (extension,) = MIP(data).extensions
    assert extension.networks() == told
    assert [int(one.flags) for one in extension.records] == [1, 0, 2, 1, 2, 0]
    assert b"\x42" not in data[20:24]
    extension.records[2].realm = b"\0"
    assert bytes(extension) != data[20:]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_records_keep_their_bytes(body):
    data = b"\x32\x01" + len(body).to_bytes(2, "big") + body
    message = MIP(bytes(MIPRRP()) + data)
    assert bytes(message)[20:] == data
    message.clear_cache()
    assert bytes(message)[20:] == data
