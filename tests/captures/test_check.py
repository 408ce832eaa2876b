# SPDX-License-Identifier: GPL-2.0-only
"""`mip check`: what it finds in recorded captures, and rule by rule in made ones."""

import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scapy.layers.inet import GRE, ICMP, IP, UDP
from scapy.packet import Raw
from scapy.utils import wrpcap

from mip_agents.captures.check import RULES, check_files
from mip_agents.captures.findings import Finding
from mip_agents.captures.junit import write_report
from scapy_mip.all import (
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
    MIPDiscoveryOneBytePadding,
    MIPExtension,
    MIPMinimalEncapsulation,
    MIPMobilityAgentAdvertisement,
    MIPPrefixLengths,
    SecurityAssociation,
)
from scapy_mip.ident import from_unix_ns
from scapy_mip.keyring import make_ring
from support.manifest import PCAPS, entries, ring_of

ROOT = Path(__file__).parents[2]
CHECKLIST = (ROOT / "tests/data/behaviour.md").read_text()

START = 1_700_000_000
MN, HA, FA = "10.1.2.5", "10.1.1.20", "10.1.2.1"
HOME = "10.1.1.10"
SHARED = SecurityAssociation(256, "1234567812345678")

NAMED = MIPNAI(nai="mn@example.org")
DELIVERY = MIPExtension(type=130, data=b"")
BEHIND_FOREIGN = [MIPMFAE(spi=400, authenticator=b"a" * 16), DELIVERY]


def stamp(at):
    return from_unix_ns(int((START + at) * 1e9))


def request(at=0.0, **fields):
    extensions = fields.pop("extensions", [MIPMHAE(association=SHARED)])
    ip = {"src": MN, "dst": HA, "ttl": 64} | fields.pop("ip", {})
    ports = {"sport": 434, "dport": 434} | fields.pop("udp", {})
    wanted = {
        "flags": "D",
        "lifetime": 100,
        "home_address": HOME,
        "home_agent": HA,
        "care_of_address": MN,
        "identification": stamp(at),
    }
    message = MIPRRQ(extensions=extensions, **(wanted | fields))
    return at, IP(**ip) / UDP(**ports) / message


def reply(at=0.01, **fields):
    extensions = fields.pop("extensions", [MIPMHAE(association=SHARED)])
    ip = {"src": HA, "dst": MN} | fields.pop("ip", {})
    ports = {"sport": 434, "dport": 434} | fields.pop("udp", {})
    wanted = {
        "code": 0,
        "lifetime": 100,
        "home_address": HOME,
        "home_agent": HA,
        "identification": stamp(0.0),
    }
    message = MIPRRP(extensions=extensions, **(wanted | fields))
    return at, IP(**ip) / UDP(**ports) / message


def advertisement(at=0.0, **fields):
    ip = {"src": FA, "dst": "224.0.0.1", "ttl": 1} | fields.pop("ip", {})
    icmp = {"entries": [FA], "lifetime": 9} | fields.pop("icmp", {})
    behind = fields.pop("behind", [])
    offer = {"flags": "RF", "care_of_addresses": [FA], "sequence_number": 0} | fields
    message = MIPAgentAdvertisement(
        extensions=[MIPMobilityAgentAdvertisement(**offer), *behind], **icmp
    )
    return at, IP(**ip) / message


def tunnelled(at, outer, inner, **ip):
    return (
        at,
        IP(src=outer[0], dst=outer[1], **ip) / IP(src=inner[0], dst=inner[1]) / ICMP(),
    )


@pytest.fixture
def judge(tmp_path):
    """Give a function that writes packets to a capture and returns what is found."""
    count = 0

    def run(*packets, keys=SHARED):
        nonlocal count
        count += 1
        path = tmp_path / f"{count}.pcap"
        made = []
        for at, packet in packets:
            built = Raw(bytes(packet))
            built.time = START + at
            made.append(built)
        wrpcap(str(path), made, linktype=101)
        ring = None if keys is None else make_ring(keys)
        return [(f.rule.id, f.frame) for f in check_files([path], ring)]

    return run


# Captures of others and of our own agents


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: Path(entry["file"]).stem)
def test_findings_are_those_of_the_manifest(entry):
    found = check_files([PCAPS / entry["file"]], ring_of(entry))
    assert Counter(finding.rule.id for finding in found) == entry["findings"]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.id)
