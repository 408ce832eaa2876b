# SPDX-License-Identifier: GPL-2.0-only
"""What the toy home agent answers, without a network."""

import inspect

import pytest
from scapy import ansmachine
from scapy.layers.inet import ICMP, IP, UDP, IPerror, UDPerror

from scapy_mip import ident
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMHAE,
    MIPRRP,
    MIPRRQ,
    MIP_am,
    MIPGeneralizedMobileIPAuthentication,
    SecurityAssociation,
    mip_had,
    verify,
)

NOW = 0xEEAE414100000000
SHARED = SecurityAssociation(256, "1234567812345678")
NODE, AGENT = "10.1.2.5", "10.1.1.20"


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        self.now += 1 << 20
        return self.now

    def wait(self, seconds):
        self.now += ident.seconds(seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def agent(clock):
    return MIP_am(keys=SHARED, now=clock, verbose=False)


def ask(agent, clock, association=SHARED, authentication=MIPMHAE, **fields):
    """Send a request to the agent and return its reply as it arrives."""
    values = {
        "lifetime": 600,
        "home_address": "10.1.1.10",
        "home_agent": AGENT,
        "care_of_address": NODE,
        "identification": clock(),
    } | fields
    message = MIPRRQ(**values) / authentication(association=association)
    datagram = IP(src=NODE, dst=AGENT) / UDP(sport=5000, dport=434) / message
    received = IP(bytes(datagram))
    assert agent.is_request(received)
    reply = agent.make_reply(received)
    return reply and IP(bytes(reply))


def code(reply):
    return reply[MIPRRP].code


def test_reply_is_signed_and_goes_back(agent, clock):
    reply = ask(agent, clock)
    assert (reply.src, reply.dst) == (AGENT, NODE)
    assert (reply[UDP].sport, reply[UDP].dport) == (434, 5000)
    assert (code(reply), reply[MIPRRP].lifetime) == (0, 600)
    assert reply[MIPRRP].identification == clock.now - (1 << 20)
    assert verify(SHARED, bytes(reply[UDP].payload), 20)
    assert agent.bindings["10.1.1.10"].care_of_address == NODE


def test_longest_lifetime_is_granted(clock):
    agent = MIP_am(keys=SHARED, now=clock, lifetime=100, verbose=False)
    assert ask(agent, clock)[MIPRRP].lifetime == 100
    assert ask(agent, clock, lifetime=0xFFFF)[MIPRRP].lifetime == 100
    assert ask(agent, clock, lifetime=50)[MIPRRP].lifetime == 50


def test_bindings_end(agent, clock):
    ask(agent, clock, lifetime=60)
    ask(agent, clock, lifetime=0xFFFF, home_address="10.1.1.11")
    agent.lifetime = 0xFFFF
    ask(agent, clock, lifetime=0xFFFF, home_address="10.1.1.12")
    clock.wait(61)
    ask(agent, clock, home_address="10.1.1.13")
    assert set(agent.bindings) == {"10.1.1.11", "10.1.1.12", "10.1.1.13"}
    assert code(ask(agent, clock, home_address="10.1.1.13", lifetime=0)) == 0
    assert "10.1.1.13" not in agent.bindings


def test_wrong_key_is_131_and_signed_with_the_right_one(agent, clock):
    reply = ask(agent, clock, SecurityAssociation(256, "wrong"))
    assert (code(reply), reply[MIPRRP].lifetime) == (131, 0)
    assert verify(SHARED, bytes(reply[UDP].payload), 20)
    assert agent.bindings == {}


def test_without_a_key_there_is_no_answer(agent, clock):
    """Nothing could sign it (HA-06)."""
    assert ask(agent, clock, SecurityAssociation(999, "unknown")) is None
    assert ask(agent, clock, authentication=MIPFHAE) is None
    other = MIP_am(keys={"10.9.9.9": SHARED}, now=clock, verbose=False)
    assert ask(other, clock) is None


def test_generalized_authentication_will_do(agent, clock):
    reply = ask(agent, clock, authentication=MIPGeneralizedMobileIPAuthentication)
    assert code(reply) == 0


@pytest.mark.parametrize("seconds", [-100, -8, 8, 100])
def test_133_carries_the_time_of_the_home_agent(agent, clock, seconds):
    """HA-29: the high half is its clock, the low half the request's."""
    stamp = clock() + ident.seconds(seconds)
    reply = ask(agent, clock, identification=stamp)
    assert code(reply) == 133
    high, low = ident.split(reply[MIPRRP].identification)
    assert high == ident.split(NOW)[0]
    assert low == ident.split(stamp)[1]


def test_old_identification_is_133_within_the_tolerance(agent, clock):
    first, second = clock(), clock()
    assert code(ask(agent, clock, identification=second)) == 0
    assert code(ask(agent, clock, identification=first)) == 133


def test_repetition_gets_the_same_answer(agent, clock):
    stamp = clock()
    replies = [bytes(ask(agent, clock, identification=stamp)) for _again in range(3)]
    assert len(set(replies)) == 1


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"home_agent": "10.9.9.9"}, 136),
        ({"care_of_address": "0.0.0.0"}, 134),
        ({"home_address": "0.0.0.0"}, 134),
        ({"flags": "S"}, 1),
        ({"flags": "DGMT"}, 0),
    ],
)
def test_codes(agent, clock, fields, expected):
    assert code(ask(agent, clock, **fields)) == expected
    assert bool(agent.bindings) == (expected < 2)


def test_no_more_bindings_than_allowed(clock):
    agent = MIP_am(keys=SHARED, now=clock, max_bindings=1, verbose=False)
    assert code(ask(agent, clock)) == 0
    assert code(ask(agent, clock, home_address="10.1.1.11")) == 130
    assert code(ask(agent, clock)) == 0


@pytest.mark.parametrize("wanted", [0, 128, 129, 200])
def test_code_on_purpose(clock, wanted):
    agent = MIP_am(keys=SHARED, now=clock, code=wanted, verbose=False)
    assert code(ask(agent, clock)) == wanted
    assert agent.bindings == {}


def test_what_is_no_request_to_us(agent):
    request = MIPRRQ() / MIPMHAE(association=SHARED)
    ours = IP(dst=AGENT) / UDP(dport=434) / request
    assert agent.is_request(ours)
    quoted = IP() / ICMP(type=3) / IPerror() / UDPerror(dport=434) / request
    for other in (
        IP() / UDP(sport=434, dport=5000) / request,
        IP() / UDP(dport=434) / MIPRRP(),
        IP() / UDP(dport=434) / MIP(type=1),
        IP() / ICMP(),
        quoted,
        request,
    ):
        assert not agent.is_request(other)
    elsewhere = MIP_am(keys=SHARED, home_agent="10.9.9.9", verbose=False)
    assert not elsewhere.is_request(ours)


def test_it_is_a_command_of_the_prompt():
    assert "keys" in inspect.signature(ansmachine.mip_had).parameters
    assert "iface" in mip_had.__doc__
