# SPDX-License-Identifier: GPL-2.0-only
"""Links that go down take neighbours and routes with them; they come back with it."""

import re

import pytest

from dataplane.foreign import ForeignWorld, wait_for
from dataplane.world import HOME, close, differences, install, state
from support.netns import Node, connect, isolated


def reached() -> bool:
    """Tell whether one ping comes back."""
    from support.netns import sh

    try:
        sh(f"ping -c1 -W0.2 {HOME}")
    except RuntimeError:
        return False
    return True


def answering() -> list[str]:
    """Return the addresses from which packets go to visitors."""
    from support.netns import sh

    return re.findall(r"4331:\s+from ([0-9.]+)", sh("ip rule show"))


def set_up() -> ForeignWorld:
    w = ForeignWorld()
    w.visit()
    w.start_mn().call(install, w.through())
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    return w


@isolated
def test_a_visited_link_that_comes_up_again_has_its_visitors() -> None:
    w = set_up()
    w.fa.sh("ip link set eth1 down")
    assert HOME not in w.fa.sh("ip route show table all")
    w.fa.sh("ip link set eth1 up")
    wait_for(w.cn, reached, True)


@isolated
def test_an_interface_made_anew_has_the_visitors_of_the_old_one() -> None:
    w = set_up()
    before = w.fa.sh("ip rule show")
    w.fa.sh("ip link del eth1")
    connect(w.mn, "eth0", w.fa, "eth1")
    w.fa.sh("ip addr add 10.1.5.1/24 dev eth1; ip link set eth1 down")
    w.fa.sh("ip link set eth1 up")
    # Both ends are new: where the node is now, its next registration says.
    w.agents["fa"].call(install, w.visitor())
    w.agents["mn"].call(install, w.through())
    wait_for(w.cn, reached, True)
    assert w.fa.sh("ip rule show") == before


def kept(node: Node) -> dict[str, str]:
    """Return what does not tell one interface of a name from the next."""
    dump = state(node)
    return {what: dump[what] for what in dump if what.startswith(("ip -4", "cd "))}


def mac(node: Node, name: str) -> str:
    """Return the link-layer address of an interface."""
    return node.sh(f"ip -br link show {name}").split()[2]


@isolated
def test_interfaces_made_anew_at_once_lead_to_each_other_as_before() -> None:
    """No registration tells of it where addresses are the same again."""
    w = set_up()
    ends = [(w.fa, "eth1", mac(w.fa, "eth1")), (w.mn, "eth0", mac(w.mn, "eth0"))]
    before = kept(w.mn)
    w.fa.sh("ip link del eth1")
    connect(w.mn, "eth0", w.fa, "eth1")
    for node, name, address in ends:
        node.sh(f"ip link set {name} down address {address}")
        node.sh(f"ip link set {name} up")
    w.fa.sh("ip addr add 10.1.5.1/24 dev eth1")
    wait_for(w.cn, reached, True)
    assert not differences(before, kept(w.mn))


@isolated
def test_a_nodes_link_that_comes_up_again_leads_to_its_agent() -> None:
    w = set_up()
    w.mn.sh("ip link set eth0 down")
    assert "10.1.5.1" not in w.mn.sh("ip route show table all")
    w.mn.sh("ip link set eth0 up")
    wait_for(w.cn, reached, True)


@pytest.mark.parametrize("where", ["fa", "mn"])
@isolated
def test_nothing_is_left_of_a_link_that_is_gone(where: str) -> None:
    w = set_up()
    node = w.fa if where == "fa" else w.mn
    node.sh("ip link del eth1 || ip link del eth0")
    w.agents[where].call(close)
    after = state(node)
    w.start_fa() if where == "fa" else w.start_mn()
    w.agents[where].call(close)
    assert not differences(after, state(node))
    assert "43" not in node.sh("ip rule show | grep proto || true")


@isolated
def test_a_new_address_of_ours_leads_to_visitors_at_once() -> None:
    """What this host says from there, a router's errors above all, goes to the link."""
    w = set_up()
    # With the last address of an interface, the kernel forgets the routes there.
    w.fa.sh("ip addr del 10.1.5.1/24 dev eth1; ip addr add 10.1.5.7/24 dev eth1")
    wait_for(w.fa, answering, ["10.1.5.7"])
    wait_for(w.cn, reached, True)
    assert "dev eth1" in w.fa.sh(f"ip route get {HOME} from 10.1.5.7")


@isolated
def test_a_node_that_loses_its_last_address_there_keeps_its_agent() -> None:
    """It needs none for it (MN-40)."""
    w = ForeignWorld()
    w.visit()
    w.mn.sh("ip addr add 10.1.5.9/24 dev eth0")
    w.start_mn().call(install, w.through())
    w.cn.sh(f"ping -c1 -W3 {HOME}")
    w.mn.sh("ip addr del 10.1.5.9/24 dev eth0")
    wait_for(w.cn, reached, True)
    assert "PERMANENT" in w.mn.sh("ip neigh show 10.1.5.1 dev eth0")
