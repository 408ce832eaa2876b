# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and names against the protocol registry."""

import pytest

from scapy_mip import const
from scapy_mip.all import MIPRRP, MIPRRQ
from scapy_mip.base import MESSAGE_NAMES
from scapy_mip.extensions.base import EXTENSION_NAMES
from scapy_mip.registration import CODE_NAMES, REQUEST_FLAGS
from support import registry


def titles(enumeration):
    return {int(one): one.title for one in enumeration}


def test_message_types_are_those_of_the_registry():
    listed = {one["type"]: one["name"] for one in registry.registry()["message"]}
    assert titles(const.MessageType) == listed == MESSAGE_NAMES


def test_extension_types_are_those_of_the_registry():
    listed = {one["type"]: one["name"] for one in registry.control_extensions()}
    assert titles(const.ExtensionType) == listed == EXTENSION_NAMES


def test_long_format_is_that_of_the_registry():
    listed = {
        one["type"]
        for one in registry.control_extensions()
        if one["form"] in ("long", "cvse")
    }
    assert {int(one) for one in const.LONG_FORM_EXTENSIONS} == listed


@pytest.mark.parametrize(
    "entry", registry.control_extensions(), ids=lambda e: e["type"]
)
def test_skippable_is_what_the_registry_says(entry):
    assert (entry["type"] >= const.SKIPPABLE_MIN) == entry["skippable"]


def test_reply_codes_are_those_of_the_registry():
    listed = {
        one["code"]: (one["name"], one["issuer"], f"RFC {one['rfc']} {one['section']}")
        for one in registry.registry()["reply_code"]
    }
    ours = {
        int(one): (one.meaning, one.issuer.value, one.source) for one in const.ReplyCode
    }
    assert ours == listed
    assert {int(one) for one in const.REPLY_CODES} == set(listed)
    assert set(CODE_NAMES) == set(listed)


def test_codes_that_accept_are_those_below_64():
    for code in const.ReplyCode:
        assert code.accepted == (code < 64)
        assert code.text.endswith(code.meaning)
        assert code.accepted or code.text.startswith(code.issuer.value)


def test_flags_are_those_of_the_registry():
    listed = {
        one["name"]: one["mask"]
        for one in registry.registry()["flag"]
        if one["structure"] == "RRQ"
    }
    assert {one.name: int(one) for one in const.RequestFlag} == listed
    for place, letter in enumerate(REQUEST_FLAGS):
        assert listed[letter] == 1 << place
        assert bytes(MIPRRQ(flags=letter))[1] == listed[letter]


def test_encapsulations_are_those_of_the_registry():
    listed = {one["ip_protocol"] for one in registry.registry()["encapsulation"]}
    assert {int(one) for one in const.Encapsulation} <= listed


def test_port_is_that_of_the_registry():
    assert registry.registry()["transport"]["udp_port"] == const.MIP_PORT


@pytest.mark.parametrize("code", range(256))
def test_every_code_has_words_and_is_shown(code):
    text = const.describe_code(code)
    assert text
    assert text in MIPRRP(code=code).summary()
    assert (code in const.REPLY_CODES) != text.startswith("unassigned")


def test_slugs_are_those_of_json():
    assert const.slug("Mobile-Home Authentication") == "mobile_home_authentication"
    assert const.MessageType.HOME_TEST_INIT.slug == "home_test_init"
    for enumeration in (const.MessageType, const.ExtensionType):
        slugs = [one.slug for one in enumeration]
        assert len(set(slugs)) == len(slugs)
        assert all(one.replace("_", "").isalnum() for one in slugs)


def test_flags_are_written_by_their_letters():
    assert const.flag_letters(0xFF) == "SBDMGrTx"
    assert const.flag_letters(0) == ""
