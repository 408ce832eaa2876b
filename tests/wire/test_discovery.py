# SPDX-License-Identifier: GPL-2.0-only
"""Router discovery: ICMP 9, 10 and 41 and their extensions, against the registry."""

import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.config import conf
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Padding, Raw, fuzz
from scapy.utils import checksum

import scapy_mip.all
from scapy_mip import _bindings, const
from scapy_mip.all import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    MIPChallenge,
    MIPDiscoveryExtension,
    MIPDiscoveryOneBytePadding,
    MIPExperimentalMobility,
    MIPLinkLayerAddress,
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
    MIPRouterEntry,
)
from scapy_mip.const import AgentFlag
from scapy_mip.discovery import icmp_classes
from scapy_mip.discovery_extensions import (
    discovery_extension_classes,
    discovery_extension_name,
    dissect_discovery_extensions,
    register_discovery_extension,
)
from support import registered, registry
from support.paths import both, state
from support.strategies import addresses, unsigned

MESSAGES = registry.registry()["icmp"]
EXTENSIONS = [
    one
    for one in registry.registry()["extension"]
    if one["space"] == "router_discovery"
]
IN_UNITS = {one["type"] for one in EXTENSIONS if one["form"] == "rfc4988"}
ENUMS = {
    one["name"]: {int(code): text for code, text in one["values"].items()}
    for one in registry.registry()["enum"]
}
NAMES = {
    **{name: getattr(scapy_mip.all, name) for name in scapy_mip.all.__all__},
    **{cls.__name__: cls for cls in (Raw, Padding, IP, ICMP)},
}
quick = settings(max_examples=50, deadline=None)
each_message = pytest.mark.parametrize("entry", MESSAGES, ids=lambda e: e["type"])
each_extension = pytest.mark.parametrize("entry", EXTENSIONS, ids=lambda e: e["type"])


@st.composite
def extension_of(draw, entry):
    """A random extension of the registry's type."""
    cls = discovery_extension_classes()[entry["type"]]
    given_fields = draw(registered.values(entry, cls))
    for field in entry["fields"]:
        name, kind = field["name"], field.get("kind")
        if field["bits"] != "var":
            continue
        if kind == "ip4_list":
            given_fields[name] = draw(st.lists(addresses, max_size=62))
        elif kind == "u8_list":
            given_fields[name] = draw(st.lists(unsigned(8), max_size=255))
        elif kind == "utf8":
            given_fields[name] = draw(st.text(max_size=60))
        elif entry["type"] in IN_UNITS:
            size = 8 * draw(st.integers(1, 6)) - 3
            given_fields[name] = draw(st.binary(min_size=size, max_size=size))
        else:
            given_fields[name] = draw(st.binary(max_size=254))
    return cls(**given_fields)


any_extension = st.one_of([extension_of(entry) for entry in EXTENSIONS])
entries = st.lists(
    st.builds(
        MIPRouterEntry,
        router_address=addresses,
        preference_level=st.integers(-(1 << 31), (1 << 31) - 1),
    ),
    max_size=4,
)


@st.composite
def message_of(draw, entry):
    """A random message of the registry's type with the numbers that fit its lists."""
    cls = icmp_classes()[entry["type"]]
    given_fields = draw(registered.values(entry, cls))
    for name in ("num_addrs", "addr_entry_size"):
        given_fields.pop(name, None)
    if "subtype" in given_fields:
        given_fields["subtype"] = draw(st.sampled_from([6, 7, 8, 9]))
    if draw(st.booleans()):
        del given_fields["checksum"]
    given_fields[cls.fields_desc[-1].name] = draw(st.lists(any_extension, max_size=4))
    if cls is MIPAgentAdvertisement:
        given_fields["entries"] = draw(entries)
    return cls(**given_fields)


# The registry


def test_every_type_has_a_layer():
    assert set(icmp_classes()) == {one["type"] for one in MESSAGES}
    assert set(discovery_extension_classes()) == {one["type"] for one in EXTENSIONS}


def test_names_and_flags_are_those_of_the_registry():
    listed = {one["type"]: one["name"] for one in EXTENSIONS}
    assert {int(k): k.title for k in const.DiscoveryExtensionType} == listed
    flags = {
        one["name"]: one["mask"]
        for one in registry.registry()["flag"]
        if one["structure"] == "MobilityAgentAdvertisement"
    }
    assert {flag.name: int(flag) for flag in AgentFlag} == flags
    for letter, mask in flags.items():
        data = bytes(MIPMobilityAgentAdvertisement(flags=letter))
        assert int.from_bytes(data[6:8], "big") == mask
    assert ENUMS["aa_icmp_code"] == const.AGENT_ADVERTISEMENT_CODES
    assert ENUMS["hack_code"] == const.HANDOVER_ACKNOWLEDGE_CODES
    assert ENUMS["prrtadv_code"] == const.PROXY_ADVERTISEMENT_CODES
    assert ENUMS["fmip_option_code_lla"] == const.LINK_LAYER_OPTION_CODES
    assert ENUMS["fmip_option_code_addr"] == const.ADDRESS_OPTION_CODES
    assert ENUMS["nai_carrying_subtype"] == const.NAI_CARRYING_SUBTYPES
    assert ENUMS["lla_subtype"] == const.LINK_LAYER_ADDRESS_SUBTYPES


