# SPDX-License-Identifier: GPL-2.0-only
"""How `mip decode` shows every extension."""

import json
import random

import pytest
from scapy.layers.inet import IP, UDP

from mip_agents.captures.decode import decode_frame
from mip_agents.captures.keys import load_keys
from mip_agents.captures.reader import Frame
from scapy_mip.all import MIPRRQ, extension_name, prefix_records
from scapy_mip.extensions.base import extension_classes, subtype_classes
from scapy_mip.extensions.vendor import vendor_items
from support import registry
from support.strategies import every_class, random_instance


def decoded(extension):
    """Return what is shown of one extension in a request."""
    message = bytes(MIPRRQ()) + bytes(extension)
    packet = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=434) / message)
    record, _packet = decode_frame(Frame(1, 0.0, packet))
    record = json.loads(json.dumps(record))
    (shown,) = record["extensions"]
    return shown, record["problems"]


def expected_names(entry):
    names = [field["name"] for field in entry.get("fields", [])]
    flags = [name for name in names if len(name) == 1]
    kept = {name for name in names if len(name) > 1} - {"type", "length"}
    return kept | ({"flags"} if flags else set())


def entries():
    by_type, by_subtype, items = extension_classes(), subtype_classes(), vendor_items()
    for entry in registry.control_extensions():
        yield entry, by_type[entry["type"]]
    for entry in registry.registry()["extension_subtype"]:
        yield entry, by_subtype[entry["type"], entry["subtype"]]
    for entry in registry.registry()["vendor_extension"]:
        key = entry["vendor_id"], entry["vendor_type"], entry.get("sub_type")
        yield entry, items[(entry["kind"] == "CVSE", *key)]


@pytest.mark.parametrize(
    ("entry", "cls"), [pytest.param(*one, id=one[1].__name__) for one in entries()]
)
def test_fields_have_the_names_of_the_registry(entry, cls):
    extension = random_instance(cls, random.Random(6))
    shown, problems = decoded(extension)
    names = {name for name in shown["fields"] if not name.startswith("reserved")}
    listed = expected_names(entry)
    listed = {name for name in listed if not name.startswith("reserved")}
    if "vendor_id" in entry:
        listed |= {"vendor_id", "vendor_type"}
    if cls.__name__ == "MIPMRRouteOptimizationIndication" and not extension.flags.S:
        listed.discard("mr_home_address")
    assert names == listed
    assert shown["type"] == int(cls.extension_type)
    assert shown["name"] == extension_name(shown["type"])
    assert problems == []


@pytest.mark.parametrize("cls", every_class(), ids=lambda cls: cls.__name__)
def test_every_extension_is_json(cls):
    for seed in range(5):
        decoded(random_instance(cls, random.Random(seed)))


def fields(name, **values):
    import scapy_mip.all

    return decoded(getattr(scapy_mip.all, name)(**values))[0]["fields"]


def test_values_are_shown_as_the_interfaces_fix_them():
    assert fields("MIPUDPTunnelRequest", flags="FR", encapsulation=47) == {
        "subtype": 0,
        "flags": "FR",
        "encapsulation": 47,
    }
    assert fields("MIPMessageString", text="grüß dich")["text"] == "grüß dich"
    assert fields("MIPMobileForeignChallenge", challenge=b"\1\xff") == {
        "challenge": "01ff"
    }
    assert fields("MIPReplayProtectionStyle", initial_identification=5) == {
        "style": 0,
        "initial_identification": "0000000000000005",
    }
    addresses = ["10.0.0.1", "10.0.0.2"]
    shown = fields("MIPCareOfAddress", care_of_addresses=addresses)
    assert shown["care_of_addresses"] == addresses
    assert fields("MIPIPv6PrefixRequest", prefix="2001:db8::")["prefix"] == "2001:db8::"
    assert fields("MIPVerizonMIPKeyData", key_data=b"\2")["payload"] == "02"
    assert fields("MIPFlowBinding", bids=[1, 2], traffic_selector=b"\3") == {
        "subtype": 2,
        "action": 1,
        "bid_count": 2,
        "bids": [1, 2],
        "ts_format": 1,
        "traffic_selector": "03",
    }


def test_records_are_nested():
    records = prefix_records([("10.0.0.1", "192.0.2.0/28", "a")])
    shown = fields("MIPRouteOptimizationData", records=records)["records"]
    assert shown == [
        {"flags": "M", "plen_or_info": 0, "home_address": "10.0.0.1"},
        {"flags": "", "plen_or_info": 28, "prefix": "c0000200", "realm": "016100"},
    ]


def test_bytes_behind_the_fields_are_shown():
    shown, problems = decoded(b"\x2d\x04\0\x40ab")
    assert shown["fields"] == {"subtype": 0, "status": 64, "trailing": "6162"}
    assert problems == []


def test_reserved_bits_are_shown_where_they_hold_news():
    assert fields("MIPRevocationSupport", reserved=1)["reserved"] == 1
    assert "reserved" not in fields("MIPRevocationSupport")


def test_an_authenticator_for_an_aaa_server_is_judged(tmp_path):
    """The SPI says how to compute it: RFC 4721 section 8."""
    vector = registry.vectors()["MN-AAA with SPI 2 (CHAP_SPI), 16 byte challenge"]
    keys = tmp_path / "keys.toml"
    entry = '[[security_association]]\nspi = 2\nkey_hex = "{}"\n'
    message = bytes.fromhex(vector["message"])
    packet = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=434) / message)
    for key, verdict in ((vector["key"], "valid"), ("00", "invalid")):
        keys.write_text(entry.format(key))
        record, _packet = decode_frame(Frame(1, 0.0, packet), load_keys(keys))
        assert record["extensions"][-1]["fields"]["spi"] == 2
        assert record["extensions"][-1]["verdict"] == verdict
