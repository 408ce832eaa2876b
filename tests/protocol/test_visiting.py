# SPDX-License-Identifier: GPL-2.0-only
"""Registration through a foreign agent: what is sent, believed, given up, installed."""

from __future__ import annotations

import pytest

from mip_agents.protocol.attempts import AGENT_TRIES, State
from mip_agents.protocol.denials import Reaction, concede, reaction
from mip_agents.protocol.effects import (
    AnnounceAddress,
    Finished,
    InstallTunnel,
    RemoveTunnel,
)
from mip_agents.protocol.events import DeregisterRequested, RegisterRequested
from mip_agents.protocol.policy import CareOf, DeliveryStyle
from mip_agents.protocol.terms import Terms
from mip_agents.protocol.tunnel import AgentLink, Tunnel
from scapy_mip.auth import verify
from scapy_mip.const import REPLY_CODES, AgentFlag, Encapsulation, Issuer, ReplyCode
from support.agents import (
    AT_HOME,
    HA,
    HOME,
    ON_A,
    ON_B,
    WRONG,
    A,
    B,
    answers,
    extension,
    last_request,
)
from support.scenario import (
    TUNNEL_READY,
    Scenario,
    Timer,
    Wait,
    like,
    noted,
    scenario,
    sends,
)
from support.visiting import (
    AGENT,
    BARE_A,
    FT,
    MAC,
    OTHER_AGENT,
    OTHER_MAC,
    RFT,
    VISITOR_KEY,
    F,
    advertises,
    link,
    relays,
    visitor,
)

THROUGH = AgentLink(AGENT, MAC, encapsulating=False)
WRONG_VISITOR = type(VISITOR_KEY)(400, b"another key that")
LONG = 9000
"""Seconds for which an advertisement counts, where it is not to be in the way."""

AGENT_BESIDE_B = link(home0=None, eth0="", wlan0="10.1.3.50/24")
GRE, MINIMAL = AgentFlag.G, AgentFlag.M


def asking(offer: AgentFlag = FT, **policy: object) -> Scenario:
    """A node without an address whose first request through an agent is on its way."""
    running = scenario(visitor(**policy)) >> BARE_A
    running >> advertises(flags=offer, lifetime=LONG)
    return running << like(InstallTunnel) >> TUNNEL_READY << sends(destination=AGENT)


def registered(offer: AgentFlag = FT, **policy: object) -> Scenario:
    running = asking(offer, **policy) >> relays() << like(InstallTunnel)
    return running >> TUNNEL_READY


def hearing_two(**policy: object) -> Scenario:
    """A node that is asking through one of two agents."""
    running = scenario(visitor(**policy)) >> BARE_A
    running >> advertises(lifetime=LONG) << like(InstallTunnel)
    running >> advertises(OTHER_AGENT, lifetime=LONG)
    return running >> TUNNEL_READY << sends(destination=AGENT)


# What is sent


def test_the_request_goes_to_the_agent_as_a_frame():
    """MN-17 to MN-21, MN-23, MN-24, RT-02: neither D nor B, and no ARP (MN-41)."""
    running = scenario(visitor(broadcasts=True, lifetime=4000)) >> BARE_A
    running >> advertises(care_of_addresses=["10.1.2.7", AGENT])
    running << like(
        InstallTunnel,
        tunnel=Tunnel(
            home_address=HOME,
            local="10.1.2.7",
            peers=(HA,),
            encapsulation=Encapsulation.IPIP,
            reverse=True,
            interface="eth0",
            receive_only=True,
            agent=THROUGH,
        ),
    )
    assert running.engine.state is State.PREPARING
    running >> TUNNEL_READY
    assert running << sends(
        flags=0x02,
        lifetime=1800,
        home_address=HOME,
        home_agent=HA,
        care_of_address="10.1.2.7",
        source=HOME,
        destination=AGENT,
        destination_port=434,
        source_port=434,
        interface="eth0",
        link_address=MAC,
        ttl=255,
    )


@pytest.mark.parametrize(
    ("wanted", "offer", "flags", "got"),
    [
        ("GRE", FT | GRE, 0x0A, "GRE"),
        ("GRE", FT, 0x02, "IPIP"),
        ("MINIMAL", FT | MINIMAL, 0x12, "MINIMAL"),
        ("MINIMAL", FT | GRE, 0x02, "IPIP"),
        ("IPIP", FT | GRE, 0x02, "IPIP"),
    ],
)
def test_only_what_the_agent_offers_is_asked_for(wanted, offer, flags, got):
    """MN-22."""
    running = asking(offer, encapsulation=Encapsulation[wanted])
    assert last_request(running).flags == flags
    running >> relays()
    expected = like(Tunnel, encapsulation=Encapsulation[got], agent=THROUGH)
    assert running << like(InstallTunnel, tunnel=expected)


