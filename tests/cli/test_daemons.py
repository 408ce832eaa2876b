# SPDX-License-Identifier: GPL-2.0-only
"""`mip ha` and `mip mn` as processes in network namespaces, with everything real."""

import json
import os
import signal
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest

from scapy_mip.const import ReplyCode
from support.daemons import (
    COMMAND,
    KEY_HEX,
    Daemon,
    environment,
    kernel_state,
    mip,
)
from support.netns import Node, connect, isolated, need_driver, sh
from support.requests import HandNode, request

HOME_ADDRESS, HOME_AGENT, CARE_OF, OTHER = (
    "10.1.1.10",
    "10.1.1.20",
    "10.1.2.5",
    "10.1.2.6",
)

HA = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.1.0/24"
state_dir = "state"
control_socket = "ha.sock"
dataplane = "DATAPLANE"
[[mobile_node]]
home_address = "10.1.1.0/24"
spi = 256
key_hex = "{KEY_HEX}"
"""

MN = f"""\
[mobile_node]
home_address = "{HOME_ADDRESS}"
home_network = "10.1.1.0/24"
home_agent = "{HOME_AGENT}"
spi = 256
key_hex = "{KEY_HEX}"
lifetime = 60
interfaces = ["eth0"]
control_socket = "mn.sock"
dataplane = "DATAPLANE"
"""


def write(path, text, dataplane):
    path.write_text(text.replace("DATAPLANE", dataplane))
    path.chmod(0o600)
    return path


def world(tmp_path, dataplane):
    """Make the home agent's host, which is here, and a host away from home."""
    away = Node("away")
    here = Node("here", inside=SimpleNamespace(pid=os.getpid()))
    connect(here, "eth9", away, "eth0")
    sh("ip address add 10.1.2.1/24 dev eth9")
    sh("ip link add home0 type veth peer name home1")
    sh(f"ip address add {HOME_AGENT}/24 dev home0")
    sh("ip link set home0 up; ip link set home1 up")
    away.sh(f"ip address add {CARE_OF}/24 dev eth0")
    away.sh(f"ip address add {OTHER}/24 dev eth0")
    away.sh("ip route add default via 10.1.2.1")
    return SimpleNamespace(
        away=away,
        ha=write(tmp_path / "ha.toml", HA, dataplane),
        mn=write(tmp_path / "mn.toml", MN, dataplane),
        ha_socket=tmp_path / "ha.sock",
        mn_socket=tmp_path / "mn.sock",
    )


def start(place, *roles):
    """Start agents and wait until they are ready."""
    daemons = []
    for role in roles:
        if role == "ha":
            daemons.append(Daemon("ha", place.ha, place.ha_socket))
        else:
            daemons.append(Daemon("mn", place.mn, place.mn_socket, place.away))
    for daemon in daemons:
        daemon.wait_ready()
    return daemons if len(daemons) > 1 else daemons[0]


@isolated
def test_a_node_registers_and_both_agents_say_so(tmp_path):
    place = world(tmp_path, "none")
    ha, mn = start(place, "ha", "mn")
    mn.wait_for('"registration_accepted"')
    status = mn.status()
    assert status["role"] == "mobile_node"
    assert status["state"] == "registered"
    assert status["care_of_address"] in (CARE_OF, OTHER)
    table = mip("bindings", "--socket", place.ha_socket)
    assert table.returncode == 0
    assert HOME_ADDRESS in table.stdout
    assert status["care_of_address"] in table.stdout
    shown = mip("status", "--socket", place.mn_socket)
    assert "registered" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    (binding,) = json.loads(
        mip("bindings", "--socket", place.ha_socket, "--json").stdout
    )
    assert binding["home_address"] == HOME_ADDRESS

    done = mip("deregister", "--socket", place.mn_socket)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("deregistered")
    assert "no bindings" in mip("bindings", "--socket", place.ha_socket).stdout
    again = mip("register", "eth0", "--lifetime", 100, "--socket", place.mn_socket)
    assert again.stdout.startswith("registered through eth0")
    assert "lifetime 100" in again.stdout
    refused = mip("register", "eth7", "--socket", place.mn_socket)
    assert refused.returncode == 1
    assert "eth7" in refused.stderr
    cleared = mip("clear", HOME_ADDRESS, "--socket", place.ha_socket, "--json")
    assert cleared.returncode == 0
    assert json.loads(cleared.stdout) == {}
    gone = mip("clear", HOME_ADDRESS, "--socket", place.ha_socket)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "no binding" in gone.stderr
    other = mip("bindings", "--socket", place.mn_socket)
    assert "only a home agent" in other.stderr

    assert mn.stop() == 0
    assert ha.stop() == 0
    assert not place.ha_socket.exists()
    assert not place.mn_socket.exists()
    for daemon in (ha, mn):
        assert "Traceback" not in daemon.log
        assert "12345678" not in daemon.log
        assert KEY_HEX not in daemon.log
        for line in daemon.lines:
            json.loads(line)


@isolated
def test_a_mobile_node_says_goodbye_when_it_is_stopped(tmp_path):
    place = world(tmp_path, "none")
    ha, mn = start(place, "ha", "mn")
    mn.wait_for('"registration_accepted"')
    mn.send(signal.SIGINT)
    assert mn.end() == 0
    ha.wait_for('"deregistration_accepted"')
    ha.stop()


