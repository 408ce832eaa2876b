# SPDX-License-Identifier: GPL-2.0-only
"""Interfaces that vanish under running agents, and come again; kernels that refuse."""

import time

import pytest

from mip_agents.dataplane.port import NEXT_HOP
from mip_agents.protocol.tunnel import Role
from scapy_mip.const import ReplyCode
from support import crashing
from support.crashing import CARE_OFS, HOME_AGENT, World, bound, homes
from support.daemons import KEY_HEX, Daemon, kernel_state
from support.netns import isolated, need_driver, sh

HOME_ADDRESS = homes(1)[0]

MN = f"""\
[mobile_node]
home_address = "{HOME_ADDRESS}"
home_network = "10.1.1.0/24"
home_agent = "{HOME_AGENT}"
spi = 256
key_hex = "{KEY_HEX}"
lifetime = 300
interfaces = ["eth0"]
control_socket = "mn.sock"
dataplane = "tun"
"""


def wait_until(holds, what, patience=15):
    """Wait for what no log tells."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def carried(place, bindings):
    """Return whether packets go where the bindings say."""
    place.away.call(crashing.listen)
    crashing.probe(list(bindings))
    return place.away.call(crashing.tunnelled, len(bindings), 1) == {
        (care_of, home) for home, (care_of, _) in bindings.items()
    }


def is_reached():
    """Return whether the mobile node answers."""
    ping = f"ping -c 1 -W 1 -I {HOME_AGENT} {HOME_ADDRESS}"
    return "1 received" in sh(f"{ping} || true")


@pytest.mark.parametrize("what", ["link", "port", "port down"])
@pytest.mark.parametrize("dataplane", ["ebpf", "tun"])
@isolated
def test_a_home_agent_serves_on_when_an_interface_is_there_again(
    tmp_path, dataplane, what
):
    """HA-33, ARP-01: old bindings and new ones, and nothing is left at the end."""
    need_driver(dataplane)
    place = World(tmp_path, dataplane)
    ha = place.start()
    first, second = homes(2)
    assert place.ask(first) == 0
    if what == "link":
        sh("ip link del home0")
        ha.wait_for('"home_link_lost"')
        place.make_home_link()
        ha.wait_for('"home_link_found"')
    elif what == "port":
        sh("ip link del mipha0")
        wait_until(lambda: "mipha0" in sh("ip -br link"), "no port was made")
    else:  # and its routes are lost
        sh("ip link set mipha0 down")
    # Meanwhile with 130: the data plane is being made anew.
    wait_until(lambda: place.ask(second, CARE_OFS[1]) == 0, "never granted")
    bindings = bound(ha)
    assert bindings.keys() == {first, second}
    wait_until(lambda: carried(place, bindings), "not carried")
    if dataplane == "tun":
        proxies = sh("ip neigh show proxy dev home0")
        assert first in proxies
        assert second in proxies
    assert ha.stop() == 0
    assert "Traceback" not in ha.log, ha.log
    left = sh("ip -br link; ip -4 rule; ip route show table all; ip neigh show proxy")
    assert "mipha" not in left
    assert "proto 134" not in left


@isolated
def test_what_is_refused_while_all_is_made_anew_is_tried_again(tmp_path):
    """HA-33: nodes that are registered register no tunnel again by themselves."""
    need_driver("tun")
    place = World(tmp_path, "tun")
    ha = place.start()
    first, second = homes(2)
    assert place.ask(first) == place.ask(second) == 0
    bindings = bound(ha)
    sh(f"ip address add {NEXT_HOP}/32 dev lo")  # see below: routes are refused
    sh("ip link del mipha0")
    wait_until(lambda: "mipha0" in sh("ip -br link"), "no port was made")
    assert not carried(place, bindings)
    assert place.ask(second, lifetime=0) == 0
    sh(f"ip address del {NEXT_HOP}/32 dev lo")
    del bindings[second]
    wait_until(lambda: carried(place, bindings), "not carried")
    assert not carried(place, {second: (CARE_OFS[0], 0)})
    assert ha.stop() == 0
    assert "Traceback" not in ha.log, ha.log


@isolated
def test_a_kernel_that_refuses_a_tunnel_denies_it_and_serves_on(tmp_path):
    """HA-17: with 130, once in the log, and nothing is left of what was begun."""
    need_driver("tun")
    place = World(tmp_path, "tun")
    clean = kernel_state()
    ha = place.start()
    first, second = homes(2)
    assert place.ask(first) == 0
    before, serving = bound(ha), kernel_state()
    # A gateway cannot be one's own address.
    sh(f"ip address add {NEXT_HOP}/32 dev lo")
    assert place.ask(second) == ReplyCode.HA_INSUFFICIENT_RESOURCES
    assert place.ask(first, CARE_OFS[1]) == 0  # its route is there already
    assert bound(ha).keys() == before.keys()
    sh(f"ip address delete {NEXT_HOP}/32 dev lo")
    assert kernel_state() == serving
    ha.wait_for('"registration_denied"')
    assert ha.log.count('"binding_change_failed"') == 1
    assert "Invalid argument; nothing was changed" in ha.log
    assert place.ask(second) == 0
    bindings = bound(ha)
    wait_until(lambda: carried(place, bindings), "not carried")
    assert ha.stop() == 0
    assert kernel_state() == clean
    assert "Traceback" not in ha.log, ha.log


@isolated
def test_a_mobile_node_goes_on_when_its_interface_is_there_again(tmp_path):
    """It registers again by itself, and packets find it."""
    need_driver("tun", Role.MOBILE_NODE)
    place = World(tmp_path, "tun")
    ha = place.start()
    config = tmp_path / "mn.toml"
    config.write_text(MN)
    config.chmod(0o600)
    mn = Daemon("mn", config, tmp_path / "mn.sock", place.away)
    mn.wait_ready()
    mn.wait_for('"registration_accepted"')
    sh("ip link del eth9")
    wait_until(lambda: mn.status()["state"] == "detached", "the loss was not seen")
    place.connect()
    wait_until(lambda: mn.status()["state"] == "registered", "not registered again")
    wait_until(is_reached, "no packet finds it")
    assert mn.stop() == 0
    assert ha.stop() == 0
    assert "Traceback" not in mn.log, mn.log
    assert "Traceback" not in ha.log, ha.log
