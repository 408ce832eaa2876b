# SPDX-License-Identifier: GPL-2.0-only
"""What a home agent answers: requests by hand, from an address of a visited link."""

from __future__ import annotations

from collections.abc import Callable

from mip_agents.lab.topology import HOME_ADDRESS, HOME_AGENT
from scapy_mip.all import (
    MIPFHAE,
    MIPNAI,
    MIPExtension,
    MIPGeneralizedMobileIPAuthentication,
    MIPOneBytePadding,
)
from scapy_mip.const import ReplyCode
from scapy_mip.ident import join, split
from support.recordings.scene import (
    AGENTS_KEY,
    LEASE_A,
    NODE_KEY,
    WRONG_KEY,
    Document,
    Scene,
    Shared,
    association,
    home_agent,
)
from support.recordings.stage import Hand, Stage, now

OTHER_ADDRESS = "10.1.1.11"
NAI = "mn@example.org"


def _play(ask: Callable[[Hand], None]) -> Callable[[Stage], None]:
    """Return a play in which a home agent is asked from the first visited link."""

    def play(stage: Stage) -> None:
        stage.start("ha")
        stage.topology.plug("eth0", "visited-a")
        ask(stage.hand(LEASE_A))

    return play


def resynchronise(hand: Hand) -> None:
    """Come with a clock that is ten minutes late, then with the time in the 133."""
    late = now(-600)
    reply = hand.ask(identification=late)
    assert reply.code == ReplyCode.HA_IDENTIFICATION_MISMATCH
    told = split(reply.identification)[0]
    assert hand.ask(identification=join(told, split(late)[1] + 1)).code == 0


def use_nonces(hand: Hand) -> None:
    """Begin without a nonce, and go on with the one that each reply gives."""
    reply = hand.ask(identification=join(0x11111111, 1))
    assert reply.code == ReplyCode.HA_IDENTIFICATION_MISMATCH
    for number in (2, 3):
        nonce = split(reply.identification)[0]
        reply = hand.ask(identification=join(nonce, number))
        assert reply.code == 0


def repeat(hand: Hand) -> None:
    """Ask twice with one Identification: the answer is given again (HA-22)."""
    moment = now()
    first, again = (bytes(hand.ask(identification=moment)) for _ in range(2))
    assert first == again


def ask_for_an_address(hand: Hand) -> None:
    """Register by name without a home address, keep it, and give it back."""
    named = {"before": [MIPNAI(nai=NAI)]}
    given = hand.ask(home_address="0.0.0.0", **named).home_address
    assert given == "10.1.1.100"
    assert hand.ask(home_address=given, **named).code == 0
    assert hand.ask(home_address=given, lifetime=0, **named).code == 0


def use_rare_forms(hand: Hand) -> None:
    """Pad, sign with the generalized extension, and add what may be skipped."""
    padded = hand.ask(home_address=OTHER_ADDRESS, before=[MIPOneBytePadding()])
    assert padded.code == 0
    general = MIPGeneralizedMobileIPAuthentication(association=NODE_KEY.association)
    assert hand.ask(key=None, behind=[general], home_address="10.1.1.12").code == 0
    unknown = MIPExtension(type=200, data=b"to be skipped")
    assert hand.ask(home_address="10.1.1.13", before=[unknown]).code == 0


def provoke(hand: Hand) -> None:
    """Ask for what a usual home agent denies, each time for another node."""
    denied = [
        (ReplyCode.HA_ADMINISTRATIVELY_PROHIBITED, {"home_address": HOME_AGENT}),
        (ReplyCode.HA_MN_FAILED_AUTHENTICATION, {"key": WRONG_KEY}),
        (ReplyCode.HA_POORLY_FORMED_REQUEST, {"care_of_address": HOME_AGENT}),
        (ReplyCode.HA_UNKNOWN_HOME_AGENT, {"home_agent": "10.1.1.21"}),
        (ReplyCode.HA_ENCAPSULATION_UNAVAILABLE, {"flags": "DMT"}),
    ]
    for number, (code, fields) in enumerate(denied, 10):
        own = {"home_address": f"10.1.1.{number}"}
        assert hand.ask(**(own | fields)).code == code


