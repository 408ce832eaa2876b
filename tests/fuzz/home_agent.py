# SPDX-License-Identifier: GPL-2.0-only
"""A home agent with a binding, and then anything.

What nobody has signed changes nothing, and no Identification is accepted twice.
"""

from __future__ import annotations

from typing import Any

from fuzz.choices import Choices
from fuzz.session import ADDRESSES, LIFETIMES, Session, is_authentic, play
from mip_agents.protocol.effects import (
    Effect,
    IdentificationRecord,
    Journal,
    Noted,
    Send,
)
from mip_agents.protocol.events import DiscoveryReceived, JournalWritten, Received
from mip_agents.protocol.home_agent import MAX_WAITING, HomeAgentEngine
from mip_agents.protocol.policy import AdvertisementPolicy, ReverseTunnel
from mip_agents.protocol.security import (
    NodeAssociation,
    ReplayStyle,
    SecurityTable,
)
from mip_agents.protocol.tunnel import Category
from mip_agents.protocol.view import Reply, build_request, parse
from scapy_mip.const import Encapsulation
from scapy_mip.ident import difference
from scapy_mip.messages import MIP
from support.agents import (
    FA_KEY,
    HA,
    HOME,
    KEY,
    NETWORK,
    WRONG,
    A,
    B,
    asks,
    home_agent,
    interfaces,
)

_NONCES = NodeAssociation(256, b"1234567812345678", replay=ReplayStyle.NONCE)
_POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"foreign_agent": True, "encapsulations": frozenset(Encapsulation)},
    {"mobile_nodes": SecurityTable.for_network(NETWORK, [_NONCES])},
    {
        "strict": True,
        "max_lifetime": 65535,
        "max_bindings_per_node": 1,
        "reverse_tunnel": ReverseTunnel.OFF,
        "advertisement": AdvertisementPolicy(interval=1),
    },
    {"broadcasts": frozenset(Category), "reverse_tunnel": ReverseTunnel.REQUIRED},
)
_LINK = interfaces(eth9="10.1.1.20/24")
_IDENTIFICATIONS = (0, 1, -1, -(8 << 32), 8 << 32, 1 << 63)


def home_agent_engine(data: bytes) -> None:
    """Register a node, then let anything happen."""
    choices = Choices(data)
    engine = home_agent(**choices.pick(_POLICIES))
    session = _Session(engine)
    session.feed(_LINK)
    session.register()
    play(
        choices,
        (
            session.request,
            session.repeat,
            session.wait,
            lambda _: session.settle(),
            lambda _: session.settle(good=False),
            session.ask,
            session.fail_to_deliver,
            session.discover,
        ),
    )


class _Session(Session):
    """A session that keeps its own account of what was asked with a signature."""

    def __init__(self, engine: HomeAgentEngine) -> None:
        super().__init__(engine, (KEY, WRONG, FA_KEY), "home_agent")
        self.home_agent = engine
        self._asked: set[tuple[str, str]] = set()
        self._accepted: dict[str, int] = {}
        self._journals: dict[int, Journal] = {}

    def register(self) -> None:
        """Give a node a binding, with a nonce first where it takes one."""
        self.feed(asks()(self))
        if not self.orders:
            view = parse(self.sent[-1].data)
            assert isinstance(view, Reply)
            self.feed(asks(identification=view.identification)(self))
        self.settle_all()

    def feed(self, event: Any) -> list[Effect]:
        """Hand over an event; only what is signed changes anything."""
        if isinstance(event, Received):
            self.catch_up()
            if not is_authentic(event.data):
                return self._feed_unsigned(event)
            addresses = MIP(event.data)
            self._asked.add(
                (
                    str(getattr(addresses, "home_address", "")),
                    str(getattr(addresses, "care_of_address", "")),
                )
            )
        effects = super().feed(event)
        for effect in effects:
            if isinstance(effect, Journal):
                self._journals[effect.token] = effect
        if isinstance(event, JournalWritten):
            self._commit(self._journals[event.token])
        self._check()
        return effects

    def _feed_unsigned(self, event: Received) -> list[Effect]:
        before = self.home_agent.bindings(self.now), self.engine.status(self.now)
        effects = super().feed(event)
        assert all(isinstance(effect, Send | Noted) for effect in effects)
        for effect in effects:
            if isinstance(effect, Send):
                view = parse(effect.data)
                assert isinstance(view, Reply)
                assert view.code not in (0, 1)
                assert len(effect.data) <= len(event.data) + 64
        after = self.home_agent.bindings(self.now), self.engine.status(self.now)
        assert before == after, "what nobody signed has changed something"
        return effects

    def _commit(self, journal: Journal) -> None:
        for change in journal.changes:
            if isinstance(change, IdentificationRecord):
                known = self._accepted.get(change.node)
                fresh = known is None or difference(change.identification, known) > 0
                assert fresh, "an Identification was accepted twice"
                self._accepted[change.node] = change.identification

    def _check(self) -> None:
        entries = self.home_agent.bindings(self.now)
        for entry in entries:
            key = entry["home_address"], entry["care_of_address"]
            assert key in self._asked, "a binding that nobody asked for"
            assert entry["remaining"] is None or entry["remaining"] >= 0
        homes = [entry["home_address"] for entry in entries]
        most = self.home_agent.policy.max_bindings_per_node
        assert all(homes.count(home) <= most for home in homes)
        waiting = self.home_agent._waiting
        assert waiting.keys() <= self.home_agent._in_work.keys()
        assert all(len(queue) <= MAX_WAITING for queue in waiting.values())
        finite = any(entry["remaining"] is not None for entry in entries)
        assert not finite or self.engine.next_timer() is not None

    def request(self, choices: Choices) -> None:
        """Let a request arrive as a node makes it, or almost."""
        identification = self.now.ntp + choices.pick(_IDENTIFICATIONS)
        if choices.number() % 4 == 0 and self.sent:
            view = parse(self.sent[-1].data)
            identification = getattr(view, "identification", identification)
        data = build_request(
            flags=choices.number(),
            lifetime=choices.pick(LIFETIMES),
            home_address=choices.pick((HOME, "10.1.1.11", *ADDRESSES)),
            home_agent=choices.pick((HA, HA, *ADDRESSES)),
            care_of_address=choices.pick((A, B, *ADDRESSES)),
            identification=identification % (1 << 64),
            mobile_home=choices.pick((KEY, KEY, KEY, WRONG)),
        )
        data = self.signed(choices, data)
        self.feed(self.arrival(choices, data))

    def repeat(self, choices: Choices) -> None:
        """Let an earlier datagram arrive again, often damaged, or anything else."""
        self.feed(self.arrival(choices, self.message(choices)))

    def discover(self, choices: Choices) -> None:
        """Let router discovery arrive on the home link."""
        self.feed(
            DiscoveryReceived(
                data=choices.pick((b"\x0a\0\0\0\0\0\0\0", b"")) + choices.text(),
                source=choices.pick(ADDRESSES),
                destination=choices.pick(ADDRESSES),
                interface=choices.pick(("eth9", "eth1")),
                ttl=choices.pick((1, 255)),
                link_address="02:00:00:00:00:0a",
            )
        )
