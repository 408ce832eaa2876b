# SPDX-License-Identifier: GPL-2.0-only
"""What `mip decode` reads and says: link types, file formats, streams, odd packets."""

import gzip
import io
import json
import os
import pty
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.packet import Raw

from mip_agents.captures.decode import decode_frame
from mip_agents.captures.formats import FormatError, read_records
from mip_agents.captures.lines import summary, usual
from mip_agents.captures.reader import CaptureError, Frame, read_frames
from scapy_mip.all import (
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPAgentAdvertisement,
    MIPMobilityAgentAdvertisement,
)
from support import pcap
from support.daemons import COMMAND, environment, mip

RECORDED = Path(__file__).parents[2] / "pcaps" / "recorded"


def request(**fields):
    fields = {"home_address": "10.1.1.10", "home_agent": "10.1.1.20", **fields}
    message = MIPRRQ(care_of_address="10.1.2.5", lifetime=600, **fields)
    return message / MIPMHAE(authenticator=bytes(16))


def datagram(message=None):
    carrier = IP(src="10.1.2.5", dst="10.1.1.20") / UDP(sport=434, dport=434)
    return bytes(carrier / Raw(bytes(message or request())))


ETHERNET = bytes(12)
IPV4, TAG, SERVICE_TAG = b"\x08\x00", b"\x81\x00\x00\x05", b"\x88\xa8\x00\x06"
LINK_TYPES = {
    "Ethernet": (1, ETHERNET + IPV4),
    "VLAN": (1, ETHERNET + TAG + IPV4),
    "QinQ": (1, ETHERNET + SERVICE_TAG + TAG + IPV4),
    "cooked": (113, bytes(14) + IPV4),
    "cooked VLAN": (113, bytes(14) + TAG + IPV4),
    "cooked v2": (276, IPV4 + bytes(18)),
    "raw": (101, b""),
    "raw IPv4": (228, b""),
    "null": (0, b"\2\0\0\0"),
    "null of a big-endian host": (0, b"\0\0\0\2"),
    "loop": (108, b"\0\0\0\2"),
}


@pytest.mark.parametrize("link_type", LINK_TYPES)
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_every_link_type_is_read_in_both_formats(tmp_path, link_type, form):
    number, start = LINK_TYPES[link_type]
    frame = start + datagram()
    other = start.replace(IPV4, b"\x86\xdd") + b"\x60" + bytes(60)
    path = tmp_path / f"a.{form}"
    if form == "pcap":
        path.write_bytes(pcap.pcap([other, frame], number))
    else:
        blocks = [pcap.section(), pcap.interface(number)]
        blocks += [pcap.packet(other), pcap.packet(frame)]
        path.write_bytes(b"".join(blocks))
    (found,) = read_frames(path)
    assert (found.number, found.packet) == (2, datagram())


@pytest.mark.parametrize(
    ("magic", "fraction"), [(0xA1B2C3D4, 250_000), (0xA1B23C4D, 250_000_000)]
)
@pytest.mark.parametrize("order", "<>")
def test_pcap_comes_in_two_byte_orders_and_two_resolutions(magic, fraction, order):
    data = pcap.header(101, order, magic) + pcap.record(b"x", 7, fraction, order)
    assert list(read_records(io.BytesIO(data))) == [(101, 7.25, b"x")]


@pytest.mark.parametrize("order", "<>")
def test_pcapng_has_interfaces_of_different_kinds_and_clocks(order):
    simple = struct.pack(f"{order}I", 3) + b"abc"
    nanoseconds = b"\x09"
    binary, later = b"\x82", struct.pack(f"{order}q", 1000)
    blocks = [
        pcap.section(order),
        pcap.interface(1, order, resolution=nanoseconds),
        pcap.interface(101, order, resolution=binary, offset=later),
        pcap.packet(b"one", 5 * 10**9 + 5 * 10**8, 0, order),
        pcap.block(0x0BAD, b"of an unknown kind", order),
        pcap.packet(b"two", 6, 1, order),
        pcap.block(3, simple, order),
        pcap.section("<"),
        pcap.interface(113, "<"),
        pcap.packet(b"four", 1),
    ]
    assert list(read_records(io.BytesIO(b"".join(blocks)))) == [
        (1, 5.5, b"one"),
        (101, 1001.5, b"two"),
        (1, 0.0, b"abc"),
        (113, 1e-6, b"four"),
    ]


PCAPNG = [pcap.section(), pcap.interface(101), *[pcap.packet(datagram())] * 2]


