# SPDX-License-Identifier: GPL-2.0-only
"""A registered mobile node, and then anything.

Only what its home agent has signed makes it believe that it is registered.
"""

from __future__ import annotations

from typing import Any

from fuzz.choices import Choices, damaged
from fuzz.session import ADDRESSES, LIFETIMES, Session, is_authentic, play
from mip_agents.protocol.agents_heard import MAX_AGENTS
from mip_agents.protocol.effects import Effect, InstallTunnel
from mip_agents.protocol.events import DiscoveryReceived, Received
from mip_agents.protocol.policy import DeliveryStyle
from mip_agents.protocol.view import Request, build_reply, parse
from scapy_mip.const import AgentFlag, Encapsulation
from support.agents import (
    AT_HOME,
    HA,
    HOME,
    KEY,
    NOWHERE,
    ON_A,
    ON_B,
    ON_BOTH,
    WRONG,
    A,
    answers,
    mobile_node,
)
from support.visiting import (
    AGENT,
    BARE_A,
    BARE_BOTH,
    FAR_AGENT,
    OTHER_AGENT,
    RFT,
    VISITOR_KEY,
    advertises,
    relays,
    visitor,
)

_LINKS = (AT_HOME, ON_A, ON_B, ON_BOTH, NOWHERE, BARE_A, BARE_BOTH)
_AGENTS = (AGENT, OTHER_AGENT, FAR_AGENT, HA)
_PREFIXES: tuple[tuple[int, ...], ...] = ((), (24,), (0,), (32,))
_CODES = (0, 1, 64, 66, 69, 72, 75, 78, 128, 131, 133, 136, 137)
_VISITING: tuple[dict[str, Any], ...] = (
    {},
    {"shared": True, "simultaneous": True, "hysteresis": 1.0},
    {"encapsulation": Encapsulation.GRE, "delivery_style": DeliveryStyle.ENCAPSULATING},
)


def mobile_node_engine(data: bytes) -> None:
    """Register, with an address of its own or through an agent; then anything."""
    choices = Choices(data)
    session = _Session()
    if choices.pick((True, False)):
        session.register_alone()
    else:
        session.register_through_agent(choices.pick(_VISITING))
    play(
        choices,
        (
            session.answer,
            session.advertise,
            session.repeat,
            session.wait,
            lambda _: session.settle(),
            lambda _: session.settle(good=False),
            session.ask,
            session.fail_to_deliver,
            session.relink,
        ),
    )


class _Session(Session):
    """A session that knows what the home agent has signed."""

    def __init__(self) -> None:
        super().__init__(mobile_node(), (KEY, WRONG, VISITOR_KEY), "mobile_node")

    def register_alone(self) -> None:
        """Register directly with the home agent."""
        self.feed(ON_A)
        self.settle_all()
        self.feed(answers()(self))
        self.settle_all()
        assert self.engine.status(self.now)["state"] == "registered"

    def register_through_agent(self, policy: dict[str, Any]) -> None:
        """Register through a foreign agent."""
        self.engine = visitor(**policy)
        self.feed(BARE_A)
        self.feed(advertises())
        self.settle_all()
        shared = VISITOR_KEY if policy.get("shared") else None
        self.feed(relays(shared=shared)(self))
        self.settle_all()
        assert self.engine.status(self.now)["state"] == "registered"

    def feed(self, event: Any) -> list[Effect]:
        """Hand over an event; what nobody signed grants nothing."""
        if isinstance(event, Received):
            self.catch_up()
        before = self.engine.status(self.now)
        effects = super().feed(event)
        after = self.engine.status(self.now)
        assert len(after["agents"]) <= 3 * MAX_AGENTS
        assert after["home_address"] == HOME
        if after["state"] not in ("at-home", "detached"):
            assert self.engine.next_timer() is not None or after["lifetime"] == 65535
        if isinstance(event, Received) and not is_authentic(event.data):
            self._check_unsigned(before, after, effects)
        return effects

    def _check_unsigned(
        self, before: dict[str, Any], after: dict[str, Any], effects: list[Effect]
    ) -> None:
        """Check that a datagram which nobody signed grants and moves nothing."""
        where = "registered_care_of_address"
        assert after[where] in (before[where], None)
        assert after["home_agent"] == before["home_agent"]
        assert after["clock_offset"] == before["clock_offset"]
        if after[where] is not None:
            assert after["remaining"] == before["remaining"]
        if before[where] is None:
            for effect in effects:
                if isinstance(effect, InstallTunnel):
                    assert effect.tunnel.receive_only, "a tunnel that nobody granted"

    def answer(self, choices: Choices) -> None:
        """Answer the latest request as the home agent would, or almost."""
        requests = [
            request
            for send in self.sent
            if isinstance(request := parse(send.data), Request)
        ]
        if not requests:
            return
        request = requests[-1 - choices.number() % min(2, len(requests))]
        identification = request.identification
        if choices.pick((False, True)):
            high = choices.number(4) << 32
            identification = high | identification & 0xFFFFFFFF
        data = build_reply(
            code=choices.pick((*_CODES, choices.number())),
            lifetime=choices.pick((request.lifetime, *LIFETIMES)),
            home_address=choices.pick((request.home_address, *ADDRESSES)),
            home_agent=choices.pick((request.home_agent, *ADDRESSES)),
            identification=identification,
            mobile_home=choices.pick((KEY, KEY, WRONG, None)),
        )
        data = self.signed(choices, damaged(choices, data))
        source = choices.pick((HA, *_AGENTS, A))
        self.feed(
            Received(
                data=data,
                source=source,
                source_port=434,
                destination=A,
                destination_port=434,
                interface=choices.pick(("eth0", "wlan0", None)),
            )
        )

    def advertise(self, choices: Choices) -> None:
        """Let an agent, true or not, be heard."""
        agent = choices.pick(_AGENTS)
        heard = advertises(
            source=agent,
            interface=choices.pick(("eth0", "wlan0", "home0", "lo")),
            lifetime=choices.pick((9, 0, 1, 65535)),
            flags=choices.pick((RFT, AgentFlag.F, AgentFlag.H, AgentFlag(0), None))
            or AgentFlag(choices.number() << 1 & sum(AgentFlag)),
            sequence_number=choices.number(2),
            registration_lifetime=choices.pick((1800, 0, 65535)),
            care_of_addresses=choices.pick(((agent,), (), (agent, A), ("0.0.0.0",))),
            prefix_lengths=choices.pick(_PREFIXES),
        )
        self.feed(
            DiscoveryReceived(
                data=damaged(choices, heard.data),
                source=choices.pick((heard.source, *ADDRESSES)),
                destination=heard.destination,
                interface=heard.interface,
                ttl=1,
                link_address=heard.link_address,
            )
        )

    def repeat(self, choices: Choices) -> None:
        """Let an earlier datagram arrive again, often damaged, or anything else."""
        self.feed(self.arrival(choices, self.message(choices), A))

    def relink(self, choices: Choices) -> None:
        """Let interfaces come and go."""
        self.feed(choices.pick(_LINKS))
