# SPDX-License-Identifier: GPL-2.0-only
"""Every entry of every table of the registry has its place in `scapy_mip`.

What the places hold is for the other tests; here nothing may be missing.
"""

import pytest

from support import accounting, registry

TABLES = sorted(accounting.FINDERS)
SIZES = {
    "message": 18,
    "extension": 55,
    "extension_subtype": 22,
    "vendor_extension": 15,
    "icmp": 3,
    "encapsulation": 6,
    "reply_code": 76,
    "reply_code_range": 7,
    "flag": 43,
    "enum": 26,
    "auth_algorithm": 6,
    "reserved_spi": 5,
    "reserved_spi_range": 1,
}
"""What the registry had when this was written: a shorter one would prove less."""


def test_every_table_is_accounted_for():
    named = {*TABLES, *accounting.PROSE, "constants"}
    assert named == set(registry.registry())
    assert {t: len(accounting.homes(t)) for t in TABLES} == SIZES


@pytest.mark.parametrize("table", TABLES)
def test_every_entry_has_a_home(table):
    homes = accounting.homes(table)
    missing = [name for name, home in homes if home is None]
    print(f"{table}: {len(homes) - len(missing)} of {len(homes)}")
    assert not missing


def test_every_constant_is_accounted_for():
    listed = set(registry.registry()["constants"])
    assert listed == {*accounting.CONSTANTS, *accounting.BEHAVIOUR}
    assert not accounting.BEHAVIOUR & set(accounting.CONSTANTS)


@pytest.mark.parametrize("name", sorted(accounting.CONSTANTS))
def test_constant_is_that_of_the_registry(name):
    assert accounting.CONSTANTS[name] == registry.registry()["constants"][name]


def test_entry_without_a_home_is_noticed():
    finders = accounting.FINDERS
    assert finders["message"]({"type": 99}) is None
    assert finders["extension"]({"space": "control", "type": 99}) is None
    assert finders["extension_subtype"]({"type": 138, "subtype": 99}) is None
    assert finders["icmp"]({"type": 99}) is None
    assert finders["encapsulation"]({"ip_protocol": 254}) is None
    assert finders["reply_code"]({"code": 250}) is None
    wrong = {"low": 64, "high": 127, "meaning": "HA errors"}
    assert finders["reply_code_range"](wrong) is None
    assert finders["flag"]({"structure": "RRQ", "name": "Q"}) is None
    assert finders["enum"]({"values": {"0": "nothing like it"}}) is None
    assert finders["auth_algorithm"]({"ident": "rot13"}) is None
    assert finders["reserved_spi"]({"spi": 256}) is None