@pytest.mark.parametrize(
    "data",
    [
        pcap.pcap([datagram()] * 2),
        b"".join(PCAPNG),
        gzip.compress(pcap.pcap([datagram()] * 2)),
    ],
    ids=["pcap", "pcapng", "gzip"],
)
def test_a_capture_may_end_anywhere_but_says_so(tmp_path, data):
    path = tmp_path / "cut"
    path.write_bytes(data)
    assert len(list(read_frames(path))) == 2
    said = set()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        try:
            count = len(list(read_frames(path)))
        except CaptureError as error:
            said.add(str(error).removeprefix(f"{path}: "))
        else:
            # Exactly between two frames there is nothing to be seen.
            assert count < 2
    assert any(text.startswith("frame 2: ") for text in said)


def test_damage_is_a_line_and_no_memory():
    header = pcap.header()
    huge = struct.pack("<IIII", 0, 0, 0xFFFFFFF0, 100)
    with pytest.raises(FormatError, match="4294967280 bytes: the file is damaged"):
        list(read_records(io.BytesIO(header + huge)))
    for bad in (
        struct.pack("<II", 6, 0x7FFFFFF0),
        struct.pack("<II", 6, 13),
        pcap.block(6, b"short"),
        pcap.packet(b"x", number=3),
        pcap.block(6, struct.pack("<IIIII", 0, 0, 0, 900, 900)),
        pcap.block(3, struct.pack("<I", 900)),
        pcap.packet(b"x", (1 << 64) - 1),
        pcap.interface(101, offset=struct.pack("<q", -1)) + pcap.packet(b"x", 1, 1),
        pcap.block(1, b""),
        struct.pack("<III", 0x0A0D0D0A, 28, 0),
    ):
        data = pcap.section() + pcap.interface(101) + bad
        with pytest.raises(FormatError, match=r"damaged|does not have"):
            list(read_records(io.BytesIO(data)))


