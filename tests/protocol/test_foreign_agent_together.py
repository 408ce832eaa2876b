# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent with a real home agent behind it, and with anything before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mip_agents.protocol.effects import InstallTunnel, Journal, RemoveTunnel, Send
from mip_agents.protocol.events import (
    DiscoveryReceived,
    InterfacesChanged,
    JournalWritten,
    Received,
    Stopping,
    TimerFired,
    TunnelFailed,
    TunnelReady,
    Undelivered,
)
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.view import Reply, Request, build_reply, parse
from scapy_mip.all import MIPNAI
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.const import Encapsulation
from support.agents import FA, FA_KEY, FHAE, HA, HOME, KEY, MHAE, home_agent, received
from support.foreign import (
    CARE_OF,
    ENCAPSULATING,
    HERE,
    LINK,
    MFAE,
    MN_KEY,
    NODE,
    OTHER_LINK,
    STRANGER,
    foreign_agent,
    frame,
    signed_request,
    signed_with,
)
from support.scenario import instant


class World:
    """Both agents at once; what they ask of disk and kernel happens immediately."""

    def __init__(self, *, shared: bool = True, **policy: Any) -> None:
        self.time = 1.0
        key = FA_KEY if shared else None
        self.fa = foreign_agent(agent_key=key, **policy)
        self.ha = home_agent(foreign_agent=shared)
        self.tunnels: dict[str, dict[str, Tunnel]] = {"fa": {}, "ha": {}}
        self.to_home: list[bytes] = []
        self.answers: list[Send] = []

    def ask(
        self, *extensions: bytes, behind=lambda data: data, **fields: Any
    ) -> list[Send]:
        """Send a request from the node; return what it gets."""
        self.time += 2
        identification = instant(self.time).ntp
        fields = {"identification": identification} | fields
        self.answers = []
        self._feed("fa", frame(behind(signed_request(*extensions, **fields))))
        return self.answers

    def answer(self, *extensions: bytes, **fields: Any) -> Reply:
        """Send a request from the node; return the one reply that it gets."""
        (send,) = self.ask(*extensions, **fields)
        assert (send.interface, send.link_address) == (LINK, NODE)
        reply = parse(send.data)
        assert isinstance(reply, Reply)
        return reply

    def _feed(self, name: str, event: Any) -> None:
        engine = self.fa if name == "fa" else self.ha
        for effect in engine.handle(event, instant(self.time)):
            match effect:
                case Journal(token):
                    self._feed(name, JournalWritten(token))
                case InstallTunnel(token, tunnel):
                    self.tunnels[name][tunnel.key] = tunnel
                    self._feed(name, TunnelReady(token))
                case RemoveTunnel(token, key):
                    del self.tunnels[name][key]
                    self._feed(name, TunnelReady(token))
                case Send():
                    self._carry(name, effect)

    def _carry(self, name: str, send: Send) -> None:
        if send.link_address is not None:
            self.answers.append(send)
            return
        if name == "fa":
            self.to_home.append(send.data)
        arrived = Received(
            data=send.data,
            source=send.source,
            source_port=send.source_port,
            destination=send.destination,
            destination_port=send.destination_port,
        )
        self._feed("ha" if name == "fa" else "fa", arrived)


@pytest.mark.parametrize("flags", ["T", "GT", "", "G"])
def test_a_node_registers_renews_and_leaves(flags):
    """FA-16 to FA-18, FA-24 to FA-26, RT-08, HA-10: both agents agree on the tunnel."""
    world = World()
    reply = world.answer(flags=flags)
    assert reply.code == 0
    assert [one.type for one in reply.authentications] == [MHAE]
    assert verify(KEY, reply.data, reply.authentications[0].offset)
    (ours,), (theirs,) = (list(world.tunnels[name].values()) for name in ("fa", "ha"))
    assert (ours.local, ours.peers) == (theirs.peers[0], (theirs.local,))
    assert ours.encapsulation is theirs.encapsulation
    assert ours.reverse is theirs.reverse is ("T" in flags)
    assert world.answer(flags=flags, lifetime=900).lifetime == 900
    assert world.tunnels["fa"] == {ours.key: ours}
    assert world.answer(flags=flags, lifetime=0).lifetime == 0
    assert world.tunnels == {"fa": {}, "ha": {}}


def test_the_home_agent_demands_our_extension():
    """FA-17, HA-10: with another key of ours it denies with 132, which we cannot
    believe either (FA-23)."""
    world = World()
    world.fa = foreign_agent(agent_key=SecurityAssociation(300, b"another"))
    assert world.answer().code == 68
    assert world.tunnels == {"fa": {}, "ha": {}}


