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
    Journal,
    Noted,
    Send,
    accepted_timestamp,
)
from mip_agents.protocol.events import DiscoveryReceived, JournalWritten, Received
from mip_agents.protocol.home_agent import MAX_WAITING
from mip_agents.protocol.names import NamedNode, NamedNodes
from mip_agents.protocol.policy import AdvertisementPolicy, ReverseTunnel
from mip_agents.protocol.pools import AddressPool
from mip_agents.protocol.security import (
    NodeAssociation,
    ReplayStyle,
    SecurityTable,
)
from mip_agents.protocol.tunnel import Category
from mip_agents.protocol.view import Reply, Request, parse
from mip_agents.runtime.store import MemoryStore
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import Encapsulation
from scapy_mip.extensions.identity import MIPNAI
from scapy_mip.ident import difference
from scapy_mip.registration import MIPRegistrationRequest
from support.agents import (
    FA_KEY,
    HA,
    HOME,
    KEY,
    MHAE,
    NETWORK,
    WRONG,
    A,
    B,
    extension,
    home_agent,
    interfaces,
    received,
)

_NONCES = NodeAssociation(256, b"1234567812345678", replay=ReplayStyle.NONCE)
_NAMES = ("mn@example.org", "other@example.org", "mn@elsewhere.org")


def named_nodes() -> NamedNodes:
    """Return one node, and a realm, that share two home addresses and a key."""
    pool = AddressPool.parse(["10.1.1.10-10.1.1.11"])
    nodes = NamedNodes()
    for name in (_NAMES[0], "@example.org"):
        nodes.add(name, NamedNode(NodeAssociation(256, b"1234567812345678"), pool))
    return nodes


def _request(name: str | None, key: SecurityAssociation, **fields: Any) -> bytes:
    """Make a request that a node with or without a name has signed."""
    data = bytes(MIPRegistrationRequest(**fields))
    if name is not None:
        data += bytes(MIPNAI(nai=name))
    return data + extension(MHAE, key, data)


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
    {"named_nodes": named_nodes(), "mobile_nodes": SecurityTable()},
    {"broadcasts": frozenset(Category), "reverse_tunnel": ReverseTunnel.REQUIRED},
)
_LINK = interfaces(eth9="10.1.1.20/24")


def home_agent_engine(data: bytes) -> None:
    """Register a node, then let anything happen."""
    choices = Choices(data)
    session = _Session(choices.pick(_POLICIES))
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
            session.restart,
        ),
    )


class _Session(Session):
    """A session that keeps its own account of what was asked with a signature."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self.home_agent = home_agent(**policy)
        super().__init__(self.home_agent, (KEY, WRONG, FA_KEY), "home_agent")
        self._policy = policy
        self._store = MemoryStore()
        self._asked: set[str] = set()
        self._accepted: dict[str, int] = {}
        self._journals: dict[int, Journal] = {}
        self.feed(_LINK)

    def register(self) -> None:
        """Give a node a binding, with a nonce first where it takes one."""
        policy = self.home_agent.policy
        reverse = policy.reverse_tunnel is not ReverseTunnel.OFF
        fields = {
            "flags": "DT" if reverse else "D",
            "lifetime": 600,
            "home_address": HOME,
            "home_agent": HA,
            "care_of_address": A,
            "identification": self.now.ntp,
        }
        name = _NAMES[0] if policy.mobile_nodes.is_empty else None
        self.feed(received(_request(name, KEY, **fields)))
        if not self.orders:
            view = parse(self.sent[-1].data)
            assert isinstance(view, Reply)
            fields["identification"] = view.identification
            self.feed(received(_request(name, KEY, **fields)))
        self.settle_all()
        assert self.home_agent.home_addresses() == [HOME]

    def feed(self, event: Any) -> list[Effect]:
        """Hand over an event; only what is signed changes anything."""
        if isinstance(event, Received):
            self.catch_up()
            if not is_authentic(event.data):
                return self._feed_unsigned(event)
            view = parse(event.data)
            if isinstance(view, Request):
                self._asked |= {view.home_address, view.care_of_address}
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
        self._store.commit(journal.changes)
        for change in journal.changes:
            if (newest := accepted_timestamp(change)) is not None:
                known = self._accepted.get(newest.node)
                fresh = known is None or difference(newest.identification, known) > 0
                assert fresh, "an Identification was accepted twice"
                self._accepted[newest.node] = newest.identification

    def _check(self) -> None:
        entries = self.home_agent.bindings(self.now)
        for entry in entries:
            # Who has a name may get an address that it did not ask for.
            addresses = {entry["care_of_address"]}
            if entry["nai"] is None:
                addresses.add(entry["home_address"])
            assert addresses <= self._asked, "a binding that nobody asked for"
            assert entry["remaining"] is None or entry["remaining"] >= 0
        homes = [entry["home_address"] for entry in entries]
        most = self.home_agent.policy.max_bindings_per_node
        assert all(homes.count(home) <= most for home in homes)
        waiting = self.home_agent._waiting
        assert waiting.keys() <= self.home_agent._in_work.keys()
        assert all(len(queue) <= MAX_WAITING for queue in waiting.values())
        finite = any(entry["remaining"] is not None for entry in entries)
        assert not finite or self.engine.next_timer() is not None

    def restart(self, _: Choices) -> None:
        """Kill the agent and start another with what the journal holds."""
        self.engine = self.home_agent = home_agent(**self._policy)
        self.orders.clear()
        self._journals.clear()
        self.feed(self._store.load())
        self.feed(_LINK)

    def request(self, choices: Choices) -> None:
        """Let a request arrive as a node makes it, or almost."""
        identification = self.identification(choices)
        if choices.pick((False, False, True)) and self.sent:
            # A node with nonces takes the next one from the latest reply.
            view = parse(self.sent[-1].data)
            identification = getattr(view, "identification", identification)
        data = _request(
            choices.pick((None, *_NAMES)),
            choices.pick((KEY, KEY, KEY, WRONG)),
            flags=choices.number(),
            lifetime=choices.pick(LIFETIMES),
            home_address=choices.pick((HOME, "10.1.1.11", *ADDRESSES)),
            home_agent=choices.pick((HA, HA, *ADDRESSES)),
            care_of_address=choices.pick((A, B, *ADDRESSES)),
            identification=identification,
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