def start_on_stdin(*arguments, **more):
    return subprocess.Popen(
        [*COMMAND, *arguments, "-"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_packets_on_standard_input_are_shown_as_they_come(option):
    with start_on_stdin("decode", *option, bufsize=0) as process:
        for lifetime in (100, 200):
            if lifetime == 100:
                process.stdin.write(pcap.header())
            message = datagram(request(identification=lifetime, flags="D"))
            process.stdin.write(pcap.record(message, lifetime))
            line = process.stdout.readline()  # before the next one is sent
            if option:
                shown = json.loads(line)
                assert shown["fields"]["identification"] == f"{lifetime:016x}"
                assert shown["file"] == "-"
            else:
                assert f" {lifetime - 100}.000 10.1.2.5 > 10.1.1.20  RRQ" in str(line)
        process.stdin.write(b"123")
        process.stdin.close()
        assert process.stdout.read() == b""
        said = process.stderr.read().decode().splitlines()
        assert process.wait(20) == 2
    assert said == ["mip: standard input: frame 3: the file ends in it"]


def test_check_reads_cooked_frames_and_standard_input():
    capture = RECORDED / "mkiol-ident-mismatch.pcap"
    cooked = [bytes(14) + IPV4 + frame.packet for frame in read_frames(capture)]
    with start_on_stdin("check", "--json") as process:
        said, _ = process.communicate(pcap.pcap(cooked, 113), timeout=60)
    findings = [json.loads(line) for line in said.splitlines()]
    assert [(one["frame"], one["rule"]) for one in findings if one["frame"] == 2] == [
        (2, "HA-31")
    ]


def decoded(packet):
    found = decode_frame(Frame(1, 0.0, packet))
    return found and found[0]


def packets():
    """Return the IPv4 packets of every recording, and some of our own."""
    for path in sorted(RECORDED.iterdir()):
        for frame in read_frames(path):
            yield frame.packet
    for flags in range(256):
        yield datagram(request(flags=flags, home_agent="10.1.1.21"))
    for code in range(256):
        reply = MIPRRP(code=code, home_address="10.1.1.10", lifetime=7)
        yield datagram(reply / MIPNAI(nai="mn@example.org") / MIPMHAE())


def test_the_fast_lines_say_what_the_decoder_says():
    count = 0
    for packet in packets():
        found = usual(packet)
        if found is None:
            continue
        count += 1
        record = decoded(packet)
        ends = f"{record['src']} > {record['dst']}"
        assert found.text == f"{ends}  {summary(record)}"
        assert found.message == record["message"]
        assert found.code == record["fields"].get("code")
        assert record["problems"] == []
    assert count > 512


def test_the_fast_lines_leave_odd_packets_to_the_decoder():
    rng = random.Random(8)
    whole = [datagram(), datagram(MIPRRP() / MIPNAI(nai="a@b") / MIPMHAE())]
    whole.append(bytes(IP(src="1.2.3.4", proto=4) / IP(dst="5.6.7.8") / Raw(b"x")))
    for _ in range(4000):
        data = bytearray(rng.choice(whole))
        for _change in range(rng.randint(1, 3)):
            data[rng.randrange(20 if rng.random() < 0.3 else len(data))] = rng.choice(
                (0, 1, 255, rng.randrange(256))
            )
        packet = bytes(data[: rng.choice((len(data), rng.randint(20, len(data))))])
        found = usual(packet)
        if found is not None:
            record = decoded(packet)
            assert record["problems"] == []
            assert found.text.endswith(f"  {summary(record)}")
            assert found.message == record["message"]


def test_a_fragment_and_a_packet_that_was_cut_are_a_line_without_blame():
    long = request() / MIPNAI(nai="n" * 200 + "@example.org")
    carrier = IP(src="10.1.2.5", dst="10.1.1.20", id=7) / UDP(sport=434, dport=434)
    first, *rest = fragment(carrier / Raw(bytes(long)), 64)
    record = decoded(bytes(first))
    assert record["incomplete"] == {"why": "fragment", "bytes": 56, "length": 260}
    assert record["fields"]["home_address"] == "10.1.1.10"
    assert record["problems"] == []
    assert summary(record).endswith("600 s (fragment: 56 of 260 bytes)")
    assert [decoded(bytes(one)) for one in rest] == [None] * len(rest)
    record = decoded(datagram()[:60])
    assert record["incomplete"] == {"why": "truncated", "bytes": 32, "length": 46}
    assert record["problems"] == []
    assert summary(record).endswith("(truncated: 32 of 46 bytes)")
    # A length that lies is the sender's fault.
    lying = bytearray(datagram())
    lying[24:26] = (300).to_bytes(2, "big")
    assert "incomplete" not in decoded(bytes(lying))


def test_an_icmp_error_that_quotes_a_message_is_a_line_for_people_alone(tmp_path):
    error = IP(src="10.1.1.20", dst="10.1.2.5") / ICMP(type=3, code=3)
    path = tmp_path / "error.pcap"
    other = IP(src="10.1.2.5", dst="10.1.1.20") / UDP(sport=53, dport=53) / Raw(b"x")
    frames = [bytes(error / Raw(datagram())), bytes(error / Raw(bytes(other)))]
    path.write_bytes(pcap.pcap(frames))
    done = mip("decode", path)
    (line,) = done.stdout.splitlines()
    assert line.endswith(
        "10.1.1.20 > 10.1.2.5  ICMP port unreachable, "
        "about 10.1.2.5 > 10.1.1.20 registration_request"
    )
    assert done.stderr == "1 icmp_error\n"
    assert mip("decode", "--json", path).stdout == ""


def test_an_advertisement_has_the_fields_of_its_extensions():
    offer = MIPMobilityAgentAdvertisement(
        flags="FT", sequence_number=5, care_of_addresses=["10.1.2.1"]
    )
    made = MIPAgentAdvertisement(entries=["10.1.2.1"]) / offer
    record = decoded(bytes(IP(src="10.1.2.1", dst="224.0.0.1") / made))
    (extension,) = record["extensions"]
    assert extension["name"] == "mobility_agent_advertisement"
    assert extension["fields"] == {
        "sequence_number": 5,
        "registration_lifetime": 1800,
        "flags": "FT",
        "care_of_addresses": ["10.1.2.1"],
    }
    said = "agent_advertisement FT 1800 s sequence 5 CoA 10.1.2.1"
    assert summary(record) == said


def test_the_tree_shows_messages_and_what_is_in_tunnels(tmp_path):
    tunnelled = IP(src="10.1.1.20", dst="10.1.2.5") / IP(dst="10.1.1.10") / Raw(b"x")
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap.pcap([datagram(), bytes(tunnelled)]))
    said = mip("decode", "-v", path).stdout
    assert "Mobile-Home Authentication" in said
    assert said.count("###[ IP ]###") == 2


_PEAK = """\
import re, sys
from pathlib import Path
from mip_agents.cli import main
main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""
_MARGIN_KIB = 2048


@pytest.mark.parametrize(
    ("option", "few", "many"), [([], 5_000, 50_000), (["--json"], 1_000, 10_000)]
)
def test_memory_does_not_grow_with_the_capture(tmp_path, option, few, many):
    frame = datagram()

    def peak_kib(count):
        path = tmp_path / f"{count}.pcap"
        path.write_bytes(pcap.pcap([frame] * count))
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, "decode", *option, path],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        return int(done.stderr.splitlines()[-1])

    assert peak_kib(many) < peak_kib(few) + _MARGIN_KIB


def test_progress_of_a_large_file_is_shown_to_a_terminal(tmp_path):
    path = tmp_path / "large.pcap"
    bulk = bytes(IP(src="10.1.2.5", dst="10.9.9.9") / UDP(sport=9, dport=9)) + bytes(
        8000
    )
    path.write_bytes(pcap.pcap([bulk] * 2300 + [datagram()]))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "decode", str(path)],
        env=environment(TERM="xterm"),
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
        assert process.stdout.read().count(b"RRQ") == 1
    os.close(ours)
    assert b"decoding" in said
    assert b"%" in said


def _read(terminal):
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""
