# SPDX-License-Identifier: GPL-2.0-only
"""A foreign agent with a visitor and a request under way, and then anything.

Its lists keep to their limits, and no tunnel is made that no home agent has granted.
"""

from __future__ import annotations

from typing import Any

from fuzz.choices import Choices, damaged
from fuzz.session import ADDRESSES, LIFETIMES, Session, is_vouched_for, play
from mip_agents.protocol.discovery import build_solicitation
from mip_agents.protocol.effects import Effect, InstallTunnel
from mip_agents.protocol.events import (
    DiscoveryReceived,
    InterfacesChanged,
    Received,
    Stopping,
    TimerFired,
)
from mip_agents.protocol.foreign_agent import ForeignAgentEngine
from mip_agents.protocol.policy import AdvertisementPolicy, ReverseTunnel
from mip_agents.protocol.view import Reply, Request, build_reply, parse
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation
from support.agents import FA_KEY, FHAE, HA, HOME, KEY, WRONG
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
    UPLINK,
    foreign_agent,
    frame,
    grants,
    signed_request,
    signed_with,
    visits,
)

_WRONG_FA_KEY = SecurityAssociation(FA_KEY.spi, b"not what we share")
_MAX_PENDING, _MAX_VISITORS = 3, 2
_POLICIES: tuple[dict[str, Any], ...] = (
    {"gre_keys": True, "encapsulations": frozenset(Encapsulation)},
    {"agent_key": FA_KEY},
    {"agent_key": FA_KEY, "node_key": MN_KEY, "strict": True},
    {
        "reverse_tunnel": ReverseTunnel.REQUIRED,
        "encapsulating_delivery": False,
        "advertisement": AdvertisementPolicy(interval=1),
    },
)
_LINKS = (
    HERE,
    InterfacesChanged({LINK: HERE.interfaces[LINK]}),
    InterfacesChanged({UPLINK: HERE.interfaces[UPLINK]}),
    InterfacesChanged({}),
)
_NAMES = (b"", b"\x83\x0emn@example.org", ENCAPSULATING)
_LEFT_MAX = 200


def foreign_agent_engine(data: bytes) -> None:
    """Register one node, let another ask, then let anything happen."""
    choices = Choices(data)
    policy = choices.pick(_POLICIES)
    limits = {"max_pending": _MAX_PENDING, "max_visitors": _MAX_VISITORS}
    session = _Session(foreign_agent(**policy, **limits), policy)
    session.register()
    play(
        choices,
        (
            session.request,
            session.answer,
            session.repeat,
            session.wait,
            lambda _: session.settle(),
            lambda _: session.settle(good=False),
            session.ask,
            session.fail_to_deliver,
            session.discover,
            session.relink,
        ),
    )
    session.end()


