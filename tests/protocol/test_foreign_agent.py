# SPDX-License-Identifier: GPL-2.0-only
"""The foreign agent: what it relays, whom it lists, and how visitors come and go."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import Finished, InstallTunnel, RemoveTunnel
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    InterfacesChanged,
    JournalFailed,
    JournalWritten,
    RegisterRequested,
    Restored,
    TunnelFailed,
    TunnelReady,
    Undelivered,
)
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.tunnel import Form, Tunnel, Visitor
from mip_agents.protocol.view import build_reply
from scapy_mip.all import MIPNAI, MIPGREKey
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.const import Encapsulation, ExtensionType
from support.agents import FA, FA_KEY, FHAE, HA, HOME, KEY, MHAE, A, received
from support.foreign import (
    CARE_OF,
    ENCAPSULATING,
    LINK,
    MFAE,
    MN_KEY,
    NODE,
    OTHER_LINK,
    STRANGER,
    foreign_agent,
    grants,
    last_answer,
    last_relayed,
    signed_request,
    signed_with,
    unsigned,
    visits,
)
from support.scenario import (
    EPOCH,
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

TUNNEL = Tunnel(
    home_address=HOME,
    local=CARE_OF,
    peers=(HA,),
    encapsulation=Encapsulation.IPIP,
    reverse=True,
    interface=LINK,
    visitor=Visitor(NODE, encapsulating=False),
)
NAME = bytes(MIPNAI(nai="mn@Example.org"))


def relayed(**fields):
    """Expect a request that goes on to the home agent."""
    return sends(destination=HA, destination_port=434, link_address=None, **fields)


def told(code: int = 0, **fields):
    """Expect a reply that goes to the node's link-layer address."""
    settings = {"interface": LINK, "link_address": NODE, "destination": HOME}
    return sends(code=code, **settings | fields)


def visited(lifetime: int = 600, at: float = 1.0, **policy) -> Scenario:
    """Start a scenario with one visitor."""
    return (
        scenario(foreign_agent(**policy), at=at)
        >> visits(lifetime=lifetime)
        << relayed()
        >> grants()
        << InstallTunnel(1, TUNNEL)
        >> TUNNEL_READY
        << told()
        << noted("registration_accepted", "FA-24")
    )


def rows(running: Scenario) -> list[tuple]:
    """Return who is listed."""
    return [
        (entry["home_address"], entry["state"], entry["remaining"])
        for entry in running.engine.visitors(running.now)
    ]


def test_a_request_is_relayed_as_it_came():
    """FA-16 to FA-18: not a byte is altered, the source is the care-of address."""
    running = scenario(foreign_agent())
    data = signed_request(b"\xc8\x02ab", NAME, identification=EPOCH)
    assert (
        running
        >> visits(b"\xc8\x02ab", NAME, identification=EPOCH)
        << relayed(source=CARE_OF, data=data)
    )


def test_what_stands_behind_the_authorization_goes_away():
    """FA-17, RT-03: the delivery style, MFAE, and what we do not know; all that stands
    before the last authorization-enabling extension stays."""
    aaa = signed_with(ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION)
    generalized = b"\x24\x01\x00\x14" + (2).to_bytes(4, "big") + bytes(16)
    behind = signed_with(MFAE, MN_KEY, first=ENCAPSULATING + b"\xc8\x00")

    def tail(data: bytes) -> bytes:
        return behind(aaa(data) + generalized)

    running = scenario(foreign_agent(node_key=MN_KEY))
    kept = signed_request(identification=EPOCH) + generalized
    assert running >> visits(behind=tail, identification=EPOCH) << relayed(data=kept)


def test_the_home_agent_that_shares_a_key_gets_an_fhae():
    """FA-17: behind all else, valid, and not for a deregistration (C-3) nor a
    co-located care-of address."""
    running = scenario(foreign_agent(agent_key=FA_KEY))
    assert running >> visits() << relayed()
    request = last_relayed(running)
    assert request.extension_types == (MHAE, FHAE)
    assert verify(FA_KEY, request.data, request.authentications[1].offset)
    for fields in ({"lifetime": 0}, {"flags": "D", "care_of_address": A}):
        running = scenario(foreign_agent(agent_key=FA_KEY))
        assert running >> visits(**fields) << relayed(extension_types=(MHAE,))


