# SPDX-License-Identifier: GPL-2.0-only
"""What a foreign agent refuses, with which code, and how it says so."""

from __future__ import annotations

import pytest

from mip_agents.protocol.effects import InstallTunnel
from mip_agents.protocol.policy import ReverseTunnel
from scapy_mip.all import MIPMHAE, MIPNAI, MIPRRQ
from scapy_mip.const import Encapsulation, ExtensionType
from support.agents import FA, HA, HOME, KEY, WRONG, A
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
    frame,
    grants,
    last_answer,
    signed_with,
    visits,
)
from support.scenario import TUNNEL_READY, Wait, like, noted, scenario, sends

OTHER_MN_KEY = type(MN_KEY)(MN_KEY.spi, b"not the visitor's key")


def denied(code: int, **fields):
    """Expect a denial of the foreign agent to the node's link-layer address."""
    return sends(
        code=code, interface=LINK, link_address=NODE, destination=HOME, **fields
    )


def relayed(**fields):
    """Expect a request that goes on to the home agent."""
    return sends(destination=HA, destination_port=434, **fields)


@pytest.mark.parametrize("flags", ["Tr", "Tx"])
def test_reserved_bits_are_denied_by_the_strict(flags):
    """FA-09, C-1: RFC 5944 3.3 says ignore, 3.7.2.1 says deny with 70."""
    assert (
        scenario(foreign_agent(strict=True))
        >> visits(flags=flags)
        << denied(70)
        << noted("registration_denied", "FA-09", code=70)
    )
    assert scenario(foreign_agent()) >> visits(flags=flags) << relayed()


def test_a_care_of_address_of_another_is_denied():
    """FA-10: unless it is the node's own, or nothing is asked for."""
    assert (
        scenario(foreign_agent())
        >> visits(care_of_address=A)
        << denied(77)
        << noted("registration_denied", "FA-10")
    )
    assert (
        scenario(foreign_agent())
        >> visits(care_of_address=A, flags="DT")
        << relayed(source=CARE_OF, care_of_address=A)
    )
    assert (
        scenario(foreign_agent())
        >> visits(care_of_address=A, lifetime=0)
        << relayed(source=CARE_OF, care_of_address=A)
    )


@pytest.mark.parametrize(
    "keys", [(), (OTHER_MN_KEY,), (MN_KEY, MN_KEY)], ids=["none", "wrong", "two"]
)
def test_a_node_that_shares_a_key_must_prove_it(keys):
    """FA-11, C-2: exactly one valid MFAE, else the request goes no further and 67
    comes back, signed with the key that the node should have."""
    running = scenario(foreign_agent(node_key=MN_KEY))
    assert (
        running
        >> visits(behind=signed_with(MFAE, *keys))
        << denied(67)
        << noted("registration_denied", "FA-11", code=67)
    )
    reply = last_answer(running)
    assert [one.type for one in reply.authentications] == [MFAE]
    assert reply.authentications[0].spi == MN_KEY.spi


def test_one_valid_mfae_lets_the_request_pass():
    """FA-11, FA-17: it was for us, and is not passed on."""
    running = scenario(foreign_agent(node_key=MN_KEY))
    assert (
        running
        >> visits(behind=signed_with(MFAE, MN_KEY))
        << relayed(extension_types=(ExtensionType.MOBILE_HOME_AUTHENTICATION,))
    )


def test_a_lifetime_that_is_too_long_is_answered_with_the_longest():
    """FA-12: 69 carries our maximum."""
    assert (
        scenario(foreign_agent(registration_lifetime=300))
        >> visits(lifetime=301)
        << denied(69, lifetime=300)
    )
    assert (
        scenario(foreign_agent(registration_lifetime=300))
        >> visits(lifetime=300)
        << relayed(lifetime=300)
    )


def test_infinity_is_longer_than_anything():
    """FA-12, COM-16."""
    engine = foreign_agent(registration_lifetime=65534)
    assert scenario(engine) >> visits(lifetime=65535) << denied(69, lifetime=65534)
    engine = foreign_agent(registration_lifetime=65535)
    assert scenario(engine) >> visits(lifetime=65535) << relayed(lifetime=65535)


@pytest.mark.parametrize("address", [FA, "10.1.4.1", "192.0.2.1"])
def test_our_own_address_is_no_home_agent(address):
    """FA-13: on whatever interface it is."""
    assert scenario(foreign_agent()) >> visits(home_agent=address) << denied(194)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "255.255.255.255", "224.0.0.11", "127.0.0.1"]
)
def test_a_home_agent_must_be_one_host(address):
    """DHA-02: we find none for a node, so 90."""
    assert scenario(foreign_agent()) >> visits(home_agent=address) << denied(90)


def test_without_home_address_there_must_be_a_name():
    """FA-14, NAI-02, FA-27: the answer goes to all, at one link-layer
    address."""
    assert (
        scenario(foreign_agent())
        >> visits(home_address="0.0.0.0", udp={"source": "0.0.0.0"})
        << sends(code=96, destination="255.255.255.255", link_address=NODE)
    )
    assert (
        scenario(foreign_agent())
        >> visits(bytes(MIPNAI(nai="mn@example.org")), home_address="0.0.0.0")
        << relayed(nai="mn@example.org", home_address="0.0.0.0")
    )