@each_extension
def test_extension_is_as_small_and_skippable_as_the_registry_says(entry):
    """COM-04: the types of router discovery have layers of their own."""
    made = discovery_extension_classes()[entry["type"]]()
    least = 8 if entry["type"] in IN_UNITS else entry["fixed_bytes"]
    assert len(bytes(made)) == least
    assert made.skippable == entry["skippable"] or entry["form"] == "pad1"
    assert f"RFC {entry['rfc']}" in made.__doc__


@each_extension
@quick
@given(data=st.data())
def test_extension_is_built_dissected_and_rebuilt(entry, data):
    extension = data.draw(extension_of(entry))
    cls = type(extension)
    sent = bytes(extension)
    (received,) = dissect_discovery_extensions(sent)
    assert type(received) is type(MIPDiscoveryExtension(sent)) is cls
    assert bytes(received) == sent
    registered.check_layout(received, sent, cls, entry)
    for field in entry["fields"]:
        name = field["name"]
        if field["bits"] == "var":
            assert received.getfieldval(name) == extension.getfieldval(name), name
    received.clear_cache()
    assert bytes(received) == sent
    assert bytes(eval(extension.command(), NAMES)) == sent
    assert bytes(eval(received.command(), NAMES)) == sent
    if "length" in received.fields:
        states = (
            received.length * 8 if entry["type"] in IN_UNITS else received.length + 2
        )
        assert states == len(sent)
    assert extension.show(dump=True)
    assert received.summary()
    assert received.json()


@each_message
@quick
@given(data=st.data())
def test_message_is_built_dissected_and_rebuilt(entry, data):
    message = data.draw(message_of(entry))
    cls = type(message)
    sent = bytes(message)
    received = IP(bytes(IP() / message)).payload
    assert type(received) is type(MIPICMP(sent)) is cls
    assert bytes(received) == sent
    registered.check_layout(received, sent, cls, entry)
    own = cls.fields_desc[-1].name
    assert [type(one) for one in received.getfieldval(own)] == [
        type(one) for one in message.getfieldval(own)
    ]
    if "checksum" not in message.fields:
        assert checksum(sent) == 0
    received.clear_cache()
    assert bytes(received) == sent
    assert bytes(eval(message.command(), NAMES)) == sent
    assert bytes(eval(received.command(), NAMES)) == sent
    assert received.json()
    assert message.show(dump=True)
    assert received.summary()


@each_message
def test_header_fields_lie_where_the_registry_says(entry):
    cls = icmp_classes()[entry["type"]]
    rng = random.Random(entry["type"])
    assert len(bytes(cls())) == entry["fixed_bytes"]
    for _time in range(50):
        data = bytes([entry["type"]]) + rng.randbytes(entry["fixed_bytes"] - 1)
        received = MIPICMP(data)
        assert bytes(received) == data
        registered.check_layout(received, data, cls, entry)


@quick
@given(address=addresses, preference=unsigned(32), words=st.integers(2, 5))
def test_router_entry_lies_where_the_registry_says(address, preference, words):
    more = bytes(4 * (words - 2))
    one = MIPRouterEntry(router_address=address, preference_level=preference, more=more)
    data = bytes(one)
    fields = {f["name"]: f for f in registry.registry()["irdp_entry"]["fields"]}
    number = int(ipaddress.IPv4Address(address))
    assert registered.read_bits(data, fields["router_address"]) == number
    assert registered.read_bits(data, fields["preference_level"]) == preference
    received = MIPICMP(bytes(MIPAgentAdvertisement(entries=[one, one])))
    assert (received.num_addrs, received.addr_entry_size) == (2, words)
    assert [bytes(entry) for entry in received.entries] == [data, data]


# Crafting


