# SPDX-License-Identifier: GPL-2.0-only
"""What a foreign agent answers: requests by hand, from nodes that visit it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mip_agents.lab.topology import CORRESPONDENT, HOME_AGENT
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPEncapsulatingDeliveryStyle,
)
from scapy_mip.const import ReplyCode
from support.recordings.scene import (
    AGENTS_KEY,
    FOREIGN_AGENT,
    NODE_KEY,
    VISITOR_KEY,
    Document,
    Scene,
    Shared,
    association,
    foreign_agent,
    home_agent,
)
from support.recordings.stage import Stage, request

NAI = "mn@example.org"
_UNKNOWN = "0.0.0.0"
_KNOWN_VISITOR = "10.1.1.30"
_NO_ROUTE, _PROHIBITED, _NOBODY = "10.7.0.1", "10.8.0.1", "10.1.9.77"
_SILENT = "10.1.1.1"


class Try(NamedTuple):
    """A request that is to be denied."""

    code: ReplyCode
    fields: dict[str, Any]
    ttl: int = 255


FORMS = (
    Try(ReplyCode.FA_MN_FAILED_AUTHENTICATION, {"home_address": _KNOWN_VISITOR}),
    Try(ReplyCode.FA_LIFETIME_TOO_LONG, {"lifetime": 3600}),
    Try(ReplyCode.FA_POORLY_FORMED_REQUEST, {"key": None}),
    Try(ReplyCode.FA_ENCAPSULATION_UNAVAILABLE, {"flags": "MT"}),
    Try(ReplyCode.FA_MN_TOO_DISTANT, {}, 64),
    Try(ReplyCode.FA_INVALID_CARE_OF_ADDRESS, {"care_of_address": "10.1.2.77"}),
    Try(
        ReplyCode.FA_DELIVERY_STYLE_NOT_SUPPORTED,
        {"behind": [MIPEncapsulatingDeliveryStyle()]},
    ),
    Try(ReplyCode.FA_NONZERO_HA_REQD, {"home_agent": _UNKNOWN}),
    Try(ReplyCode.FA_NONZERO_HOMEADDR_REQD, {"home_address": _UNKNOWN}),
    Try(ReplyCode.FA_INVALID_HOME_AGENT, {"home_agent": FOREIGN_AGENT}),
)
"""What a foreign agent without encapsulating delivery denies by itself."""

WAYS = (
    Try(ReplyCode.FA_HOME_NETWORK_UNREACHABLE, {"home_agent": _NO_ROUTE}),
    Try(ReplyCode.FA_HA_HOST_UNREACHABLE, {"home_agent": _NOBODY}),
    Try(ReplyCode.FA_HA_PORT_UNREACHABLE, {"home_agent": CORRESPONDENT}),
    Try(ReplyCode.FA_HA_UNREACHABLE, {"home_agent": _PROHIBITED}),
    Try(ReplyCode.FA_REGISTRATION_TIMEOUT, {"home_agent": _SILENT}),
)
"""Home agents that do not answer, each for another reason."""


def _visitors(tries: tuple[Try, ...]) -> list[str]:
    """Return the home address of whoever makes each try.

    They differ, since a node is denied once a second (FA-06).
    """
    return [
        one.fields.get("home_address", f"10.1.1.{number}")
        for number, one in enumerate(tries, 10)
    ]


def _provoke(tries: tuple[Try, ...]) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        stage.start("fa")
        stage.topology.plug("wlan0", "visited-a")
        agent = stage.visitor().hear()
        for one, home_address in zip(tries, _visitors(tries), strict=True):
            own = {"care_of_address": FOREIGN_AGENT, "home_address": home_address}
            message = request(**(own | one.fields))
            visitor = stage.visitor(home_address)
            assert visitor.ask(agent, message, ttl=one.ttl).code == one.code

    return play


def lose_the_way(stage: Stage) -> None:
    """Ask for home agents that cannot be reached, or do not answer."""
    netlink = stage.topology.links.of("internet")
    netlink.route("add", dst="10.8.0.0/16", type="prohibit")
    stage.listener("home", _SILENT)
    _provoke(WAYS)(stage)


class Lie(NamedTuple):
    """A reply that is not to be believed."""

    code: ReplyCode
    """What the foreign agent makes of it."""
    fields: dict[str, Any]
    """What is wrong with it."""
    is_proved: bool = True
    named: bool = False
    """Whether the request has an NAI."""
    home_address: str | None = None
    """Of the request."""


LIES = (
    Lie(ReplyCode.FA_HA_FAILED_AUTHENTICATION, {}, is_proved=False),
    Lie(ReplyCode.FA_POORLY_FORMED_REPLY, {"home_agent": HOME_AGENT}),
    Lie(ReplyCode.FA_MISSING_NAI, {}, named=True),
    Lie(ReplyCode.FA_MISSING_HOME_AGENT, {"home_agent": _UNKNOWN}),
    Lie(ReplyCode.FA_MISSING_HOMEADDR, {}, named=True, home_address=_UNKNOWN),
)


def misbehave(stage: Stage) -> None:
    """Answer as a home agent that does not do as it should."""
    stage.start("fa")
    stage.topology.plug("wlan0", "visited-a")
    impostor = stage.listener("correspondent", CORRESPONDENT)
    agent = stage.visitor().hear()
    for number, lie in enumerate(LIES, 10):
        visitor = stage.visitor(lie.home_address or f"10.1.1.{number}")
        name = [MIPNAI(nai=NAI)] if lie.named else []
        message = request(
            care_of_address=FOREIGN_AGENT,
            home_agent=CORRESPONDENT,
            home_address=visitor.home_address,
            before=name,
        )
        visitor.send(agent, message)
        data, peer = impostor.recvfrom(2048)
        asked = MIP(data)
        own = {
            field: getattr(asked, field)
            for field in ("lifetime", "home_address", "home_agent", "identification")
        }
        extensions = [MIPMHAE(association=NODE_KEY.association)]
        if lie.code is ReplyCode.FA_MISSING_HOMEADDR:
            extensions[:0] = name
        if lie.is_proved:
            extensions.append(MIPFHAE(association=AGENTS_KEY.association))
        reply = MIPRRP(code=0, extensions=extensions, **(own | lie.fields))
        impostor.sendto(bytes(reply), peer)
        assert visitor.read().code == lie.code


def visit_by_name(stage: Stage) -> None:
    """Come without a home address, and get one from the home agent."""
    stage.start("ha", "fa")
    stage.topology.plug("wlan0", "visited-a")
    visitor = stage.visitor(_UNKNOWN)
    agent = visitor.hear()
    visitor.send(
        agent,
        request(
            care_of_address=FOREIGN_AGENT,
            home_address=_UNKNOWN,
            before=[MIPNAI(nai=NAI)],
        ),
    )
    visitor.home_address = "10.1.1.100"
    assert visitor.read().code == ReplyCode.ACCEPTED


def _denials(
    name: str,
    holds: str,
    tries: tuple[Try, ...],
    play: Callable[[Stage], None] | None = None,
    keys: tuple[Shared, ...] = (NODE_KEY,),
    **settings: Any,
) -> Scene:
    return Scene(
        name=name,
        holds=holds,
        links={name: "visited-a"},
        play=play or _provoke(tries),
        agents={"fa": foreign_agent(**settings)},
        dhcp=False,
        keys=keys,
        by_hand=tuple(_visitors(tries)),
    )


def _by_name() -> Document:
    return home_agent(
        nodes=[association(NODE_KEY, nai="@example.org")],
        address_pool=["10.1.1.100-10.1.1.101"],
    )


SCENES = (
    _denials(
        "foreign-agent-denials",
        "codes 67, 69, 70, 72, 76, 77, 79, 90, 96 and 194",
        FORMS,
        encapsulating_delivery=False,
        nodes=[association(VISITOR_KEY, home_address=_KNOWN_VISITOR)],
        keys=(NODE_KEY, VISITOR_KEY),
    ),
    _denials(
        "foreign-agent-without-t",
        "code 75 without T, where a reverse tunnel is required",
        (Try(ReplyCode.FA_REVERSE_TUNNEL_MANDATORY, {"flags": ""}),),
        reverse_tunnel="required",
    ),
    _denials(
        "foreign-agent-with-t",
        "code 74 with T, where there is no reverse tunnel",
        (Try(ReplyCode.FA_REVERSE_TUNNEL_UNAVAILABLE, {}),),
        reverse_tunnel=False,
    ),
    _denials(
        "home-agent-unreachable",
        "codes 78, 80, 81, 82 and 88 for what became of the relayed request",
        WAYS,
        lose_the_way,
        pending_timeout=5.0,
    ),
    Scene(
        name="home-agent-misbehaves",
        holds="replies that a foreign agent does not believe: codes 68, 71, 97, 98, 99",
        links={
            "home-agent-misbehaves-visited": "visited-a",
            "home-agent-misbehaves-core": "correspondent",
        },
        play=misbehave,
        agents={
            "fa": foreign_agent(
                home_agents=[association(AGENTS_KEY, address=CORRESPONDENT)]
            )
        },
        dhcp=False,
        keys=(NODE_KEY, AGENTS_KEY),
        by_hand=(CORRESPONDENT, _UNKNOWN),
    ),
    Scene(
        name="visit-by-name",
        holds="a visitor with an NAI and without a home address is given one",
        links={"visit-by-name-visited": "visited-a", "visit-by-name-core": "internet"},
        play=visit_by_name,
        agents={"ha": _by_name(), "fa": foreign_agent()},
        dhcp=False,
        by_hand=(_UNKNOWN,),
    ),
)