def test_without_reverse_tunnels_the_request_stays_on_the_link():
    """C-6, RT-06: the agent offers no T."""
    running = asking(F)
    assert (last_request(running).flags, running.sent[-1].ttl) == (0, 1)
    running >> relays()
    assert running << like(InstallTunnel, tunnel=like(Tunnel, reverse=False))


@pytest.mark.parametrize("style", list(DeliveryStyle))
@pytest.mark.parametrize("shared", [True, False])
def test_extensions_for_the_agent_come_behind_those_for_the_home_agent(style, shared):
    """MN-26, RT-03: 32, then 130, then 33."""
    running = asking(delivery_style=style, shared=shared)
    request = last_request(running)
    encapsulating = style is DeliveryStyle.ENCAPSULATING
    assert request.extension_types == tuple(
        [32] + [130] * encapsulating + [33] * shared
    )
    if shared:
        assert verify(VISITOR_KEY, request.data, request.authentications[-1].offset)
    running >> relays(shared=VISITOR_KEY if shared else None)
    through = AgentLink(AGENT, MAC, encapsulating)
    assert running << like(InstallTunnel, tunnel=like(Tunnel, agent=through))


def test_the_delivery_style_is_not_asked_for_without_a_reverse_tunnel():
    """RT-03."""
    running = asking(F, delivery_style=DeliveryStyle.ENCAPSULATING)
    assert last_request(running).extension_types == (32,)
    assert running


def test_where_registration_is_required_an_own_address_goes_through_the_agent():
    """MN-09, MN-18, MN-20: D, and the tunnel ends here."""
    running = scenario(visitor(broadcasts=True)) >> ON_A << like(InstallTunnel)
    running >> TUNNEL_READY << sends(destination=HA, link_address=None)
    running >> Wait(3) >> advertises(flags=RFT)
    running << sends(
        flags=0x62,
        source=A,
        care_of_address=A,
        destination=AGENT,
        link_address=MAC,
        ttl=255,
    )
    running >> relays()
    expected = like(Tunnel, local=A, agent=None, broadcasts=True, receive_only=False)
    assert running << like(InstallTunnel, tunnel=expected)


def test_no_agent_that_asks_for_nothing_is_asked_by_who_has_an_address():
    """MN-17."""
    running = scenario(visitor()) >> ON_A << like(InstallTunnel) >> TUNNEL_READY
    running << sends(destination=HA) >> advertises(flags=FT)
    assert running.engine.status(running.now)["foreign_agent"] is None
    assert running


def test_an_own_address_is_left_alone_by_who_wants_an_agents():
    """MN-17."""
    running = scenario(visitor(care_of=CareOf.FOREIGN_AGENT)) >> ON_A >> advertises()
    expected = like(Tunnel, local=AGENT, agent=THROUGH)
    assert running << like(InstallTunnel, tunnel=expected)


def test_who_wants_no_agent_hears_none():
    running = scenario(visitor(care_of=CareOf.CO_LOCATED)) >> BARE_A >> advertises()
    assert running.engine.status(running.now)["agents"] == []
    assert running


def test_a_refresh_asks_for_the_same_again():
    """MN-27, MN-33: of the same agent, at two thirds of what it relays."""
    running = registered(lifetime=4000)
    running >> Timer(at=1201)
    assert running << sends(lifetime=1800, destination=AGENT, link_address=MAC)


def test_deregistering_goes_through_the_agent_too():
    """MN-17, MN-24: for its own care-of address."""
    running = registered() >> DeregisterRequested(7)
    running << sends(lifetime=0, care_of_address=AGENT, destination=AGENT, flags=0x02)
    running >> relays() << like(RemoveTunnel) >> TUNNEL_READY
    assert running << like(Finished, token=7, error=None)


def test_coming_home_from_an_agent_is_as_from_anywhere():
    """MN-13, MN-17, ARP-04."""
    running = registered() >> Wait(5) >> AT_HOME << like(RemoveTunnel) >> TUNNEL_READY
    running << AnnounceAddress(HOME, "home0")
    assert running << sends(lifetime=0, destination=HA, source=HOME, link_address=None)


# What is believed


@pytest.mark.parametrize("code", [64, 65, 66, 77, 78, 88, 120, 194])
def test_an_agents_denial_needs_no_authentication_without_an_association(code):
    """MN-31, C-14."""
    running = asking() >> relays(code) << noted("registration_denied", code=code)
    assert running.engine.status(running.now)["last_codes"] == [code]
    assert running


