# SPDX-License-Identifier: GPL-2.0-only
"""Every extension, subtype and vendor's item of the registry has its layer."""

import functools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.fields import (
    BitEnumField,
    BitField,
    ConditionalField,
    FlagsField,
    IP6Field,
    IPField,
    PacketListField,
    StrField,
)

import scapy_mip.all
from scapy_mip import const
from scapy_mip.all import (
    MIP,
    MIPNAI,
    MIPRRQ,
    MIPExtension,
    MIPLongExtension,
    MIPRoutePrefixRecord,
    dissect_extensions,
    vendor_items,
)
from scapy_mip.extensions.base import extension_classes, subtype_classes
from scapy_mip.fields import TextField
from support import registry
from support.strategies import every_class, random_instance

quick = settings(max_examples=20, deadline=None)

NAMES = {
    "Critical Vendor/Organization Specific (obsolete number)": (
        "OldCriticalVendorOrganizationSpecific"
    ),
    "Normal Vendor/Organization Specific (obsolete number)": (
        "OldNormalVendorOrganizationSpecific"
    ),
    "Deprecated 2001-08-31 (Integrated Mobility)": "Deprecated128",
    "Reserved": "Reserved150",
    "MIP_Key_Request": "VerizonMIPKeyRequest",
    "MIP_Key_Data": "VerizonMIPKeyData",
    "AAA_Authenticator": "VerizonAAAAuthenticator",
}
"""Names that are no identifiers, or not unique."""


def called(name, vendor=""):
    """Turn a name of the registry into that of its class."""
    if name in NAMES:
        return "MIP" + NAMES[name]
    words = re.sub(r"\(.*?\)", "", name).replace("-", " ").replace("/", " ").split()
    if vendor:
        words.insert(0, vendor.split()[0])
    return "MIP" + "".join(word[0].upper() + word[1:] for word in words)


def entries():
    """Give an id, the registry's entry and the layer's class, for every entry."""
    by_type, by_subtype, items = extension_classes(), subtype_classes(), vendor_items()
    for entry in registry.control_extensions():
        yield f"{entry['type']}", entry, by_type.get(entry["type"])
    for entry in registry.registry()["extension_subtype"]:
        key = entry["type"], entry["subtype"]
        yield "{}-{}".format(*key), entry, by_subtype.get(key)
    for entry in registry.registry()["vendor_extension"]:
        key = (
            entry["kind"] == "CVSE",
            entry["vendor_id"],
            entry["vendor_type"],
            entry.get("sub_type"),
        )
        yield "{}-{}-{}-{}".format(*key), entry, items.get(key)


ENTRIES = [pytest.param(entry, cls, id=key) for key, entry, cls in entries()]


def item_offset(cls, entry):
    return 10 if "vendor_id" in entry else 0


def width(field):
    """Bits of a field, or "var"."""
    if isinstance(field, (BitField, BitEnumField, FlagsField)):
        return field.size
    if field.islist or isinstance(field, (StrField, ConditionalField)):
        return "var"
    return field.sz * 8


def places(cls):
    """Give name, offset in bits and width of every field; flags one by one."""
    at = 0
    for field in cls.fields_desc:
        bits = width(field)
        if isinstance(field, FlagsField):
            for number, letter in enumerate(reversed(field.names)):
                yield letter, at + number, 1
        else:
            yield cls.json_names.get(field.name, field.name), at, bits
        if bits != "var":
            at += bits


def expected(entry, cls):
    """The same from the registry."""
    start = item_offset(cls, entry) * 8
    for field in entry.get("fields", []):
        yield field["name"], start + field["off"] * 8 + field["bit"], field["bits"]


# Coverage and layout


def test_there_are_as_many_as_the_registry_says():
    assert len(registry.control_extensions()) == 44
    assert len(registry.registry()["extension_subtype"]) == 22
    assert len(registry.registry()["vendor_extension"]) == 15
    assert len(ENTRIES) == 81
    assert len(extension_classes()) == 44
    assert len(subtype_classes()) == 22
    assert len(vendor_items()) == 15