def test_a_visitor_is_told_when_its_tunnel_is_there():
    """FA-02, FA-24, FA-26 to FA-28, RT-08: from the address that it asked, to the port
    that it asked from, by its link-layer address."""
    running = scenario(foreign_agent())
    assert (
        running
        >> visits(udp={"source_port": 40000})
        << relayed()
        << noted("request_relayed")
        >> grants(behind=lambda data: data + b"\xc8\x02xy")
        << InstallTunnel(1, TUNNEL)
        >> TUNNEL_READY
        << told(
            source=FA,
            source_port=434,
            destination_port=40000,
            extension_types=(MHAE,),
            home_address=HOME,
        )
    )
    assert rows(running) == [(HOME, "registered", 600)]


def test_the_reply_is_passed_on_as_it_came():
    """FA-26: through MHAE; what stands behind is for us, and MFAE takes its place."""
    running = scenario(foreign_agent(node_key=MN_KEY, agent_key=FA_KEY))
    answer = grants(behind=signed_with(FHAE, FA_KEY, first=b"\xc8\x00"))
    assert running >> visits(behind=signed_with(MFAE, MN_KEY)) << relayed()
    original = answer(running).data
    assert running >> answer << like(InstallTunnel) >> TUNNEL_READY << told()
    reply = last_answer(running)
    assert reply.extension_types == (MHAE, MFAE)
    end = reply.authentications[1].offset
    assert reply.data[:end] == original[:end]
    assert verify(MN_KEY, reply.data, end)


def test_a_visitor_that_asks_by_multicast_is_answered_from_that_link():
    """FA-27: 224.0.0.11 is no source."""
    group = {"destination": "224.0.0.11"}
    assert (
        scenario(foreign_agent())
        >> visits(udp=group)
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << told(source=FA)
    )


def test_a_refresh_does_not_touch_the_kernel():
    """FA-07, FA-24: the tunnel is the same, the lifetime begins anew."""
    running = visited(lifetime=600, at=1.0)
    assert (
        running
        >> Wait(400.0)
        >> visits(lifetime=500)
        << relayed()
        >> grants()
        << told(lifetime=500)
        << noted("registration_refreshed", "FA-24")
    )
    assert rows(running) == [(HOME, "registered", 500)]


@pytest.mark.parametrize(
    "change",
    [
        {"udp": {"link_address": STRANGER}},
        {"flags": "GT"},
        {"flags": ""},
        {"behind": signed_with(MFAE, first=ENCAPSULATING)},
    ],
    ids=["link address", "encapsulation", "reverse", "delivery style"],
)
def test_what_concerns_the_tunnel_replaces_it(change):
    """FA-28, RT-09: and the node hears of it afterwards."""
    running = visited()
    assert (
        running
        >> Wait(5.0)
        >> visits(**change)
        << relayed()
        >> grants()
        << like(InstallTunnel)
    )
    assert running.orders[-1].tunnel.key == TUNNEL.key
    assert running.orders[-1].tunnel != TUNNEL
    assert running >> TUNNEL_READY << sends(code=0)


@pytest.mark.parametrize(
    ("asked", "granted", "own", "listed"),
    [(600, 300, 1800, 300), (600, 900, 1800, 600), (600, 600, 600, 600)],
)
def test_a_visitor_stays_as_long_as_all_agree(asked, granted, own, listed):
    """FA-24, COM-18, C-4: the least of what was asked, what was granted and ours."""
    running = scenario(foreign_agent(registration_lifetime=own))
    assert (
        running
        >> visits(lifetime=asked)
        << relayed()
        >> grants(lifetime=granted)
        << like(InstallTunnel)
        >> TUNNEL_READY
        << told(lifetime=granted)
    )
    assert rows(running) == [(HOME, "registered", listed)]


def test_an_infinite_lifetime_never_ends():
    """COM-16."""
    running = visited(lifetime=65535, registration_lifetime=65535)
    assert rows(running) == [(HOME, "registered", None)]
    assert running.engine.next_timer() is None
    assert bool(running)