def test_rules_and_their_sources_are_those_of_the_checklist(rule):
    (line,) = re.findall(rf"^- {rule.id} .*$", CHECKLIST, re.MULTILINE)
    section = rule.source.rpartition(" ")[2]
    assert section in line


# Rules


def test_registration_as_it_should_be_has_no_findings(judge):
    assert judge(request(), reply()) == []


@pytest.mark.parametrize(
    ("rule", "packet"),
    [
        ("COM-01", request(extensions=[Raw(b"\x40\2ab"), MIPMHAE(association=SHARED)])),
        (
            "COM-03",
            request(extensions=[MIPMHAE(association=SHARED), Raw(b"\x83\x40a")]),
        ),
        ("COM-03", request(extensions=[MIPMHAE(association=SHARED), Raw(b"\0\0\0")])),
        ("COM-06", request(udp={"chksum": 0})),
        ("COM-07", request(udp={"chksum": 0x1234})),
        ("COM-09", request(extensions=[MIPMHAE(spi=7, authenticator=b"a" * 16)])),
        ("COM-13", request(extensions=[MIPMHAE(spi=256, authenticator=b"a" * 16)])),
        ("COM-13", request(extensions=[MIPMHAE(spi=256, authenticator=b"")])),
        (
            "COM-15",
            request(
                extensions=[
                    MIPMFAE(spi=400, authenticator=b"a" * 16),
                    MIPMHAE(association=SHARED),
                ]
            ),
        ),
        (
            "MN-26",
            request(
                extensions=[
                    MIPMFAE(spi=400, authenticator=b"a" * 16),
                    MIPMHAE(association=SHARED),
                ]
            ),
        ),
        ("HA-06", request(extensions=[MIPNAI(nai="mn@example.org")])),
        ("HA-15", request(flags="Dr")),
        ("NAI-01", request(home_address="0.0.0.0")),
        ("MN-18", request(flags="", ip={"src": "10.9.9.9"})),
        ("NAI-01", request(extensions=[MIPMHAE(association=SHARED), NAMED])),
        ("MN-19", request(flags="", ip={"src": HOME, "dst": "224.0.0.11", "ttl": 2})),
        ("RT-03", request(extensions=[MIPMHAE(association=SHARED), DELIVERY])),
        (
            "RT-03",
            request(flags="DT", extensions=[DELIVERY, MIPMHAE(association=SHARED)]),
        ),
        (
            "RT-03",
            request(
                flags="DT",
                extensions=[MIPMHAE(association=SHARED), *BEHIND_FOREIGN],
            ),
        ),
        ("RT-02", request(flags="T", ip={"src": HOME, "dst": FA, "ttl": 1})),
    ],
)
def test_request_that_breaks_a_rule(judge, rule, packet):
    assert rule in {found for found, _ in judge(packet)}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("MN-31", {"extensions": []}),
        (
            "C-3",
            {
                "lifetime": 0,
                "extensions": [
                    MIPMHAE(association=SHARED),
                    MIPFHAE(spi=300, authenticator=b"a" * 16),
                ],
            },
        ),
        (
            "HA-27",
            {
                "extensions": [
                    MIPFHAE(spi=300, authenticator=b"a" * 16),
                    MIPMHAE(association=SHARED),
                ],
            },
        ),
        ("COM-18", {"lifetime": 200}),
        ("HA-25", {"ip": {"src": "10.1.1.1"}}),
        ("HA-25", {"udp": {"dport": 4340}}),
        ("HA-25", {"udp": {"sport": 4340}}),
        ("HA-14", {"home_agent": "10.1.1.21"}),
        ("HA-14", {"home_agent": "0.0.0.0"}),
        ("HA-24", {"home_address": "10.1.1.11"}),
        ("NAI-03", {"home_address": "0.0.0.0"}),
        ("FA-27", {"code": 66, "ip": {"src": "10.1.1.1"}}),
        ("FA-27", {"code": 66, "udp": {"dport": 4340}}),
        ("HA-29", {"identification": 5}),
        ("HA-31", {"identification": stamp(0.0) ^ (1 << 63)}),
    ],
)
def test_reply_that_breaks_a_rule(judge, rule, changes):
    assert (rule, 2) in judge(request(), reply(**changes))