class _Session(Session):
    """A session that keeps its own account of tunnels and of what was granted."""

    def __init__(self, engine: ForeignAgentEngine, policy: dict[str, Any]) -> None:
        super().__init__(engine, (KEY, WRONG, FA_KEY, MN_KEY), "foreign_agent")
        self.foreign_agent = engine
        self._keyed = "agent_key" in policy
        self._node_key = policy.get("node_key")

    def register(self) -> None:
        """Let a node register, and another one wait for the answer."""
        behind = signed_with(FHAE, FA_KEY) if self._keyed else bytes
        own = signed_with(MFAE, MN_KEY) if self._node_key else bytes
        self.feed(visits(behind=own)(self))
        self.feed(grants(behind=behind)(self))
        self.settle_all()
        assert self.engine.status(self.now)["visitors"] == 1
        other = {"source": "10.1.1.11", "link_address": STRANGER}
        self.feed(visits(home_address="10.1.1.11", udp=other)(self))
        assert self.engine.status(self.now)["pending"] == 1

    def feed(self, event: Any) -> list[Effect]:
        """Hand over an event; lists keep to their limits, and tunnels are granted."""
        if isinstance(event, Received):
            self.catch_up()
        effects = super().feed(event)
        status = self.engine.status(self.now)
        assert status["pending"] <= _MAX_PENDING
        assert status["visitors"] <= _MAX_VISITORS
        assert len(self.foreign_agent.visitors(self.now)) <= (
            _MAX_PENDING + _MAX_VISITORS
        )
        if status["pending"] or status["visitors"]:
            finite = any(
                row["remaining"] is not None
                for row in self.foreign_agent.visitors(self.now)
            )
            assert not finite or self.engine.next_timer() is not None
        for effect in effects:
            if isinstance(effect, InstallTunnel):
                self._check_grant(event)
        return effects

    def _check_grant(self, event: Any) -> None:
        """Check that a datagram which makes a tunnel is a grant of the home agent."""
        if not isinstance(event, Received):
            return
        reply = parse(event.data)
        assert isinstance(reply, Reply), "a tunnel that no reply grants"
        assert reply.code in (0, 1)
        if self._keyed and reply.home_agent == HA:
            assert is_vouched_for(event.data, FHAE, FA_KEY), "not of the home agent"
        assert event.source == reply.home_agent

    def request(self, choices: Choices) -> None:
        """Let a request arrive from a visited link."""
        data = signed_request(
            choices.pick(_NAMES),
            flags=choices.number(),
            lifetime=choices.pick(LIFETIMES),
            home_address=choices.pick((HOME, "10.1.1.11", *ADDRESSES)),
            home_agent=choices.pick((HA, "198.51.100.1", *ADDRESSES)),
            care_of_address=choices.pick((CARE_OF, *ADDRESSES)),
            identification=self.identification(choices),
        )
        data = self.signed(choices, data)
        self.feed(
            frame(
                data,
                source=choices.pick((HOME, *ADDRESSES)),
                destination=choices.pick((CARE_OF, "224.0.0.11", "255.255.255.255")),
                interface=choices.pick((LINK, LINK, OTHER_LINK, UPLINK)),
                link_address=choices.pick((NODE, STRANGER)),
                ttl=choices.pick((255, 255, 1)),
            )
        )

    def answer(self, choices: Choices) -> None:
        """Let the home agent's answer arrive to something that was relayed."""
        relayed = [
            request
            for send in self.sent
            if isinstance(request := parse(send.data), Request)
        ]
        if not relayed:
            return
        request = choices.pick(relayed)
        data = build_reply(
            code=choices.pick((0, 1, 66, 131, 133, choices.number())),
            lifetime=choices.pick((request.lifetime, *LIFETIMES)),
            home_address=choices.pick((request.home_address, *ADDRESSES)),
            home_agent=choices.pick((request.home_agent, *ADDRESSES)),
            identification=request.identification,
            mobile_home=choices.pick((KEY, WRONG)),
            nai=choices.pick((request.nai, None)),
            gre_key=choices.pick((None, choices.number(4))),
        )
        data = self.signed(choices, damaged(choices, data))
        foreign_home = choices.pick((FA_KEY, _WRONG_FA_KEY, None))
        if foreign_home is not None:
            data = signed_with(FHAE, foreign_home)(data)
        source = choices.pick((request.home_agent, *ADDRESSES))
        self.feed(
            Received(
                data=data,
                source=source,
                source_port=434,
                destination=CARE_OF,
                destination_port=434,
                interface=choices.pick((UPLINK, None, LINK)),
                link_address=choices.pick((None, NODE)),
            )
        )

    def repeat(self, choices: Choices) -> None:
        """Let an earlier datagram arrive again, often damaged, or anything else."""
        self.feed(self.arrival(choices, self.message(choices), CARE_OF))

    def discover(self, choices: Choices) -> None:
        """Let a solicitation arrive, or anything that is none."""
        self.feed(
            DiscoveryReceived(
                data=damaged(choices, build_solicitation()),
                source=choices.pick(ADDRESSES),
                destination=choices.pick(ADDRESSES),
                interface=choices.pick((LINK, OTHER_LINK, UPLINK)),
                ttl=choices.pick((1, 255)),
                link_address=NODE,
            )
        )

    def relink(self, choices: Choices) -> None:
        """Let interfaces come and go."""
        self.feed(choices.pick(_LINKS))

    def end(self) -> None:
        """Let all that is under way come to its end: no tunnel is left behind."""
        self.feed(Stopping())
        self.settle_all()
        for _turn in range(_LEFT_MAX):
            due = self.engine.next_timer()
            if due is None:
                break
            self.time = max(self.time, due)
            self.feed(TimerFired())
            self.settle_all()
        endless = {
            row["tunnel"]
            for row in self.foreign_agent.visitors(self.now)
            if row["remaining"] is None
        }
        assert self.tunnels <= endless, "a tunnel outlives its visitor"