def test_a_denial_copies_what_was_asked():
    """FA-15: home address, home agent, Identification and, if it is not too long,
    lifetime."""
    running = scenario(foreign_agent())
    assert (
        running
        >> visits(care_of_address=A, identification=0x1234567890ABCDEF, lifetime=77)
        << denied(
            77,
            home_address=HOME,
            home_agent=HA,
            identification=0x1234567890ABCDEF,
            lifetime=77,
        )
    )


def test_a_node_is_denied_once_a_second():
    """FA-06: and another node still gets its answer."""
    assert (
        scenario(foreign_agent(), at=1.0)
        >> visits(care_of_address=A)
        << denied(77)
        >> Wait(1.9)
        >> visits(care_of_address=A)
        << noted("reply_held_back", "FA-06")
        >> visits(care_of_address=A, udp={"link_address": STRANGER})
        << sends(code=77, link_address=STRANGER)
        >> Wait(2.1)
        >> visits(care_of_address=A)
        << denied(77)
    )


@pytest.mark.parametrize(
    ("flags", "allowed", "code"),
    [
        ("T", {Encapsulation.GRE}, 72),
        ("GT", {Encapsulation.IPIP}, 72),
        ("MT", {Encapsulation.IPIP, Encapsulation.GRE}, 72),
        ("MGT", {Encapsulation.GRE}, None),
        ("DGT", {Encapsulation.IPIP}, None),
    ],
)
def test_only_what_we_can_unpack_is_promised(flags, allowed, code):
    """FA-29, RT-04: an encapsulation that the policy lacks is denied with 72; a
    co-located care-of address does not need us for it."""
    engine = foreign_agent(encapsulations=frozenset(allowed))
    own = {"care_of_address": A} if "D" in flags else {}
    expected = relayed() if code is None else denied(code)
    assert scenario(engine) >> visits(flags=flags, **own) << expected


def test_the_codes_of_reverse_tunnelling_have_their_order():
    """RT-04: 72, 79, 75, 76 and 74, each when all before it are out of the way."""
    far = {"ttl": 254}
    style = signed_with(MFAE, first=ENCAPSULATING)
    everything = foreign_agent(
        encapsulations=frozenset({Encapsulation.GRE}),
        encapsulating_delivery=False,
        reverse_tunnel=ReverseTunnel.OFF,
    )
    assert (
        scenario(everything)
        >> visits(udp=far, behind=style)
        << denied(72)
        >> Wait(3)
        >> visits(flags="GT", udp=far, behind=style)
        << denied(79)
        >> Wait(5)
        >> visits(flags="GT", udp=far)
        << denied(76)
        >> Wait(7)
        >> visits(flags="GT")
        << denied(74)
        >> Wait(9)
        >> visits(flags="G")
        << relayed()
    )
    strict = foreign_agent(reverse_tunnel=ReverseTunnel.REQUIRED)
    assert scenario(strict) >> visits(flags="", udp=far) << denied(75)
    assert scenario(strict) >> visits(flags="T") << relayed()


def test_a_reverse_tunnel_is_for_nodes_on_the_link():
    """RT-02: with T the TTL must still be 255; without T it does not matter."""
    assert (
        scenario(foreign_agent())
        >> visits(udp={"ttl": 254})
        << denied(76)
        << noted("registration_denied", "RT-02")
    )
    assert scenario(foreign_agent()) >> visits(flags="", udp={"ttl": 1}) << relayed()


def test_a_request_that_nobody_could_grant_is_not_relayed():
    """COM-15: there is no authorization-enabling extension, or another comes first."""
    bare = bytes(
        MIPRRQ(flags="T", home_address=HOME, home_agent=HA, care_of_address=CARE_OF)
    )
    assert scenario(foreign_agent()) >> frame(bare) << denied(70)
    signed = signed_with(MFAE, MN_KEY)(bare)
    signed += bytes(MIPMHAE(spi=256, authenticator=bytes(16)))
    assert scenario(foreign_agent()) >> frame(signed) << denied(70)


@pytest.mark.parametrize("address", ["224.1.1.1", "255.255.255.255", FA])
def test_a_home_address_must_be_that_of_a_node(address):
    """FA-09: packets for it could not be handed on."""
    assert (
        scenario(foreign_agent())
        >> visits(home_address=address)
        << sends(code=70, link_address=NODE)
    )


def test_the_mfae_is_judged_before_the_lifetime():
    """FA-11, FA-12: who cannot prove its name learns nothing else."""
    engine = foreign_agent(node_key=MN_KEY, registration_lifetime=60)
    assert scenario(engine) >> visits(lifetime=600) << denied(67)


