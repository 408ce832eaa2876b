# SPDX-License-Identifier: GPL-2.0-only
"""The whole demonstration through the command line, and what its captures hold."""

import hashlib
import hmac
import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from mip_agents.lab import plot
from mip_agents.lab.agents import KEY, SPI
from mip_agents.lab.capture import LINKS
from mip_agents.lab.demo import DemoOptions, run_demo
from mip_agents.lab.topology import CORRESPONDENT, HOME_ADDRESS, HOME_AGENT

COMMAND = [sys.executable, "-m", "mip_agents.cli", "demo"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
CARE_OF = ("10.1.2.5", "10.1.3.5")
TOO_BIG = b"\3\4"
"""Type and code of an ICMP error about the size of a packet."""
PROTOCOL = {"ipip": 4, "gre": 47}

needs_sandbox = pytest.mark.usefixtures("sandbox")


@pytest.mark.demo
@pytest.mark.netns
@needs_sandbox
@pytest.mark.parametrize("encapsulation", ["ipip", "gre"])
def test_traffic_survives_the_journey(tmp_path, encapsulation):
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "--encapsulation", encapsulation, "--folder", str(folder)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    logs = "".join(
        f"\n{path.name}:\n{path.read_text()}" for path in folder.glob("*.log")
    )
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "Traceback" not in done.stdout + done.stderr + logs
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) <= 80 + len(str(folder))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["failure"] is None
    assert summary["agents"] == {"ha": 0, "mn": 0}
    assert len(summary["handovers"]) == 3
    assert all(move["longest_gap_ms"] < 1000 for move in summary["handovers"])

    captures = {name: read_headers(folder / f"{name}.pcap") for name in LINKS}
    check_registrations(captures["internet"])
    check_tunnels(captures["internet"], PROTOCOL[encapsulation])
    for name, care_of in zip(("visited-a", "visited-b"), CARE_OF, strict=True):
        assert (care_of, HOME_AGENT) in {header[:2] for header in captures[name]}
    # The correspondent knows the home address alone: mobility is transparent to it. But
    # a TCP that catches up has full segments, too large for a tunnel (RFC 1191).
    assert {
        (source, destination)
        for source, destination, protocol, payload in captures["correspondent"]
        if (source, protocol, payload[:2]) != (HOME_AGENT, 1, TOO_BIG)
    } == {
        (CORRESPONDENT, HOME_ADDRESS),
        (HOME_ADDRESS, CORRESPONDENT),
    }
    if shutil.which("tshark"):
        for name in LINKS:
            check_not_malformed(folder / f"{name}.pcap")


def read_headers(path):
    """Return source, destination, protocol and payload of every IPv4 unicast packet.

    By hand, because dissecting all of them would take longer than the journey.
    """
    found = []
    with RawPcapReader(str(path)) as reader:
        for frame, _ in reader:
            packet = frame[14:]
            if frame[12:14] == b"\x08\0" and packet[16] < 224:
                source, destination = map(
                    socket.inet_ntoa, (packet[12:16], packet[16:20])
                )
                length = int.from_bytes(packet[2:4], "big")
                payload = packet[(packet[0] & 15) * 4 : length]
                found.append((source, destination, packet[9], payload))
    return found


def check_registrations(headers):
    """Requests from both networks, accepted replies, each with a valid MHAE."""
    messages = [
        (source, destination, payload[8:])
        for source, destination, protocol, payload in headers
        if protocol == 17 and 434 in struct.unpack("!HH", payload[:4])
    ]
    types = {
        (source, destination, message[0]) for source, destination, message in messages
    }
    for care_of in CARE_OF:
        assert {(care_of, HOME_AGENT, 1), (HOME_AGENT, care_of, 3)} <= types
    for _, _, message in messages:
        # The MHAE comes last here: type 32, length 20, SPI, HMAC-MD5 over all before.
        head, authenticator = message[:-16], message[-16:]
        assert head[-6:] == bytes((32, 20)) + SPI.to_bytes(4, "big")
        assert hmac.digest(KEY, head, hashlib.md5) == authenticator
        if message[0] == 3:
            assert message[1] == 0


def check_tunnels(headers, protocol):
    """Both directions through tunnels to both care-of addresses, and no others."""
    wanted = set()
    for care_of in CARE_OF:
        wanted |= {(HOME_AGENT, care_of, protocol), (care_of, HOME_AGENT, protocol)}
    tunnelled = {header[:3] for header in headers if header[2] in PROTOCOL.values()}
    assert tunnelled == wanted


