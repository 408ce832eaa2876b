# SPDX-License-Identifier: GPL-2.0-only
"""How an agent advertises on a link: what, when, to whom, and how often."""

import itertools

import pytest

from mip_agents.protocol.advertise import (
    LAST_SEQUENCE,
    MAX_ANSWER_DELAY_S,
    MAX_CARE_OF_ADDRESSES,
    QUICK,
    Advertiser,
    Offer,
)
from mip_agents.protocol.discovery import (
    AgentAdvertisement,
    build_advertisement,
    build_solicitation,
    parse_discovery,
)
from mip_agents.protocol.effects import Noted, SendDiscovery, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import DiscoveryReceived
from mip_agents.protocol.policy import AdvertisementPolicy
from scapy_mip.all import MIPAgentAdvertisement, MIPAgentSolicitation
from scapy_mip.const import AgentFlag
from support.agents import counting_bytes

F, H, R, B, T = (AgentFlag[letter] for letter in "FHRBT")
ADDRESS, NODE, NODE_MAC = "10.1.2.1/24", "10.1.1.10", "02:00:00:00:00:0a"
OFFER = Offer(F | R | T, ("10.1.2.1", "192.0.2.7"), 1800)


def advertiser(random_bytes=None, **policy):
    settings = AdvertisementPolicy(**policy)
    return Advertiser(settings, "eth1", random_bytes or counting_bytes())


def started(now=0.0, **policy):
    """An advertiser that has sent its first advertisement, if it does by itself."""
    made = advertiser(**policy)
    made.start([ADDRESS], OFFER, now)
    return made


def solicits(source=NODE, link_address=NODE_MAC, data=None):
    return DiscoveryReceived(
        data=build_solicitation() if data is None else data,
        source=source,
        destination="224.0.0.11",
        interface="eth1",
        ttl=1,
        link_address=link_address,
    )


def message(effects):
    """What the one advertisement among effects says."""
    (send,) = effects
    assert isinstance(send, SendDiscovery), send
    found = parse_discovery(send.data)
    assert isinstance(found, AgentAdvertisement), found
    return found


def sent_until(made, end):
    """Let time go by; give the second of each advertisement."""
    times = []
    while (due := made.next_timer()) is not None and due <= end:
        assert message(made.tick(due))
        times.append(due)
    return times


def pauses(times):
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_an_agent_advertises_as_soon_as_its_link_is_up():
    """AG-01, AG-02, AG-04, AG-09, AG-12, AG-19: to all hosts, from its own address."""
    made = advertiser(icmp_code=16)
    (send,) = made.start([ADDRESS, "10.1.9.1/28"], OFFER, 0.0)
    assert (send.source, send.destination) == ("10.1.2.1", "224.0.0.1")
    assert (send.interface, send.link_address) == ("eth1", None)
    assert parse_discovery(send.data) == AgentAdvertisement(
        code=16,
        lifetime=9,
        router_addresses=("10.1.2.1", "10.1.9.1"),
        flags=F | R | T,
        sequence_number=0,
        registration_lifetime=1800,
        care_of_addresses=("10.1.2.1", "192.0.2.7"),
        prefix_lengths=(),
    )


def test_prefix_lengths_are_those_of_the_routers_where_they_are_wanted():
    """AG-16, AG-17, AG-18."""
    made = advertiser(prefix_lengths=True)
    effects = made.start([ADDRESS, "10.1.9.1/28", "10.1.8.1/30"], OFFER, 0.0)
    assert message(effects).prefix_lengths == (24, 28, 30)
    assert len(effects[0].data) % 2 == 0


def test_advertisements_go_where_the_policy_says():
    """AG-02."""
    made = advertiser(destination="255.255.255.255")
    (send,) = made.start([ADDRESS], OFFER, 0.0)
    assert send.destination == "255.255.255.255"


def test_the_first_three_come_quickly_and_the_others_in_random_intervals():
    """AG-04, AG-05, AG-20."""
    made = started(interval=100.0)
    times = [0.0, *sent_until(made, 2000.0)]
    quick, slow = pauses(times[:QUICK]), pauses(times[QUICK - 1 :])
    assert all(0.75 <= pause <= 1.0 for pause in quick), quick
    assert all(75.0 <= pause <= 100.0 for pause in slow), slow
    assert len(set(slow)) > len(slow) / 2, "not one interval like the other"