def test_name_is_to_be_repeated_in_replies_of_home_agents(judge):
    asked = request(extensions=[NAMED, MIPMHAE(association=SHARED)])
    assert judge(asked, reply()) == [("NAI-03", 2)]
    assert judge(asked, reply(code=129)) == [("NAI-03", 2)]
    assert judge(asked, reply(code=66)) == []
    named = reply(extensions=[NAMED, MIPMHAE(association=SHARED)])
    assert judge(asked, named) == []


def test_home_agent_that_knows_the_foreign_agent_proves_itself(judge):
    proof = MIPFHAE(association=SecurityAssociation(300, "between agents"))
    asked = request(extensions=[MIPMHAE(association=SHARED), proof])
    assert judge(asked, reply(), keys=None) == [("HA-27", 2)]
    assert judge(asked, reply(lifetime=0), keys=None) == []


def test_home_address_that_a_reply_gives_is_that_of_the_node(judge):
    named = [NAMED, MIPMHAE(association=SHARED)]
    registration = (
        request(home_address="0.0.0.0", extensions=named),
        reply(extensions=named),
    )
    inner = ("10.1.9.9", HOME)
    assert judge(*registration, tunnelled(5, (HA, MN), inner)) == []
    astray = tunnelled(5, (HA, "10.1.2.77"), inner)
    assert judge(*registration, astray) == [("HA-33", 3)]
    raised = reply(lifetime=200, extensions=named)
    assert judge(registration[0], raised) == [("COM-18", 2)]


@pytest.mark.parametrize("home_agent", ["0.0.0.0", "255.255.255.255"])
def test_home_agent_may_be_asked_for(judge, home_agent):
    assert judge(request(home_agent=home_agent), reply()) == []


@pytest.mark.parametrize("network", ["10.1.1.255", "10.1.1.127"])
def test_discovery_of_the_home_agent_is_answered_by_the_one_there_is(judge, network):
    asked = request(home_agent=network, ip={"dst": network})
    assert judge(asked, reply(code=136)) == []
    assert ("HA-14", 2) in judge(asked, reply())


def test_reply_of_a_foreign_agent_needs_no_authentication(judge):
    assert judge(request(), reply(code=66, extensions=[])) == []


def test_identification_far_from_the_clock_is_not_to_be_accepted(judge):
    late = stamp(-3600)
    found = judge(request(identification=late), reply(identification=late))
    assert found == [("HA-30", 2)]


def test_older_identification_is_not_to_be_accepted(judge):
    found = judge(
        request(),
        reply(),
        request(at=2.0, identification=stamp(-1)),
        reply(at=2.1, identification=stamp(-1)),
    )
    assert found == [("HA-30", 4)]


def test_nonces_are_no_clocks(judge):
    asked, answered = 0x1234_0000_0000_0001, 0x9999_0000_0000_0001
    found = judge(request(identification=asked), reply(identification=answered))
    assert found == []


def test_order_and_repetition_of_nonces_mean_nothing(judge):
    first, second = 0x9234_0000_0000_0001, 0x1111_0000_0000_0002
    found = judge(
        request(identification=first),
        reply(identification=0x7777_0000_0000_0001),
        request(at=2, identification=second),
        (3.5, request(identification=second)[1]),
        reply(at=3.6, identification=0x5555_0000_0000_0002),
    )
    assert found == []


def test_bindings_that_are_older_than_the_capture_are_not_judged(judge):
    forged = request(extensions=[MIPMHAE(spi=256, authenticator=b"a" * 16)])
    denied = reply(code=131, lifetime=0)
    used = tunnelled(5, (HA, "10.7.7.7"), ("10.9.9.9", HOME))
    assert judge(forged, denied, used, keys=None) == []


def test_what_the_capture_has_cut_off_is_not_judged(tmp_path):
    whole = bytes(request()[1])
    path = tmp_path / "snapped.pcap"
    frame = Raw(whole[:54])
    frame.time = START
    wrpcap(str(path), [frame], linktype=101)
    assert list(check_files([path])) == []


def test_other_icmp_messages_are_passed_over_however_short(judge):
    assert judge((0, Raw(bytes(IP(src=MN, dst=HA, proto=1)) + b"\0" * 7))) == []


