# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent does for nodes with a fault, and for nobody else."""

from __future__ import annotations

import copy
import pickle

import pytest

from mip_agents.protocol.effects import AnnounceAddress, InstallTunnel, Journal
from mip_agents.protocol.names import NamedNode, NamedNodes
from mip_agents.protocol.pools import AddressPool
from mip_agents.protocol.quirks import NodeQuirk
from mip_agents.protocol.security import NodeAssociation, ReplayStyle, SecurityTable
from support.agents import HOME, KEY, NETWORK, B, asks, home_agent
from support.scenario import (
    JOURNAL_WRITTEN,
    TUNNEL_READY,
    Scenario,
    instant,
    like,
    scenario,
    sends,
)

OTHER = "10.1.1.11"


def agent(quirk: NodeQuirk, **policy: object):
    """A home agent that knows one node for its fault, and others without."""
    nodes = SecurityTable.for_network(NETWORK, [KEY])
    nodes.add(HOME, NodeAssociation(256, b"1234567812345678", quirks=[quirk]))
    return home_agent(mobile_nodes=nodes, **policy)


def granted(running: Scenario, request: asks, home: str, code: int) -> Scenario:
    running >> request << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=code)
    return running << AnnounceAddress(home)


def test_any_clock_takes_timestamps_in_their_order_only():
    """HA-30 without its tolerance: what was accepted is not accepted again."""
    running = scenario(agent(NodeQuirk.ANY_CLOCK))
    granted(running, asks(ahead_s=-86400), HOME, 0)
    older = asks(ahead_s=-86401, care_of_address=B)
    running >> older << sends(code=133)
    assert running >> asks(ahead_s=86400) << like(Journal)


def test_without_any_clock_the_clock_counts():
    """HA-30."""
    running = scenario(agent(NodeQuirk.ANY_CLOCK))
    assert running >> asks(home_address=OTHER, ahead_s=-86400) << sends(code=133)


def test_code_0_only_is_for_the_node_that_needs_it():
    """HA-18, C-5: others are told that simultaneous bindings are not to be had."""
    running = scenario(agent(NodeQuirk.CODE_0_ONLY, max_bindings_per_node=1))
    granted(running, asks(), HOME, 0)
    assert granted(running, asks(home_address=OTHER), OTHER, 1)


def test_the_status_says_for_whom_exceptions_are_made():
    named = NamedNodes()
    key = NodeAssociation(300, b"k", quirks=NodeQuirk)
    named.add("@example.org", NamedNode(key, AddressPool.parse(["10.1.1.100"])))
    engine = agent(NodeQuirk.ANY_CLOCK, named_nodes=named)
    assert engine.status(instant(1.0))["quirks"] == [
        f"{HOME}: any_clock",
        "@example.org: any_clock",
        "@example.org: code_0_only",
    ]
    assert home_agent().status(instant(1.0))["quirks"] == []


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_a_copied_association_treats_its_node_alike(copied):
    """HA-28: neither the style of replay protection nor a quirk is lost."""
    quirks = [NodeQuirk.ANY_CLOCK]
    one = NodeAssociation(256, "secret", "hmac-sha1", ReplayStyle.NONCE, quirks)
    again = copied(one)
    assert type(again) is NodeAssociation
    assert again == one
    assert again.digest(b"data") == one.digest(b"data")
