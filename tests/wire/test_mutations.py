# SPDX-License-Identifier: GPL-2.0-only
"""30,000 damaged packets per run: no exception, every byte kept, at linear cost.

The seed is that of pytest-randomly, which prints it: every run tries other packets.
"""

import random
import sys
import tracemalloc

import pytest
from scapy.config import conf
from scapy.layers.inet import IP
from scapy.packet import Raw

from scapy_mip.all import (
    MIP,
    MIPNAI,
    MIPRRQ,
    MIPExtension,
    MIPLongExtension,
    MIPMinimalEncapsulation,
    MIPTunnelData,
)
from scapy_mip.const import LONG_FORM_EXTENSIONS
from scapy_mip.nesting import LAYERS_MAX
from support import mutations
from support.strategies import every_class, random_instance

SHARES = {
    mutations.control: 14_000,
    mutations.discovery: 6_000,
    mutations.tunnelled: 4_000,
    mutations.minimal: 3_000,
    mutations.framed: 3_000,
}
SIZES = (8_000, 64_000)
CHAINS = [
    "tunnel data in tunnel data",
    "minimal in minimal",
    "minimal in tunnel data",
    "IP in IP in tunnel data",
    "IP in IP in minimal",
]


pytestmark = pytest.mark.usefixtures("without_scapys_igmp")


def test_all_shares_are_30000_packets():
    assert sum(SHARES.values()) == 30_000
    assert conf.debug_dissector


@pytest.mark.parametrize("make", SHARES, ids=lambda make: make.__name__)
def test_mutated_packets_never_raise_and_keep_their_bytes(make):
    rng = random.Random(random.getrandbits(64))
    earlier = make(rng).data
    for number in range(SHARES[make]):
        sample = make(rng)
        data = mutations.mutated(rng, sample, earlier)
        earlier = sample.data
        try:
            mutations.check(sample.dissect, data, thoroughly=number % 8 == 0)
        except Exception:
            print(f"{sample.dissect.__name__}({data!r})")
            raise


def test_samples_are_of_every_layer():
    rng = random.Random(1)
    seen = set()
    for make in SHARES:
        for _time in range(400):
            packet = make(rng)
            for one in mutations.own_layers(packet.dissect(packet.data)):
                seen.add(type(one).__name__)
    messages = {cls.__name__ for cls in mutations.message_classes().values()}
    discovery = {cls.__name__ for cls in mutations.icmp_classes().values()}
    options = {cls.__name__ for cls in mutations.discovery_extension_classes().values()}
    wanted = messages | discovery | options | {"MIPMinimalEncapsulation"}
    assert not wanted - seen


# Lengths that lie


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
def test_length_behind_the_end_is_shown_as_stated(cls):
    whole = bytes(random_instance(cls, random.Random(7)))
    if cls.header_size == 2 and cls.extension_type not in LONG_FORM_EXTENSIONS:
        plain, stated = MIPExtension, 0xFF
        data = bytes([whole[0], stated]) + whole[2:60]
    elif cls.header_size == 4:
        # A subtype that cannot be the length of the short format, which some send.
        plain, stated = MIPLongExtension, 0xFFFF
        data = bytes([whole[0], 0xC8]) + b"\xff\xff" + whole[4:60]
    else:
        return
    message = MIP(bytes(MIPRRQ() / MIPNAI(nai="before")) + data)
    before, one = message.extensions
    assert before.nai == "before"
    assert (type(one), one.type, one.length) == (plain, whole[0], stated)
    assert one.data == data[cls.header_size :]
    assert one.is_cut
    mutations.forget_bytes(message)
    assert bytes(message)[32:] == data


# Cost


def calls(function):
    """Return how many calls of Python and C functions a call makes, and its result."""
    count = 0

    def count_call(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        result = function()
    finally:
        sys.setprofile(None)
    return count, result


def peak(function):
    """Return the most bytes that a call holds at a time."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def cost(dissect, data):
    """Return what each kind of work on a datagram takes."""
    dissect(data[:200])  # what is prepared once, is
    held = peak(lambda: dissect(data))
    dissection, packet = calls(lambda: dissect(data))
    building, built = calls(packet.build)
    summing, _text = calls(packet.summary)
    mutations.forget_bytes(packet)
    again, rebuilt = calls(packet.build)
    assert built == rebuilt == data
    return {
        "dissect": dissection,
        "build": building,
        "rebuild": again,
        "summary": summing,
        "memory": held,
    }


PATTERNS = list(mutations.adversarial(100))


@pytest.mark.parametrize("name", PATTERNS)
def test_cost_is_linear_in_the_size(name, monkeypatch):
    # Scapy logs every layer that an exception passes, which is not what is measured.
    monkeypatch.setattr(conf, "debug_dissector", False)
    small, large = (cost(*mutations.adversarial(size)[name]) for size in SIZES)
    growth = SIZES[1] / SIZES[0]
    for work, spent in small.items():
        assert large[work] <= 1.2 * growth * spent + 20_000, work


# Nesting


def test_every_chain_is_one_of_the_patterns():
    assert set(CHAINS) <= set(PATTERNS)


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("debug", [True, False])
def test_endless_nesting_ends_in_bytes(name, debug, monkeypatch):
    monkeypatch.setattr(conf, "debug_dissector", debug)
    dissect, data = mutations.adversarial(64_000)[name]
    packet = dissect(data)
    assert len(list(mutations.layers(packet))) <= 2 * LAYERS_MAX + 2
    assert type(packet.lastlayer()) is Raw
    mutations.check(dissect, data, thoroughly=True)
    framed = IP(bytes(IP(proto=55) / data[:60_000]))
    assert len(list(mutations.layers(framed))) <= 2 * LAYERS_MAX + 2


def test_nesting_up_to_the_limit_is_dissected():
    header = bytes(MIPMinimalEncapsulation(protocol=55))
    for count in (1, LAYERS_MAX, LAYERS_MAX + 9):
        packet = MIPMinimalEncapsulation(header * count)
        found = sum(type(one) is not Raw for one in mutations.layers(packet))
        assert found == min(count, LAYERS_MAX + 1)


def test_packet_that_its_layer_raises_on_stays_bytes():
    inner = bytes(IP(proto=6) / bytes(12))  # a TCP header cut short
    packet = MIP(bytes(MIPTunnelData()) + inner)
    assert type(packet.payload) is Raw
    assert packet.payload.load == inner