def test_advertisement_reads_as_it_is_written():
    packet = IP(src="10.1.2.1", dst="224.0.0.1") / MIPAgentAdvertisement(
        entries=["10.1.2.1", ("10.1.2.2", 0x80000000)]
    )
    packet = (
        packet
        / MIPMobilityAgentAdvertisement(flags="FT", care_of_addresses=["10.1.2.1"])
        / MIPChallenge(challenge=b"abcd")
    )
    received = IP(bytes(packet))
    assert (received.ttl, received.proto) == (1, 1)
    found = received[MIPAgentAdvertisement]
    assert (found.num_addrs, found.addr_entry_size) == (2, 2)
    assert found.entries[1].preference_level == -(1 << 31)
    assert [one.type for one in found.extensions] == [16, 24]
    assert found.extensions[0].flags == "FT"
    assert "10.1.2.1" in received.summary()
    assert IP(bytes(IP() / MIPAgentSolicitation())).ttl == 1
    assert IP(bytes(IP() / MIPExperimentalMobility())).ttl == 64


def test_padding_is_added_when_asked_for():
    odd = MIPAgentAdvertisement() / MIPPrefixLengths(prefix_lengths=[24])
    assert len(odd) % 2 == 1
    assert len(bytes(odd.padded())) == len(odd) + 1
    assert type(odd.padded().extensions[-1]) is MIPDiscoveryOneBytePadding
    even = MIPAgentAdvertisement()
    assert bytes(even.padded()) == bytes(even)


def test_what_is_set_wrong_on_purpose_stays():
    made = MIPAgentAdvertisement(
        checksum=1, num_addrs=7, addr_entry_size=9, entries=["10.0.0.1"]
    )
    assert bytes(made)[2:6] == bytes([0, 1, 7, 9])
    received = MIPICMP(bytes(made))
    assert bytes(received) == bytes(made)
    assert received.num_addrs == 7


@pytest.mark.parametrize(
    ("address", "size"), [(b"", 8), (b"12345", 8), (b"123456", 16), (b"1" * 12, 16)]
)
def test_link_layer_option_is_padded_by_padn(address, size):
    data = bytes(MIPLinkLayerAddress(option_code=1, lla=address))
    assert len(data) == size == 8 * data[1]
    padding = data[3 + len(address) :]
    if len(address) == 6:  # the example of RFC 4988 section 6.1
        assert padding == bytes([1, 5]) + bytes(5)
    kept = bytes(MIPLinkLayerAddress(length=9, lla=address))
    assert kept == bytes([20, 9, 0]) + address


@each_message
def test_fuzzed_message_is_still_of_its_type(entry):
    cls = icmp_classes()[entry["type"]]
    for _time in range(20):
        sent = bytes(fuzz(cls()))
        assert type(MIPICMP(sent)) is cls
        assert bytes(MIPICMP(sent)) == sent


# Pairs


def test_advertisement_answers_a_solicitation():
    asked = IP(src="10.0.0.5", dst="10.0.0.1") / MIPAgentSolicitation()
    answer = IP(src="10.0.0.1", dst="10.0.0.5") / MIPAgentAdvertisement()
    assert IP(bytes(answer)).answers(IP(bytes(asked)))
    assert answer.hashret() == asked.hashret()
    assert not asked.answers(answer)
    assert not answer.answers(IP(src="10.0.0.5", dst="10.0.0.1") / ICMP())


def test_fast_handover_is_paired_by_subtype_and_identifier():
    def message(subtype, identifier=7):
        return MIPExperimentalMobility(subtype=subtype, identifier=identifier)

    assert message(7).answers(message(6))
    assert message(9).answers(message(8))
    assert message(9).hashret() == message(8).hashret()
    assert not message(9).answers(message(6))
    assert not message(9, 8).answers(message(8))
    assert not message(6).answers(message(7))
    assert not message(7).answers(ICMP())


# In the place of Scapy's ICMP


def test_other_icmp_types_stay_as_they_were():
    for kind in sorted(set(range(256)) - {9, 10, 41}):
        data = bytes(IP() / ICMP(type=kind) / bytes(28))
        assert type(IP(data).payload) is ICMP
    assert type(MIPICMP(bytes(ICMP()))) is ICMP


def test_advertisement_is_found_as_icmp():
    packet = IP(bytes(IP() / MIPAgentAdvertisement(entries=["10.0.0.1"])))
    assert ICMP in packet
    assert packet[ICMP] is packet[MIPAgentAdvertisement]
    assert (packet[ICMP].type, packet[ICMP].code) == (9, 0)
    assert packet[ICMP].chksum == packet[ICMP].checksum
    before = bytes(packet)
    del packet[ICMP].chksum
    assert packet[ICMP].checksum is None
    assert bytes(packet) == before


