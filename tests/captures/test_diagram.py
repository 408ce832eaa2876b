# SPDX-License-Identifier: GPL-2.0-only
"""A sequence diagram shows who told whom what, and what is wrong with it."""

import random
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Raw
from scapy.utils import wrpcap

from mip_agents.captures.check import judge_files
from mip_agents.captures.diagram import diagram
from mip_agents.captures.observation import observe
from mip_agents.captures.reader import read_frames
from mip_agents.captures.sequence import MOST_STEPS, follow
from scapy_mip.all import MIPNAI, MIPRRP, MIPRRQ, KeyRing, SecurityAssociation

RECORDED = Path(__file__).parents[2] / "pcaps/recorded"
CLICK = [RECORDED / f"click-jv-{link}.pcap" for link in ("foreign", "public", "home")]
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """Return what a reader reads, and prove that it is XML."""
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def capture(path, *packets):
    """Write packets a tenth of a second apart."""
    frames = [Raw(bytes(packet)) for packet in packets]
    for number, frame in enumerate(frames):
        frame.time = 1_700_000_000 + number / 10
    wrpcap(str(path), frames, linktype=101)
    return path


def request(source, target, **fields):
    given = {"home_address": "10.1.1.10", "home_agent": "10.1.1.20"} | fields
    return IP(src=source, dst=target) / UDP(sport=434, dport=434) / MIPRRQ(**given)


def test_a_relayed_registration_is_a_hop_on_each_side_of_the_foreign_agent():
    sequence = follow(judge_files(CLICK))
    assert [one.role for one in sequence.lifelines] == ["MN", "FA", "HA"]
    node, foreign, home = sequence.lifelines
    assert list(foreign.addresses) == ["192.168.3.254", "192.168.0.3"]
    hops = [
        (step.source, step.target)
        for step in sequence.steps
        if step.title.startswith("Registration")
    ]
    assert hops[:4] == [
        (node, foreign),
        (foreign, home),
        (home, foreign),
        (foreign, node),
    ]


def test_a_packet_on_two_links_is_one_arrow_that_names_both(tmp_path):
    sent = request("10.1.2.5", "10.1.1.20", care_of_address="10.1.2.5", flags="D")
    paths = [capture(tmp_path / f"{name}.pcap", sent) for name in ("near", "far")]
    (step,) = follow(judge_files(paths)).steps
    assert step.frames == {"near": (1, 1), "far": (1, 1)}
    assert [mark.count for mark in step.marks if mark.rule.id == "HA-06"] == [1]


def test_a_packet_that_one_link_saw_twice_is_two_arrows(tmp_path):
    sent = request("10.1.2.5", "10.1.1.20", care_of_address="10.1.2.5", flags="D")
    near = capture(tmp_path / "near.pcap", sent, sent)
    far = capture(tmp_path / "far.pcap", sent)
    assert [len(s.frames) for s in follow(judge_files([near, far])).steps] == [2, 1]


def test_tunnelled_packets_between_two_messages_are_one_arrow_with_their_findings():
    paths = sorted(RECORDED.glob("click-texus-sbit-*.pcap"))
    tunnels = [s for s in follow(judge_files(paths)).steps if "IP-in-IP" in s.title]
    assert [step.title for step in tunnels] == [
        "28 packets, IP-in-IP",
        "16 packets, IP-in-IP",
    ]
    assert [(m.rule.id, m.count) for s in tunnels for m in s.marks] == [
        ("HA-35", 28),
        ("HA-35", 16),
    ]


def test_a_co_located_node_is_one_lifeline_wherever_it_is(tmp_path):
    moves = [
        request(care_of, "10.1.1.20", care_of_address=care_of, flags="D")
        for care_of in ("10.1.2.5", "10.1.3.5")
    ]
    sequence = follow(judge_files([capture(tmp_path / "a.pcap", *moves)]))
    assert [one.labels for one in sequence.lifelines] == [
        ["MN 10.1.1.10", "10.1.2.5", "10.1.3.5"],
        ["HA 10.1.1.20"],
    ]


