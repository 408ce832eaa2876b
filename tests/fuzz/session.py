# SPDX-License-Identifier: GPL-2.0-only
"""An engine in the middle of its life, and what a fuzzer lets happen to it.

What holds for every engine after every event is checked here: it does not raise, its
state is JSON, its timer is a moment that comes to something, and a datagram is answered
with one at most.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from fuzz.choices import Choices, damaged
from mip_agents.protocol.effects import (
    Effect,
    InstallTunnel,
    Journal,
    RemoveTunnel,
    Send,
)
from mip_agents.protocol.engine import Engine
from mip_agents.protocol.events import (
    CancelRequested,
    ClearRequested,
    DeregisterRequested,
    Event,
    JournalFailed,
    JournalWritten,
    Received,
    RegisterRequested,
    Stopping,
    TimerFired,
    TunnelFailed,
    TunnelReady,
    Undelivered,
)
from scapy_mip.auth import SecurityAssociation, header_size, sign
from scapy_mip.const import ExtensionType
from support.agents import FA, FHAE, HA, HOME, KEY, MHAE, A, B, extension
from support.foreign import LINK, MFAE, NODE, OTHER_LINK, STRANGER, UPLINK
from support.scenario import instant

STEPS_MAX = 48
ADDRESSES = (
    A,
    B,
    HOME,
    HA,
    FA,
    "10.1.1.11",
    "10.1.1.255",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.11",
)
LIFETIMES = (600, 0, 1, 65535, 65534)
_WAITS_S = (0.01, 1.0, 7.0, 60.0, 600.0, 40000.0)
_OFF = (0, -1, -(8 << 32), 8 << 32, 1 << 63)
"""What an Identification may be off by: also more than the tolerance of 7 s."""
_TIMER_TURNS = 64
_TOKEN = 77
_REMEMBERED = 8
_ICMP_CODES = (0, 1, 3, 4, 13)

Step = Callable[[Choices], None]


class Session:
    """An engine with its clock, its unanswered orders and what it has sent.

    :param keys: what a message may be signed with, right or wrong.
    """

    def __init__(
        self, engine: Any, keys: tuple[SecurityAssociation, ...], role: str
    ) -> None:
        self.engine: Engine = engine
        self.role = role
        self.time = 1.0
        self.sent: list[Send] = []
        self.orders: list[Journal | InstallTunnel | RemoveTunnel] = []
        self.tunnels: set[str] = set()
        """What the data plane has, by key."""
        self.heard: list[bytes] = []
        """The newest datagrams that arrived, to be damaged and to arrive again."""
        self._keys = keys
        self._count = 0

    @property
    def now(self) -> Any:
        """This moment on the engine's clocks."""
        return instant(self.time)

    def feed(self, event: Event) -> list[Effect]:
        """Hand over an event and look at what comes of it."""
        effects = self.engine.handle(event, self.now)
        sends = [effect for effect in effects if isinstance(effect, Send)]
        if isinstance(event, Received):
            self.heard = [*self.heard[1 - _REMEMBERED :], event.data]
            assert len(sends) <= 1, "a datagram is answered with several"
        self.sent = [*self.sent[-_REMEMBERED:], *sends]
        self.orders += [
            effect
            for effect in effects
            if isinstance(effect, Journal | InstallTunnel | RemoveTunnel)
        ]
        status = self.engine.status(self.now)
        assert status["role"] == self.role
        json.dumps(status, allow_nan=False)
        due = self.engine.next_timer()
        assert due is None or math.isfinite(due)
        return effects

    def catch_up(self) -> None:
        """Let the timer fire until it is set to a later moment."""
        for _turn in range(_TIMER_TURNS):
            due = self.engine.next_timer()
            if due is None or due > self.time:
                return
            self.feed(TimerFired())
        raise AssertionError("the timer fires and nothing happens")

    def wait(self, choices: Choices) -> None:
        """Let time go by, up to the timer or far beyond it."""
        due = self.engine.next_timer()
        wait = choices.pick((None, *_WAITS_S))
        if wait is None:
            self.time = max(self.time, due or self.time)
        else:
            self.time += wait
        self.catch_up()

    def settle(self, *, good: bool = True) -> None:
        """Answer the oldest order."""
        if not self.orders:
            return
        order = self.orders.pop(0)
        if good and isinstance(order, InstallTunnel):
            self.tunnels.add(order.tunnel.key)
        elif good and isinstance(order, RemoveTunnel):
            self.tunnels.discard(order.key)
        if isinstance(order, Journal):
            answered: Event = JournalWritten(order.token)
            failed: Event = JournalFailed(order.token, "disk full")
        else:
            answered = TunnelReady(order.token)
            failed = TunnelFailed(order.token, "no device")
        self.feed(answered if good else failed)

    def settle_all(self) -> None:
        """Answer all orders, and those that come of it."""
        while self.orders:
            self.settle()

    def ask(self, choices: Choices) -> None:
        """Let someone at the control interface want something."""
        self.feed(
            choices.pick(
                (
                    RegisterRequested(token=_TOKEN, interface="eth0", lifetime=60),
                    RegisterRequested(token=_TOKEN, interface="wlan0"),
                    RegisterRequested(token=_TOKEN, interface="lo", lifetime=0),
                    DeregisterRequested(_TOKEN),
                    CancelRequested(_TOKEN),
                    ClearRequested(_TOKEN, HOME),
                    Stopping(),
                )
            )
        )

    def fail_to_deliver(self, choices: Choices) -> None:
        """Let an ICMP error come for something that was sent, or was not."""
        if self.sent:
            send = choices.pick(self.sent)
            self.feed(
                Undelivered(
                    data=damaged(choices, send.data),
                    destination=choices.pick((send.destination, HA, A)),
                    icmp_code=choices.pick(_ICMP_CODES),
                )
            )

    def message(self, choices: Choices) -> bytes:
        """Make a message of an earlier one, or of nothing, signed or not."""
        known = [b"", *self.heard, *(send.data for send in self.sent)]
        data = damaged(choices, choices.pick(known))
        return self.signed(choices, data)

    def signed(self, choices: Choices, data: bytes) -> bytes:
        """Put up to three extensions behind a message: any, and authentications."""
        for _extension in range(choices.number() % 4):
            kind = choices.pick((None, MHAE, FHAE, MFAE))
            if kind is None:
                data += choices.text()
            else:
                data += extension(kind, choices.pick(self._keys), data)
        return data

    def identification(self, choices: Choices) -> int:
        """Choose an Identification: a fresh one, or one that is off in some way."""
        self._count += 1
        fresh = self.now.ntp + self._count
        return (fresh + choices.pick(_OFF)) % (1 << 64)

    def arrival(self, choices: Choices, data: bytes, to: str = HA) -> Received:
        """Say how a datagram arrives: on a visited link, or from anywhere.

        :param to: where it most likely goes.
        """
        links = (None, LINK, OTHER_LINK, UPLINK)
        return Received(
            data=data,
            source=choices.pick(ADDRESSES),
            source_port=choices.pick((434, 5000, 0)),
            destination=choices.pick((to, *ADDRESSES)),
            destination_port=434,
            interface=choices.pick(links),
            ttl=choices.pick((255, 1, None)),
            link_address=choices.pick((None, NODE, STRANGER)),
        )


def play(data: Choices, steps: tuple[Step, ...]) -> None:
    """Let things happen in the order that the fuzzer chooses."""
    for _step in range(STEPS_MAX):
        if not data:
            return
        data.pick(steps)(data)


def is_authentic(data: bytes, association: SecurityAssociation = KEY) -> bool:
    """Return whether an association signs a message anywhere: an oracle that is apart.

    It looks at every byte, whether or not an extension can begin there.
    """
    enabling = (MHAE, ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION)
    return _signs(data, association, enabling)


def is_vouched_for(data: bytes, kind: int, association: SecurityAssociation) -> bool:
    """Return whether an association signs a message with an extension of a kind."""
    return _signs(data, association, (kind,))


def _signs(
    data: bytes, association: SecurityAssociation, kinds: tuple[int, ...]
) -> bool:
    for offset, kind in enumerate(data):
        start = offset + header_size(kind) + 4
        found = data[start : start + association.size]
        if kind in kinds and found == sign(association, data[:start]):
            return True
    return False