def test_resynchronisation_must_tell_the_time(judge):
    late = stamp(-3600)
    told = (stamp(0.0) & ~0xFFFFFFFF) | (late & 0xFFFFFFFF)
    asked = request(identification=late)
    assert judge(asked, reply(code=133, identification=late)) == [("HA-31", 2)]
    assert judge(asked, reply(code=133, identification=told)) == []


def test_too_many_bindings_of_an_agent_that_has_but_one(judge):
    found = judge(
        request(),
        reply(code=1),
        request(at=2.0, flags="SD"),
        reply(at=2.1, code=135, identification=stamp(2.0)),
    )
    assert found == [("HA-18", 4)]


def test_deregistration_cannot_be_one_binding_too_many(judge):
    found = judge(request(lifetime=0), reply(code=135, lifetime=0))
    assert found == [("HA-19", 2)]


def test_requests_come_no_faster_than_one_a_second(judge):
    assert judge(request(), request(at=0.5)) == [("MN-38", 2)]
    assert judge(request(), request(at=1.1)) == []
    assert judge(request(), reply(), request(at=0.5)) == []


def test_who_wants_something_else_need_not_wait_a_second(judge):
    """MN-38 is about retransmissions; of new purposes MN-15 counts the average."""
    assert judge(request(), request(at=0.5, lifetime=0)) == []
    moved = request(at=0.5, care_of_address="10.1.3.5", ip={"src": "10.1.3.5"})
    assert judge(request(), moved) == []
    assert judge(request(lifetime=0), request(at=0.5, lifetime=0)) == [("MN-38", 2)]


def test_request_is_not_sent_twice(judge):
    again = request()[1]
    found = judge(request(ip={"id": 1}), (1.5, again))
    assert found == [("MN-25", 2)]
    other = request(at=1.5, identification=stamp(0.0), lifetime=50)
    assert judge(request(), other) == [("MN-25", 2)]


def test_packet_that_passes_two_ports_is_one_packet(judge):
    found = judge(request(ip={"ttl": 64, "id": 7}), request(ip={"ttl": 63, "id": 7}))
    assert found == []


# Relays, over two captures


def relayed(**changes):
    fields = {"flags": "", "care_of_address": FA}
    node = request(**fields, ip={"src": HOME, "dst": FA, "ttl": 1})
    agent = request(at=0.001, **fields | changes, ip={"src": FA})
    return node, agent


def test_relay_leaves_alone_what_is_protected(tmp_path):
    found = {}
    for name, changes in {
        "good": {"identification": stamp(0.0)},
        "bad": {"identification": stamp(0.0), "flags": "G"},
    }.items():
        paths = []
        for number, (at, packet) in enumerate(relayed(**changes)):
            built = Raw(bytes(packet))
            built.time = START + at
            paths.append(tmp_path / f"{name}{number}.pcap")
            wrpcap(str(paths[-1]), [built], linktype=101)
        found[name] = [
            (one.rule.id, one.file, one.text) for one in check_files(paths, None)
        ]
    assert found["good"] == []
    ((rule, file, text),) = found["bad"]
    assert (rule, file) == ("FA-16", str(tmp_path / "bad1.pcap"))
    assert str(tmp_path / "bad0.pcap") in text


def test_relayed_reply_is_the_home_agents(judge):
    node, agent = relayed()
    there = reply(at=0.01, ip={"dst": FA})
    same = reply(at=0.02, ip={"src": FA, "dst": HOME})
    other = reply(at=0.02, ip={"src": FA, "dst": HOME}, lifetime=90)
    assert judge(node, agent, there, same) == []
    assert judge(node, agent, there, other) == [("FA-26", 4)]


# Discovery


def test_advertisements_as_they_should_be_have_no_findings(judge):
    found = judge(
        advertisement(),
        advertisement(at=3, sequence_number=1),
        advertisement(at=6, sequence_number=0),  # started again
        advertisement(at=7, ip={"dst": MN}, sequence_number=1),
    )
    assert found == []


