# SPDX-License-Identifier: GPL-2.0-only
"""Nothing stays behind, whether a data plane was closed or killed."""

import tempfile
from pathlib import Path

import pytest

from dataplane.world import (
    HOME_AGENT,
    PORTS,
    World,
    announce,
    close,
    differences,
    ha_tunnel,
    have_tun,
    install,
    mn_tunnel,
    open_driver,
    remove,
    state,
)
from mip_agents.dataplane.api import DataplaneError
from mip_agents.protocol.tunnel import Role
from scapy_mip.const import Encapsulation
from support.netns import Node, isolated

every_port = pytest.mark.parametrize("port", PORTS)


def same(w: World, before: tuple[dict[str, str], dict[str, str]]) -> None:
    """See that home agent and mobile node are as they were."""
    assert not differences(before[0], state(w.ha))
    assert not differences(before[1], state(w.mn))


def world(port: str) -> World:
    if port == "tun" and not have_tun():
        pytest.skip("no /dev/net/tun for this user")
    w = World(port)
    # Values that are not the defaults, so that restoring them shows.
    w.ha.sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    from mip_agents.dataplane.port import set_gro

    w.ha.call(set_gro, "home0", True)
    w.mn.call(set_gro, "eth0", True)
    return w


@every_port
@isolated
def test_close_leaves_nothing(port: str) -> None:
    w = world(port)
    before = state(w.ha), state(w.mn)
    w.start(Encapsulation.IPIP, True)
    w.ha_agent.call(install, ha_tunnel(home_address="10.1.1.11"))
    during = state(w.ha), state(w.mn)
    assert all(
        a[key] != b[key]
        for a, b in zip(before, during, strict=True)
        for key in ("ip link show", "ip route show table all", "gro")
    )
    for agent in (w.ha_agent, w.mn_agent):
        agent.call(close)
        agent.call(close)
    same(w, before)


@isolated
def test_remove_undoes_install() -> None:
    w = World()
    w.start_ha()
    w.start_mn()
    before = state(w.ha), state(w.mn)
    for reverse in (True, False):
        w.ha_agent.call(install, ha_tunnel(reverse=reverse))
        w.mn_agent.call(install, mn_tunnel(reverse=reverse))
        w.ha_agent.call(remove)
        w.mn_agent.call(remove)
        same(w, before)
    w.ha_agent.call(remove, "10.1.1.77")


@every_port
@isolated
def test_successor_of_a_killed_process_cleans_up(port: str) -> None:
    w = world(port)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "ha.state"), Path(folder, "mn.state")
        before = state(w.ha), state(w.mn)
        w.start_ha(state_file=files[0]).call(install, ha_tunnel())
        w.start_mn(state_file=files[1]).call(install, mn_tunnel(reverse=False))
        w.ha_agent.kill()
        w.mn_agent.kill()
        assert files[0].exists()
        assert files[1].exists()
        assert state(w.ha) != before[0]
        assert state(w.mn) != before[1]
        w.start_ha(state_file=files[0]).call(close)
        w.start_mn(state_file=files[1]).call(close)
        same(w, before)
        assert not files[0].exists()
        assert not files[1].exists()


@isolated
def test_successor_can_go_on() -> None:
    """After a crash the same tunnels can be installed again at once."""
    w = World("veth")
    w.start(Encapsulation.IPIP, True)
    w.ha_agent.kill()
    w.mn_agent.kill()
    w.start(Encapsulation.GRE, True)
    w.cn.sh("ping -c1 -W3 10.1.1.10")


@isolated
def test_state_file_of_another_namespace_is_ignored() -> None:
    w = World()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "state")
        w.start_ha(state_file=file)
        w.ha_agent.kill()
        assert "forwarding" in file.read_text()
        before = state(w.cn)
        other = Node("other", inside=w.cn)
        options = {"address": "10.9.0.2", "state_file": file}
        other.call(open_driver, Role.HOME_AGENT, options)
        other.call(close)
        assert not differences(before, state(w.cn))


@isolated
def test_someone_elses_setting_stays() -> None:
    """What an administrator set after us is not overwritten at the end."""
    w = World()
    w.start_ha()
    key = "/proc/sys/net/ipv4/conf/home0/forwarding"
    w.ha.sh(f"echo 0 > {key}")
    w.ha.sh(f"echo 1 > {key}")
    w.ha_agent.call(close)
    assert w.ha.sh(f"cat {key}").strip() == "0"
    w.start_ha()
    w.ha.sh(f"echo 0 > {key}")
    w.ha_agent.call(close)
    assert w.ha.sh(f"cat {key}").strip() == "0"


@isolated
def test_only_one_home_agent_in_a_namespace() -> None:
    w = World()
    w.start_ha()
    second = Node("second", inside=w.ha)
    with pytest.raises(DataplaneError, match="another home agent runs"):
        second.call(open_driver, Role.HOME_AGENT, {"address": HOME_AGENT})
    w.ha_agent.call(install, ha_tunnel())
    w.start_mn().call(install, mn_tunnel())
    w.cn.sh("ping -c1 -W3 10.1.1.10")


@isolated
def test_two_roles_in_a_namespace_do_not_disturb_each_other() -> None:
    w = World()
    w.start(Encapsulation.IPIP, True)
    before = state(w.ha)
    both = Node("both", inside=w.ha)
    both.call(open_driver, Role.MOBILE_NODE, {})
    tunnel = mn_tunnel(HOME_AGENT, "home0", home_address="10.8.8.8")
    both.call(install, tunnel)
    w.cn.sh("ping -c1 -W3 10.1.1.10")
    both.call(close)
    assert not differences(before, state(w.ha))


@isolated
def test_home_agent_without_its_address_says_so() -> None:
    w = World()
    before = state(w.ha)
    agent = Node("agent", inside=w.ha)
    with pytest.raises(DataplaneError, match=r"no interface with the address 10\.4\.4"):
        agent.call(open_driver, Role.HOME_AGENT, {"address": "10.4.4.4"})
    assert not differences(before, state(w.ha))
    with pytest.raises(DataplaneError, match="closed"):
        agent.call(install, ha_tunnel())


@isolated
def test_closed_agent_announces_nothing() -> None:
    w = World()
    w.start_ha().call(announce, "10.1.1.10")
    w.ha_agent.call(close)
    with pytest.raises(DataplaneError):
        w.start_mn().call(announce, "10.1.1.10")