@isolated
def test_a_mobile_node_is_not_kept_by_a_home_agent_that_is_gone(tmp_path):
    place = world(tmp_path, "none")
    ha, mn = start(place, "ha", "mn")
    mn.wait_for('"registration_accepted"')
    ha.kill()
    begin = time.monotonic()
    assert mn.stop() == 0
    # A second for the answer that does not come, and some for a busy machine.
    assert time.monotonic() - begin < 6


@isolated
def test_a_second_signal_makes_it_hurry(tmp_path):
    place = world(tmp_path, "none")
    ha, mn = start(place, "ha", "mn")
    mn.wait_for('"registration_accepted"')
    ha.kill()
    mn.send(signal.SIGTERM)
    mn.wait_for('"agent_stopping"')
    mn.send(signal.SIGTERM)
    assert mn.end() == 0
    assert not place.mn_socket.exists()


@isolated
def test_after_kill_9_bindings_are_back_and_replays_are_refused(tmp_path):
    place = world(tmp_path, "none")
    sh(f"ip address add {CARE_OF}/32 dev lo")
    ha = start(place, "ha")
    node = HandNode(CARE_OF, HOME_AGENT, 434)
    node.sock.settimeout(10)
    first, second = request(HOME_AGENT, CARE_OF), request(HOME_AGENT, CARE_OF)
    for data in (first, second):
        node.send(data)
        assert node.read().code == 0
    ha.kill()
    assert place.ha_socket.exists()  # stale now

    ha = start(place, "ha")
    assert '"bindings": 1' in ha.log
    with ha.client() as client:
        (binding,) = client.bindings()
    assert binding["care_of_address"] == CARE_OF
    node.send(first)
    assert node.read().code == ReplyCode.HA_IDENTIFICATION_MISMATCH
    node.send(request(HOME_AGENT, CARE_OF))
    assert node.read().code == 0
    node.close()
    assert ha.stop() == 0


@pytest.mark.parametrize(
    ("how", "dataplane"),
    [
        ("stop", "ebpf"),
        ("kill", "ebpf"),
        ("stop", "tun"),
        ("kill", "tun"),
        pytest.param("kill", "kernel", marks=pytest.mark.kernel),
    ],
)
@isolated
def test_nothing_is_left_in_the_kernel(tmp_path, how, dataplane):
    need_driver(dataplane)
    place = world(tmp_path, dataplane)
    clean = kernel_state(), kernel_state(place.away.sh)
    ha, mn = start(place, "ha", "mn")
    mn.wait_for('"registration_accepted"')
    sh(f"ping -c 1 -W 5 -I {HOME_AGENT} {HOME_ADDRESS}")
    assert clean != (kernel_state(), kernel_state(place.away.sh))
    if how == "kill":
        ha.kill()
        mn.kill()
        ha, mn = start(place, "ha", "mn")
        mn.wait_for('"registration_accepted"')
        sh(f"ping -c 1 -W 5 -I {HOME_AGENT} {HOME_ADDRESS}")
    assert mn.stop() == 0
    assert ha.stop() == 0
    assert (kernel_state(), kernel_state(place.away.sh)) == clean


@isolated
def test_a_port_in_use_is_one_line_and_exit_1(tmp_path):
    place = world(tmp_path, "none")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 434))
        done = mip("ha", "--config", place.ha)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("mip: UDP port 434 is in use: stop the other")
    assert not place.ha_socket.exists()


@isolated
def test_a_second_agent_on_the_same_state_is_one_line(tmp_path):
    place = world(tmp_path, "none")
    ha = start(place, "ha")
    done = mip("ha", "--config", place.ha)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"is in use by process {ha.process.pid}" in line
    assert ha.stop() == 0


@isolated
def test_missing_permission_is_one_line_that_says_what_to_do(tmp_path):
    place = world(tmp_path, "none")
    # Without capabilities: in a user namespace of its own, which owns nothing here.
    done = subprocess.run(
        ["unshare", "--user", *COMMAND, "ha", "--config", str(place.ha)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("no user namespace in a user namespace")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "run as root" in line or "this user may write" in line


@isolated
def test_watch_shows_events_until_the_agent_stops(tmp_path):
    place = world(tmp_path, "none")
    ha = start(place, "ha")
    watch = subprocess.Popen(
        [*COMMAND, "watch", "--all", "--json", "--socket", str(place.ha_socket)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        first = json.loads(watch.stdout.readline())
        assert first["event"] == "bindings_restored"
        ha.stop()
        events = [json.loads(line)["event"] for line in watch.stdout]
        assert watch.wait(20) == 0
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()
    assert events[:2] == ["agent_started", "agent_stopping"]


@isolated
def test_the_service_manager_hears_of_ready_and_stopping(tmp_path):
    place = world(tmp_path, "none")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        os.environ["WATCHDOG_USEC"] = "10000000"
        ha = start(place, "ha")
        said = {manager.recv(100), manager.recv(100)}
        assert said == {b"READY=1", b"WATCHDOG=1"}
        assert ha.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"