def test_agents_of_one_subnet_all_give_prefix_lengths_or_none(judge):
    prefixes = [MIPPrefixLengths(prefix_lengths=[24])]
    other = {"ip": {"src": "10.1.2.2"}, "icmp": {"entries": ["10.1.2.2"]}}
    with_them, without = advertisement(behind=prefixes), advertisement()
    assert judge(with_them, advertisement(at=1, **other)) == [("AG-16", 2)]
    found = judge(without, advertisement(at=1, behind=prefixes, **other))
    assert found == [("AG-16", 2)]
    assert judge(with_them, advertisement(at=1, behind=prefixes, **other)) == []
    assert judge(without, advertisement(at=1, **other)) == []
    elsewhere = {"ip": {"src": "10.1.3.2"}, "icmp": {"entries": ["10.1.3.2"]}}
    assert judge(with_them, advertisement(at=1, **elsewhere)) == []


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("MN-20", {"flags": "D"}),
        ("MN-22", {"flags": "G"}),
        ("MN-22", {"flags": "M"}),
        ("MN-23", {"lifetime": 101}),
        ("MN-23", {"care_of_address": MN, "flags": "D", "lifetime": 101}),
    ],
)
def test_request_for_what_the_foreign_agent_does_not_offer(judge, rule, changes):
    offer = advertisement(registration_lifetime=100)
    wanted = {"flags": "", "care_of_address": FA, "ip": {"src": HOME, "dst": FA}}
    assert judge(offer, request(at=1, **wanted)) == []
    assert judge(offer, request(at=1, **(wanted | changes))) == [(rule, 2)]
    assert judge(request(at=1, **(wanted | changes))) == []


def test_request_for_what_the_foreign_agent_offers(judge):
    offer = advertisement(flags="FMG", registration_lifetime=100)
    wanted = {"care_of_address": FA, "ip": {"src": HOME, "dst": FA}}
    assert judge(offer, request(at=1, flags="MG", **wanted)) == []


def test_own_address_needs_no_offer_of_encapsulations(judge):
    offer = advertisement(registration_lifetime=100)
    at_agent = {"dst": FA}
    assert judge(offer, request(at=1, flags="DMG", ip=at_agent)) == []


def test_address_that_ends_in_255_may_be_a_host(judge):
    there = {"dst": "10.1.2.255"}
    assert judge(advertisement(ip=there)) == []
    prefixes = [MIPPrefixLengths(prefix_lengths=[16])]
    assert judge(advertisement(ip=there, behind=prefixes)) == []


@pytest.mark.parametrize(
    ("rule", "packet"),
    [
        ("AG-02", advertisement(ip={"ttl": 64})),
        (
            "AG-02",
            advertisement(
                ip={"dst": "10.1.2.255"}, behind=[MIPPrefixLengths(prefix_lengths=[24])]
            ),
        ),
        (
            "AG-02",
            advertisement(
                ip={"dst": "10.1.2.127"}, behind=[MIPPrefixLengths(prefix_lengths=[25])]
            ),
        ),
        ("AG-12", advertisement(flags="R", care_of_addresses=[])),
        ("AG-12", advertisement(flags="RH", care_of_addresses=[])),
        ("AG-12", advertisement(flags="F", care_of_addresses=[])),
        ("AG-13", advertisement(length=7)),
        ("AG-17", advertisement(behind=[MIPPrefixLengths(prefix_lengths=[24, 24])])),
        (
            "AG-18",
            advertisement(
                behind=[MIPDiscoveryOneBytePadding(), MIPDiscoveryOneBytePadding()]
            ),
        ),
        ("AG-21", advertisement(icmp={"checksum": 0x1234})),
        (
            "MN-05",
            (0, IP(src=FA, dst="224.0.0.1", ttl=1) / MIPAgentAdvertisement(code=16)),
        ),
        ("AG-21", (0, IP(src=MN, dst=FA, ttl=1) / MIPAgentSolicitation(code=5))),
        ("MN-01", (0, IP(src=MN, dst=FA, ttl=64) / MIPAgentSolicitation())),
    ],
)
def test_discovery_that_breaks_a_rule(judge, rule, packet):
    assert rule in {found for found, _ in judge(packet)}


def test_sequence_numbers_count_up(judge):
    found = judge(
        advertisement(sequence_number=7), advertisement(at=3, sequence_number=5)
    )
    assert found == [("AG-11", 2)]
    over = judge(
        advertisement(sequence_number=0xFFFF), advertisement(at=3, sequence_number=256)
    )
    assert over == []
    wrong = judge(
        advertisement(sequence_number=0xFFFF), advertisement(at=3, sequence_number=3)
    )
    assert wrong == [("AG-11", 2)]


