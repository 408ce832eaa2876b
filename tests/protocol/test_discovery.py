# SPDX-License-Identifier: GPL-2.0-only
"""Router discovery messages as the engines see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP

from mip_agents.protocol.discovery import (
    AgentAdvertisement,
    RouterAdvertisement,
    Solicitation,
    build_advertisement,
    build_solicitation,
    parse_discovery,
)
from mip_agents.protocol.view import MAX_EXTENSIONS, Malformed
from scapy_mip.all import (
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    MIPDiscoveryExtension,
    MIPDiscoveryOneBytePadding,
    MIPExperimentalMobility,
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
    MIPRouterEntry,
)
from scapy_mip.const import AgentFlag

F, H, R, B, M, T = (AgentFlag[letter] for letter in "FHRBMT")
OFFER = {
    "code": 16,
    "lifetime": 9,
    "router_addresses": ("10.1.2.1", "10.1.9.1"),
    "flags": F | R | M | T,
    "sequence_number": 258,
    "registration_lifetime": 1800,
    "care_of_addresses": ("10.1.2.1", "192.0.2.7"),
    "prefix_lengths": (24, 28),
}


def offer(**fields):
    return MIPMobilityAgentAdvertisement(
        **{"flags": "F", "care_of_addresses": ["10.1.2.1"]} | fields
    )


def parsed(*extensions, **fields):
    packet = MIPAgentAdvertisement(**{"entries": ["10.1.2.1"]} | fields)
    return parse_discovery(bytes(packet) + b"".join(map(bytes, extensions)))


def rule(found):
    assert isinstance(found, Malformed), found
    return found.rule


@pytest.mark.parametrize("flags", [F | R | M | T, H, F | H | B, F | AgentFlag.I])
def test_an_advertisement_is_read_as_it_was_made(flags):
    """MN-05, AG-12."""
    made = OFFER | {"flags": flags}
    found = parse_discovery(build_advertisement(**made))
    assert found == AgentAdvertisement(**made)


def test_an_advertisement_is_what_the_layers_would_build():
    built = build_advertisement(**OFFER)
    packet = MIPAgentAdvertisement(built)
    assert packet.code == 16
    assert [entry.router_address for entry in packet.entries] == [
        "10.1.2.1",
        "10.1.9.1",
    ]
    assert [extension.type for extension in packet.extensions] == [16, 19]
    assert str(packet.extensions[0].flags) == "TMFR"


@pytest.mark.parametrize("prefix_lengths", [(), (24,), (24, 28)])
def test_one_byte_of_padding_makes_an_odd_advertisement_even(prefix_lengths):
    """AG-18, COM-03."""
    routers = OFFER["router_addresses"][: len(prefix_lengths)]
    made = OFFER | {"router_addresses": routers, "prefix_lengths": prefix_lengths}
    built = build_advertisement(**made)
    assert len(built) % 2 == 0
    found = MIPAgentAdvertisement(built).extensions
    padded = isinstance(found[-1], MIPDiscoveryOneBytePadding)
    assert padded == (len(prefix_lengths) % 2 == 1)
    assert parse_discovery(built) == AgentAdvertisement(**made)


def test_an_agent_may_name_no_router():
    """AG-10, MN-05: the extensions begin where the addresses would."""
    found = parsed(offer(), entries=[])
    assert isinstance(found, AgentAdvertisement)
    assert found.router_addresses == ()
    assert found.care_of_addresses == ("10.1.2.1",)


def test_the_extensions_begin_behind_entries_of_any_size():
    """MN-05."""
    entry = MIPRouterEntry(router_address="10.1.2.1", more=b"\x10\x06" * 4)
    found = parsed(offer(sequence_number=7), entries=[entry])
    assert isinstance(found, AgentAdvertisement)
    assert (found.router_addresses, found.sequence_number) == (("10.1.2.1",), 7)


def test_reserved_bits_are_ignored():
    """MN-06."""
    found = parsed(offer(flags="Fr", reserved=0x1F))
    assert isinstance(found, AgentAdvertisement)
    assert found.flags == F


def test_an_agent_is_known_by_its_extension():
    """MN-05, MN-08."""
    assert parsed() == RouterAdvertisement()
    assert parsed(MIPPrefixLengths(prefix_lengths=[24])) == RouterAdvertisement()


def test_extensions_that_nobody_knows_are_skipped_from_128_on():
    """COM-01, COM-02, COM-04: in a number space of their own."""
    assert isinstance(
        parsed(MIPDiscoveryExtension(type=200, data=b"abc"), offer()),
        AgentAdvertisement,
    )
    # 32 is an authentication extension in control messages, and nothing here.
    for kind in (32, 99, 127):
        unknown = MIPDiscoveryExtension(bytes([kind, 4]) + bytes(4))
        assert rule(parsed(unknown, offer())) == "COM-01"


def test_a_challenge_does_not_discard_an_advertisement():
    """COM-01: it is understood, and need not be answered by who has no need."""
    challenge = MIPDiscoveryExtension(type=24, data=b"12345678")
    assert isinstance(parsed(offer(), challenge), AgentAdvertisement)


@pytest.mark.parametrize("lengths", [[24, 24], [], [33]])
def test_prefix_lengths_that_do_not_fit_the_routers_are_as_good_as_none(lengths):
    """AG-17."""
    found = parsed(offer(), MIPPrefixLengths(prefix_lengths=lengths))
    assert isinstance(found, AgentAdvertisement)
    assert found.prefix_lengths == ()


def test_the_length_of_the_offer_must_leave_whole_addresses():
    """AG-13."""
    odd = b"\x10\x08" + bytes(8)
    assert rule(parsed(odd)) == "AG-13"


def test_an_offer_must_be_of_some_agent():
    """AG-12."""
    assert rule(parsed(offer(flags="M"))) == "AG-12"
    assert rule(parsed(offer(flags="F", care_of_addresses=[]))) == "AG-12"


@pytest.mark.parametrize(
    "data",
    [
        bytes(MIPAgentAdvertisement(code=1)),
        bytes(MIPAgentAdvertisement(num_addrs=1, addr_entry_size=1)) + bytes(4),
        bytes(MIPAgentAdvertisement(num_addrs=2)) + bytes(8),
        bytes(MIPAgentAdvertisement())[:7],
    ],
)
def test_an_advertisement_that_is_none_is_malformed(data):
    """MN-05, AG-09."""
    assert rule(parse_discovery(data)) == "MN-05"


def test_an_extension_must_end_with_the_message():
    """COM-03."""
    assert rule(parsed(bytes(offer())[:-1])) == "COM-03"
    assert rule(parsed(offer(), b"\x13")) == "COM-03"


def test_an_advertisement_full_of_tiny_extensions_is_malformed():
    """COM-03."""
    assert isinstance(parsed(offer(), bytes(MAX_EXTENSIONS - 1)), AgentAdvertisement)
    assert rule(parsed(offer(), bytes(MAX_EXTENSIONS))) == "COM-03"


def test_a_solicitation_is_one_whatever_follows():
    """AG-21, MN-01; RFC 1256 section 4.2 has what follows ignored."""
    assert parse_discovery(build_solicitation()) == Solicitation()
    assert parse_discovery(build_solicitation() + b"\x20\xff") == Solicitation()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(MIPAgentSolicitation(code=1)),
        bytes(MIPAgentSolicitation())[:7],
        bytes(MIPExperimentalMobility()),
        bytes(ICMP(type=8)),
    ],
)
def test_a_solicitation_that_is_none_is_malformed(data):
    """AG-21."""
    assert rule(parse_discovery(data)) == "AG-21"


@given(st.sampled_from([9, 10]), st.binary(max_size=64), st.integers(0, 64))
def test_no_bytes_raise(kind, tail, cut):
    prefix = build_advertisement(**OFFER) if kind == 9 else build_solicitation()
    parse_discovery(prefix[:cut] + tail)
