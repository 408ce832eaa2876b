# SPDX-License-Identifier: GPL-2.0-only
"""Router advertisements with extensions 0, 16, 19 and 24, as tshark reads them."""

import random

import pytest
from scapy.layers.inet import IP

from scapy_mip.all import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPChallenge,
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
)
from scapy_mip.const import AgentFlag
from support import oracle
from support.strategies import random_address

pytestmark = oracle.needs_tshark

DISAGREEMENTS = {"I": "icmp.mip.reserved"}
"""Flags that tshark does not know, and where it shows them instead."""
LETTERS = {"r": "v", "T": "rt"}
"""Its names of flags, where they are not the letters."""


def random_advertisement(rng):
    count = rng.randrange(1, 4)
    made = MIPAgentAdvertisement(
        code=rng.choice((0, 16)),
        lifetime=rng.getrandbits(16),
        entries=[
            (random_address(rng), rng.getrandbits(31) - (1 << 30))
            for _router in range(count)
        ],
    )
    made /= MIPMobilityAgentAdvertisement(
        sequence_number=rng.getrandbits(16),
        registration_lifetime=rng.getrandbits(16),
        flags=rng.getrandbits(11) & ~1,
        care_of_addresses=[random_address(rng) for _care_of in range(rng.randrange(4))],
    )
    if rng.random() < 0.7:
        made /= MIPPrefixLengths(
            prefix_lengths=[rng.randrange(33) for _router in range(count)]
        )
    if rng.random() < 0.7:
        made /= MIPChallenge(challenge=rng.randbytes(rng.randrange(4, 40)))
    return made.padded()


def decoded(made):
    below = IP(src="10.0.0.1", dst="224.0.0.1")
    return oracle.decoded(oracle.framed(below / one) for one in made)


def test_tshark_reads_the_same_advertisements():
    rng = random.Random(16)
    made = [random_advertisement(rng) for _n in range(200)]
    shown = decoded(made)
    for ours, theirs in zip(made, shown, strict=True):
        compare(MIPICMP(bytes(ours)), theirs)


@pytest.mark.xfail(strict=True, reason="tshark takes the flag for a reserved bit")
@pytest.mark.parametrize("letter", DISAGREEMENTS)
def test_tshark_tells_the_flag_from_reserved_bits(letter):
    made = MIPAgentAdvertisement() / MIPMobilityAgentAdvertisement(flags=letter)
    (shown,) = decoded([made])
    assert shown.values(DISAGREEMENTS[letter]) == ["0x0000"]


def compare(ours, shown):
    values = shown.values
    assert shown.is_clean
    assert values("icmp.type") == ["9"]
    assert values("icmp.code") == [str(ours.code)]
    assert values("icmp.checksum.status") == ["1"]
    assert values("icmp.num_addrs") == [str(ours.num_addrs)]
    assert values("icmp.addr_entry_size") == [str(ours.addr_entry_size)]
    assert values("icmp.lifetime") == [str(ours.lifetime)]
    assert values("icmp.router_address") == [one.router_address for one in ours.entries]
    assert values("icmp.pref_level") == [
        str(one.preference_level) for one in ours.entries
    ]
    listed = ours.extensions
    assert values("icmp.mip.type") == [str(one.type) for one in listed]
    offer = listed[0]
    assert values("icmp.mip.seq") == [str(offer.sequence_number)]
    assert values("icmp.mip.life") == [str(offer.registration_lifetime)]
    assert values("icmp.mip.coa") == offer.care_of_addresses
    for flag in AgentFlag:
        if flag.name not in DISAGREEMENTS:
            name = LETTERS.get(flag.name, flag.name.lower())
            bit = str(int(getattr(offer.flags, flag.name)))
            assert values(f"icmp.mip.{name}") == [bit], flag
    prefixes = [one for one in listed if isinstance(one, MIPPrefixLengths)]
    assert values("icmp.mip.prefixlength") == [
        str(size) for one in prefixes for size in one.prefix_lengths
    ]
    challenges = [one for one in listed if isinstance(one, MIPChallenge)]
    assert values("icmp.mip.challenge") == [
        one.challenge.hex(":") for one in challenges
    ]
