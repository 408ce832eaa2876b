# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent answers, or does not answer, to a request."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import InstallTunnel, Journal
from mip_agents.protocol.events import Received
from mip_agents.protocol.policy import ReverseTunnel
from mip_agents.protocol.security import SecurityTable
from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.view import build_reply
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation
from support.agents import (
    FA,
    FA_KEY,
    FHAE,
    HA,
    HOME,
    KEY,
    MHAE,
    NETWORK,
    WRONG,
    A,
    asks,
    counting_bytes,
    extension,
    home_agent,
)
from support.scenario import Wait, instant, like, noted, scenario, sends

GENERALIZED = 36
ALL = frozenset(Encapsulation)
RELAYED = {"source": FA, "care_of_address": FA, "flags": 0x02}


def adding(kind, association):
    return lambda data: data + extension(kind, association, data)


def without_authentication(data: bytes) -> bytes:
    return data[:24]


def granted(engine, request):
    return scenario(engine) >> request << like(Journal) << like(InstallTunnel)


def denied(engine, request, code, **fields):
    """The request is answered with the code, and nothing changes."""
    running = scenario(engine) >> request << sends(code=code, **fields)
    assert engine.bindings(running.now) == []
    assert engine.next_timer() is None
    return running << noted("registration_denied", code=code)


def silent(engine, request, rule):
    running = scenario(engine) >> request << noted("message_dropped", rule)
    assert engine.status(running.now)["pending"] == 0
    return running


def test_no_authentication_is_silently_discarded():
    """HA-06, COM-08: and counted."""
    assert silent(home_agent(), asks(tail=without_authentication), "HA-06")


def test_no_security_association_is_silently_discarded():
    """HA-06: also for an address outside the home network."""
    assert silent(home_agent(), asks(home_address="10.9.9.9"), "HA-06")
    assert silent(home_agent(), asks(home_address="0.0.0.0"), "HA-06")


def test_an_invalid_authenticator_is_denied_with_a_valid_one():
    """HA-07: 131 with the key that the node is likely to have; HA-29."""
    now = instant(1.0).ntp
    running = denied(home_agent(), asks(mobile_home=WRONG), 131, identification=now)
    from mip_agents.protocol.view import parse
    from scapy_mip.auth import verify
    from support.agents import MHAE as KIND

    reply = parse(running.sent[0].data)
    assert [a.type for a in reply.authentications] == [KIND]
    assert verify(KEY, reply.data, reply.authentications[0].offset)
    assert running


def test_an_unknown_spi_of_a_known_node_is_denied():
    """HA-07."""
    assert denied(home_agent(), asks(mobile_home=SecurityAssociation(999, b"k")), 131)


def test_131_is_limited_so_that_a_flood_gets_silence():
    """HA-07 is a MAY; nobody can use us to sign or to amplify."""
    running = scenario(home_agent())
    for step in range(100):
        running.time = 1 + step / 1000
        running.effects = []
        running = running >> asks(mobile_home=WRONG)
        running.effects = []
    assert running
    assert len(running.sent) == 3


def test_a_flood_of_forgeries_does_not_silence_the_real_node():
    running = scenario(home_agent())
    for step in range(300):
        forged = asks(mobile_home=WRONG, source=f"192.0.2.{step % 250}")
        running = running >> forged
        running.effects = []
    assert len(running.sent) == 100
    assert running >> asks(ahead_s=60) << sends(code=133)


def test_several_authorizing_extensions_are_all_verified():
    """HA-08."""
    assert granted(home_agent(), asks(tail=adding(MHAE, KEY)))
    assert denied(home_agent(), asks(tail=adding(MHAE, WRONG)), 131)


def test_the_first_authentication_must_authorize():
    """COM-15."""

    def fhae_first(data: bytes) -> bytes:
        start = data[:24]
        return extension_then_mhae(start + extension(FHAE, FA_KEY, start))

    def extension_then_mhae(data: bytes) -> bytes:
        return data + extension(MHAE, KEY, data)

    engine = home_agent(foreign_agent=True)
    assert silent(engine, asks(tail=fhae_first, **RELAYED), "COM-15")


@pytest.mark.parametrize("ahead", [-3600, -8, 8, 3600])
def test_a_clock_too_far_off_gets_our_time(ahead):
    """HA-09, HA-29, HA-31: high half from our clock, low half from the request."""
    now, sent = instant(1.0).ntp, instant(1.0).ntp + (ahead << 32)
    expected = (now >> 32) << 32 | sent & 0xFFFFFFFF
    assert denied(home_agent(), asks(ahead_s=ahead), 133, identification=expected)


@pytest.mark.parametrize("ahead", [-7, 7])
def test_a_clock_within_the_tolerance_is_accepted(ahead):
    """HA-30."""
    assert granted(home_agent(), asks(ahead_s=ahead))