@pytest.mark.parametrize(("entry", "cls"), ENTRIES)
def test_entry_has_a_layer_with_its_name(entry, cls):
    assert cls is not None, f"no layer for {entry['name']}"
    name = called(entry["name"], entry.get("vendor", ""))
    if entry["name"] == "Multipath" and "subtype" not in entry:
        name = "MIPMultipathExtension"  # `MIPMultipath` is the subtype
    assert cls.__name__ == name
    assert getattr(scapy_mip.all, name) is cls
    assert name in scapy_mip.all.__all__


VARIABLE = {"MIPFlowBinding"}
"""Where fields follow a variable one, the registry gives no offsets."""


@pytest.mark.parametrize(("entry", "cls"), ENTRIES)
def test_fields_lie_where_the_registry_says(entry, cls):
    ours = list(places(cls))
    if "vendor_id" in entry:
        ours = [one for one in ours if one[1] >= 80]
        if ours and entry.get("fixed_bytes", 0) and "sub_type" in entry:
            assert ours[0][0] == "sub_type"
    listed = list(expected(entry, cls))
    if cls.__name__ in VARIABLE:
        assert [one[0] for one in ours] == [one[0] for one in listed]
        ours = [one for one in ours if one[2] != "var" and one[0] != "ts_format"]
        listed = [one for one in listed if one[2] != "var"]
    assert ours == listed


@pytest.mark.parametrize(("entry", "cls"), ENTRIES)
def test_default_has_the_fixed_bytes_and_the_stated_length(entry, cls):
    if "authenticator" in {field.name for field in cls.fields_desc}:
        packet = cls(authenticator=b"")
    else:
        packet = cls()
    data = bytes(packet)
    fixed = entry.get("fixed_bytes", 0) + item_offset(cls, entry)
    if cls.__name__ == "MIPFlowBinding":
        fixed += 1  # the format of its selector, which follows a variable field
    assert len(data) == fixed
    if entry.get("type") == 0:
        return
    header = cls.header_size
    stated = int.from_bytes(data[header // 2 : header], "big")
    assert stated == len(data) - header
    rule = entry.get("length_rule", "")
    if rule.isdigit():
        assert stated == int(rule)


@pytest.mark.parametrize(("entry", "cls"), ENTRIES)
def test_kinds_of_fields_are_those_of_the_registry(entry, cls):
    names = {cls.json_names.get(one.name, one.name): one for one in cls.fields_desc}
    for field in entry.get("fields", []):
        kind = field.get("kind")
        ours = names.get(field["name"])
        if kind == "ip4":
            assert isinstance(ours, IPField)
        elif kind == "ip6":
            assert isinstance(ours, IP6Field)
        elif kind in ("utf8", "ascii"):
            assert isinstance(ours, TextField)
        elif kind == "ip4_list":
            assert isinstance(ours.field, IPField)
        elif kind == "ip4_if_S":
            assert isinstance(ours, ConditionalField)
            assert isinstance(ours.fld, IPField)
        elif kind == "ro_prefix_record":
            assert isinstance(ours, PacketListField)
            assert ours.cls is MIPRoutePrefixRecord
        elif kind == "bytes":
            assert isinstance(ours, StrField)
        if "value" in field and field["name"] != "type":
            assert ours.default == field["value"]


def flag_structures():
    listed = {}
    for one in registry.registry()["flag"]:
        listed.setdefault(one["structure"], []).append(one["name"])
    return listed


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        ("RevocationSupportExt", "MIPRevocationSupport"),
        ("UDPTunnelRequest", "MIPUDPTunnelRequest"),
        ("UDPTunnelReply", "MIPUDPTunnelReply"),
        ("RouteOptCapability", "MIPMRRouteOptimizationIndication"),
        ("RouteOptReply", "MIPRouteOptimizationReply"),
        ("Multipath", "MIPMultipath"),
    ],
)
def test_flags_have_the_letters_of_the_registry(structure, name):
    cls = getattr(scapy_mip.all, name)
    for one in registry.registry()["flag"]:
        if one["structure"] != structure:
            continue
        off = bytes(cls())
        on = bytes(cls(flags=one["name"]))[: len(off)]
        changed = int.from_bytes(
            bytes(a ^ b for a, b in zip(off, on, strict=True)), "big"
        )
        bits = changed.to_bytes(len(off), "big")
        size = one["width"] // 8
        place = bits[one["off"] : one["off"] + size]
        assert int.from_bytes(place, "big") == one["mask"]
        assert getattr(cls(flags=one["name"]).flags, one["name"])


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("keygen_subtype", const.KEY_GENERATION_SUBTYPES),
        ("replay_method", const.REPLAY_METHODS),
        ("udp_tunnel_reply_code", const.UDP_TUNNEL_REPLY_CODES),
        ("mobnet_ack_code", const.MOBILE_NETWORK_CODES),
        ("ipv6_prefix_reply_code", const.IPV6_PREFIX_CODES),
        ("route_opt_reply_code", const.ROUTE_OPTIMIZATION_CODES),
        ("replay_protection_style", const.REPLAY_PROTECTION_STYLES),
        ("pmipv4_auth_method", const.PMIPV4_AUTHENTICATION_METHODS),
        ("pmipv4_device_id_type", const.PMIPV4_DEVICE_ID_TYPES),
        ("pmipv4_subscriber_id_type", const.PMIPV4_SUBSCRIBER_ID_TYPES),
        ("pmipv4_access_technology", const.PMIPV4_ACCESS_TECHNOLOGIES),
        ("flow_action", const.FLOW_ACTIONS),
        ("traffic_selector_format", const.TRAFFIC_SELECTOR_FORMATS),
        ("lla_subtype", const.LINK_LAYER_ADDRESS_SUBTYPES),
        ("nai_carrying_subtype", const.NAI_CARRYING_SUBTYPES),
    ],
)
def test_tables_are_those_of_the_registry(name, table):
    (entry,) = [one for one in registry.registry()["enum"] if one["name"] == name]
    assert {str(number): text for number, text in table.items()} == entry["values"]