def test_the_lifetime_begins_when_the_reply_leaves():
    """FA-24: not when the data plane was asked, so that we are not the first to
    forget."""
    assert (
        scenario(foreign_agent(), at=1.0)
        >> visits(lifetime=10)
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> Wait(5.0)
        >> TUNNEL_READY
        << told()
        >> Timer(at=15.0)
        << RemoveTunnel(2, TUNNEL.key)
        << noted("visitor_expired", "FA-24")
    )


def test_an_expired_visitor_is_forgotten_without_a_word():
    """FA-05: the tunnel goes, and nothing is sent."""
    running = visited(lifetime=60, at=1.0)
    assert (
        running
        >> Timer(at=61.0)
        << RemoveTunnel(2, TUNNEL.key)
        << noted("visitor_expired")
        >> TUNNEL_READY
    )
    assert rows(running) == []


def test_a_deregistration_ends_the_visit():
    """FA-05, FA-25: it is relayed, and the visitor stays until it is accepted."""
    running = visited()
    assert running >> Wait(2.0) >> visits(lifetime=0) << relayed(lifetime=0)
    assert (HOME, "registered", 599) in rows(running)
    assert (
        running
        >> grants()
        << told(lifetime=0)
        << RemoveTunnel(2, TUNNEL.key)
        << noted("deregistration_accepted", "FA-25")
        >> TUNNEL_READY
    )
    assert rows(running) == []


@pytest.mark.parametrize(("care_of_address", "gone"), [(A, False), (HOME, True)])
def test_only_the_care_of_address_that_is_named_ends(care_of_address, gone):
    """FA-25, HA-19: the home address names all of them."""
    running = visited() >> Wait(2.0)
    expected = [] if gone else [(HOME, "registered", 599)]
    running = running >> visits(lifetime=0, care_of_address=care_of_address)
    running = running << relayed() >> grants() << told(lifetime=0)
    assert (running << RemoveTunnel(2, TUNNEL.key)) if gone else running
    assert rows(running) == expected


def test_a_denial_changes_nothing_of_a_visitor():
    """FA-07, FA-25: neither of a refresh nor of a deregistration."""
    running = visited()
    for lifetime in (900, 0):
        assert (
            running
            >> visits(lifetime=lifetime, flags="GT", identification=lifetime)
            << relayed()
            >> grants(131)
            << told(131)
            << noted("denial_relayed", "FA-25", code=131)
        )
        assert rows(running) == [(HOME, "registered", 600)]


@pytest.mark.parametrize("half", [0xFFFFFFFF, 0xFFFFFFFF00000000])
def test_the_low_half_of_identification_names_the_request(half):
    """FA-22: the high half may be another (133 tells the home agent's time)."""

    def answer(running: Scenario):
        identification = last_relayed(running).identification ^ half
        return grants(133, identification=identification)(running)

    running = scenario(foreign_agent()) >> visits() << relayed() >> answer
    if half >> 32:
        assert running << told(133)
    else:
        assert running << noted("message_dropped", "FA-22")
        assert [state for _, state, _ in rows(running)] == ["pending"]


def test_a_reply_for_another_home_address_is_no_answer():
    """FA-22."""
    assert (
        scenario(foreign_agent())
        >> visits()
        << relayed()
        >> grants(home_address="10.1.1.11")
        << noted("message_dropped", "FA-22")
    )


def test_a_reply_is_taken_once():
    """FA-22: a second copy answers nothing."""
    answer = grants()
    assert (
        scenario(foreign_agent())
        >> visits()
        << relayed()
        >> answer
        << like(InstallTunnel)
        >> answer
        << noted("message_dropped", "FA-22")
        >> TUNNEL_READY
        << told()
        >> answer
        << noted("message_dropped", "FA-22")
    )


def test_only_the_home_agent_grants():
    """FA-22: who else knows the Identification cannot let a node in."""
    stranger = {"source": "198.51.100.66"}
    assert (
        scenario(foreign_agent())
        >> visits()
        << relayed()
        >> grants(udp=stranger)
        << noted("message_dropped", "FA-22")
        >> grants(136, udp=stranger, home_agent="10.1.1.21")
        << told(136)
    )