def test_interval_leaves_room_for_one_that_is_lost(judge):
    slow = [advertisement(at=8 * n, sequence_number=n) for n in range(3)]
    assert judge(*slow) == [("AG-04", 3)]
    assert judge(*slow[:2]) == []  # its link may have been down


# Tunnels


def test_tunnels_of_a_binding_have_no_findings(judge):
    found = judge(
        request(),
        reply(),
        tunnelled(1, (HA, MN), ("10.9.9.9", HOME)),
        tunnelled(1, (MN, HA), (HOME, "10.9.9.9")),
        tunnelled(
            1, (HA, MN), ("10.9.9.9", "10.1.1.77")
        ),  # of this one nothing is known
    )
    assert found == []


def test_tunnel_has_a_form_that_was_asked_for(judge):
    there = (5.0, IP(src=HA, dst=MN) / GRE() / IP(src="10.9.9.9", dst=HOME) / ICMP())
    back = (5.1, IP(src=MN, dst=HA) / GRE() / IP(src=HOME, dst="10.9.9.9") / ICMP())
    found = judge(request(), reply(), there, back)
    assert found == [("HA-43", 3), ("RT-07", 4)]
    assert judge(request(flags="DG"), reply(), there, back) == []
    key = MIPExtension(type=48, data=b"\0\0\0\0\0\1")
    with_key = request(extensions=[MIPMHAE(association=SHARED), key])
    found = judge(with_key, reply(), there, back)
    assert not {"HA-43", "RT-07"} & {rule for rule, _ in found}


def test_packets_of_before_may_have_the_form_of_before(judge):
    renewal = request(at=9), reply(at=9.1, identification=stamp(9))
    inner = IP(src="10.9.9.9", dst=HOME) / ICMP()
    late, later = ((at, IP(src=HA, dst=MN) / GRE() / inner) for at in (9.5, 15.0))
    registration = request(flags="DG"), reply()
    assert judge(*registration, *renewal, late) == []
    assert judge(*registration, *renewal, later) == [("HA-43", 5)]


def test_key_that_a_foreign_agent_adds_counts_on_all_links_of_a_capture(judge):
    key = MIPExtension(type=48, data=b"\0\0\0\0\0\1")
    proof, relayed = MIPMHAE(association=SHARED), {"src": FA, "dst": HA}
    at_agent = {"flags": "", "care_of_address": FA}
    inner = IP(src="10.9.9.9", dst=HOME) / ICMP()
    found = judge(
        request(ip={"src": HOME, "dst": FA}, **at_agent),
        request(at=0.0, ip=relayed, extensions=[proof, key], **at_agent),
        reply(ip={"src": HA, "dst": FA}),
        reply(at=0.02, ip={"src": FA, "dst": HOME}),
        (5.0, IP(src=HA, dst=FA) / GRE() / inner),
    )
    assert "HA-43" not in {rule for rule, _ in found}


def test_home_agent_may_tunnel_before_its_reply_leaves(judge):
    asked = request(at=10, care_of_address=FA, ip={"src": FA}, flags="")
    early = tunnelled(10.01, (HA, FA), ("10.9.9.9", HOME))
    assert judge(asked, early) == []
    assert judge(request(), reply(), asked, early) == []


@pytest.mark.parametrize(
    ("rule", "outer", "inner", "at"),
    [
        ("HA-33", (HA, "10.7.7.7"), ("10.9.9.9", HOME), 5),
        ("HA-33", (HA, MN), ("10.9.9.9", HOME), 110),
        ("HA-35", ("10.1.1.99", MN), ("10.9.9.9", HOME), 5),
        ("RT-07", ("10.7.7.7", HA), (HOME, "10.9.9.9"), 5),
        ("RT-07", (MN, HA), (HOME, "10.9.9.9"), 110),
    ],
)
def test_tunnel_that_no_binding_wants(judge, rule, outer, inner, at):
    found = judge(request(), reply(), tunnelled(at, outer, inner))
    assert found == [(rule, 3)]