def ask_without_t(hand: Hand) -> None:
    """Ask for a tunnel one way, where both are required."""
    assert hand.ask(flags="D").code == ReplyCode.HA_REVERSE_TUNNEL_MANDATORY


def ask_with_t(hand: Hand) -> None:
    """Ask for a reverse tunnel, where there is none."""
    assert hand.ask().code == ReplyCode.HA_REVERSE_TUNNEL_UNAVAILABLE


def ask_for_three(hand: Hand) -> None:
    """Ask for more bindings at a time than a node may have."""
    for care_of_address in (LEASE_A, "10.1.2.6"):
        assert hand.ask(flags="SDT", care_of_address=care_of_address).code == 0
    third = hand.ask(flags="SDT", care_of_address="10.1.2.7")
    assert third.code == ReplyCode.HA_TOO_MANY_BINDINGS


def exhaust(hand: Hand) -> None:
    """Ask for an address by two names, where there is one address."""
    codes = [
        hand.ask(home_address="0.0.0.0", before=[MIPNAI(nai=nai)]).code
        for nai in (NAI, "other@example.org")
    ]
    assert codes == [0, ReplyCode.HA_INSUFFICIENT_RESOURCES]


def vouch_badly(hand: Hand) -> None:
    """Ask as a foreign agent that the home agent knows, without its signature."""
    relayed = {"flags": "T"}
    code = hand.ask(**relayed).code
    assert code == ReplyCode.HA_FA_FAILED_AUTHENTICATION
    vouched = MIPFHAE(association=AGENTS_KEY.association)
    assert hand.ask(**relayed, behind=[vouched]).code == 0


def _scene(
    name: str,
    holds: str,
    ask: Callable[[Hand], None],
    agent: Document | None = None,
    keys: tuple[Shared, ...] = (NODE_KEY,),
) -> Scene:
    return Scene(
        name=name,
        holds=holds,
        links={name: "internet"},
        play=_play(ask),
        agents={"ha": agent or home_agent()},
        keys=keys,
        by_hand=(LEASE_A,),
    )


_NAMED = association(NODE_KEY, nai="@example.org")

SCENES = (
    _scene(
        "resynchronisation",
        "a clock that is ten minutes late gets 133 with the time, then 0",
        resynchronise,
    ),
    _scene(
        "nonces",
        "replay protection with nonces: 133 gives the first one",
        use_nonces,
        home_agent(
            nodes=[association(NODE_KEY, home_address=HOME_ADDRESS, replay="nonce")]
        ),
    ),
    _scene("repeated", "one request twice gets one answer twice", repeat),
    _scene(
        "address-by-name",
        "a node with an NAI is given a home address, keeps it, and leaves",
        ask_for_an_address,
        home_agent(nodes=[_NAMED], address_pool=["10.1.1.100-10.1.1.101"]),
    ),
    _scene(
        "rare-forms",
        "padding, generalized authentication, and an extension to be skipped",
        use_rare_forms,
    ),
    _scene(
        "denials",
        "codes 129, 131, 134, 136 and 139",
        provoke,
        keys=(NODE_KEY, WRONG_KEY),
    ),
    _scene(
        "reverse-tunnel-required",
        "code 138 without T",
        ask_without_t,
        home_agent(reverse_tunnel="required"),
    ),
    _scene(
        "reverse-tunnel-off",
        "code 137 with T",
        ask_with_t,
        home_agent(reverse_tunnel="off"),
    ),
    _scene(
        "too-many-bindings",
        "two bindings at a time, and 135 for the third",
        ask_for_three,
        home_agent(max_bindings_per_node=2),
    ),
    _scene(
        "pool-exhausted",
        "two names, one address: code 130",
        exhaust,
        home_agent(nodes=[_NAMED], address_pool=["10.1.1.100"]),
    ),
    _scene(
        "foreign-agent-unproved",
        "a foreign agent without and with its authentication: codes 132 and 0",
        vouch_badly,
        home_agent(foreign_agents=[association(AGENTS_KEY, address=LEASE_A)]),
        keys=(NODE_KEY, AGENTS_KEY),
    ),
)
