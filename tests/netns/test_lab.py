# SPDX-License-Identifier: GPL-2.0-only
"""The laboratory itself: networks, cables, processes, and that nothing stays behind."""

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mip_agents.lab import namespaces
from mip_agents.lab.links import Port
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import Children
from mip_agents.lab.topology import (
    CORRESPONDENT,
    HOME_AGENT,
    HOSTS,
    NETWORKS,
    ROUTERS,
    Topology,
    mac,
)

MOBILE = {name: Port("mn", name) for name in ("eth0", "wlan0")}


def echo(namespace, target, timeout=2.0):
    """Tell whether an ICMP echo to `target` is answered."""
    with namespaces.inside(namespace):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with sock:
        # type 8, code 0, identifier 0x4d49, number 1; the checksum is their complement
        sock.sendto(bytes.fromhex("0800aab54d490001"), (target, 0))
        sock.settimeout(timeout)
        while True:
            try:
                packet, (peer, _) = sock.recvfrom(2048)
            except TimeoutError:
                return False
            if peer == target and packet[20:22] == b"\0\0":
                return True


def default_routes(topology):
    return [
        (route.get("gateway"), route.get("priority"))
        for route in topology.links.of("mn").get_default_routes(socket.AF_INET)
    ]


@pytest.mark.netns
def test_every_place_reaches_the_correspondent(sandbox):
    def story():
        topology = Topology()
        reached = {}
        for name, network in NETWORKS.items():
            address = topology.plug("eth0", name)
            assert network.lease.startswith(address + "/")
            reached[name] = echo("correspondent", address) and echo("mn", CORRESPONDENT)
        return reached, echo("correspondent", HOME_AGENT)

    assert sandbox(story) == (dict.fromkeys(NETWORKS, True), True)


@pytest.mark.netns
def test_plug_gives_carrier_lease_and_route_with_metric(sandbox):
    def story():
        topology = Topology()
        links = topology.links
        assert not any(links.has_carrier(port) for port in MOBILE.values())
        topology.plug("wlan0", "visited-a")
        assert topology.place("wlan0") == "visited-a"
        assert links.has_carrier(MOBILE["wlan0"])
        assert not links.has_carrier(MOBILE["eth0"])
        assert links.addresses(MOBILE["wlan0"]) == ["10.1.2.5/24"]
        assert default_routes(topology) == [("10.1.2.1", 600)]
        topology.plug("eth0", "visited-b")
        return sorted(default_routes(topology))

    assert sandbox(story) == [("10.1.2.1", 600), ("10.1.3.1", 100)]


@pytest.mark.netns
def test_unplug_drops_carrier_and_gives_the_lease_up(sandbox):
    def story():
        topology = Topology()
        topology.plug("eth0", "home")
        topology.unplug("eth0")
        topology.unplug("eth0")  # once more is no error
        port = MOBILE["eth0"]
        return (
            topology.place("eth0"),
            topology.links.has_carrier(port),
            topology.links.addresses(port),
            default_routes(topology),
            echo("correspondent", "10.1.1.10", timeout=0.2),
        )

    assert sandbox(story) == (None, False, [], [], False)


@pytest.mark.netns
def test_routers_forward_and_hosts_do_not(sandbox):
    def story():
        Topology()
        found = {}
        for name in (*HOSTS, *ROUTERS):
            with namespaces.inside(name):
                text = Path("/proc/sys/net/ipv4/ip_forward").read_text()
            found[name] = text.strip()
        return found

    wanted = {**dict.fromkeys(HOSTS, "0"), **dict.fromkeys(ROUTERS, "1")}
    assert sandbox(story) == wanted


@pytest.mark.netns
def test_link_layer_addresses_are_distinct_and_fixed(sandbox):
    def story():
        topology = Topology()
        return [
            link.get("address")
            for name in (*HOSTS, *ROUTERS)
            for link in topology.links.of(name).get_links()
            if link.get("ifname") != "lo"
        ]

    macs = sandbox(story)
    assert len(macs) == len(set(macs))
    assert {mac(HOME_AGENT), mac(CORRESPONDENT), "02:00:00:00:00:e0"} <= set(macs)


@pytest.mark.netns
def test_namespaces_are_where_ip_netns_looks(sandbox):
    def story():
        namespaces.create("one")
        return namespaces.names(), Path("/var/run/netns/one").exists()

    assert sandbox(story) == (["one"], True)


@pytest.mark.netns
def test_errors_in_the_sandbox_are_raised_outside_with_their_place(sandbox):
    def story():
        raise ValueError("in there")

    with pytest.raises(ValueError, match="in there") as caught:
        sandbox(story)
    assert "in story" in caught.value.__notes__[0]


@pytest.mark.netns
def test_a_command_runs_in_its_namespace_and_is_stopped(sandbox, tmp_path):
    log = tmp_path / "log"

    def story():
        namespaces.create("one")
        code = "import os, sys, time; print(os.stat('/proc/self/ns/net').st_ino, "
        code += "flush=True); sys.stdin.read(); os.kill(os.getpid(), 19); time.sleep(9)"
        with Children() as children:
            child = children.execute(
                "command", [sys.executable, "-c", code], namespace="one", log=log
            )
            # It stops itself (SIGSTOP) when it has written: no polling of the file.
            os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
            os.kill(child.pid, signal.SIGCONT)
        return child.code, (namespaces.NETNS_DIR / "one").stat().st_ino

    code, inode = sandbox(story)
    assert code == -signal.SIGTERM
    assert log.read_text().split() == [str(inode)]


KILLED = """
import os, sys
from mip_agents.lab import namespaces, processes
from mip_agents.lab.topology import Topology

def story(how):
    Topology()
    with processes.Children() as children:
        one = children.execute("sleep", ["sleep", "600"], namespace="mn")
        two = children.fork("wait", lambda _: os.read(os.pipe()[0], 1), "ha")
        print(os.getpid(), one.pid, two.pid, flush=True)
        os.read(os.pipe()[0], 1)

processes.run_in_sandbox(story)
"""


@pytest.mark.netns
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_parent(sandbox, number):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3
        handles = [os.pidfd_open(pid) for pid in pids]
        process.send_signal(number)
        process.wait(10)
    waiter = select.poll()
    for handle in handles:
        waiter.register(handle, select.POLLIN)
    ended = set()
    while len(ended) < 3:
        events = waiter.poll(5000)
        assert events, "a process of the sandbox is still alive"
        for handle, _ in events:
            waiter.unregister(handle)
            os.close(handle)
            ended.add(handle)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"user/max_user_namespaces": 0}, "user.max_user_namespaces=15000"),
        ({"kernel/unprivileged_userns_clone": 0}, "unprivileged_userns_clone=1"),
        (
            {"kernel/apparmor_restrict_unprivileged_userns": 1},
            "apparmor_restrict_unprivileged_userns=0",
        ),
        ({}, "--privileged"),
    ],
)
def test_refusal_says_in_one_line_what_to_run(monkeypatch, settings, says):
    monkeypatch.setattr(namespaces, "_setting", settings.get)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    text = namespaces.explain(PermissionError(errno.EPERM, "not permitted"), "unshare")
    assert says in text
    assert "sudo make demo" in text
    assert "\n" not in text


def test_a_sandbox_that_cannot_be_is_a_lab_error(monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(namespaces, "_call", refuse)
    with pytest.raises(LabError, match="not permitted"):
        namespaces.enter()
