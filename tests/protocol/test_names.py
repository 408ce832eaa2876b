# SPDX-License-Identifier: GPL-2.0-only
"""Nodes that are known by their NAI, and the home addresses they are given."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import (
    AnnounceAddress,
    BindingRecord,
    Finished,
    IdentificationRecord,
    InstallTunnel,
    Journal,
    LeaseRecord,
    NonceRecord,
    RemoveTunnel,
)
from mip_agents.protocol.events import ClearRequested, Received, Restored
from mip_agents.protocol.home_agent import HomeAgentEngine
from mip_agents.protocol.names import NamedNode, NamedNodes
from mip_agents.protocol.pools import AddressPool
from mip_agents.protocol.security import NodeAssociation, ReplayStyle, SecurityTable
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.view import build_request
from scapy_mip.all import MIPNAI, MIPRRP
from scapy_mip.auth import SecurityAssociation, verify
from support.agents import HA, HOME, KEY, MHAE, A, B, extension, home_agent, received
from support.scenario import (
    JOURNAL_WRITTEN,
    TUNNEL_FAILED,
    TUNNEL_READY,
    Scenario,
    Timer,
    Wait,
    instant,
    like,
    noted,
    scenario,
    sends,
)

NAI, ZERO = 131, "0.0.0.0"
MN, OTHER, THIRD = "mn@example.org", "other@example.org", "third@example.org"
FIRST, SECOND = "10.1.1.100", "10.1.1.101"
NODE_KEY = NodeAssociation(300, b"the key of one node")
REALM_KEY = NodeAssociation(300, b"the key of the realm")
REQUEST_SIZE, REPLY_SIZE = 24, 20


def agent(
    pool: str = f"{FIRST}-{SECOND}",
    key: SecurityAssociation = NODE_KEY,
) -> HomeAgentEngine:
    """A home agent that knows one node by name, its realm, and one by address."""
    named = NamedNodes()
    addresses = AddressPool.parse([pool])
    named.add(MN, NamedNode(key, addresses))
    named.add("@example.org", NamedNode(REALM_KEY, addresses))
    nodes = SecurityTable()
    nodes.add(HOME, KEY)
    return home_agent(named_nodes=named, mobile_nodes=nodes)


class Asks:
    """A request with an NAI before its authentication, as NAI-01 wants it."""

    def __init__(
        self,
        name: str | None = MN,
        key: SecurityAssociation | None = None,
        source: str = A,
        ahead_s: int = 0,
        identification: int | None = None,
        *,
        behind: bool = False,
        **fields: object,
    ) -> None:
        self.name = name
        self.key = key or (NODE_KEY if name == MN else REALM_KEY)
        self.source = source
        self.ahead_s = ahead_s
        self.identification = identification
        self.behind = behind
        self.fields = fields

    def __call__(self, running: Scenario) -> Received:
        if self.identification is None:
            self.identification = running.now.ntp + (self.ahead_s << 32)
        fields = {
            "flags": 0x22,
            "lifetime": 600,
            "home_address": ZERO,
            "home_agent": HA,
            "care_of_address": A,
            "identification": self.identification,
            "mobile_home": KEY,
        }
        data = build_request(**fields | self.fields)[:REQUEST_SIZE]
        name = b"" if self.name is None else bytes(MIPNAI(nai=self.name))
        if self.behind:
            data += extension(MHAE, self.key, data) + name
        else:
            data += name
            data += extension(MHAE, self.key, data)
        return received(data, self.source)

    def __repr__(self) -> str:
        return f"asks({self.name!a}, behind={self.behind}, {self.fields})"


asks = Asks


def tunnel(home: str) -> object:
    return like(InstallTunnel, tunnel=like(Tunnel, home_address=home))


def granted(running: Scenario, request: Asks, home: str) -> Scenario:
    running >> request << like(Journal) << tunnel(home)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0, home_address=home)
    return running << AnnounceAddress(home)


def ended(running: Scenario, home: str, name: str = MN, **fields: object) -> Scenario:
    """Deregister everything of a node, by default with zeros for its address."""
    request = asks(name, lifetime=0, **{"care_of_address": ZERO} | fields)
    running >> request << like(Journal) << like(RemoveTunnel, key=home)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY
    return running << sends(code=0, lifetime=0, home_address=home)


def leased(running: Scenario) -> dict[str, str]:
    entries = running.engine.bindings(running.now)
    return {entry["nai"]: entry["home_address"] for entry in entries}


def echoed(running: Scenario) -> str:
    """Return the NAI in the latest reply; it comes first."""
    return MIPRRP(running.sent[-1].data).extensions[0].nai


def test_a_node_without_address_is_given_one():
    """HA-24, NAI-01, NAI-03: the lease is durable before the reply."""
    running = scenario(agent()) >> asks()
    now = instant(1.0).ntp
    record = like(BindingRecord, home_address=FIRST, spi=300)
    lease = LeaseRecord(MN, FIRST, now)
    running << like(Journal, changes=(record, IdentificationRecord(MN, now), lease))
    running << tunnel(FIRST) >> TUNNEL_READY >> JOURNAL_WRITTEN
    running << sends(code=0, home_address=FIRST, extension_types=(NAI, MHAE))
    running << AnnounceAddress(FIRST)
    assert running << noted("registration_accepted", nai=MN, home_address=FIRST)
    assert leased(running) == {MN: FIRST}
    assert running.engine.status(running.now)["leases"] == 1
    assert echoed(running) == MN
    data = running.sent[0].data
    assert verify(NODE_KEY, data, REPLY_SIZE + 2 + len(MN))


def test_the_same_node_gets_the_same_address_again():
    """HA-24: while it is bound, and later, though others came meanwhile."""
    running = granted(scenario(agent()), asks(), FIRST)
    running >> Wait(10) >> asks(care_of_address=B) << like(Journal) << tunnel(FIRST)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0, home_address=FIRST)
    running >> Timer(at=601) >> Timer(at=610) << like(Journal) << like(RemoveTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY
    granted(running >> Wait(700), asks(OTHER), SECOND)
    assert granted(running >> Wait(800), asks(), FIRST)


def test_a_refresh_by_name_is_remembered_by_name():
    """HA-30, NAI-03: the binding alone would be that of whoever has the address."""
    running = granted(scenario(agent()), asks(), FIRST) >> Wait(300) >> asks()
    now = instant(300).ntp
    record = like(BindingRecord, home_address=FIRST, identification=now)
    running << like(Journal, changes=(record, IdentificationRecord(MN, now)))
    assert running >> JOURNAL_WRITTEN << sends(code=0, home_address=FIRST)


def test_the_spelling_of_the_realm_does_not_matter():
    """NAI-03: the reply has the name as it was spelt."""
    running = granted(scenario(agent()), asks("mn@EXAMPLE.Org", NODE_KEY), FIRST)
    assert echoed(running) == "mn@EXAMPLE.Org"
    assert leased(running) == {MN: FIRST}
    assert running


def test_the_node_may_name_the_address_that_it_has():
    """HA-24, HA-16: with its NAI, or by the address alone."""
    running = granted(scenario(agent()), asks(), FIRST)
    for step, name in enumerate((MN, None)):
        again = asks(name, NODE_KEY, home_address=FIRST)
        running >> Wait(10 + step) >> again << like(Journal) >> JOURNAL_WRITTEN
        running << sends(code=0, home_address=FIRST)
    running >> Wait(20)
    assert ended(running, FIRST, home_address=FIRST, care_of_address=FIRST)


@pytest.mark.parametrize("care_of_address", [ZERO, FIRST])
def test_deregistering_with_zero_means_the_leased_address(care_of_address):
    """HA-19, HA-24."""
    running = granted(scenario(agent()), asks(), FIRST) >> Wait(10)
    assert ended(running, FIRST, care_of_address=care_of_address)
    assert leased(running) == {}


def test_deregistering_what_never_was_is_granted():
    """HA-19: an address belongs to the node from then on."""
    running = scenario(agent()) >> asks(lifetime=0, care_of_address=ZERO)
    running << like(Journal, changes=(like(IdentificationRecord), like(LeaseRecord)))
    running >> JOURNAL_WRITTEN << sends(code=0, home_address=FIRST)
    assert granted(running >> Wait(2), asks(OTHER), SECOND)


def test_a_free_address_of_the_pool_may_be_asked_for():
    """HA-24: as after the loss of our journal."""
    running = granted(scenario(agent()), asks(home_address=SECOND), SECOND)
    assert granted(running, asks(OTHER), FIRST)


@pytest.mark.parametrize("address", ["10.1.1.102", HA, "10.9.9.9"])
def test_an_address_that_is_not_for_the_name_is_denied(address):
    """HA-16: 129."""
    running = scenario(agent()) >> asks(home_address=address)
    running << sends(code=129, home_address=address)
    assert running << noted("registration_denied", "HA-16")


def test_the_address_of_another_is_denied():
    """HA-16: 129, also after its binding has ended."""
    running = granted(scenario(agent()), asks(), FIRST)
    running >> Wait(2) >> asks(OTHER, home_address=FIRST) << sends(code=129)
    ended(running >> Wait(3), FIRST)
    assert running >> Wait(4) >> asks(OTHER, home_address=FIRST) << sends(code=129)


def test_an_exhausted_pool_is_a_lack_of_resources():
    """HA-17, HA-24: 130; NAI-03 holds for denials, too."""
    running = granted(scenario(agent(pool=FIRST)), asks(), FIRST)
    running >> Wait(2) >> asks(OTHER)
    running << sends(code=130, home_address=ZERO, extension_types=(NAI, MHAE))
    assert running << noted("registration_denied", "HA-24")


def test_the_longest_idle_lease_passes_on_when_nothing_else_is_left():
    """HA-24."""
    running = granted(scenario(agent()), asks(OTHER), FIRST)
    granted(running >> Wait(2), asks(), SECOND)
    ended(running >> Wait(3), FIRST, OTHER)
    ended(running >> Wait(4), SECOND)
    granted(running >> Wait(5), asks(THIRD), FIRST)
    # Who lost its address gets the other one, and not that of the third.
    granted(running >> Wait(6), asks(OTHER), SECOND)
    assert running >> Wait(7) >> asks() << sends(code=130)


def test_addresses_that_are_somebodys_own_are_not_given_out():
    """HA-24: neither ours nor that of a node with a table of its own."""
    running = scenario(agent(pool="10.1.1.8-10.1.1.21"))
    given = []
    for number in range(12):
        running >> Wait(2 + number) >> asks(f"n{number}@example.org")
        (order,) = (o for o in running.orders if isinstance(o, InstallTunnel))
        given.append(order.tunnel.home_address)
        running << like(Journal) << like(InstallTunnel)
        running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0)
        running << like(AnnounceAddress)
    assert given == [f"10.1.1.{n}" for n in range(8, 22) if n not in (10, 20)]
    assert running >> Wait(20) >> asks() << sends(code=130)


def test_an_address_that_its_node_gave_up_is_given_out_again():
    """HA-24: a node that asks for another one has one lease, not two."""
    running = granted(scenario(agent()), asks(), FIRST)
    running >> Wait(2) >> asks(home_address=SECOND) << sends(code=129)
    ended(running >> Wait(3), FIRST)
    granted(running >> Wait(4), asks(home_address=SECOND), SECOND)
    assert granted(running >> Wait(5), asks(OTHER), FIRST)


def test_a_denied_request_takes_no_address():
    """HA-24: the next one gets it."""
    running = scenario(agent(pool=FIRST)) >> asks(flags=0x30) << sends(code=139)
    assert granted(running >> Wait(2), asks(OTHER), FIRST)


def test_the_identification_is_judged_before_an_address_is_chosen():
    """HA-09 before HA-24."""
    running = granted(scenario(agent(pool=FIRST)), asks(), FIRST)
    assert running >> asks(OTHER, ahead_s=60) << sends(code=133, home_address=ZERO)


def test_a_replay_is_refused_whatever_address_it_would_get():
    """HA-22, HA-30: the memory goes with the name, not with the address."""
    request = asks()
    running = granted(scenario(agent()), request, FIRST)
    running >> request << sends(code=0, home_address=FIRST)
    ended(running >> Wait(2), FIRST)
    assert running >> request << sends(code=133)


def test_a_node_with_a_name_may_use_nonces():
    """HA-32."""
    key = NodeAssociation(300, b"the key of one node", replay=ReplayStyle.NONCE)
    running = scenario(agent(key=key)) >> asks() << sends(code=133)
    told = MIPRRP(running.sent[-1].data).identification
    running >> asks(identification=told + 1)
    records = (like(BindingRecord), like(NonceRecord, node=MN), like(LeaseRecord))
    assert running << like(Journal, changes=records) << tunnel(FIRST)


@pytest.mark.parametrize(
    "request_",
    [
        asks(None),
        asks("mn@example.com"),
        asks("mn"),
        asks("m\udcff@example.org"),
        asks("m\n@example.org"),
        asks(behind=True),
    ],
    ids=repr,
)
def test_a_name_that_nobody_vouches_for_is_silently_discarded(request_):
    """HA-06, NAI-01: unknown, none at all, or behind the authentication."""
    assert scenario(agent()) >> request_ << noted("message_dropped", "HA-06")


def test_the_key_of_a_node_goes_before_that_of_its_realm():
    """COM-14, HA-07: the realm's key does not open the node's account."""
    assert scenario(agent()) >> asks(key=REALM_KEY) << sends(code=131)
    assert granted(scenario(agent()), asks(OTHER), FIRST)


def test_a_name_does_not_matter_to_a_node_that_is_known_by_its_address():
    """NAI-03: it is echoed all the same."""
    request = asks("who@ever.net", KEY, home_address=HOME)
    running = granted(scenario(agent()), request, HOME)
    assert echoed(running) == "who@ever.net"
    assert leased(running) == {None: HOME}
    assert running


def test_requests_of_one_name_wait_for_each_other():
    running = scenario(agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> Wait(1.5) >> asks(care_of_address=B) >> Wait(1.6) >> asks(OTHER)
    running << like(Journal) << tunnel(SECOND)
    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends(code=0, home_address=FIRST)
    running << AnnounceAddress(FIRST) << like(Journal)
    moved = like(Tunnel, home_address=FIRST, peers=(B,))
    assert running << like(InstallTunnel, tunnel=moved)


def test_a_change_that_fails_is_answered_with_the_name():
    """HA-17, NAI-03: 130."""
    running = scenario(agent()) >> asks() << like(Journal) << like(InstallTunnel)
    running >> JOURNAL_WRITTEN >> TUNNEL_FAILED << like(Journal) >> JOURNAL_WRITTEN
    assert running << sends(code=130, extension_types=(NAI, MHAE))


def test_denials_of_one_name_do_not_silence_those_of_another():
    """NAI-01: a foreign agent relays for many that have no address yet."""
    running = scenario(agent())
    for _ in range(10):
        running >> asks(ahead_s=60)
        running.effects = []
    assert len(running.sent) == 5
    assert running >> asks(OTHER, ahead_s=60) << sends(code=133)


def test_a_bound_node_that_leaves_its_address_out_is_heard_amid_forgeries():
    """HA-07: as the others that have a binding from where the forgeries come."""
    running = granted(scenario(agent()), asks(), FIRST)
    assert running << noted("registration_accepted")
    forged = build_request(
        flags=0x22,
        lifetime=600,
        home_address=HOME,
        home_agent=HA,
        care_of_address=A,
        identification=1,
        mobile_home=SecurityAssociation(256, b"another key"),
    )
    handle, now = running.engine.handle, running.now
    for _ in range(100):
        handle(received(forged, A), now)
    (unheard,) = handle(received(forged, A), now)
    assert unheard.event == "message_dropped"
    assert running >> Wait(2) >> asks() << like(Journal)


def test_clearing_goes_by_the_address():
    running = granted(scenario(agent()), asks(), FIRST)
    running >> ClearRequested(7, FIRST) << like(Journal) << like(RemoveTunnel)
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY << Finished(token=7)


def kept(home_address: str = SECOND) -> Restored:
    """What a former process left: a binding, and two leases."""
    binding = BindingRecord(
        home_address=home_address,
        care_of_address=A,
        home_agent=HA,
        flags=0x22,
        lifetime=600,
        expires=instant(301).ntp,
        identification=instant(0.5).ntp,
        spi=300,
        source=A,
    )
    lease = LeaseRecord(MN, SECOND, instant(0.5).ntp)
    old = LeaseRecord(OTHER, FIRST, instant(0.1).ntp)
    known = IdentificationRecord(MN, instant(0.5).ntp)
    return Restored((binding,), (known,), (), (lease, old))


def test_leases_survive_a_restart():
    """HA-24, HA-30: bindings, addresses and what must not be accepted again."""
    running = scenario(agent()) >> kept() << tunnel(SECOND) >> TUNNEL_READY
    assert leased(running) == {MN: SECOND}
    replay = asks(care_of_address=B, identification=instant(0.5).ntp)
    running >> replay << sends(code=133)
    running >> asks() << like(Journal) >> JOURNAL_WRITTEN
    running << sends(code=0, home_address=SECOND)
    assert granted(running >> Wait(2), asks(OTHER), FIRST)


def test_a_binding_whose_name_is_served_no_more_is_not_restored():
    running = scenario(home_agent(mobile_nodes=SecurityTable())) >> kept()
    assert running << like(Journal)


def test_expiry_ends_the_binding_of_a_name():
    """HA-23."""
    running = scenario(agent()) >> kept() << tunnel(SECOND) >> TUNNEL_READY
    running >> Timer(at=301) << like(Journal) << like(RemoveTunnel)
    assert running >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert leased(running) == {}


def test_the_network_bounds_what_a_pool_gives_out():
    """HA-16, HA-24: no broadcast address, and nothing outside."""
    running = scenario(agent(pool="10.1.1.254-10.1.2.1"))
    granted(running, asks(), "10.1.1.254")
    assert running >> Wait(2) >> asks(OTHER) << sends(code=130)