@pytest.mark.parametrize(
    ("rule", "packet"),
    [
        ("TUN-01", IP(src=HA, dst=MN) / IP(dst=HOME, ttl=0)),
        ("TUN-01", IP(src=HA, dst=MN) / IP(dst=HOME, flags="DF")),
        ("TUN-05", IP(src=HA, dst=MN, flags="MF") / MIPMinimalEncapsulation()),
        ("TUN-06", IP(src=HA, dst=MN) / MIPMinimalEncapsulation(header_checksum=1)),
        ("TUN-07", IP(src=HA, dst=MN) / GRE(version=1) / IP(dst=HOME)),
        ("TUN-07", IP(src=HA, dst=MN) / GRE(recursion_control=1) / IP(dst=HOME)),
    ],
)
def test_tunnel_that_breaks_a_rule(judge, rule, packet):
    assert (rule, 1) in judge((0, packet))


def test_whatever_comes_is_judged_without_raising(judge):
    rng = random.Random(8)
    packets = []
    for number in range(300):
        whole = bytes(request()[1]) if number % 2 else bytes(advertisement()[1])
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(20, len(damaged))] = rng.randrange(256)
        packets.append((number * 2, Raw(bytes(damaged[: rng.randrange(21, 99)]))))
    assert judge(*packets)


# The command


def mip_check(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_clean_capture_exits_with_0():
    done = mip_check(PCAPS / "recorded/mkiol-reg-dereg.pcap")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "no findings\n"


def test_findings_exit_with_1_and_are_lines_json_and_junit(tmp_path):
    capture, report = PCAPS / "recorded/proxymip4-agentadv.pcap", tmp_path / "j.xml"
    done = mip_check(capture)
    assert done.returncode == 1
    assert done.stdout == (
        "    3 error   AG-02  an advertisement with TTL 64 instead of 1 "
        "(RFC 5944 2.1)\n"
    )
    assert done.stderr == "1 error\n"
    done = mip_check(capture, "--json", "--junit", report)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "file": str(capture),
        "frame": 3,
        "severity": "error",
        "rule": "AG-02",
        "source": "RFC 5944 2.1",
        "text": "an advertisement with TTL 64 instead of 1",
    }
    (suite,) = ElementTree.parse(report).getroot()
    assert suite.get("tests") == str(len(RULES))
    failed = {case.get("name"): case.find("failure") for case in suite}
    failures = {name for name, failure in failed.items() if failure is not None}
    assert failures == {"AG-02 (RFC 5944 2.1)"}


def test_junit_report_is_xml_and_tells_captures_apart_whatever_their_names(tmp_path):
    names = [
        "a/same.pcap",
        "b/same.pcap",
        "<&\"'>]]>.pcap",
        "bell\a.pcap",
        "bell\\x07.pcap",
        "two\nlines.pcap",
        "no utf-8 \udcff.pcap",
        "\ufffe.pcap",
    ]
    report, rule = tmp_path / "j.xml", RULES["AG-02"]
    found = [Finding(name, 1, rule, name) for name in names]
    write_report(report, [*names, names[0]], found)
    suites = ElementTree.parse(report).getroot()
    shown = [suite.get("name") for suite in suites]
    assert shown[:3] == names[:3]
    assert len(set(shown)) == len(shown) == len(names)
    for suite in suites:
        assert suite.get("failures") == "1"
        assert {case.get("classname") for case in suite} == {suite.get("name")}


def test_each_line_is_one_whatever_the_names_of_captures(tmp_path):
    captures = [tmp_path / "two\nlines \x1b[31m.pcap", tmp_path / "other.pcap"]
    for capture in captures:
        shutil.copy(PCAPS / "recorded/proxymip4-agentadv.pcap", capture)
    lines = mip_check(*captures).stdout.splitlines()
    names = {line.partition(".pcap:")[0] for line in lines}
    assert names == {"two\\nlines \\x1b[31m", "other"}


@pytest.mark.parametrize("arguments", [["/gone.pcap"], ["--junit", "/gone/j.xml"]])
def test_unusable_input_is_one_line_and_exit_code_2(arguments):
    if arguments[0].startswith("--"):
        arguments = [PCAPS / "recorded/mkiol-reg-dereg.pcap", *arguments]
    done = mip_check(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "/gone" in done.stderr