def test_an_identification_is_never_accepted_twice():
    """HA-30; an equal one for another care-of address is no repetition (HA-22)."""
    running = granted(home_agent(), asks())
    from mip_agents.protocol.effects import AnnounceAddress
    from support.scenario import JOURNAL_WRITTEN, TUNNEL_READY

    running >> JOURNAL_WRITTEN >> TUNNEL_READY << sends() << AnnounceAddress(HOME)
    other = asks(care_of_address="10.1.3.50")
    assert running >> other << sends(code=133)


def test_133_is_limited():
    running = scenario(home_agent())
    for step in range(100):
        running.time = 1 + step / 100
        running = running >> asks(ahead_s=3600)
        running.effects = []
    assert len(running.sent) == 5
    assert running >> Wait(10) >> asks(ahead_s=3600) << sends(code=133)


def test_a_foreign_agent_with_a_key_must_use_it():
    """HA-10: none, two or an invalid one are 132."""
    engine = home_agent(foreign_agent=True)
    wrong = SecurityAssociation(300, b"not the key")

    def twice(data):
        return adding(FHAE, FA_KEY)(adding(FHAE, FA_KEY)(data))

    assert granted(engine, asks(tail=adding(FHAE, FA_KEY), **RELAYED))
    for tail in (lambda data: data, adding(FHAE, wrong), twice):
        engine = home_agent(foreign_agent=True)
        assert denied(engine, asks(tail=tail, **RELAYED), 132)


def test_132_carries_fhae_for_the_foreign_agent():
    """HA-27."""
    engine = home_agent(foreign_agent=True)
    assert denied(engine, asks(**RELAYED), 132, extension_types=(MHAE, FHAE))


def test_the_identification_is_judged_before_the_foreign_agent():
    """HA-09 before HA-10."""
    engine = home_agent(foreign_agent=True)
    assert denied(engine, asks(ahead_s=60, **RELAYED), 133)


def test_fhae_of_a_stranger_is_silently_discarded():
    """HA-11."""
    assert silent(home_agent(), asks(tail=adding(FHAE, FA_KEY), **RELAYED), "HA-11")


def test_fhae_is_never_required_on_a_deregistration():
    """HA-12, and none in the reply (HA-27, C-3)."""
    from support.scenario import JOURNAL_WRITTEN

    engine = home_agent(foreign_agent=True)
    running = scenario(engine) >> asks(lifetime=0, **RELAYED) << like(Journal)
    assert running >> JOURNAL_WRITTEN << sends(code=0, extension_types=(MHAE,))


def test_fhae_is_not_required_for_a_co_located_address_behind_the_agent():
    """RFC 5944 section 3.5.4 forbids the agent to add it there."""
    engine = home_agent(foreign_agent=True)
    assert granted(engine, asks(source=FA, care_of_address=A, flags=0x20))


def test_131_to_a_foreign_agent_needs_its_valid_extension():
    """HA-07: MUST with one; where an association exists but proves nothing, silence."""
    engine = home_agent(foreign_agent=True)
    proven = asks(mobile_home=WRONG, tail=adding(FHAE, FA_KEY), **RELAYED)
    assert denied(engine, proven, 131, extension_types=(MHAE, FHAE))
    engine = home_agent(foreign_agent=True)
    assert silent(engine, asks(mobile_home=WRONG, **RELAYED), "HA-07")


@pytest.mark.parametrize("destination", ["10.1.1.255", "255.255.255.255"])
def test_a_broadcast_request_is_told_our_address(destination):
    """HA-13, HA-25."""
    request = asks(udp={"destination": destination}, home_agent="10.1.1.255")
    assert denied(home_agent(), request, 136, home_agent=HA, source=HA)


def test_another_home_agent_is_denied_with_our_address():
    """HA-14."""
    assert denied(home_agent(), asks(home_agent="10.1.1.21"), 136, home_agent=HA)


def test_a_multicast_request_is_answered_from_our_address():
    """HA-25."""
    from mip_agents.protocol.effects import AnnounceAddress
    from support.scenario import JOURNAL_WRITTEN, TUNNEL_READY

    running = granted(home_agent(), asks(udp={"destination": "224.0.0.11"}))
    running = running >> JOURNAL_WRITTEN >> TUNNEL_READY
    assert running << sends(code=0, source=HA) << AnnounceAddress(HOME)


@pytest.mark.parametrize("flags", [0x26, 0x23, 0x27])
def test_reserved_bits_are_ignored(flags):
    """C-1, HA-15."""
    assert granted(home_agent(), asks(flags=flags))


@pytest.mark.parametrize("flags", [0x26, 0x23, 0x27])
def test_reserved_bits_are_denied_where_the_policy_is_strict(flags):
    """C-1, HA-15."""
    assert denied(home_agent(strict=True), asks(flags=flags), 134)
    assert granted(home_agent(strict=True), asks(flags=0x62))


def test_reserved_bits_are_judged_behind_the_identification():
    """HA-09 before HA-15, as the RFC's order has it."""
    assert denied(home_agent(strict=True), asks(flags=0x27, ahead_s=60), 133)


def test_b_is_ignored():
    """HA-04."""
    assert granted(home_agent(), asks(flags=0x62))