def test_vendors_are_those_of_the_registry():
    listed = registry.registry()["vendor_extension"]
    assert {one["vendor_id"]: one["vendor"] for one in listed} == const.VENDORS


# Round trips


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
@quick
@given(seed=st.integers(0, 1 << 64))
def test_random_instance_is_the_same_after_dissection(cls, seed):
    extension = random_instance(cls, random.Random(seed))
    data = bytes(extension)
    alone = MIPExtension(data)
    assert type(alone) is cls
    assert bytes(alone) == data
    message = MIP(bytes(MIPRRQ()) + data + bytes(MIPNAI(nai="x")))
    listed = message.extensions
    assert [type(one) for one in listed] == [cls, MIPNAI]
    assert bytes(message)[24 : 24 + len(data)] == data
    for one in (alone, listed[0]):
        one.clear_cache()
        assert bytes(one) == data
        assert not one.is_cut
        for name, value in extension.fields.items():
            if one.get_field(name).__class__ is ConditionalField and not one.flags.S:
                continue  # its address is left out
            assert one.getfieldval(name) == value, name
        assert bytes(eval(one.command(), vars(scapy_mip.all))) == data
        one.summary()
        one.show(dump=True)


@pytest.mark.parametrize(("entry", "cls"), ENTRIES)
@quick
@given(seed=st.integers(0, 1 << 64))
def test_random_values_stand_at_the_offsets_of_the_registry(entry, cls, seed):
    extension = random_instance(cls, random.Random(seed))
    data = bytes(extension)
    start = item_offset(cls, entry)
    names = {cls.json_names.get(one.name, one.name): one for one in cls.fields_desc}
    for field in entry.get("fields", []):
        bits = field["bits"]
        if bits == "var" or field["name"] in ("type", "length"):
            continue
        first = (start + field["off"]) * 8 + field["bit"]
        found = int.from_bytes(data, "big") >> (len(data) * 8 - first - bits)
        found &= (1 << bits) - 1
        name = field["name"]
        if name not in names:
            assert found == getattr(extension.flags, name), name
        elif name != "bid_count":
            ours = names[name]
            value = extension.getfieldval(ours.name)
            built = ours.addfield(extension, b"", value)
            if isinstance(built, bytes):
                assert found == int.from_bytes(built, "big"), name
            else:
                assert found == value, name