def test_a_reply_without_authorization_is_not_passed_on():
    """COM-15, MN-31: the node could not believe it."""
    assert (
        scenario(foreign_agent())
        >> visits()
        << relayed()
        >> grants(behind=unsigned)
        << noted("message_dropped", "COM-15")
        >> grants()
        << like(InstallTunnel)
    )


@pytest.mark.parametrize(
    "keys",
    [(), (SecurityAssociation(300, b"another"),), (FA_KEY, FA_KEY), (KEY,)],
    ids=["none", "wrong", "two", "other SPI"],
)
def test_a_reply_without_a_valid_fhae_rejects_the_registration(keys):
    """FA-23: the reply is dropped, and the node gets 68."""
    assert (
        scenario(foreign_agent(agent_key=FA_KEY))
        >> visits()
        << relayed()
        >> grants(behind=signed_with(FHAE, *keys))
        << told(68)
        << noted("registration_denied", "FA-23", code=68)
    )


def test_a_reply_of_lifetime_zero_needs_no_fhae():
    """FA-23, C-3: and one that has it is welcome as well."""
    for keys in ((), (FA_KEY,)):
        assert (
            scenario(foreign_agent(agent_key=FA_KEY))
            >> visits(lifetime=0)
            << relayed()
            >> grants(behind=signed_with(FHAE, *keys))
            << told(0, extension_types=(MHAE,))
        )


def test_a_request_that_is_not_answered_times_out():
    """FA-04: after seven seconds the node gets 78."""
    running = scenario(foreign_agent(), at=1.0)
    assert (
        running
        >> visits()
        << relayed()
        >> Timer(at=8.0)
        << told(78)
        << noted("registration_denied", "FA-04", code=78)
    )
    assert rows(running) == []


def test_a_pending_request_ends_with_its_lifetime():
    """FA-19, FA-05: no reply is made up then."""
    assert (
        scenario(foreign_agent(), at=1.0)
        >> visits(lifetime=3)
        << relayed()
        >> Timer(at=4.0)
        << noted("request_lapsed", "FA-19")
        >> grants()
        << noted("message_dropped", "FA-22")
    )


def test_a_repeated_request_is_repeated():
    """MN-37, FA-04: byte for byte, and it waits no longer for that."""
    again = visits(identification=5, flags="GT")
    running = (
        scenario(foreign_agent(agent_key=FA_KEY, gre_keys=True), at=1.0)
        >> again
        << relayed()
        >> Wait(3.0)
        >> again
        << relayed()
        >> Timer(at=8.0)
        << told(78)
    )
    assert running
    assert running.sent[0] == running.sent[1]


def test_a_newer_request_takes_the_place_of_one_that_waits():
    """FA-02, FA-22: the answer to the older one comes to nobody."""
    running = scenario(foreign_agent()) >> visits(identification=1) << relayed()
    old = grants()(running)
    assert (
        running
        >> visits(identification=2)
        << relayed()
        >> old
        << noted("message_dropped", "FA-22")
        >> grants()
        << like(InstallTunnel)
    )


@pytest.mark.parametrize(
    ("icmp_code", "code"),
    [(0, 80), (1, 81), (3, 82), (2, 88), (6, 80), (7, 81), (13, 88)],
)
def test_an_unreachable_home_agent_is_told_of(icmp_code, code):
    """FA-20: 80 network, 81 host, 82 port, 88 anything else."""

    def error(running: Scenario) -> Undelivered:
        return Undelivered(
            data=running.sent[-1].data, destination=HA, icmp_code=icmp_code
        )

    assert (
        scenario(foreign_agent())
        >> visits()
        << relayed()
        >> error
        << told(code)
        << noted("registration_denied", "FA-20", code=code)
    )


