# SPDX-License-Identifier: GPL-2.0-only
"""`mip mn` as a process that wanders between two foreign agents, everything real."""

import os
import time
from types import SimpleNamespace

import pytest

from support.daemons import KEY_HEX, Daemon, mip
from support.netns import Node, connect, isolated, sh

HOME_ADDRESS, HOME_AGENT, CORRESPONDENT = "10.1.1.10", "10.1.1.20", "10.1.1.30"
AGENTS = {"eth0": "10.1.2.1", "wlan0": "10.1.3.1"}
"""By the node's interface, on which it has no address."""

HA = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.1.0/24"
advertisement_interval = 1.0
state_dir = "state"
control_socket = "ha.sock"
dataplane = "tun"
[[mobile_node]]
home_address = "10.1.1.0/24"
spi = 256
key_hex = "{KEY_HEX}"
"""

FA = """\
[foreign_agent]
interfaces = ["eth1"]
care_of_addresses = ["ADDRESS"]
advertisement_interval = 1.0
control_socket = "NAME.sock"
dataplane = "tun"
[[mobile_node]]
home_address = "10.1.1.10"
spi = 400
key_text = "a visitor's key"
"""

MN = f"""\
[mobile_node]
home_address = "{HOME_ADDRESS}"
home_network = "10.1.1.0/24"
home_agent = "{HOME_AGENT}"
spi = 256
key_hex = "{KEY_HEX}"
lifetime = 300
interfaces = ["home0", "eth0", "wlan0"]
control_socket = "mn.sock"
dataplane = "DATAPLANE"
# here
[[foreign_agent]]
address = "10.1.2.1"
spi = 400
key_text = "a visitor's key"
[[foreign_agent]]
address = "10.1.3.1"
spi = 400
key_text = "a visitor's key"
"""


def daemon(tmp_path, role, name, text, inside):
    path = tmp_path / f"{name}.toml"
    path.write_text(text)
    path.chmod(0o600)
    return Daemon(role, path, tmp_path / f"{name}.sock", inside)


def world(tmp_path, dataplane="tun", more=""):
    """Make two visited links, which end here, and a home network behind them."""
    here = Node("here", inside=SimpleNamespace(pid=os.getpid()))
    home, other = Node("home"), Node("other")
    home.sh("ip link add home0 type bridge; ip link set home0 up")
    for name, node, link in (("port0", other, "eth0"), ("port1", here, "home0")):
        connect(home, name, node, link)
        home.sh(f"ip link set {name} master home0")
    sh("ip link set home0 down")
    home.sh(f"ip address add {HOME_AGENT}/24 dev home0")
    other.sh(f"ip address add {CORRESPONDENT}/24 dev eth0")
    agents = {}
    for number, (name, address) in enumerate(AGENTS.items(), 1):
        foreign = Node(f"foreign{number}")
        connect(here, name, foreign, "eth1")
        connect(foreign, "eth0", home, f"eth{number}")
        sh(f"ip link set {name} down")
        network = f"192.0.{number}"
        foreign.sh(f"ip address add {address}/24 dev eth1")
        foreign.sh(f"ip address add {network}.1/24 dev eth0")
        foreign.sh(f"ip route add default via {network}.2")
        foreign.sh("sysctl -qw net.ipv4.ip_forward=1")
        home.sh(f"ip address add {network}.2/24 dev eth{number}")
        visited = address.rpartition(".")[0]
        home.sh(f"ip route add {visited}.0/24 via {network}.1")
        text = FA.replace("ADDRESS", address).replace("NAME", f"fa{number}")
        agents[name] = daemon(tmp_path, "fa", f"fa{number}", text, foreign)
    ha = daemon(tmp_path, "ha", "ha", HA, home)
    for one in (ha, *agents.values()):
        one.wait_ready()
    text = MN.replace("DATAPLANE", dataplane).replace("# here", more)
    return SimpleNamespace(
        ha=ha,
        agents=agents,
        other=other,
        start=lambda: daemon(tmp_path, "mn", "mn", text, None),
    )


def traffic_flows(other):
    assert "1 received" in other.sh(f"ping -c 1 -W 5 {HOME_ADDRESS}")
    assert "1 received" in sh(f"ping -c 1 -W 5 -I {HOME_ADDRESS} {CORRESPONDENT}")


def state_of_the_kernel():
    return sh("ip -4 rule; ip route show table all; ip -br link; ip -br address")


@isolated
@pytest.mark.parametrize(
    ("style", "dataplane"),
    [("direct", "auto"), ("direct", "tun"), ("encapsulating", "tun")],
)
def test_a_node_without_addresses_wanders_and_traffic_follows(
    tmp_path, style, dataplane
):
    """MN-10, MN-17, MN-19, MN-26, MN-30, MN-41, RT-08, RT-09."""
    place = world(tmp_path, dataplane, f'delivery_style = "{style}"')
    before = state_of_the_kernel()
    mn = place.start()
    mn.wait_ready()
    for turn, (name, address) in enumerate(AGENTS.items(), 1):
        other = next(one for one in AGENTS if one != name)
        sh(f"ip link set {name} up; ip link set {other} down")
        mn.wait_for('"registration_accepted"', turn)
        status = mn.status()
        assert status["foreign_agent"] == status["care_of_address"] == address
        assert status["interface"] == name
        traffic_flows(place.other)
        assert address in sh(f"ip neighbour show dev {name} nud permanent")
    shown = mip("status", "--socket", mn.socket)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"  {AGENTS['wlan0']}" in shown.stdout
    assert mn.stop() == 0
    assert "deregistration_accepted" in mn.log
    sh("ip link set wlan0 down")
    assert state_of_the_kernel() == before


@isolated
def test_where_the_home_agent_is_heard_is_home(tmp_path):
    """MN-13, ARP-04, ARP-05: on an interface that has no address before, nor after."""
    place = world(tmp_path)
    before = state_of_the_kernel()
    sh("ip link set eth0 up")
    mn = place.start()
    mn.wait_for('"registration_accepted"')
    sh("ip link set home0 up; ip link set eth0 down")
    mn.wait_for('"deregistration_accepted"')
    assert mn.status()["state"] == "at-home"
    assert f"{HOME_ADDRESS}/24" in sh("ip -br address show home0")
    traffic_flows(place.other)
    sh("ip link set eth0 up; ip link set home0 down")
    mn.wait_for('"registration_accepted"', 2)
    assert HOME_ADDRESS not in sh("ip -br address show home0")
    traffic_flows(place.other)
    assert mn.stop() == 0
    sh("ip link set eth0 down")
    assert state_of_the_kernel() == before


def all_are_heard(mn):
    """Wait until the node knows both agents; it has heard one when it registers."""
    end = time.monotonic() + 10
    while {agent["address"] for agent in mn.status()["agents"]} != {*AGENTS.values()}:
        assert time.monotonic() < end, mn.status()["agents"]
        time.sleep(0.05)


@isolated
def test_register_by_hand_moves_to_the_interface_that_is_named(tmp_path):
    """Both agents are heard; the node stays where it was told to be."""
    place = world(tmp_path)
    for name in AGENTS:
        sh(f"ip link set {name} up")
    mn = place.start()
    mn.wait_for('"registration_accepted"')
    all_are_heard(mn)
    assert mip("register", "wlan0", "--socket", mn.socket).returncode == 0
    assert mn.status()["foreign_agent"] == AGENTS["wlan0"]
    all_are_heard(mn)
    assert mn.status()["foreign_agent"] == AGENTS["wlan0"]
    traffic_flows(place.other)
    assert mip("deregister", "--socket", mn.socket).returncode == 0
    assert mip("bindings", "--socket", place.ha.socket).stdout == "no bindings\n"
    assert mn.stop() == 0


@isolated
def test_an_own_address_is_registered_through_the_agent_that_demands_it(tmp_path):
    """MN-09, MN-18, MN-20: and the node ends the tunnel itself."""
    place = world(tmp_path)
    sh("ip link set eth0 up; ip address add 10.1.2.50/24 dev eth0")
    sh("ip route add default via 10.1.2.1")
    mn = place.start()
    mn.wait_for('"foreign_agent": "10.1.2.1", "code": 0')
    assert mn.status()["care_of_address"] == "10.1.2.50"
    traffic_flows(place.other)
    assert mn.stop() == 0