def test_too_many_requests_wait():
    """FA-03: what is more than the limit gets 66; an answer makes room."""
    running = scenario(foreign_agent(max_pending=2))
    assert (
        running
        >> visits(home_address="10.1.1.11", identification=1)
        << relayed()
        >> visits(home_address="10.1.1.12", identification=2)
        << relayed()
        >> visits(home_address="10.1.1.13", identification=3)
        << sends(code=66, destination="10.1.1.13")
        >> visits(home_address="10.1.1.11", identification=4)
        << relayed()
        >> grants(129)
        << sends(code=129, destination="10.1.1.11")
        >> visits(home_address="10.1.1.13", identification=5)
        << relayed()
    )


def test_a_request_being_carried_out_keeps_its_place():
    """FA-03: the data plane's work counts, too."""
    assert (
        scenario(foreign_agent(max_pending=1))
        >> visits()
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> visits(home_address="10.1.1.13", udp={"link_address": STRANGER})
        << sends(code=66)
        >> TUNNEL_READY
        << sends(code=0)
        >> visits(home_address="10.1.1.14", udp={"link_address": STRANGER})
        << relayed()
    )


def test_a_full_list_takes_no_new_visitor():
    """FA-03: 66, except for those who are here, and those who leave."""
    assert (
        scenario(foreign_agent(max_visitors=1))
        >> visits()
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << sends(code=0)
        << noted("busy", "AG-15")
        >> visits(home_address="10.1.1.13")
        << sends(code=66, destination="10.1.1.13")
        >> visits(lifetime=500)
        << relayed(lifetime=500)
        >> visits(home_address="10.1.1.14", lifetime=0)
        << relayed(lifetime=0)
    )


def test_two_nodes_of_one_private_address_do_not_meet_on_a_link():
    """FA-22: the second one, of another home agent, gets 66; on another link it is
    another node."""
    other = {"link_address": STRANGER}
    elsewhere = other | {"interface": OTHER_LINK}
    assert (
        scenario(foreign_agent())
        >> visits()
        << relayed()
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << sends(code=0)
        >> visits(home_agent="198.51.100.1", identification=8, udp=other)
        << sends(code=66, link_address=STRANGER)
        >> visits(home_agent="198.51.100.1", identification=9, udp=elsewhere)
        << sends(destination="198.51.100.1")
    )


def test_a_request_from_another_link_address_is_no_repetition():
    """FA-22: who sends a node's request again cannot take over what it is granted."""
    copy = visits(identification=7)
    thief = visits(identification=7, udp={"link_address": STRANGER})
    refused = noted("message_dropped", "FA-22")
    assert (
        scenario(foreign_agent())
        >> copy
        << relayed()
        >> thief
        << refused
        >> grants()
        << like(InstallTunnel)
        >> TUNNEL_READY
        << sends(code=0, link_address=NODE)
        >> thief
        << refused
        >> copy
        << relayed()
    )


@pytest.mark.parametrize(
    "udp",
    [{"destination": HA}, {"destination": "255.255.255.255"}, {"interface": "eth0"}],
    ids=["routed", "broadcast", "other link"],
)
def test_what_is_not_for_a_foreign_agent_is_left_alone(udp):
    """MN-19: frames that we route, and those of other links."""
    assert scenario(foreign_agent()) >> visits(udp=udp)


def test_a_request_from_afar_gets_no_answer():
    """FA-02: there is no link-layer address to answer to."""
    afar = {"link_address": None, "ttl": None, "interface": "eth0"}
    assert (
        scenario(foreign_agent())
        >> visits(udp=afar)
        << noted("message_dropped", "FA-02")
    )


def test_all_agents_are_asked_by_multicast():
    """AG-08, FA-27: the answer comes from our address on that link."""
    group = {"destination": "224.0.0.11"}
    assert (
        scenario(foreign_agent())
        >> visits(care_of_address=A, udp=group | {"interface": OTHER_LINK})
        << sends(code=77, source="10.1.4.1", interface=OTHER_LINK)
    )


def test_an_unknown_extension_below_128_discards_the_request():
    """COM-01: and one from 128 on is passed on (COM-02)."""
    assert (
        scenario(foreign_agent())
        >> visits(b"\x64\x02ab")
        << noted("message_dropped", "COM-01")
    )
    running = scenario(foreign_agent())
    assert running >> visits(b"\xc8\x02ab") << relayed(extension_types=(200, 32))


def test_without_a_care_of_address_nothing_is_relayed():
    """FA-01: the configured one went away."""
    from mip_agents.protocol.events import InterfacesChanged

    assert (
        scenario(foreign_agent())
        >> InterfacesChanged({})
        << noted("care_of_address_missing", "FA-01", care_of_address=CARE_OF)
        >> visits()
    )


def test_wrong_mhae_is_the_home_agents_business():
    """FA-16: we cannot judge it, so it is passed on."""
    data = signed_with(ExtensionType.MOBILE_HOME_AUTHENTICATION, WRONG)(
        bytes(
            MIPRRQ(flags="T", home_address=HOME, home_agent=HA, care_of_address=CARE_OF)
        )
    )
    assert KEY != WRONG
    assert scenario(foreign_agent()) >> frame(data) << relayed(data=data)