def test_a_wrong_key_of_the_node_is_judged_at_home():
    """FA-25: the home agent's 131 reaches the node, and nobody is let in."""
    world = World()
    data = signed_request(identification=instant(5).ntp)
    forged = data[:-16] + bytes(16)
    world.time = 5.0
    world._feed("fa", frame(forged))
    (send,) = world.answers
    assert parse(send.data).code == 131
    assert world.tunnels == {"fa": {}, "ha": {}}


def test_a_node_with_a_wrong_clock_is_told_the_time():
    """FA-22, MN-35: the high half of Identification is the home agent's, so the low
    half finds the request."""
    world = World()
    reply = world.answer(identification=instant(5000).ntp | 77)
    assert reply.code == 133
    assert reply.identification >> 32 == instant(world.time).ntp >> 32


@pytest.mark.parametrize("keys", [(MN_KEY,), ()])
def test_a_node_with_a_key_for_us_gets_what_we_sign(keys):
    """FA-11, FA-26: all authentication extensions at once, each where it belongs."""
    world = World(node_key=MN_KEY)
    style = signed_with(MFAE, *keys, first=ENCAPSULATING)
    reply = world.answer(behind=style)
    if not keys:
        assert (reply.code, world.to_home) == (67, [])
        return
    assert [one.type for one in reply.authentications] == [MHAE, MFAE]
    relayed = parse(world.to_home[0])
    assert isinstance(relayed, Request)
    assert relayed.extension_types == (MHAE, FHAE)
    (tunnel,) = world.tunnels["fa"].values()
    assert tunnel.visitor.encapsulating
    for kind, key in ((MHAE, KEY), (MFAE, MN_KEY)):
        found = next(one for one in reply.authentications if one.type == kind)
        assert verify(key, reply.data, found.offset)


def test_gre_keys_are_the_same_at_both_ends():
    """TUN-08, TUN-09: what one sends with is what the other receives with."""
    world = World(gre_keys=True)
    for lifetime in (600, 500):
        assert world.answer(flags="GT", lifetime=lifetime).code == 0
    (ours,), (theirs,) = (list(world.tunnels[name].values()) for name in ("fa", "ha"))
    (here,), (there,) = ours.peer_forms, theirs.peer_forms
    assert here.encapsulation is Encapsulation.GRE
    assert (here.send_key, here.receive_key) == (there.receive_key, there.send_key)
    assert None not in here[:3]
    assert world.answer(flags="GT", lifetime=0).code == 0
    assert world.tunnels == {"fa": {}, "ha": {}}


def test_a_home_agent_that_does_not_know_the_home_address_says_nothing():
    """FA-04, HA-06: after seven seconds we tell the node."""
    world = World(shared=False)
    assert world.ask(home_address="10.9.9.9") == []
    world.time += 8
    world._feed("fa", TimerFired())
    (send,) = world.answers
    assert parse(send.data).code == 78