def test_a_denial_names_its_code_and_a_verdict_its_key(tmp_path):
    path = RECORDED / "mkiol-denied-badauth.pcap"
    keys = tmp_path / "keys.toml"
    keys.write_text(
        '[[security_association]]\nspi = 256\nkey_text = "1234567812345678"'
    )
    target = tmp_path / "run.svg"
    run = mip_check("--diagram", target, "--keys", keys, path)
    shown = texts(target.read_text())
    assert run.returncode == 1
    assert "code 131, HA: mobile node failed authentication" in shown
    assert {"MHAE 256 invalid", "MHAE 256 valid", "COM-13", "frame 2"} <= set(shown)


def test_the_picture_that_is_kept_is_what_is_drawn_today():
    keys = KeyRing()
    keys.add(SecurityAssociation(256, "1234567812345678"))
    kept = (RECORDED.parent / "denied.svg").read_text()
    assert diagram([RECORDED / "mkiol-denied-badauth.pcap"], keys) == kept


def test_names_that_would_break_the_picture_are_escaped(tmp_path):
    named = request("10.1.2.5", "10.1.1.20", home_address="0.0.0.0")
    named = named / MIPNAI(nai='<&">\x01]]>')
    shown = texts(diagram([capture(tmp_path / "a<b>&.pcap", named)]))
    assert any('<&">' in text for text in shown)
    assert "Mobile IP in a<b>&" in shown


@pytest.mark.parametrize("path", sorted(RECORDED.iterdir()), ids=lambda path: path.stem)
def test_every_finding_of_a_recorded_capture_is_marked(path):
    found = {f.rule.id for _, findings in judge_files([path]) for f in findings}
    shown = {text.split(" \u00d7")[0] for text in texts(diagram([path]))}
    assert found <= shown


def test_a_capture_without_mobile_ip_says_so(tmp_path):
    path = capture(tmp_path / "a.pcap", IP(src="10.1.1.1", dst="10.1.1.2") / ICMP())
    picture = diagram([path])
    assert texts(picture) == ["no Mobile IP packet"]
    assert "<title>Mobile IP</title>" in picture


def test_what_is_not_drawn_is_counted(tmp_path):
    reply = IP(src="10.1.1.20", dst="10.1.2.5") / UDP(sport=434, dport=434) / MIPRRP()
    path = capture(tmp_path / "a.pcap", *[reply] * (MOST_STEPS + 7))
    assert "and 7 more that are not drawn" in texts(diagram([path]))


@pytest.mark.parametrize(
    ("name", "says"),
    [("run.png", "give a name that ends in .svg"), ("none/run.svg", "No such file")],
)
def test_a_picture_that_cannot_be_written_is_one_line(tmp_path, name, says):
    path = RECORDED / "mkiol-reg-dereg.pcap"
    run = mip_check("--diagram", tmp_path / name, path)
    assert run.returncode == 2
    assert says in run.stderr
    assert len(run.stderr.splitlines()) == 1


def mip_check(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def test_the_title_says_standard_input(tmp_path):
    picture = tmp_path / "run.svg"
    with (RECORDED / "mkiol-reg-dereg.pcap").open("rb") as capture:
        mip_check("--diagram", picture, "-", stdin=capture)
    assert "Mobile IP in standard input" in texts(picture.read_text())


def test_damaged_packets_give_a_picture_all_the_same(tmp_path):
    chance = random.Random(434)
    frames = [
        bytearray(frame.packet)
        for path in RECORDED.iterdir()
        for frame in read_frames(path)
        if observe(str(path), frame) is not None
    ]
    for _ in range(10):
        damaged = chance.sample(frames, 40)
        for packet in damaged:
            for _ in range(chance.randrange(6)):
                place = chance.randrange(12, min(len(packet), 110))
                packet[place] = chance.randrange(256)
        path = tmp_path / "damaged.pcap"
        wrpcap(str(path), [Raw(bytes(packet)) for packet in damaged], linktype=101)
        assert texts(diagram([path]))