def test_an_icmp_error_of_something_else_does_no_harm():
    """FA-20: of another destination, of other bytes, or of too few."""
    running = scenario(foreign_agent()) >> visits() << relayed()
    data = running.sent[-1].data
    for other in (
        Undelivered(data=data, destination=A, icmp_code=1),
        Undelivered(data=data[:40] + b"x", destination=HA, icmp_code=1),
        Undelivered(data=data[:20], destination=HA, icmp_code=1),
        Undelivered(data=b"", destination=HA, icmp_code=1),
    ):
        running = running >> other
    assert (
        running >> Undelivered(data=data[:28], destination=HA, icmp_code=1) << told(81)
    )


def test_what_the_data_plane_refuses_is_denied():
    """FA-05: with 66; nothing is half there, and the home agent is left alone."""
    running = scenario(foreign_agent())
    assert (
        running
        >> visits()
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_FAILED
        << told(66)
        << noted("visitor_change_failed", reason="data plane: no device")
        << noted(
            "registration_denied",
            code=66,
            binding="stays at the home agent until it expires",
        )
    )
    assert rows(running) == []
    assert running.engine.status(running.now)["pending"] == 0


def test_a_refused_change_leaves_the_visitor_as_it_was():
    """FA-07."""
    running = visited()
    assert (
        running
        >> Wait(3.0)
        >> visits(flags="GT", lifetime=1000)
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_FAILED
        << told(66)
    )
    assert rows(running) == [(HOME, "registered", 598)]


def test_what_comes_meanwhile_waits():
    """FA-25: a deregistration while the tunnel is being made ends it afterwards."""
    assert (
        scenario(foreign_agent())
        >> visits(identification=1)
        << relayed()
        >> grants()
        << InstallTunnel(1, TUNNEL)
        >> visits(identification=2, lifetime=0)
        << relayed()
        >> grants()
        >> TUNNEL_READY
        << told(lifetime=600)
        << told(lifetime=0)
        << RemoveTunnel(2, TUNNEL.key)
        >> TUNNEL_READY
    )


def test_a_visitor_that_expires_while_it_is_renewed_stays():
    """FA-24: what the renewal brings counts."""
    running = visited(lifetime=10, at=1.0)
    assert (
        running
        >> Wait(9.0)
        >> visits(flags="GT", lifetime=20)
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> Timer(at=11.0)
        >> TUNNEL_READY
        << told()
    )
    assert rows(running) == [(HOME, "registered", 20)]


def test_a_node_that_moves_between_our_links_leaves_the_other():
    """FA-02: its packets must not be handed to where it was."""
    running = visited()
    there = {"interface": OTHER_LINK, "destination": "10.1.4.1"}
    assert (
        running
        >> Wait(2.0)
        >> visits(udp=there)
        << relayed()
        >> grants()
        << RemoveTunnel(2, TUNNEL.key)
        << like(InstallTunnel)
        << noted("visitor_moved")
        >> TUNNEL_READY
        >> TUNNEL_READY
        << told(interface=OTHER_LINK, source="10.1.4.1")
    )
    assert [e["interface"] for e in running.engine.visitors(running.now)] == [
        OTHER_LINK
    ]


def test_private_addresses_of_two_networks_are_kept_apart():
    """FA-02: by link; each has its tunnel to its own home agent."""
    running = visited()
    there = {"interface": OTHER_LINK, "link_address": STRANGER}
    other = "198.51.100.1"
    assert (
        running
        >> visits(udp=there, home_agent=other, identification=9)
        << sends(destination=other)
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << told(interface=OTHER_LINK, link_address=STRANGER)
    )
    assert len(rows(running)) == 2
    assert running.engine.status(running.now)["visitors"] == 2


def test_a_co_located_node_is_listed_without_a_tunnel():
    """FA-02, RT-12: its tunnel ends at itself, so the kernel hears of nothing."""
    running = scenario(foreign_agent())
    assert (
        running
        >> visits(flags="DT", care_of_address=A, udp={"source": A})
        << relayed(source=CARE_OF)
        >> grants()
        << told(0)
        << noted("registration_accepted")
    )
    (entry,) = running.engine.visitors(running.now)
    assert (entry["encapsulation"], entry["source"]) == (None, A)
    assert running >> Timer(at=601.0) << noted("visitor_expired")