def test_icmp_is_given_back_and_taken_again():
    _bindings.take_over()  # behind what was loaded meanwhile
    data = bytes(IP() / MIPAgentSolicitation())
    before = list(IP.payload_guess)
    try:
        for _twice in range(2):
            _bindings.restore()
            assert type(IP(data).payload) is ICMP
    finally:
        _bindings.take_over()
    assert type(IP(data).payload) is MIPAgentSolicitation
    assert IP.payload_guess == before


# Bad input


def test_options_of_other_protocols_stay_bytes():
    data = bytes(MIPExperimentalMobility(subtype=0)) + bytes([20, 1, 0, 0, 0, 0, 0, 0])
    received = MIPICMP(data)
    assert [type(one) for one in received.options] == [Raw]
    assert bytes(received) == data


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        ("10", [Raw]),
        ("1009000000000000000000", [MIPDiscoveryExtension]),
        ("10ff00000000", [MIPDiscoveryExtension]),
        ("1400", [MIPDiscoveryExtension]),
        ("1402000000000000", [MIPDiscoveryExtension]),
        ("15020000" + "00" * 12 + "00", [MIPDiscoveryExtension, None]),
        ("8800", [MIPDiscoveryExtension]),
        ("c80201021801aa", [MIPDiscoveryExtension, MIPChallenge]),
    ],
)
def test_length_that_lies_is_shown_with_all_bytes(data, kinds):
    data = bytes.fromhex(data)
    found = dissect_discovery_extensions(data)
    expected = [kind or MIPDiscoveryOneBytePadding for kind in kinds]
    assert [type(one) for one in found] == expected
    assert b"".join(bytes(one) for one in found) == data
    for one in found:
        one.clear_cache()
    assert b"".join(bytes(one) for one in found) == data


@pytest.mark.parametrize("extension", ["5603ab", "56ffab", "1003ab"])
def test_unknown_and_lying_extensions_are_the_same_on_both_paths(extension):
    data = bytes.fromhex("0a00000000000000" + extension)
    fast, slow = both(lambda: state(MIPICMP(data)))
    assert fast == slow


def test_cut_headers_stay_bytes():
    for kind in (9, 10, 41):
        for size in range(1, 8):
            data = bytes([kind]) + bytes(size - 1)
            assert type(IP(bytes(IP(proto=1) / data)).payload) is Raw


def test_long_lists_are_kept_whole():
    limit = conf.max_list_count
    lengths = MIPPrefixLengths(prefix_lengths=[24] * 255)
    made = MIPAgentAdvertisement(
        entries=["10.0.0.1"] * 255, extensions=[lengths] * (limit + 1)
    )
    received = MIPICMP(bytes(made))
    assert bytes(received) == bytes(made)
    assert len(received.entries) == 255
    assert len(received.extensions) == limit + 1


def test_a_class_without_a_type_is_refused():
    with pytest.raises(ValueError, match="extension_type"):
        register_discovery_extension(MIPDiscoveryExtension)


def test_names_for_json():
    assert discovery_extension_name(19) == "prefix_lengths"
    assert discovery_extension_name(99) == "unknown_99"


# Vectors


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("third-party agent advertisement (ICMP part)", [16]),
        (
            "third-party agent advertisement with extensions 16, 24, 19 and 0",
            [16, 24, 19, 0],
        ),
    ],
)
def test_third_party_advertisement_is_read_and_rebuilt(name, kinds):
    data = bytes.fromhex(registry.vectors()[name]["icmp"])
    received = IP(bytes(IP(proto=1) / data))[MIPAgentAdvertisement]
    assert [one.type for one in received.extensions] == kinds
    assert all(type(one) is not MIPDiscoveryExtension for one in received.extensions)
    assert bytes(received) == data
    # All that fills itself in is what the third party sent.
    for name in ("checksum", "num_addrs", "addr_entry_size"):
        received.setfieldval(name, None)
    for one in received.extensions:
        if "length" in one.fields:
            one.length = None
    assert bytes(received) == data


def test_third_party_advertisement_holds_what_the_note_says():
    name = "third-party agent advertisement with extensions 16, 24, 19 and 0"
    received = MIPICMP(bytes.fromhex(registry.vectors()[name]["icmp"]))
    (router,) = received.entries
    offer, challenge, prefixes, _padding = received.extensions
    assert (received.code, received.lifetime) == (16, 200)
    assert router.router_address == "192.168.144.2"
    assert router.preference_level == -(1 << 31)
    assert (offer.sequence_number, offer.registration_lifetime) == (5, 200)
    assert offer.flags == "HF"
    assert offer.care_of_addresses == ["192.168.144.2"]
    assert len(challenge.challenge) == 16
    assert prefixes.prefix_lengths == [24]


def test_a_packet_beside_udp_is_not_disturbed():
    assert type(IP(bytes(IP() / UDP(dport=9))).payload) is UDP