@pytest.mark.parametrize(
    ("reply", "rule"),
    [
        (relays(66, source="10.1.2.66"), "MN-29"),
        (relays(66, home_address="10.1.1.11"), "MN-29"),
        (relays(0, mobile_home=None), "MN-31"),
        (relays(0, mobile_home=WRONG), "MN-31"),
        (relays(133, mobile_home=None), "MN-31"),
        (relays(193), "MN-31"),
        (relays(2), "MN-31"),
    ],
)
def test_what_is_not_proven_is_dropped(reply, rule):
    """MN-29, MN-31: codes of home agents need their proof through an agent, too."""
    running = asking() >> reply << noted("message_dropped", rule)
    assert running.engine.state is State.REGISTERING
    assert running


@pytest.mark.parametrize("code", [0, 66])
@pytest.mark.parametrize("shared", [None, WRONG_VISITOR, WRONG])
def test_with_an_association_the_agent_must_prove_itself(code, shared):
    """MN-30: before anything else."""
    running = asking(shared=True)
    running >> relays(code, shared=shared) << noted("message_dropped", "MN-30")
    running >> relays(0, shared=VISITOR_KEY) << like(InstallTunnel)
    assert running


def test_of_two_proofs_none_counts():
    """MN-30: exactly one."""

    def twice(data: bytes) -> bytes:
        data += extension(33, VISITOR_KEY, data)
        return data + extension(33, VISITOR_KEY, data)

    running = asking(shared=True) >> answers(0, twice)
    assert running << noted("message_dropped", "MN-30")


def test_an_agents_code_means_nothing_to_who_asks_directly():
    """MN-31."""
    running = scenario(visitor()) >> ON_A << like(InstallTunnel) >> TUNNEL_READY
    running << sends() >> relays(66) << noted("message_dropped", "MN-31")
    assert running


def test_a_reply_that_comes_twice_is_no_news():
    """A socket and a frame may both bring it."""
    running = asking()
    reply = relays()(running)
    running >> reply << like(InstallTunnel) >> TUNNEL_READY >> reply
    [again] = running.notes
    assert (again.event, again.severity.name) == ("message_dropped", "DEBUG")
    assert running


# What is done about each code


PLENTY = Terms(
    lifetime=600,
    encapsulation=Encapsulation.GRE,
    reverse_tunnel=True,
    encapsulating=True,
)


@pytest.mark.parametrize("code", [*range(64, 140), 194, 200, 255])
def test_each_code_has_its_reaction(code):
    """MN-07, MN-34, RT-06: nothing else is given up, and nothing else is blamed."""
    given_up = {
        69: {"lifetime": 300},
        70: {"encapsulating": False},
        72: {"encapsulation": Encapsulation.IPIP},
        74: {"reverse_tunnel": False, "encapsulating": False},
        79: {"encapsulating": False},
        134: {"reverse_tunnel": False, "encapsulating": False},
        137: {"reverse_tunnel": False, "encapsulating": False},
        139: {"encapsulation": Encapsulation.IPIP},
    }
    conceded = concede(PLENTY, code, 300)
    if code in given_up:
        fields = {name: getattr(PLENTY, name) for name in Terms.__slots__}
        assert conceded == Terms(**fields | given_up[code])
    else:
        assert conceded is None
    known = REPLY_CODES.get(code)
    if code == 77:
        assert reaction(code) is Reaction.NEXT_CARE_OF_ADDRESS
    elif code == 132 or code < 128 or (known and known.issuer is Issuer.FA):
        assert reaction(code) is Reaction.NEXT_AGENT
    else:
        assert reaction(code) is Reaction.BACK_OFF


def test_what_is_demanded_is_given_and_what_is_gone_cannot_be_given_up():
    """COM-17, MN-34, RT-06: lifetimes count with 69 alone."""
    least = Terms(lifetime=300, encapsulation=Encapsulation.IPIP, reverse_tunnel=False)
    for code in (75, 138):
        demanded = concede(least, code, 0)
        assert demanded is not None
        assert demanded.reverse_tunnel
    for code in (70, 72, 74, 79, 134, 137, 139):
        assert concede(least, code, 60) is None
    for lifetime in (0, 300, 600):
        assert concede(least, 69, lifetime) is None
    poor = concede(PLENTY, 70, 0)
    assert poor is not None
    assert concede(poor, 70, 0) == Terms(
        lifetime=600, encapsulation=Encapsulation.GRE, reverse_tunnel=False
    )