def test_a_short_interval_is_not_stretched_by_the_quick_ones():
    """AG-20."""
    times = [0.0, *sent_until(started(interval=0.2), 3.0)]
    assert all(0.15 - 1e-9 <= pause <= 0.2 + 1e-9 for pause in pauses(times))


@pytest.mark.parametrize(
    ("interval", "lifetime"), [(0.2, 1), (3.0, 9), (3.5, 11), (600.0, 1800), (0, 1800)]
)
def test_an_advertisement_counts_for_three_intervals(interval, lifetime):
    """AG-04."""
    made = started(interval=interval)
    assert message(made.solicited(solicits(), 5.0)).lifetime == lifetime


def test_sequence_numbers_begin_with_0_and_roll_over_to_256():
    """AG-11."""
    made = advertiser()
    numbers = [message(made.start([ADDRESS], OFFER, 0.0)).sequence_number]
    numbers += [message(made.tick(made.next_timer())).sequence_number for _ in "12"]
    assert numbers == [0, 1, 2]
    made.sequence_number = LAST_SEQUENCE
    numbers = [message(made.tick(made.next_timer())).sequence_number for _ in "123"]
    assert numbers == [LAST_SEQUENCE, 256, 257]


def test_sequence_numbers_go_on_when_the_link_comes_back():
    """AG-11: beginning anew says that the agent forgot its visitors (MN-12)."""
    made = started()
    made.suspend()
    assert made.next_timer() is None
    assert message(made.start([ADDRESS], OFFER, 50.0)).sequence_number == 1
    assert made.next_timer() <= 51.0, "three quick ones again"


def test_a_changed_offer_is_told_soon_but_not_at_any_rate():
    """AG-05, AG-15: a busy agent goes on advertising, with B."""
    made = started(interval=100.0)
    busy = Offer(F | B | R | T, OFFER.care_of_addresses, 1800)
    assert made.start([ADDRESS], busy, 0.1) == []
    due = made.next_timer()
    assert due == 0.75
    assert message(made.tick(due)).flags == F | B | R | T
    sent_until(made, 10.0)
    assert message(made.start([ADDRESS], OFFER, 10.0)).flags == F | R | T


def test_what_has_not_changed_is_no_news():
    """AG-05."""
    made = started()
    sent_until(made, 10.0)
    due = made.next_timer()
    assert made.start([ADDRESS], OFFER, 10.0) == []
    assert made.next_timer() == due


def test_who_has_an_address_gets_the_answer_alone():
    """AG-03, AG-07: by its link-layer address, wherever its address belongs."""
    made = started()
    (send,) = made.solicited(solicits(), 0.1)
    assert (send.destination, send.link_address) == (NODE, NODE_MAC)
    assert message([send]).sequence_number == 1
    due = made.next_timer()
    assert due is not None and due <= 1.0, "the others do not wait for it"


def test_who_has_no_address_hears_the_next_one_to_all_soon():
    """AG-07, AG-20: after a random delay, and one for all who ask meanwhile."""
    made = started(interval=100.0)
    sent_until(made, 50.0)
    for at in (50.0, 50.1, 50.2):
        assert made.solicited(solicits(source="0.0.0.0"), at) == []
    due = made.next_timer()
    assert 50.0 <= due <= 50.0 + MAX_ANSWER_DELAY_S
    (send,) = made.tick(due)
    assert (send.destination, send.link_address) == ("224.0.0.1", None)
    assert made.next_timer() >= due + 75.0


def test_an_answer_to_all_does_not_delay_the_next_advertisement():
    """AG-07."""
    made = started(random_bytes=lambda size: b"\xff" * size, interval=2.0)
    sent_until(made, 1.5)
    due = made.next_timer()
    made.solicited(solicits(source="0.0.0.0"), 1.5)
    assert made.next_timer() == due


