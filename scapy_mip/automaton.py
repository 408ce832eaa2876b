# SPDX-License-Identifier: GPL-2.0-only
"""A mobile node as an automaton whose graph draws, for teaching. RFC 5944 section 3.6.

The daemons do not use it: `mip mn` runs the real node.
"""

from __future__ import annotations

import copy
from typing import Any

from scapy import automaton
from scapy.automaton import Automaton
from scapy.layers.inet import UDP
from scapy.packet import Packet

from scapy_mip.ansmachine import ntp_now
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import (
    DEFAULT_LIFETIME,
    LIFETIME_DEREGISTER,
    MIP_PORT,
    REPLY_CODES,
    ReplyCode,
)
from scapy_mip.prompt import Registrant, clock_offset, is_of_foreign_agent
from scapy_mip.registration import MIPRRP, MIPRRQ

ATMT: Any = automaton.ATMT  # whose types do not fit its own use

RETRANSMISSION_SECONDS = 1.0
"""The shortest time between two requests. RFC 5944 section 3.6.3."""

RENEWAL_SECONDS = DEFAULT_LIFETIME / 2
"""When to renew a binding of the default lifetime."""


class MIPMobileNodeAutomaton(Automaton):
    """A mobile node that registers, renews at half the lifetime, and deregisters.

    `MIPMobileNodeAutomaton.graph()` draws it: messages that arrive are red, timers
    blue, what the user says orange, and what goes without saying purple. It walks
    through the picture where a home agent, `mip_had()` say, is on the other side:

        node = MIPMobileNodeAutomaton(
            home_address="10.1.1.10",
            home_agent="10.1.1.20",
            association=SecurityAssociation(256, "1234567812345678"),
            iface="eth0",
        )
        node.runbg()
        node.io.user.send("deregister")
        node.run()

    `run()` waits and returns the code of the last reply, 0 for a good end. It raises
    `Automaton.ErrorState` if the node was denied, or if nobody answered. Over the
    loopback interface it takes `ll=L3RawSocket`.

    :param lifetime: seconds to ask for.
    :param retries: how often an unanswered request is sent again.
    :param once: deregister as soon as registered.
    :param options: those of any `Automaton`: `iface`, `debug`, `store`, `ll`, ...
    """

    def parse_args(  # type: ignore[override]
        self,
        home_address: str,
        home_agent: str,
        association: SecurityAssociation,
        care_of_address: str | None = None,
        foreign_agent: str | None = None,
        flags: str | int | None = None,
        lifetime: int = DEFAULT_LIFETIME,
        retries: int = 3,
        once: bool = False,
        **options: Any,
    ) -> None:
        """Take the options, and listen to port 434 alone."""
        options.setdefault("filter", f"udp and port {MIP_PORT}")
        super().parse_args(**options)
        self.node = Registrant(
            home_address=home_address,
            home_agent=home_agent,
            association=association,
            care_of_address=care_of_address,
            foreign_agent=foreign_agent,
            flags=flags,
        )
        self.lifetime = lifetime
        self.retries = retries
        self.once = once
        self.code: int | None = None
        self.offset: int | None = None
        self.sent: Any = None
        self.tries = 0
        self.granted_seconds = 0
        # All automata of a class share its timers; these have times of their own.
        self.timeout = copy.deepcopy(type(self).timeout)

    def master_filter(self, pkt: Packet) -> bool:
        """Take authentic replies to the last request alone."""
        if self.sent is None or MIPRRP not in pkt:
            return False
        reply: Any = pkt[MIPRRP]
        if type(reply.underlayer) is not UDP or not reply.answers(self.sent[MIPRRQ]):
            return False
        authentic = self.node.judge(pkt, self.sent)
        return authentic or is_of_foreign_agent(reply.code)

    def ask(self, lifetime: int) -> None:
        """Send a request, and wait twice as long as for the one before."""
        self.sent = self.node.request(lifetime, ntp_now() + (self.offset or 0))
        self.wait_for(RETRANSMISSION_SECONDS * 2**self.tries)
        self.tries += 1
        self.send(self.sent)

    def wait_for(self, seconds: float) -> None:
        """Set the timer of the state that is being entered."""
        for timer in self.timeout[self.state.state]:
            timer.set(seconds)

    def _take(self, reply: Any) -> bool:
        """Note the code of a reply; return whether it grants what was asked for."""
        self.code = reply.code
        known = REPLY_CODES.get(reply.code)
        return known is not None and known.accepted

    # States

    @ATMT.state(initial=1)
    def HOME(self) -> None:
        """Nothing is registered."""

    @ATMT.state()
    def REQUESTED(self) -> None:
        """A request for a binding is on its way."""
        self.ask(self.lifetime)

    @ATMT.state()
    def RESYNCHRONISING(self) -> None:
        """The home agent has told its time: the next request will carry it."""

    @ATMT.state()
    def REGISTERED(self) -> None:
        """The binding holds."""
        self.tries = 0
        self.wait_for(max(RETRANSMISSION_SECONDS, self.granted_seconds / 2))

    @ATMT.state()
    def DEREGISTERING(self) -> None:
        """A request to end the binding is on its way."""
        self.ask(LIFETIME_DEREGISTER)

    @ATMT.state(final=1)
    def DEREGISTERED(self) -> int | None:
        """The binding is gone."""
        return self.code

    @ATMT.state(error=1)
    def DENIED(self) -> int | None:
        """The home agent, or a foreign agent, has said no."""
        return self.code

    @ATMT.state(error=1)
    def UNREACHABLE(self) -> None:
        """Nobody has answered."""

    # Registering

    @ATMT.condition(HOME)
    def leave_home(self) -> None:
        """Register as soon as the automaton runs."""
        raise self.REQUESTED()

    @ATMT.receive_condition(REQUESTED, prio=0)
    def granted(self, pkt: Any) -> None:
        """Be registered, and renew the binding in good time."""
        if self._take(pkt[MIPRRP]):
            self.granted_seconds = pkt[MIPRRP].lifetime
            raise self.REGISTERED()

    @ATMT.receive_condition(REQUESTED, prio=1)
    def mismatch(self, pkt: Any) -> None:
        """Take over the home agent's time, once (code 133)."""
        if self.code == ReplyCode.HA_IDENTIFICATION_MISMATCH and self.offset is None:
            self.offset = clock_offset(pkt[MIPRRP], ntp_now())
            raise self.RESYNCHRONISING()

    @ATMT.receive_condition(REQUESTED, prio=2)
    def denied(self, pkt: Any) -> None:
        """Give up on every other code."""
        raise self.DENIED()

    @ATMT.timeout(REQUESTED, RETRANSMISSION_SECONDS)
    def retransmit(self) -> None:
        """Ask again, until it was tried often enough."""
        if self.tries > self.retries:
            raise self.UNREACHABLE()
        raise self.REQUESTED()

    @ATMT.condition(RESYNCHRONISING)
    def ask_again(self) -> None:
        """Register with the home agent's time."""
        raise self.REQUESTED()

    # Registered

    @ATMT.timeout(REGISTERED, RENEWAL_SECONDS)
    def renew(self) -> None:
        """Register again before the lifetime ends."""
        raise self.REQUESTED()

    @ATMT.condition(REGISTERED)
    def only_once(self) -> None:
        """Deregister at once, if that was asked for."""
        if self.once:
            raise self.DEREGISTERING()

    @ATMT.ioevent(REGISTERED, name="user")
    def told(self, fd: Any) -> None:
        """Deregister when the user says so."""
        if fd.recv() == "deregister":
            raise self.DEREGISTERING()

    # Deregistering

    @ATMT.receive_condition(DEREGISTERING, prio=0)
    def ended(self, pkt: Any) -> None:
        """Be deregistered."""
        if self._take(pkt[MIPRRP]):
            raise self.DEREGISTERED()

    @ATMT.receive_condition(DEREGISTERING, prio=1)
    def not_ended(self, pkt: Any) -> None:
        """Give up on every other code."""
        raise self.DENIED()

    @ATMT.timeout(DEREGISTERING, RETRANSMISSION_SECONDS)
    def retransmit_last(self) -> None:
        """Ask again, until it was tried often enough."""
        if self.tries > self.retries:
            raise self.UNREACHABLE()
        raise self.DEREGISTERING()