@pytest.mark.parametrize("address", [HA, "10.1.1.0", "10.1.1.255", "10.1.9.10"])
def test_an_address_that_is_no_host_of_the_home_network_is_denied(address):
    """HA-16: 129, where a security association exists."""
    table = SecurityTable.for_network(NETWORK.supernet(16), [KEY])
    engine = home_agent(mobile_nodes=table)
    assert denied(engine, asks(home_address=address), 129)


@pytest.mark.parametrize(
    "address",
    [HOME, HA, "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.1.1.255"],
)
def test_a_care_of_address_without_sense_is_denied(address):
    """HA-17: 134, and never a tunnel to itself."""
    assert denied(home_agent(), asks(care_of_address=address, source=A), 134)


@pytest.mark.parametrize(
    ("flags", "allowed", "form"),
    [
        (0x20, ALL, Encapsulation.IPIP),
        (0x28, ALL, Encapsulation.GRE),
        (0x30, ALL, Encapsulation.MINIMAL),
        (0x38, ALL, Encapsulation.GRE),
        (0x38, ALL - {Encapsulation.GRE}, Encapsulation.MINIMAL),
    ],
)
def test_m_and_g_choose_the_encapsulation(flags, allowed, form):
    """HA-43; with both, GRE goes first."""
    engine = home_agent(encapsulations=allowed)
    tunnel = like(Tunnel, encapsulation=form, reverse=False)
    running = scenario(engine) >> asks(flags=flags) << like(Journal)
    assert running << like(InstallTunnel, tunnel=tunnel)


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        (0x20, ALL - {Encapsulation.IPIP}),
        (0x28, ALL - {Encapsulation.GRE}),
        (0x30, ALL - {Encapsulation.MINIMAL}),
    ],
)
def test_an_encapsulation_that_is_not_allowed_is_denied(flags, allowed):
    """HA-43: 139."""
    assert denied(home_agent(encapsulations=allowed), asks(flags=flags), 139)


def test_reverse_tunnel_off_and_required():
    """RT-05: 137 and 138."""
    off = home_agent(reverse_tunnel=ReverseTunnel.OFF)
    assert denied(off, asks(flags=0x22), 137)
    assert granted(off, asks(flags=0x20))
    required = home_agent(reverse_tunnel=ReverseTunnel.REQUIRED)
    assert denied(required, asks(flags=0x20), 138)
    assert granted(required, asks(flags=0x22))


def test_encapsulation_is_judged_before_the_reverse_tunnel():
    """RT-05."""
    engine = home_agent(reverse_tunnel=ReverseTunnel.OFF)
    assert denied(engine, asks(flags=0x32), 139)


def test_a_deregistration_asks_for_nothing():
    """RT-05 does not apply to it: who wants to leave may."""
    engine = home_agent(reverse_tunnel=ReverseTunnel.REQUIRED)
    assert scenario(engine) >> asks(lifetime=0, flags=0x30) << like(Journal)


def test_a_denied_request_does_not_use_up_its_identification():
    """HA-30 counts accepted ones only."""
    identification = instant(1.0).ntp
    engine = home_agent()
    running = denied(engine, asks(flags=0x30, identification=identification), 139)
    again = asks(identification=identification)
    assert running >> again << like(Journal) << like(InstallTunnel)


def test_generalized_authentication_is_verified_too():
    """HA-08: type 36 authorizes; without AAA the node's own keys must fit."""

    def bad(data: bytes) -> bytes:
        head = bytes([GENERALIZED, 1]) + (20).to_bytes(2, "big") + (256).to_bytes(4)
        return data + head + bytes(16)

    assert denied(home_agent(), asks(tail=bad), 131)


@pytest.mark.parametrize("source", ["0.0.0.0", "255.255.255.255", "224.0.0.1"])
def test_a_request_without_an_address_to_answer_to_is_dropped(source):
    """HA-25."""
    assert silent(home_agent(), asks(source=source), "HA-25")
    assert silent(home_agent(), asks(udp={"source_port": 0}), "HA-25")


def test_an_unknown_extension_below_128_drops_the_request():
    """COM-01."""
    assert silent(home_agent(), asks(tail=lambda data: data + b"\x63\x01\0"), "COM-01")


def test_an_unknown_extension_from_128_on_is_skipped():
    """COM-02."""
    assert granted(home_agent(), asks(tail=lambda data: data + b"\xc7\x01\0"))


def test_a_reply_is_not_for_a_home_agent():
    """HA-03."""
    data = build_reply(
        code=0,
        lifetime=600,
        home_address=HOME,
        home_agent=HA,
        identification=1,
        mobile_home=KEY,
    )
    event = Received(
        data=data, source=A, source_port=434, destination=HA, destination_port=434
    )
    assert silent(home_agent(), event, "HA-03")


def test_no_key_or_authenticator_is_noted():
    running = scenario(home_agent()) >> asks(mobile_home=WRONG)
    shown = repr([e for e in running.effects if not hasattr(e, "data")])
    assert "1234567812345678" not in shown
    assert running << sends(code=131)
    assert counting_bytes()(4) != b""