def check_not_malformed(path):
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Y", "_ws.malformed"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""


def processes_with(text):
    """Return the process numbers whose command line has `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if text.encode() in command and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


@pytest.mark.demo
@pytest.mark.netns
@needs_sandbox
def test_interrupt_takes_everything_down(tmp_path):
    folder = tmp_path / "interrupted"
    with subprocess.Popen(
        [*COMMAND, "--folder", str(folder)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if "wlan0 associated" in line:
                break
        assert len(processes_with(f"{folder}/")) >= 2  # the agents, at least
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    assert errors == ""
    assert processes_with(str(folder)) == []


LESSON = """\
title = "The home agent dies while the node is away"
start = { eth0 = "home" }
steps = [
    { wait = 1 },
    { move = "home -> visited A" },
    { unplug = "eth0" },
    { plug = "wlan0", into = "visited-a" },
    { traffic = "again" },
    { move = "whole -> cut" },
    { delay = "visited-a", ms = 30 },
    { cut = "visited-a" },
    { wait = 0.5 },
    { mend = "visited-a" },
    { traffic = "again" },
    { move = "home agent -> home agent" },
    { kill = "ha" },
    { start = "ha" },
    { traffic = "again" },
]
[traffic]
longest_gap = 8
"""


@pytest.mark.demo
@pytest.mark.netns
@needs_sandbox
def test_scenario_is_played_as_it_is_written(tmp_path):
    lesson, folder = tmp_path / "lesson.toml", tmp_path / "demo"
    lesson.write_text(LESSON)
    done = subprocess.run(
        [*COMMAND, "--scenario", str(lesson), "--folder", str(folder), "--json"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["scenario"] == "The home agent dies while the node is away"
    assert summary["agents"] == {"ha": 0, "mn": 0}
    moves = {move["from"]: move for move in summary["handovers"]}
    assert list(moves) == ["home", "whole", "home agent"]
    assert moves["whole"]["longest_gap_ms"] >= 500
    assert moves["whole"]["tcp"] == "up"
    told = [(entry["who"], entry["event"]) for entry in summary["timeline"]]
    assert ("ha", "is killed") in told
    assert told.index(("ha", "is killed")) < told.index(("ha", "is started"))
    details = [entry["detail"] for entry in summary["timeline"]]
    assert "30 ms of delay each way" in details


def test_wrong_scenario_is_one_line_and_exit_code_2(tmp_path, capfd):
    lesson = tmp_path / "lesson.toml"
    lesson.write_text("steps = [{ wait = 1 }, { walk = 2 }]")
    options = DemoOptions(scenario=lesson, folder=tmp_path / "demo")
    assert run_demo(options) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"mip demo: {lesson}: steps[1]: allowed: wait, move, ")
    assert error.count("\n") == 1
    assert not (tmp_path / "demo").exists()


def test_two_scenarios_at_once_are_refused(tmp_path, capfd):
    options = DemoOptions(scenario=tmp_path / "x.toml", foreign_agent=True)
    assert run_demo(options) == 2
    assert "leave one of both out" in capfd.readouterr().err


def test_unknown_encapsulation_is_one_line_and_exit_code_2(tmp_path, capfd):
    options = DemoOptions(encapsulation="sneakernet", folder=tmp_path / "demo")
    assert run_demo(options) == 2
    assert capfd.readouterr().err == (
        "mip demo: no encapsulation sneakernet: use one of ipip, gre\n"
    )
    assert not (tmp_path / "demo").exists()


def test_demo_without_a_data_plane_is_refused(tmp_path, capfd):
    options = DemoOptions(dataplane="none", folder=tmp_path / "demo")
    assert run_demo(options) == 2
    assert capfd.readouterr().err == ("mip demo: no data plane none to carry packets\n")


def test_plot_without_matplotlib_names_the_extra(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(plot.importlib.util, "find_spec", lambda _name: None)
    options = DemoOptions(plot=tmp_path / "demo.png", folder=tmp_path / "demo")
    assert run_demo(options) == 2
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1
    assert "scapy-mip[agents,plot]" in errors


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is missing"
)
def test_plot_draws_a_picture(tmp_path):
    from mip_agents.lab.report import Results

    results = Results("ipip", tmp_path, "as a test", start=0.0, end=1.0)
    results.probe.feed({"sent": [[0, 0.1], [1, 0.2]], "returned": [[0, 0.101]]})
    plot.plot(results, tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
