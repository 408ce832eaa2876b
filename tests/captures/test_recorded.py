# SPDX-License-Identifier: GPL-2.0-only
"""Every capture of others decodes to what the manifest says of it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import wrpcap

from support.manifest import KINDS, PCAPS, entries, is_own

RECORDED = [entry for entry in entries() if not is_own(entry)]


def mip_decode(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", "decode", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_keys(folder, keys):
    path = folder / "keys.toml"
    path.write_text(
        "\n".join(
            f"[[security_association]]\nspi = {key['spi']}\n"
            f'algorithm = "{key["algorithm"]}"\nkey_text = "{key["key"]}"'
            for key in keys
        )
    )
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: Path(entry["file"]).stem)
def test_decode_gives_what_the_manifest_states(entry, tmp_path):
    arguments = ["--json", PCAPS / entry["file"]]
    if "keys" in entry:
        arguments += ["--keys", write_keys(tmp_path, entry["keys"])]
    run = mip_decode(*arguments)
    assert run.returncode == 0, run.stderr
    records = [json.loads(line) for line in run.stdout.splitlines()]
    registrations = [r for r in records if r["message"].startswith("registration")]
    extensions = [e for r in registrations for e in r["extensions"]]
    verdicts = Counter(e["verdict"] for e in extensions if "verdict" in e)
    assert Counter(KINDS[r["message"]] for r in records) == entry["counts"]
    assert Counter(
        str(r["fields"]["code"]) for r in registrations if "code" in r["fields"]
    ) == entry.get("codes", {})
    assert sorted({e["type"] for e in extensions}) == entry.get("extension_types", [])
    assert verdicts["invalid"] == entry.get("authenticators_that_do_not_verify", 0)
    assert verdicts["no-key"] == 0
    if "keys" in entry:
        assert verdicts["valid"] > 0


def test_every_capture_is_in_the_manifest_and_the_reverse():
    listed = {entry["file"] for entry in entries()}
    present = {str(path.relative_to(PCAPS)) for path in PCAPS.rglob("*.pcap*")}
    assert listed == present


def test_people_get_a_line_for_each_packet_and_totals():
    run = mip_decode(PCAPS / "recorded/mkiol-reg-dereg.pcap")
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert len(lines) == 6
    assert "RRQ 10.1.1.10 at 10.1.2.50 10 s DGT" in lines[0]
    assert "code 0 (registration accepted)" in lines[1]
    assert "3 registration_request, 3 registration_reply" in run.stderr


def test_a_wrong_key_is_said_to_be_invalid_and_a_missing_one_no_key(tmp_path):
    capture = PCAPS / "recorded/mkiol-reg-dereg.pcap"
    other = {"spi": 256, "key": "another key", "algorithm": "hmac-md5"}
    for spi, verdict in ((256, "invalid"), (999, "no-key")):
        keys = write_keys(tmp_path, [other | {"spi": spi}])
        run = mip_decode("--json", capture, "--keys", keys)
        records = [json.loads(line) for line in run.stdout.splitlines()]
        assert {e["verdict"] for r in records for e in r["extensions"]} == {verdict}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("missing.pcap", None, "No such file"),
        ("empty.pcap", b"", "empty.pcap: "),
        ("noise.pcap", b"this is no capture at all, is it?", "noise.pcap: "),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    run = mip_decode(path)
    assert run.returncode == 2
    assert len(run.stderr.strip().splitlines()) == 1
    assert says in run.stderr
    assert "Traceback" not in run.stderr


def test_a_capture_that_ends_in_a_frame_gives_all_before_and_says_so(tmp_path):
    whole = (PCAPS / "recorded/mkiol-reg-dereg.pcap").read_bytes()
    path = tmp_path / "cut.pcap"
    path.write_bytes(whole[:-10])
    run = mip_decode("--json", path)
    assert run.returncode == 2
    assert len(run.stdout.splitlines()) == 5
    assert run.stderr.strip().endswith("cut.pcap: frame 6: the file ends in it")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[security_association]]\nspi = 1\n", "give exactly one of"),
        ("[[security_association]]\nspi = 1\nkey_hex = 'zz'\n", "is no hex text"),
        ("[[security_association]]\nspi = 'x'\nkey_text = 'SECRET'\n", ".spi: must be"),
        ("[[security_association]]\nkey = 'SECRET'\n", ".key: unknown key"),
        ('[[security_association]]\n"a\\nb" = 1\n', "[0]: unknown key, allowed"),
        ("[security]\n", "only [[security_association]]"),
        ("spi = \n", "line 1"),
        (
            "[[security_association]]\nspi = 1\nalgorithm = 'rot13'\n",
            "allowed are hmac-md5",
        ),
    ],
)
def test_a_wrong_key_file_is_one_line_without_the_key(tmp_path, text, says):
    keys = tmp_path / "keys.toml"
    keys.write_text(text)
    run = mip_decode("--keys", keys, PCAPS / "recorded/mkiol-reg-dereg.pcap")
    assert run.returncode == 2
    assert says in run.stderr
    assert "SECRET" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("data", [b"\x01\x2a\0\x13", b"\x03\0\0"])
def test_a_registration_that_is_cut_short_is_a_line_like_others(tmp_path, data):
    packet = IP(src="10.1.2.5", dst="10.1.1.20") / UDP(sport=434, dport=434) / data
    path = tmp_path / "cut.pcap"
    wrpcap(str(path), [Raw(bytes(packet))], linktype=101)
    run = mip_decode(path)
    assert run.returncode == 0, run.stderr
    assert "COM-03" in run.stdout