# What is odd


@pytest.mark.parametrize(("entry", "cls"), ENTRIES)
def test_every_shorter_and_longer_body_keeps_its_bytes(entry, cls):
    if entry.get("type") == 0:
        return
    whole = bytes(random_instance(cls, random.Random(1)))
    header = cls.header_size
    following = bytes(MIPNAI(nai="after"))
    for size in {*range(min(len(whole) - header, 60)), len(whole) - header + 7}:
        body = (whole[header:] + bytes(7))[:size]
        lead = whole[: header // 2] + size.to_bytes(header // 2, "big")
        message = MIP(bytes(MIPRRQ()) + lead + body + following)
        assert bytes(message)[24:] == lead + body + following
        message.clear_cache()
        for one in message.extensions:
            one.clear_cache()
        assert bytes(message)[24:] == lead + body + following
        assert not any(one.is_cut for one in message.extensions)


@pytest.mark.parametrize(
    "cls",
    [cls for cls in every_class() if cls.only_subtype is not None],
    ids=lambda cls: cls.__name__,
)
def test_subtype_that_the_type_does_not_have_is_shown_plainly(cls):
    data = bytes(cls(subtype=200))
    extension = MIPExtension(data)
    assert type(extension) in (MIPExtension, MIPLongExtension)
    assert bytes(extension) == data


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
def test_edit_of_any_field_after_dissection_is_sent(cls):
    rng = random.Random(2)
    for field in cls.fields_desc:
        extension = random_instance(cls, rng)
        other = random_instance(cls, rng)
        message = MIP(bytes(MIPRRQ() / extension))
        value = other.getfieldval(field.name)
        if field.name in ("type", "length", "bid_count") or value is None:
            continue
        if isinstance(field, FlagsField):
            flags = message.extensions[0].flags
            letter = rng.choice(field.names)
            setattr(flags, letter, not getattr(flags, letter))
            value = flags.copy()
            if cls.__name__ == "MIPMRRouteOptimizationIndication":
                continue
        else:
            message.extensions[0].setfieldval(field.name, value)
        built = message.extensions[0].build()
        assert bytes(message)[24:] == built
        assert message.extensions[0].getfieldval(field.name) == value


def test_flag_of_an_extension_is_edited_in_place():
    message = MIP(bytes(MIPRRQ() / scapy_mip.all.MIPRevocationSupport(timestamp=5)))
    message.extensions[0].flags.I = 1
    assert bytes(message)[24:] == bytes.fromhex("89068000 00000005")
    message.extensions[0].flags.I = 0
    assert bytes(message)[24:] == bytes.fromhex("89060000 00000005")


def test_lists_in_an_extension_are_edited_in_place():
    address = scapy_mip.all.MIPCareOfAddress
    message = MIP(bytes(MIPRRQ() / address(care_of_addresses=["10.0.0.1"])))
    message.extensions[0].care_of_addresses[0] = "10.0.0.2"
    assert bytes(message)[24:].endswith(b"\x0a\0\0\2")


# Types that are met in two layouts


def kinds(data):
    return [type(one) for one in dissect_extensions(data)]


FOLLOWED = bytes(MIPNAI(nai="n" * 200)) + bytes(MIPNAI(nai="n" * 240)) * 4
"""So long that any length fits: only the layout itself can tell."""

TWO_LAYOUTS = [
    ("8b010004c0000201", "MIPDynamicHA"),
    ("8b020004c0000201", "MIPDynamicHA"),
    ("8b0501c0000201", "MIPDynamicHAShort"),
    ("8b050200000201", "MIPDynamicHAShort"),
    ("8b0501000000ff", "MIPDynamicHAShort"),
    ("9a01000401020380", "MIPMultipath"),
    ("9a050101020380", "MIPMultipathShort"),
    ("9a0200050101070155", "MIPFlowBinding"),
    ("9a060201010701aa", "MIPFlowBindingShort"),
    ("2f01000102", "MIPPMIPv4NonSkippable"),
    ("2f020102", "MIPPMIPv4NonSkippableShort"),
]


@pytest.mark.parametrize(("text", "name"), TWO_LAYOUTS)
@pytest.mark.parametrize("following", [b"", b"\x83\x01x", FOLLOWED])
def test_both_layouts_are_told_apart(text, name, following):
    """C-8: types of the long format below 128 and above."""
    data = bytes.fromhex(text)
    listed = dissect_extensions(data + following)
    assert type(listed[0]) is getattr(scapy_mip.all, name)
    assert all(type(one) is MIPNAI for one in listed[1:])
    assert b"".join(bytes(one) for one in listed) == data + following
    assert bytes(MIP(bytes(MIPRRQ()) + data + following))[24:] == data + following


@pytest.mark.parametrize(
    "name",
    [
        "Dynamic HA, RFC 4433 layout, requested HA",
        "Dynamic HA, short layout as Wireshark expects",
    ],
)
def test_dynamic_home_agent_of_the_vectors(name):
    data = bytes.fromhex(registry.vectors()[name]["extension"])
    (extension,) = dissect_extensions(data)
    assert (extension.subtype, extension.ha_address) == (1, "192.0.2.1")
    assert type(extension)(ha_address="192.0.2.1").build() == data


def test_replay_style_with_length_2_ends_behind_its_style():
    """C-10."""
    data = bytes.fromhex("8d020001") + bytes(MIPNAI(nai="x"))
    style, nai = dissect_extensions(data)
    assert (style.style, nai.nai) == (1, "x")
    assert bytes(style) + bytes(nai) == data


def test_replay_style_takes_its_identification_along_when_asked(monkeypatch):
    from scapy.config import conf

    data = bytes.fromhex("8d020001 d123456789abcdef") + bytes(MIPNAI(nai="x"))
    monkeypatch.setitem(conf.contribs["mip"], "lenient_replay_style", True)
    style, nai = MIP(bytes(MIPRRQ()) + data).extensions
    assert style.initial_identification == 0xD123456789ABCDEF
    assert (style.length, nai.nai) == (2, "x")
    style.clear_cache()
    assert bytes(style) == data[:12]


@pytest.mark.parametrize("old", [37, 133])
def test_items_are_known_under_the_obsolete_numbers(old):
    for (critical, *_key), cls in vendor_items().items():
        if critical == (old == 37):
            data = bytes(random_instance(cls, random.Random(3)))
            data = bytes([old]) + data[1:]
            (extension,) = dissect_extensions(data)
            assert type(extension) is cls
            assert bytes(extension) == data


@functools.cache
def long_messages():
    """Messages of 64 kB that consist of one extension over and over."""
    listed = []
    for cls in every_class():
        one = bytes(random_instance(cls, random.Random(4)))
        listed.append(one * (60000 // len(one) // 8))
    listed.append(b"\x32\x01\x00\x01\x00" * 2000)
    return listed


def test_long_messages_keep_their_bytes():
    for data in long_messages():
        message = MIP(bytes(MIPRRQ()) + data)
        assert bytes(message)[24:] == data


@pytest.mark.parametrize("count", [101, 255])
def test_lists_longer_than_scapy_allows_are_kept_whole(count):
    binding = scapy_mip.all.MIPFlowBinding(bids=[7] * count, traffic_selector=b"x")
    records = [MIPRoutePrefixRecord(flags="M", home_address="10.0.0.1")] * count
    told = scapy_mip.all.MIPRouteOptimizationData(records=records)
    message = MIP(bytes(MIPRRQ() / binding / told))
    assert message.extensions[0].bids == [7] * count
    assert len(message.extensions[1].records) == count
    for extension, made in zip(message.extensions, (binding, told), strict=True):
        extension.clear_cache()
        assert bytes(extension) == bytes(made)
