# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent leaves nothing behind, whether it was closed or killed."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from dataplane.foreign import ForeignWorld
from dataplane.world import (
    HOME,
    PORTS,
    close,
    differences,
    have_tun,
    install,
    open_driver,
    remove,
    state,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.protocol.tunnel import Role
from support.netns import Node, isolated

_TOUCHED = (
    "ip link show",
    "ip route show table all",
    "ip rule show",
    "ip neigh show nud permanent",
    "gro",
    "icmp_errors_use_inbound_ifaddr",
    "conf/*/accept_local",
)

every_port = pytest.mark.parametrize("port", PORTS)


def world(port: str) -> ForeignWorld:
    if port == "tun" and not have_tun():
        pytest.skip("no /dev/net/tun for this user")
    w = ForeignWorld(port)
    # Values that are not the defaults, so that restoring them shows.
    w.fa.sh("echo 1 | tee /proc/sys/net/ipv4/conf/*/rp_filter")
    from mip_agents.dataplane.port import set_gro

    w.fa.call(set_gro, "up0", True)
    w.fa.call(set_gro, "eth1", True)
    return w


@every_port
@isolated
def test_close_leaves_nothing(port: str) -> None:
    w = world(port)
    before = state(w.fa)
    agent = w.start_fa()
    agent.call(install, w.visitor())
    agent.call(install, w.visitor("eth2"))
    agent.call(install, w.visitor(home_address="10.1.1.11", reverse=False))
    during = state(w.fa)
    assert all(before[key] != during[key] for key in _TOUCHED)
    agent.call(close)
    agent.call(close)
    assert not differences(before, state(w.fa))


@isolated
def test_remove_undoes_install() -> None:
    """FA-28: a visitor's neighbour entry goes with it, the link with the last one."""
    w = ForeignWorld()
    agent = w.start_fa()
    before = state(w.fa)
    agent.call(install, w.visitor())
    one = state(w.fa)
    routing = w.fa.sh("ip route show table all; ip rule")
    agent.call(install, w.visitor(home_address="10.1.1.11"))
    agent.call(remove, "10.1.1.11%eth1")
    assert not differences(one, state(w.fa))
    agent.call(remove, f"{HOME}%eth1")
    assert not differences(before, state(w.fa))
    agent.call(remove, "10.1.1.77%eth1")
    agent.call(install, w.visitor())
    assert w.fa.sh("ip route show table all; ip rule") == routing


@every_port
@isolated
def test_successor_of_a_killed_process_cleans_up(port: str) -> None:
    w = world(port)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "fa.state")
        before = state(w.fa)
        agent = w.start_fa(state_file=file)
        agent.call(install, w.visitor())
        agent.call(install, w.visitor("eth2", reverse=False))
        agent.kill()
        assert file.exists()
        assert state(w.fa) != before
        w.start_fa(state_file=file).call(close)
        assert not differences(before, state(w.fa))
        assert not file.exists()


@isolated
def test_successor_can_go_on() -> None:
    w = ForeignWorld("veth")
    w.visit()
    w.plain_host()
    w.agents.pop("fa").kill()
    w.visit()
    w.cn.sh(f"ping -c1 -W3 {HOME}")


@isolated
def test_home_and_foreign_agent_on_one_machine_do_not_disturb_each_other() -> None:
    w = ForeignWorld()
    w.visit()
    w.plain_host()
    before = state(w.ha)
    both = Node("both", inside=w.ha)
    both.call(open_driver, Role.FOREIGN_AGENT, {})
    tunnel = w.visitor(home_address="10.8.8.8", local="10.1.1.20")
    both.call(install, replace(tunnel, interface="home0"))
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    both.call(close)
    assert not differences(before, state(w.ha))
    with pytest.raises(DataplaneError, match="another foreign agent runs"):
        Node("second", inside=w.fa).call(open_driver, Role.FOREIGN_AGENT, {})