def test_a_co_located_care_of_address_takes_the_place_of_ours():
    """FA-25."""
    running = visited()
    assert (
        running
        >> Wait(2.0)
        >> visits(flags="DT", care_of_address=A)
        << relayed()
        >> grants()
        << RemoveTunnel(2, TUNNEL.key)
        << told(0)
        >> TUNNEL_READY
    )
    assert rows(running) == [(HOME, "registered", 600)]


def test_a_node_is_known_by_its_name_until_it_has_an_address():
    """NAI-02, FA-22: the reply brings the home address."""
    running = scenario(foreign_agent())
    assert (
        running
        >> visits(NAME, home_address="0.0.0.0", udp={"source": "0.0.0.0"})
        << relayed(nai="mn@Example.org")
        >> grants(home_address="10.1.1.77", nai="mn@example.ORG")
        << like(InstallTunnel)
        >> TUNNEL_READY
        << told(destination="10.1.1.77")
    )
    (entry,) = running.engine.visitors(running.now)
    assert (entry["home_address"], entry["nai"]) == ("10.1.1.77", "mn@example.org")


def test_the_name_decides_between_requests_that_look_alike():
    """FA-22, NAI-02: two nodes without address chose the same Identification."""
    other = bytes(MIPNAI(nai="other@example.org"))
    zero = {"home_address": "0.0.0.0", "identification": 5}
    assert (
        scenario(foreign_agent())
        >> visits(NAME, **zero)
        << relayed()
        >> visits(other, **zero, udp={"link_address": STRANGER})
        << relayed()
        >> grants(home_address="10.1.1.77", nai="mn@example.org")
        << like(InstallTunnel)
        >> TUNNEL_READY
        << told(destination="10.1.1.77", link_address=NODE)
    )


def test_a_node_is_not_given_the_address_of_another_visitor():
    """NAI-02: a home agent could take over who it likes by assigning its address."""
    other = {"link_address": STRANGER}
    running = visited()
    assert (
        running
        >> visits(NAME, home_address="0.0.0.0", home_agent="198.51.100.1", udp=other)
        << sends(destination="198.51.100.1")
        >> grants(home_address=HOME)
        << sends(code=66, link_address=STRANGER)
    )
    assert rows(running) == [(HOME, "registered", 600)]


def test_a_tunnel_that_could_not_be_removed_is_removed_later():
    """FA-30: until then it would go on to hand packets to nobody."""
    running = visited(lifetime=60, at=1.0)
    assert (
        running
        >> Timer(at=61.0)
        << RemoveTunnel(2, TUNNEL.key)
        >> TUNNEL_FAILED
        << noted("visitor_change_failed")
        >> Timer(at=91.0)
        << RemoveTunnel(3, TUNNEL.key)
        >> TUNNEL_FAILED
        >> Wait(100.0)
        >> visits()
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << told()
        >> Timer(at=700.0)
        << RemoveTunnel(5, TUNNEL.key)
        >> TUNNEL_READY
    )
    assert running.engine.next_timer() is None


def test_a_tunnel_that_was_removed_meanwhile_is_not_removed_again():
    """FA-30: the node came back and went, before it was tried again."""
    running = visited(lifetime=60, at=1.0)
    running >> Timer(at=61.0) << RemoveTunnel(2, TUNNEL.key) >> TUNNEL_FAILED
    running >> Wait(70.0) >> visits() << relayed() >> grants()
    running << like(InstallTunnel) >> TUNNEL_READY << told()
    running >> Wait(80.0) >> visits(lifetime=0) << relayed() >> grants(lifetime=0)
    running << told(lifetime=0) << RemoveTunnel(4, TUNNEL.key) >> TUNNEL_READY
    assert running
    assert running.engine.next_timer() is None


def test_a_removal_that_waits_is_not_for_what_was_removed_meanwhile():
    """FA-30: its time comes while the node is coming back, and that leaves, too."""
    running = visited(lifetime=60, at=1.0)
    running >> Timer(at=61.0) << RemoveTunnel(2, TUNNEL.key) >> TUNNEL_FAILED
    running >> Wait(90.0) >> visits() << relayed() >> grants() << like(InstallTunnel)
    running >> Wait(90.5) >> visits(lifetime=0) << relayed() >> grants(lifetime=0)
    running >> Timer(at=91.0)
    running >> TUNNEL_READY << told() << told(lifetime=0)
    assert running << RemoveTunnel(4, TUNNEL.key) >> TUNNEL_READY
    assert running.engine.next_timer() is None