@pytest.mark.parametrize(
    ("code", "offer", "flags", "lifetime"),
    [
        (69, FT, 0x02, 120),
        (70, FT, 0x00, 600),
        (72, FT | GRE, 0x02, 600),
        (74, FT, 0x00, 600),
        (75, F, 0x02, 600),
        (134, FT, 0x00, 600),
        (137, FT, 0x00, 600),
        (138, F, 0x02, 600),
        (139, FT | GRE, 0x02, 600),
    ],
)
def test_what_was_refused_is_given_up_at_once_and_once(code, offer, flags, lifetime):
    """MN-34, RT-06: a second time it is a denial."""
    running = asking(offer, encapsulation=Encapsulation.GRE)
    running >> relays(code, lifetime=120)
    if isinstance(running.effects[0], InstallTunnel):
        running << like(InstallTunnel) >> TUNNEL_READY
    running << sends(flags=flags, lifetime=lifetime, destination=AGENT)
    running >> relays(code, lifetime=lifetime) << noted("registration_denied")
    assert running.engine.next_timer() >= running.time + 60
    assert running.engine.status(running.now)["last_codes"] == [code, code]
    assert running


def test_79_gives_up_the_delivery_style_alone():
    """RT-03."""
    running = asking(delivery_style=DeliveryStyle.ENCAPSULATING) >> relays(79)
    running << like(InstallTunnel) >> TUNNEL_READY << sends(flags=0x02)
    assert last_request(running).extension_types == (32,)
    running >> relays() << like(InstallTunnel, tunnel=like(Tunnel, agent=THROUGH))
    assert running


def test_contradictory_denials_do_not_go_round_in_circles():
    """74 by the agent, 138 by the home agent: neither way is free."""
    running = asking() >> relays(74) << like(InstallTunnel) >> TUNNEL_READY
    running << sends(flags=0) >> relays(138) << noted("registration_denied", code=138)
    assert len(running.sent) == 2
    assert running


def test_a_shorter_lifetime_is_kept_for_the_refresh():
    """MN-34."""
    running = asking() >> relays(69, lifetime=120) << sends(lifetime=120)
    running >> relays() << like(InstallTunnel) >> TUNNEL_READY
    assert running >> Timer(at=81) << sends(lifetime=120)


@pytest.mark.parametrize(
    "code", [64, 65, 66, 67, 68, 71, 73, 76, 78, 80, 81, 82, 88, 100, 132, 194]
)
def test_what_one_agent_refuses_another_is_asked(code):
    """MN-07: without waiting; the one that refused is asked again much later."""
    running = hearing_two() >> relays(code) << like(InstallTunnel) >> TUNNEL_READY
    running << sends(destination=OTHER_AGENT, link_address=OTHER_MAC)
    running >> relays() << like(InstallTunnel) >> TUNNEL_READY
    assert running.engine.status(running.now)["foreign_agent"] == OTHER_AGENT
    assert running >> Wait(70) >> advertises(lifetime=LONG)


@pytest.mark.parametrize("code", [128, 129, 130, 131, 135, 200])
def test_what_the_home_agent_refuses_is_not_asked_through_another(code):
    """Back-off: the home agent is the same behind both."""
    running = hearing_two() >> relays(code) << noted("registration_denied", code=code)
    assert len(running.sent) == 1
    assert running.engine.next_timer() >= 61
    assert running


@pytest.mark.parametrize("code", [67, 68, 131, 132])
def test_failed_authentication_is_logged_as_such(code):
    """MN-32."""
    running = asking() >> relays(code)
    assert running << noted("registration_denied", "MN-32", code=code)


def test_77_tries_the_next_care_of_address_of_the_same_agent():
    """MN-07."""
    running = scenario(visitor()) >> BARE_A
    running >> advertises(care_of_addresses=["10.1.2.7", "10.1.2.8"])
    running << like(InstallTunnel) >> TUNNEL_READY << sends(care_of_address="10.1.2.7")
    running >> relays(77) << like(InstallTunnel, tunnel=like(Tunnel, local="10.1.2.8"))
    running >> TUNNEL_READY << sends(care_of_address="10.1.2.8", destination=AGENT)
    assert running >> relays() << like(InstallTunnel)


def test_a_refused_own_address_gives_way_to_the_agents():
    """MN-07, MN-09."""
    running = scenario(visitor()) >> BARE_A >> ON_A << like(InstallTunnel)
    running >> advertises(flags=RFT, lifetime=LONG) >> TUNNEL_READY
    running << sends(care_of_address=A, destination=AGENT)
    running >> relays(77) << like(InstallTunnel) >> TUNNEL_READY
    assert running << sends(care_of_address=AGENT, destination=AGENT, flags=0x02)


