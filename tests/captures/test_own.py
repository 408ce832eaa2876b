# SPDX-License-Identifier: GPL-2.0-only
"""The captures of our own agents: what they hold, and that nothing is missing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mip_agents.protocol
from mip_agents.captures.check import check_files
from mip_agents.captures.reader import read_frames
from mip_agents.protocol import discovery, view
from scapy_mip.const import (
    DiscoveryExtensionType,
    Encapsulation,
    ExtensionType,
    ReplyCode,
)
from support.manifest import (
    MANIFEST,
    PCAPS,
    decoded,
    describe,
    entries,
    is_own,
    ring_of,
)
from support.recordings.own_entries import generated_part
from support.recordings.scenes import SCENES

OWN = [entry for entry in entries() if is_own(entry)]
ENGINES = Path(mip_agents.protocol.__file__).parent
JUDGES_OF_REPLIES = {"denials", "registrar", "reply_checks"}
"""Modules that name the reply codes of others."""


def name_of(entry):
    return Path(entry["file"]).stem


def named_in_engines(enumeration, but=frozenset()):
    """Return the members of an enumeration that the engines name."""
    found = set()
    for path in ENGINES.glob("*.py"):
        if path.stem in but:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == enumeration.__name__
            ):
                found.add(enumeration[node.attr])
    return found


def seen(kind):
    """Return all that is listed in the manifest's entries under a name."""
    return {int(one) for entry in OWN for one in entry.get(kind, ())}


@pytest.mark.parametrize("entry", OWN, ids=name_of)
def test_a_capture_holds_what_the_manifest_states(entry):
    """Messages, codes, extensions, verdicts, and findings with their frames."""
    about = {"file", "agents", "holds", "command", "by_hand", "keys"}
    stated = {name: value for name, value in entry.items() if name not in about}
    assert describe(entry) == stated


@pytest.mark.parametrize("entry", OWN, ids=name_of)
def test_nothing_is_found_but_in_what_was_crafted(entry):
    path = PCAPS / entry["file"]
    sources = {
        record["frame"]: record["src"] for record in decoded(path, ring_of(entry))
    }
    wrong = {frame for frames in entry.get("found_in", {}).values() for frame in frames}
    assert {sources[frame] for frame in wrong} <= set(entry.get("by_hand", ()))


@pytest.mark.parametrize(
    "scene",
    [one for one in SCENES.values() if len(one.links) > 1],
    ids=lambda s: s.name,
)
def test_what_a_foreign_agent_relays_is_the_same_on_both_sides(scene):
    """FA-16, FA-26"""
    paths = [PCAPS / f"own/{name}.pcap" for name in scene.links]
    found = {finding.rule.id for finding in check_files(paths)}
    assert not found & {"FA-16", "FA-26"}


def test_the_manifest_is_that_of_the_scenes():
    assert MANIFEST.read_text(encoding="utf-8").endswith(generated_part())


# Nothing is missing


def test_every_message_that_agents_make_is_captured():
    made = {
        name.removeprefix("build_")
        for module in (view, discovery)
        for name in vars(module)
        if name.startswith("build_")
    }
    messages = {
        record["message"] for entry in OWN for record in decoded(PCAPS / entry["file"])
    }
    missing = {kind for kind in made if not any(one.endswith(kind) for one in messages)}
    assert made
    assert missing == set()


def test_every_extension_that_agents_understand_is_captured():
    supported = view.UNDERSTOOD | named_in_engines(ExtensionType)
    assert ExtensionType.ENCAPSULATING_DELIVERY_STYLE in supported
    assert supported - seen("extension_types") == set()


def test_every_extension_of_discovery_that_agents_understand_is_captured():
    supported = discovery.UNDERSTOOD | named_in_engines(DiscoveryExtensionType)
    assert supported - seen("discovery_extension_types") == set()


def test_every_code_that_agents_reply_with_is_captured():
    given = named_in_engines(ReplyCode, but=JUDGES_OF_REPLIES)
    assert {0, 1, 64 + 2, 128 + 5} < given
    assert given - seen("codes") == set()


def test_every_encapsulation_is_captured():
    protocols = {
        record["type"]
        for entry in OWN
        for record in decoded(PCAPS / entry["file"])
        if "inner_src" in record["fields"]
    }
    assert set(Encapsulation) - protocols == set()


def test_keys_of_gre_packets_are_those_that_were_agreed_on():
    """TUN-08, TUN-09"""
    path = PCAPS / "own/gre-keys-core.pcap"
    agreed, used = {}, {}
    for record in decoded(path):
        for extension in record["extensions"]:
            if extension["type"] == ExtensionType.GRE_KEY:
                key = int(extension["fields"]["key_identifier"])
                agreed.setdefault(record["src"], set()).add(key)
    for frame in read_frames(path):
        packet = frame.packet
        if packet[9] == Encapsulation.GRE:
            assert packet[20] & 0x20, "no key"
            destination = ".".join(map(str, packet[16:20]))
            used.setdefault(destination, set()).add(
                int.from_bytes(packet[24:28], "big")
            )
    # Whoever names a key gets it in the packets that come.
    assert used.keys() == agreed.keys()
    assert all(used[address] <= agreed[address] for address in used)