def test_a_deregistration_elsewhere_ends_no_visit():
    """FA-25: it is that of another home agent."""
    running = visited()
    assert (
        running
        >> Wait(2.0)
        >> visits(lifetime=0, home_agent="198.51.100.1")
        << sends(destination="198.51.100.1")
        >> grants()
        << told(lifetime=0)
    )
    assert rows(running) == [(HOME, "registered", 599)]


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ({"nai": None}, 97),
        ({"nai": "other@example.org"}, 97),
        ({"home_agent": "0.0.0.0"}, 98),
        ({"home_address": "0.0.0.0"}, 99),
        ({"home_agent": "10.1.1.21"}, 71),
        ({"home_address": "224.0.0.1"}, 71),
        ({"home_address": CARE_OF}, 71),
    ],
)
def test_a_reply_that_lacks_something_is_passed_on_with_our_code(missing, code):
    """NAI-03, HA-14: 97, 98 or 99; what cannot be is poorly formed, 71."""
    fields = {"home_address": "10.1.1.77"} | missing
    if missing.get("nai"):
        running = scenario(foreign_agent()) >> visits(NAME, identification=3)
        fields["home_address"] = HOME
    else:
        running = scenario(foreign_agent()) >> visits(NAME, home_address="0.0.0.0")
    assert (
        running
        << relayed()
        >> grants(**fields)
        << sends(code=code, link_address=NODE)
        << noted("registration_denied", code=code)
    )
    assert rows(running) == []


def test_a_denial_that_lacks_the_name_stays_what_it_is():
    """NAI-03: its own code says more."""
    assert (
        scenario(foreign_agent())
        >> visits(NAME)
        << relayed()
        >> grants(133, nai=None)
        << told(133)
    )


def test_the_encapsulating_delivery_style_is_for_the_data_plane():
    """RT-01, RT-03, RT-09: with T alone."""
    style = signed_with(MFAE, first=ENCAPSULATING)
    for flags, expected in (("T", True), ("", False)):
        running = scenario(foreign_agent())
        assert (
            running
            >> visits(flags=flags, behind=style)
            << relayed(extension_types=(MHAE,))
            >> grants()
            << like(InstallTunnel)
        )
        assert running.orders[0].tunnel.visitor.encapsulating is expected
        assert running.orders[0].tunnel.reverse is bool(flags)


def test_gre_keys_are_asked_for_and_used():
    """TUN-09, TUN-08: behind MHAE and before FHAE, the same in each request; ours is in
    what we get, the home agent's in what we send."""
    policy = {"gre_keys": True, "agent_key": FA_KEY}
    running = scenario(foreign_agent(**policy))
    key = bytes(MIPGREKey(key_identifier=77))
    answer = grants(behind=signed_with(FHAE, FA_KEY, first=key))
    assert running >> visits(flags="GT") << relayed(extension_types=(MHAE, 48, FHAE))
    ours = last_relayed(running).gre_key
    assert ours
    assert running >> answer << like(InstallTunnel) >> TUNNEL_READY << told(0)
    form = Form(Encapsulation.GRE, send_key=77, receive_key=ours)
    tunnel = Tunnel(
        home_address=HOME,
        local=CARE_OF,
        peers=(HA,),
        encapsulation=Encapsulation.GRE,
        reverse=True,
        interface=LINK,
        peer_forms=(form,),
        visitor=Visitor(NODE, encapsulating=False),
    )
    assert (
        running
        >> Wait(9.0)
        >> visits(flags="GT")
        << relayed(gre_key=ours, flags=0x0A)
        >> answer
        << told(0)
        >> Wait(10.0)
        >> visits(flags="GT", lifetime=0)
        << relayed(gre_key=ours, extension_types=(MHAE, 48))
        >> grants(behind=lambda data: data + key)
        << told(0)
        << RemoveTunnel(2, tunnel.key)
    )


