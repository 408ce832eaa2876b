# SPDX-License-Identifier: GPL-2.0-only
"""Identification: integers only, right across the era change of 2036."""

import ast
import importlib.util
import pathlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scapy_mip import ident
from scapy_mip.all import MIP, MIPRRP, MIPRRQ
from support.strategies import unsigned

ERA = 1 << 64
SECOND = 1 << 32


def integer_only_files():
    """Every file in which an Identification is computed."""
    names = ["scapy_mip.ident", "mip_agents.protocol.replay"]
    found = [importlib.util.find_spec(name) for name in names]
    return [pathlib.Path(spec.origin) for spec in found if spec]


CLOCKS = {"time", "timestamp", "total_seconds", "fromtimestamp", "utcfromtimestamp"}


def makes_fraction(node):
    match node:
        case ast.Constant(value=float() | complex()):
            return True
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return True
        case ast.Name(id="float" | "math"):
            return True
        case ast.Attribute(attr=name):
            return name in CLOCKS
    return False


def fractions(tree):
    """Nodes of a syntax tree that could make a float."""
    return [node for node in ast.walk(tree) if makes_fraction(node)]


@pytest.mark.parametrize("path", integer_only_files(), ids=lambda path: path.name)
def test_no_fraction_is_made(path):
    found = [f"line {node.lineno}" for node in fractions(ast.parse(path.read_text()))]
    assert found == []


@pytest.mark.parametrize(
    "source", ["x = 0.5", "x = a / b", "x /= 2", "float(x)", "time.time()"]
)
def test_fractions_would_be_found(source):
    assert fractions(ast.parse(source))


def test_unix_epoch_is_where_rfc_5905_has_it():
    assert ident.from_unix_ns(0) == 2208988800 << 32
    assert ident.to_unix_ns(2208988800 << 32) == 0


@given(st.integers(0, (2085978496 - 1) * 10**9))
def test_nanoseconds_survive_up_to_the_resolution(unix_ns):
    number = ident.from_unix_ns(unix_ns)
    assert isinstance(number, int)
    assert 0 <= number < ERA
    assert 0 <= unix_ns - ident.to_unix_ns(number) <= 1


@given(unsigned(64))
def test_ntp_time_survives_up_to_a_nanosecond(number):
    again = ident.from_unix_ns(ident.to_unix_ns(number))
    assert 0 <= ident.difference(number, again) <= 5  # 2**32 / 10**9 and a bit


@given(unsigned(64))
def test_halves_make_the_whole(number):
    high, low = ident.split(number)
    assert ident.join(high, low) == number
    assert 0 <= high < SECOND
    assert 0 <= low < SECOND


@given(st.integers(), st.integers())
def test_join_takes_the_low_bits_of_each(high, low):
    assert 0 <= ident.join(high, low) < ERA


@given(unsigned(64), st.integers(-(1 << 63), (1 << 63) - 1))
def test_difference_is_the_nearer_way_around(number, step):
    assert ident.difference((number + step) % ERA, number) == step


def test_era_changes_in_2036_without_a_jump():
    last = 2085978495 * 10**9 + 999_999_999
    before, after = ident.from_unix_ns(last), ident.from_unix_ns(last + 1)
    assert before >> 32 == 0xFFFFFFFF
    assert after == 0
    assert 0 < ident.difference(after, before) < SECOND
    assert ident.difference(before, after) < 0
    assert ident.difference(after + ident.seconds(5), before) >= ident.seconds(5)


def test_seconds_are_the_high_half():
    assert ident.seconds(7) == 7 << 32
    assert ident.difference(ident.seconds(9), ident.seconds(2)) == ident.seconds(7)


def test_now_is_about_now():
    number = ident.from_unix_ns(time.time_ns())
    assert str(time.gmtime().tm_year) in ident.format_ntp(number)


@given(unsigned(64))
def test_every_number_has_a_text(number):
    assert ident.format_ntp(number).endswith(" UTC")
    assert str(MIPRRQ(identification=number).show(dump=True))


@given(unsigned(64))
def test_all_64_bits_survive_the_layers(number):
    for cls in (MIPRRQ, MIPRRP):
        received = MIP(bytes(cls(identification=number)))
        assert received.identification == number
        assert isinstance(received.identification, int)
        received.lifetime = 1
        assert MIP(bytes(received)).identification == number