def test_when_all_have_refused_the_node_waits_and_tells():
    """The last resort is a long wait."""
    running = hearing_two() >> Wait(3) >> RegisterRequested(token=7, interface="eth0")
    running.effects = []
    running >> relays(66) << like(InstallTunnel) >> TUNNEL_READY
    running << sends(destination=OTHER_AGENT)
    running >> relays(66) << like(Finished, token=7, code=66)
    assert running.engine.next_timer() >= 63
    assert running >> Timer() << sends()


def test_an_agent_that_does_not_answer_is_given_up_for_one_that_may():
    """MN-37: after three requests."""
    running = hearing_two()
    for _ in range(AGENT_TRIES - 1):
        running = running >> Timer() << sends(destination=AGENT)
    running >> Timer() << like(InstallTunnel) >> TUNNEL_READY
    assert running << sends(destination=OTHER_AGENT)


def test_133_through_an_agent_sets_the_clock():
    """MN-35."""
    running = asking()
    theirs = (running.now.ntp >> 32) + 1000
    running >> relays(133, high=theirs) << sends(destination=AGENT)
    assert last_request(running).identification >> 32 in (theirs, theirs + 1)
    assert running >> relays() << like(InstallTunnel)


def test_136_through_an_agent_names_the_home_agent():
    """MN-36: the agent stays."""
    other = "10.1.1.21"
    running = asking() >> relays(136, home_agent=other)
    running << like(InstallTunnel, tunnel=like(Tunnel, peers=(other,), agent=THROUGH))
    assert running >> TUNNEL_READY << sends(home_agent=other, destination=AGENT)


def test_a_denied_refresh_moves_to_another_agent():
    running = registered() >> advertises(OTHER_AGENT, lifetime=LONG)
    running >> Timer(at=401) << sends(destination=AGENT)
    running >> relays(66) << sends(destination=OTHER_AGENT)
    assert running.engine.state is State.REGISTERING
    expected = like(Tunnel, local=OTHER_AGENT)
    assert running >> relays() << like(InstallTunnel, tunnel=expected)


def test_register_by_hand_goes_through_an_agent():
    running = scenario(visitor(roam=False)) >> BARE_A >> advertises()
    running >> RegisterRequested(token=7, interface="eth0") << like(InstallTunnel)
    running >> TUNNEL_READY << sends(destination=AGENT) >> relays()
    running << like(InstallTunnel) >> TUNNEL_READY
    assert running << like(Finished, token=7, error=None, code=0)


def test_register_by_hand_without_address_and_agent_says_so():
    running = scenario(visitor(roam=False)) >> BARE_A
    running >> RegisterRequested(token=7, interface="eth0")
    [finished] = running.effects
    assert "no foreign agent is heard there" in finished.error
    assert running << like(Finished, token=7)


def test_the_codes_of_the_standard_are_all_thought_of():
    assert {code for code in ReplyCode if 64 <= code <= 88} <= set(range(64, 140))


def test_deregistering_on_the_move_to_an_agent_ends_everything_from_where_it_was():
    """MN-24: directly, since the agent relays only what names its own address."""
    running = scenario(visitor()) >> ON_B << like(InstallTunnel) >> TUNNEL_READY
    running << sends(destination=HA) >> answers() << like(InstallTunnel)
    running >> TUNNEL_READY >> Wait(5) >> AGENT_BESIDE_B >> advertises(lifetime=LONG)
    running << sends(destination=AGENT) >> DeregisterRequested(7)
    assert running << sends(lifetime=0, care_of_address=HOME, destination=HA, source=B)


def test_status_tells_what_was_granted():
    """What the agent does not offer is not there, whatever the policy wants."""
    running = registered(F, encapsulation=Encapsulation.GRE)
    status = running.engine.status(running.now)
    assert (status["encapsulation"], status["reverse_tunnel"]) == ("ipip", False)
    assert running


def test_who_is_refused_beside_its_home_link_goes_home():
    """MN-13, MN-17: with lifetime 0, and not as if home were a care-of address."""
    running = registered(hysteresis=60.0) >> Wait(5)
    running >> link(home0="10.1.1.10/24", eth0="", wlan0=None)
    running >> RegisterRequested(token=7, interface="eth0") << sends(destination=AGENT)
    running >> relays(66) << like(RemoveTunnel) >> TUNNEL_READY
    running << AnnounceAddress(HOME, "home0")
    assert running << sends(lifetime=0, care_of_address=HOME, destination=HA, flags=0)