def test_an_agent_may_advertise_only_when_it_is_asked():
    """AG-06, AG-11."""
    made = advertiser(interval=0)
    assert made.start([ADDRESS], OFFER, 0.0) == []
    assert made.next_timer() is None
    assert message(made.solicited(solicits(), 1.0)).sequence_number == 0
    made.solicited(solicits(source="0.0.0.0"), 2.0)
    assert message(made.tick(made.next_timer())).sequence_number == 1
    assert made.next_timer() is None


def test_answers_have_a_rate_for_each_node_and_for_all():
    """AG-05: the log hears of it in a low voice, the counters in any case."""
    made = started()
    answers = [made.solicited(solicits(), 1.0) for _ in range(5)]
    assert [isinstance(one[0], SendDiscovery) for one in answers] == [True] * 3 + [
        False
    ] * 2
    (noted,) = answers[-1]
    assert (noted.rule, noted.severity) == ("AG-05", Severity.DEBUG)
    others = [
        made.solicited(solicits(link_address=f"02:00:00:00:01:{number:02x}"), 1.0)
        for number in range(100)
    ]
    assert sum(isinstance(one[0], SendDiscovery) for one in others) == 50 - 3
    assert isinstance(made.solicited(solicits(), 9.0)[0], SendDiscovery)


def test_solicitations_to_all_cannot_raise_the_rate():
    """AG-05."""
    made = started(random_bytes=lambda size: bytes(size), interval=100.0)
    times = [0.0]
    for step in range(1, 1000):
        now = step / 100
        made.solicited(solicits(source="0.0.0.0"), now)
        times += sent_until(made, now)
    assert min(pauses(times)) >= 0.75


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"data": bytes(MIPAgentSolicitation(code=1))}, "AG-21"),
        ({"data": build_solicitation()[:6]}, "AG-21"),
        ({"source": "224.0.0.1"}, "AG-21"),
        ({"source": "10.1.2.255"}, "AG-21"),
        ({"source": "10.1.2.1"}, "AG-21"),
        ({"data": bytes(MIPAgentAdvertisement(code=3))}, "MN-05"),
    ],
)
def test_a_bad_solicitation_is_dropped_and_counted_by_its_rule(changes, rule):
    """AG-21, COM-08."""
    (noted,) = started().solicited(solicits(**changes), 1.0)
    assert isinstance(noted, Noted)
    assert (noted.event, noted.rule) == ("message_dropped", rule)
    assert noted.fields["link_address"] == NODE_MAC


def test_an_advertisement_of_another_agent_is_nothing_to_us():
    data = build_advertisement(
        code=0,
        lifetime=9,
        router_addresses=("10.1.2.2",),
        flags=H,
        sequence_number=0,
        registration_lifetime=0,
        care_of_addresses=(),
    )
    assert started().solicited(solicits(data=data), 1.0) == []


def test_the_last_advertisement_has_lifetime_0():
    """AG-20."""
    made = started()
    effects = made.stop()
    assert effects[0].destination == "224.0.0.1"
    last = message(effects)
    assert (last.lifetime, last.sequence_number) == (0, 1)
    assert made.next_timer() is None
    assert made.stop() == []
    assert made.solicited(solicits(), 1.0) == []


def test_who_never_spoke_needs_no_last_word():
    """AG-06, AG-20."""
    assert started(interval=0).stop() == []
    assert advertiser().stop() == []


def test_a_link_without_an_address_has_nothing_to_advertise():
    """AG-19."""
    made = started()
    assert made.start([], OFFER, 5.0) == []
    assert (made.active, made.next_timer()) == (False, None)


@pytest.mark.parametrize(
    ("flags", "addresses"),
    [
        (T, ()),
        (H | B, ()),
        (H | R, ()),
        (F, ()),
        (F, ("10.1.2.1",) * (MAX_CARE_OF_ADDRESSES + 1)),
    ],
)
def test_nothing_can_be_offered_that_no_agent_may_offer(flags, addresses):
    """AG-12, AG-13."""
    with pytest.raises(MipError):
        Offer(flags, addresses, 1800)


def test_the_most_that_can_be_offered_fits():
    """AG-13."""
    most = Offer(F, ("10.1.2.1",) * MAX_CARE_OF_ADDRESSES, 1800)
    found = message(advertiser().start([ADDRESS], most, 0.0))
    assert len(found.care_of_addresses) == MAX_CARE_OF_ADDRESSES