@pytest.mark.parametrize("fields", [{}, {"flags": "DG", "care_of_address": A}])
def test_no_gre_key_without_gre_here(fields):
    """TUN-09: only where GRE packets will come to us."""
    engine = foreign_agent(gre_keys=True)
    assert scenario(engine) >> visits(**fields) << relayed(gre_key=None)


def test_a_home_agent_may_be_on_a_visited_link():
    """FA-22: its reply is a frame then; one for another host is not for us."""
    frame = {"interface": LINK, "link_address": STRANGER}
    shared = InterfaceState(LINK, True, ("10.1.2.1/24", "10.1.1.2/24"))
    assert (
        scenario(foreign_agent())
        >> InterfacesChanged({LINK: shared})
        >> visits()
        << relayed()
        >> grants(udp=frame | {"destination": "10.1.2.77"})
        >> grants(udp=frame)
        << like(InstallTunnel)
    )


def test_a_visitor_cannot_answer_in_the_name_of_a_home_agent():
    """FA-22: whose network is somewhere else."""
    frame = {"interface": LINK, "link_address": STRANGER}
    visited = InterfaceState(LINK, True, ("10.1.2.1/24",))
    assert (
        scenario(foreign_agent())
        >> InterfacesChanged({LINK: visited})
        >> visits()
        << relayed()
        >> grants(udp=frame)
        << noted("message_dropped", "FA-22")
    )


def test_a_request_that_is_sent_again_needs_no_other_place():
    """FA-03, MN-37."""
    running = scenario(foreign_agent(max_visitors=1)) >> visits() << relayed()
    assert running >> visits() << relayed()


def test_what_is_no_message_is_counted():
    """COM-08."""
    assert (
        scenario(foreign_agent())
        >> received(b"\x10\x01")
        << noted("message_dropped", "COM-03")
    )


def test_a_foreign_agent_registers_nobody():
    """FA-05: it has neither a registration of its own nor bindings."""
    assert (
        scenario(foreign_agent())
        >> RegisterRequested(token=7, interface=LINK)
        << Finished(token=7, error="a foreign agent does not register")
        >> DeregisterRequested(8)
        << Finished(token=8, error="a foreign agent does not register")
        >> CancelRequested(9)
        << Finished(token=9, error="nothing is under way")
        >> ClearRequested(10, HOME)
        << Finished(token=10, error="a foreign agent has no bindings")
    )


@pytest.mark.parametrize(
    "event",
    [
        JournalWritten(1),
        JournalFailed(1, "?"),
        Restored((), ()),
        TunnelReady(99),
        TunnelFailed(99, "?"),
    ],
)
def test_answers_to_nothing_are_ignored(event):
    assert scenario(foreign_agent()) >> event


def test_the_status_names_what_is_offered():
    running = visited() >> Wait(2.0) >> visits(home_address="10.1.1.11") << relayed()
    status = running.engine.status(instant(2.0))
    assert bool(running)
    assert status["role"] == "foreign_agent"
    assert status["care_of_addresses"] == [CARE_OF]
    assert (status["visitors"], status["pending"], status["busy"]) == (1, 1, False)
    assert [entry["name"] for entry in status["interfaces"]] == [LINK, OTHER_LINK]


def test_the_list_says_how_each_visitor_is_served():
    running = visited() >> Wait(2.0) >> visits(home_address="10.1.1.11") << relayed()
    assert bool(running)
    registered, pending = running.engine.visitors(instant(2.0))
    assert registered["delivery_style"] == "direct"
    assert registered["encapsulation"] == "ipip"
    assert registered["link_address"] == NODE
    assert registered["remaining"] == 599
    assert pending["state"] == "pending"
    assert pending["remaining"] == 7
    assert registered.keys() == pending.keys()


def test_a_reply_does_not_come_from_a_request_of_a_former_life():
    """FA-22: after a restart nothing is pending."""
    reply = build_reply(
        code=0,
        lifetime=600,
        home_address=HOME,
        home_agent=HA,
        identification=EPOCH,
        mobile_home=KEY,
    )
    assert (
        scenario(foreign_agent())
        >> received(reply, HA)
        << noted("message_dropped", "FA-22")
    )
