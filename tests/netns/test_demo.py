# SPDX-License-Identifier: GPL-2.0-only
"""The whole demonstration through the command line, and what its captures hold."""

import hashlib
import hmac
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from mip_agents.captures.check import check_files
from mip_agents.dataplane import probe
from mip_agents.lab import plot, scenario
from mip_agents.lab.agents import KEY, SPI
from mip_agents.lab.capture import LINKS
from mip_agents.lab.demo import DemoOptions, run_demo
from mip_agents.lab.topology import CORRESPONDENT, HOME_ADDRESS, HOME_AGENT
from mip_agents.protocol.tunnel import Role

BUILT_IN = Path(scenario.__file__).with_name("scenarios") / "roam.toml"
COMMAND = [sys.executable, "-m", "mip_agents.cli", "demo"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
CARE_OF = ("10.1.2.5", "10.1.3.5")
TOO_BIG = b"\3\4"
"""Type and code of an ICMP error about the size of a packet."""
ICMP, TCP, DONT_FRAGMENT = 1, 6, 0x40
PROTOCOL = {"ipip": 4, "gre": 47}
MTU = {"ipip": 1480, "gre": 1476}
"""Of a tunnel over Ethernet."""

needs_sandbox = pytest.mark.usefixtures("sandbox")


def travel(folder, *options, timeout=100, in_time=True):
    """Run the demonstration to its good end; return its summary and its captures.

    :param in_time: whether pauses in the traffic must be short
    """
    done = subprocess.run(
        [*COMMAND, *options, "--folder", str(folder)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    logs = "".join(
        f"\n{path.name}:\n{path.read_text()}" for path in folder.glob("*.log")
    )
    said = done.stdout + done.stderr + logs
    late = not in_time and done.stderr.endswith(
        f" ms without traffic (logs: {folder}/*.log)\n"
    )
    assert done.returncode == 0 or late, said
    assert "Traceback" not in said
    assert done.stderr == "" or late
    assert max(len(line) for line in done.stdout.splitlines()) <= 80 + len(str(folder))
    sys.stdout.write(done.stdout)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["failure"] is None or late
    assert summary["tcp"] == "up"
    there, back = summary["tcp_bytes"].values()
    assert (there["sent"], there["received"]) == (back["received"], back["sent"])
    assert summary["agents"] == {"ha": 0, "mn": 0}
    assert len(summary["handovers"]) == 3
    captures = {name: read_headers(folder / f"{name}.pcap") for name in LINKS}
    return summary, captures


def check_captures(captures, encapsulation, accepted=(0,)):
    check_registrations(captures["internet"], accepted)
    check_tunnels(captures["internet"], PROTOCOL[encapsulation])
    for name, care_of in zip(("visited-a", "visited-b"), CARE_OF, strict=True):
        assert (care_of, HOME_AGENT) in {header[:2] for header in captures[name]}
    check_correspondent(captures["correspondent"], MTU[encapsulation])


@pytest.mark.demo
@pytest.mark.netns
@needs_sandbox
@pytest.mark.parametrize("encapsulation", ["ipip", "gre"])
def test_traffic_survives_the_journey(tmp_path, encapsulation):
    folder = tmp_path / "demo"
    summary, captures = travel(folder, "--encapsulation", encapsulation)
    assert all(move["longest_gap_ms"] < 1000 for move in summary["handovers"])
    check_captures(captures, encapsulation)
    if shutil.which("tshark"):
        for name in LINKS:
            check_not_malformed(folder / f"{name}.pcap")


@pytest.mark.demo
@pytest.mark.kernel
@pytest.mark.netns
@pytest.mark.timeout(300)
@needs_sandbox
def test_traffic_survives_the_journey_by_devices_of_the_kernel(tmp_path):
    """A lab kernel has the time that the host has for it: pauses say little there.

    The journey is that of `mip demo` with shorter stays.
    """
    reason = probe.kernel_driver_problem(Role.HOME_AGENT)
    if reason is not None:
        pytest.skip(f"{reason}: run make test-kernel")
    journey = tmp_path / "journey.toml"
    journey.write_text(re.sub("wait = [36] ", "wait = 1 ", BUILT_IN.read_text()))
    options = ("--dataplane", "kernel", "--encapsulation", "gre")
    options += ("--scenario", str(journey))
    _, captures = travel(tmp_path / "demo", *options, timeout=280, in_time=False)
    # Code 1: no simultaneous bindings, for which the node asks as it changes over.
    check_captures(captures, "gre", accepted=(0, 1))


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


def check_registrations(headers, accepted):
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
            assert message[1] in accepted


def check_tunnels(headers, protocol):
    """Both directions through tunnels to both care-of addresses, and no others."""
    wanted = set()
    for care_of in CARE_OF:
        wanted |= {(HOME_AGENT, care_of, protocol), (care_of, HOME_AGENT, protocol)}
    tunnelled = {header[:3] for header in headers if header[2] in PROTOCOL.values()}
    assert tunnelled == wanted


def check_correspondent(headers, mtu):
    """It knows the home address alone: mobility is transparent to it, but for sizes.

    The connection was made at home, with segments that fill an Ethernet packet. After a
    gap TCP has enough to send to fill some, and the home agent has to say that a tunnel
    does not carry them (TUN-04, RFC 2003 section 5.1).
    """
    assert {header[:2] for header in headers} - {(HOME_AGENT, CORRESPONDENT)} == {
        (CORRESPONDENT, HOME_ADDRESS),
        (HOME_ADDRESS, CORRESPONDENT),
    }
    for source, _, protocol, error in headers:
        if source == HOME_AGENT:
            assert (protocol, error[:2]) == (ICMP, TOO_BIG)
            assert int.from_bytes(error[6:8], "big") == mtu
            quoted = error[8:]
            assert int.from_bytes(quoted[2:4], "big") > mtu
            assert quoted[6] & DONT_FRAGMENT
            assert quoted[9] == TCP
            ends = socket.inet_ntoa(quoted[12:16]), socket.inet_ntoa(quoted[16:20])
            assert ends == (CORRESPONDENT, HOME_ADDRESS)


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


@pytest.mark.demo
@pytest.mark.netns
@needs_sandbox
def test_traffic_survives_foreign_agents_and_the_captures_are_clean(tmp_path):
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "--foreign-agent", "--folder", str(folder), "--json"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["agents"] == {"ha": 0, "fa-visited-a": 0, "mn": 0}
    assert [move["to"] for move in summary["handovers"]] == [
        "A (FA)",
        "B",
        "A (FA)",
        "home",
    ]
    told = [(entry["who"], entry["event"]) for entry in summary["timeline"]]
    assert told.count(("fa-visited-a", "registration accepted")) >= 1
    # Hosts of the home link and of the Internet, which know nothing of mobility.
    for box in ("home", "internet"):
        assert told.count((box, "reaches the node")) == 5
    # The node has nothing but its home address where the foreign agent is.
    headers = read_headers(folder / "visited-a.pcap")
    tunnels = [header for header in headers if header[2] in PROTOCOL.values()]
    assert tunnels == []
    found = list(check_files([folder / f"{name}.pcap" for name in LINKS]))
    assert found == []


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


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("demo.xyz", "demo.xyz: give a name that ends in .png, .svg or .pdf"),
        ("demo", "demo: give a name that ends in .png, .svg or .pdf"),
        ("none/demo.png", "none"),
    ],
)
def test_a_plot_that_cannot_be_is_refused_before_anything_starts(tmp_path, name, says):
    command = [*COMMAND, "--plot", str(tmp_path / name)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mip demo: --plot")
    assert line.endswith(says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is missing"
)
@pytest.mark.parametrize(
    ("name", "begins"), [("demo.png", b"\x89PNG"), ("demo.SVG", b"<?xml")]
)
def test_plot_draws_a_picture(tmp_path, name, begins):
    from mip_agents.lab.report import Entry, Results

    results = Results("ipip", tmp_path, "as a test", start=0.0, end=1.0)
    results.probe.feed({"sent": [[0, 0.1], [1, 0.2]], "returned": [[0, 0.101]]})
    results.entries.append(Entry(0.15, "mn", "registration accepted"))
    plot.plot(results, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