_ANSWERED = ("lifetime", "home_address", "home_agent", "identification", "nai")
ADDRESSES = st.sampled_from(
    [HOME, HA, FA, CARE_OF, "0.0.0.0", "255.255.255.255", "10.1.1.11", "224.0.0.11"]
)
TAILS = st.binary(max_size=12) | st.sampled_from(
    [
        ENCAPSULATING,
        bytes(MIPNAI(nai="mn@example.org")),
        b"\x22\x14\0\0\1\x2c" + bytes(16),
        b"\x30\0\0\4\0\0\0\1",
    ]
)
REQUESTS = st.builds(
    lambda before, behind, **fields: signed_request(before, **fields) + behind,
    TAILS,
    TAILS,
    flags=st.integers(0, 255),
    lifetime=st.sampled_from([0, 1, 600, 65535]),
    home_address=ADDRESSES,
    home_agent=ADDRESSES,
    care_of_address=ADDRESSES,
    identification=st.integers(0, 3),
)
REPLIES = st.builds(
    lambda tail, **fields: build_reply(**fields) + tail,
    TAILS,
    code=st.sampled_from([0, 1, 66, 131, 255]),
    lifetime=st.sampled_from([0, 1, 600, 65535]),
    home_address=ADDRESSES,
    home_agent=ADDRESSES,
    identification=st.integers(0, 3),
    mobile_home=st.sampled_from([None, KEY]),
    nai=st.sampled_from([None, "mn@example.org"]),
)
DATA = st.binary(max_size=80) | REQUESTS | REPLIES
ONE_LINK = InterfacesChanged({LINK: HERE.interfaces[LINK]})
EVENTS = st.one_of(
    st.builds(
        lambda data, **changes: frame(data, **changes),
        DATA,
        source=ADDRESSES,
        destination=ADDRESSES,
        interface=st.sampled_from([LINK, OTHER_LINK, "eth0", None]),
        link_address=st.sampled_from([NODE, STRANGER, None]),
        ttl=st.sampled_from([None, 1, 255]),
    ),
    st.builds(
        DiscoveryReceived,
        data=st.binary(max_size=40),
        source=ADDRESSES,
        destination=ADDRESSES,
        interface=st.sampled_from([LINK, "eth0"]),
        ttl=st.integers(0, 255),
        link_address=st.just(NODE),
    ),
    st.builds(
        Undelivered, data=DATA, destination=ADDRESSES, icmp_code=st.integers(0, 255)
    ),
    st.sampled_from([HERE, ONE_LINK, TimerFired()]),
)
NODES = st.sampled_from([HOME, "10.1.1.11"])
USUAL = st.builds(
    lambda data, **changes: frame(data, **changes),
    st.builds(
        signed_request,
        flags=st.sampled_from(["T", "GT", ""]),
        lifetime=st.sampled_from([0, 3, 60, 600]),
        home_address=NODES,
        home_agent=st.sampled_from([HA, "198.51.100.1"]),
        identification=st.integers(0, 7),
    ),
    interface=st.sampled_from([LINK, LINK, OTHER_LINK]),
    link_address=st.sampled_from([NODE, NODE, STRANGER]),
    destination=st.just("224.0.0.11"),
)


@dataclass(frozen=True)
class Reaction:
    """What happens next to what the agent has asked for."""

    good: bool
    order: bool
    """The data plane reacts; else the home agent does."""


REACTIONS = st.builds(Reaction, st.booleans() | st.just(True), st.booleans())
STEPS = st.lists(
    st.integers(0, 5).flatmap(
        lambda n: EVENTS if n == 0 else USUAL if n < 3 else REACTIONS
    ),
    min_size=10,
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, st.booleans())
def test_nothing_that_comes_raises_and_nothing_is_left_behind(steps, keyed):
    """COM-08, FA-03: whatever arrives in whatever order; every tunnel that was made is
    removed when its time is over, and no list outgrows its limit."""
    engine = foreign_agent(
        max_pending=3,
        max_visitors=2,
        registration_lifetime=600,
        gre_keys=True,
        agent_key=FA_KEY if keyed else None,
    )
    now, installed = 1.0, set[str]()
    orders: list[Any] = []
    relayed: list[Send] = []

    def feed(event: Any) -> None:
        effects = engine.handle(event, instant(now))
        orders.extend(e for e in effects if isinstance(e, InstallTunnel | RemoveTunnel))
        relayed.extend(
            e for e in effects if isinstance(e, Send) and e.link_address is None
        )

    def work(*, good: bool) -> None:
        order = orders.pop(0)
        if not good:
            feed(TunnelFailed(order.token, "no"))
            return
        if isinstance(order, InstallTunnel):
            installed.add(order.tunnel.key)
        else:
            installed.remove(order.key)
        feed(TunnelReady(order.token))

    def answer(*, good: bool) -> None:
        send = relayed.pop(0)
        request = parse(send.data)
        assert isinstance(request, Request)
        fields = {name: getattr(request, name) for name in _ANSWERED}
        data = build_reply(code=0 if good else 131, mobile_home=KEY, **fields)
        if keyed:
            data = signed_with(FHAE, FA_KEY)(data)
        feed(received(data, send.destination, destination=CARE_OF))

    for step in steps:
        now += 0.25
        if not isinstance(step, Reaction):
            feed(step)
        elif step.order and orders:
            work(good=step.good)
        elif not step.order and relayed:
            answer(good=step.good)
        status = engine.status(instant(now))
        assert status["pending"] <= 3
        assert status["visitors"] <= 2
    feed(Stopping())
    while orders or engine.next_timer() is not None:
        if orders:
            work(good=True)
        else:
            now = max(now, engine.next_timer())
            feed(TimerFired())
    assert installed == set()
    assert engine.visitors(instant(now)) == []


def test_a_visitor_says_the_same_in_json():
    """The list is made of plain values."""
    world = World()
    assert world.answer().code == 0
    (entry,) = world.fa.visitors(instant(world.time))
    assert json.loads(json.dumps(entry)) == entry
