# SPDX-License-Identifier: GPL-2.0-only
"""What a mobile node is trying to achieve, what it has, and the states between."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from mip_agents.protocol.attachment import Attachment
from mip_agents.protocol.backoff import Backoff
from mip_agents.protocol.fsm import Transitions
from mip_agents.protocol.terms import Terms
from scapy_mip.const import LIFETIME_INFINITE

NEVER = float("inf")

MAX_TRIES = 7
"""Unanswered requests until who asked is told, and until nothing is left to try for."""

AGENT_TRIES = 3
"""Unanswered requests through a foreign agent until another one is tried."""

REFRESH_MARGIN_S = 7.5
"""Time for a refresh and three more tries, 1, 3 and 7 seconds later."""

OVERLAP_S = 2.0
"""Seconds for which two bindings are kept on the move, counted from the request: what
was on its way to the care-of address before has arrived by then."""


class State(enum.Enum):
    """Where a mobile node stands."""

    DETACHED = "detached"
    """No usable interface, or nothing asked for."""
    AT_HOME = "at-home"
    """On the home link, without mobility."""
    PREPARING = "preparing"
    """The data plane is made ready for the request that comes next."""
    REGISTERING = "registering"
    """A care-of address is being registered."""
    REGISTERED = "registered"
    REFRESHING = "refreshing"
    """Registered, and the registration is being renewed."""
    RETURNING = "returning"
    """On the home link, and all bindings are being deregistered."""
    DEREGISTERING = "deregistering"
    """Away, and the registration is being ended."""


STATES = Transitions(
    State.DETACHED,
    {
        State.DETACHED: {
            State.AT_HOME: "home link, not roaming",
            State.PREPARING: "interface came up, or asked to register",
            State.REGISTERING: "interface came up, the tunnel is still there",
            State.REFRESHING: "the registered interface is back",
            State.RETURNING: "home link came up",
        },
        State.AT_HOME: {
            State.DETACHED: "home link lost",
            State.PREPARING: "left home",
            State.REGISTERING: "left home, the tunnel could not be removed",
            State.RETURNING: "asked to register at home",
        },
        State.PREPARING: {
            State.DETACHED: "interface lost, cancelled or tunnel failed",
            State.REGISTERING: "tunnel receives",
            State.RETURNING: "tunnel is gone",
            State.DEREGISTERING: "asked to deregister on the way home",
            State.REFRESHING: "tunnel receives again",
            State.REGISTERED: "cancelled, the earlier registration stands",
            State.AT_HOME: "cancelled at home",
        },
        State.REGISTERING: {
            State.REGISTERED: "accepted, or an earlier registration stands",
            State.REFRESHING: "back to where it is registered",
            State.PREPARING: "moved",
            State.RETURNING: "came home before there was a tunnel",
            State.DEREGISTERING: "asked to deregister, or cancelled",
            State.DETACHED: "interface lost, or gave up",
        },
        State.REGISTERED: {
            State.REFRESHING: "lifetime is two thirds over, or asked to",
            State.REGISTERING: "moved",
            State.PREPARING: "came home, or moved without a tunnel",
            State.RETURNING: "came home, there was no tunnel",
            State.DEREGISTERING: "asked to deregister",
            State.DETACHED: "interface lost, or lifetime over",
        },
        State.REFRESHING: {
            State.REGISTERED: "accepted, or cancelled",
            State.REGISTERING: "moved, or lifetime over",
            State.PREPARING: "came home, or moved without a tunnel",
            State.RETURNING: "came home, there was no tunnel",
            State.DEREGISTERING: "asked to deregister",
            State.DETACHED: "interface lost, or lifetime over",
        },
        State.RETURNING: {
            State.AT_HOME: "accepted, or no binding can be left",
            State.PREPARING: "left home again",
            State.REGISTERING: "left home again, the tunnel is still there",
            State.REFRESHING: "back to where it is registered",
            State.DETACHED: "home link lost",
        },
        State.DEREGISTERING: {
            State.DETACHED: "accepted, or gave up",
            State.REGISTERED: "cancelled",
            State.PREPARING: "asked to register",
            State.REGISTERING: "asked to register, the tunnel is still there",
            State.REFRESHING: "asked to register where it was",
            State.RETURNING: "asked to register at home",
        },
    },
)


class Goal(enum.Enum):
    """What a request is for."""

    REGISTER = "register"
    RETURN = "return"
    """Deregister everything from the home link."""
    DEREGISTER = "deregister"
    """End the registration from where the node is."""


@dataclass(slots=True)
class Attempt:
    """One goal that is pursued until it is reached, given up or replaced (MN-27)."""

    goal: Goal
    attachment: Attachment
    care_of_address: str
    """As in the request: to deregister everything it is the home address (MN-24)."""
    home_agent: str
    wanted: int
    """Seconds that are wanted; an agent may relay less."""
    terms: Terms
    """What is asked for now; denials make it less."""
    backoff: Backoff
    persistent: bool
    """Whether it goes on after a denial and without replies."""
    requesters: list[int] = field(default_factory=list)
    """Tokens of those who wait for the outcome."""
    due: float | None = None
    """Monotonic second of the next step: a request, or the end of patience."""
    tries: int = 0
    awaited: int | None = None
    """Identification of the latest request, while its reply is welcome (MN-29)."""
    sent_at: float = 0.0
    """Monotonic second of the latest request: lifetimes count from it (MN-33)."""
    mismatches: int = 0
    """Denials with 133 so far."""
    redirected: bool = False
    refused: set[Terms] = field(default_factory=set)
    """What was asked for and denied: it is not asked for again."""
    denials: Backoff | None = None
    last_code: int | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What the home agent has granted."""

    attachment: Attachment
    home_agent: str
    terms: Terms
    """What was asked for, and is asked for again."""
    lifetime: int
    """Granted seconds; 65535 is infinite."""
    since: float
    """Monotonic second at which the accepted request was sent (MN-33)."""
    refresh_at: float
    """Monotonic second of the next refresh; `NEVER` for an infinite lifetime."""

    @property
    def expires(self) -> float:
        """Monotonic second of its end; `NEVER` for an infinite lifetime."""
        if self.lifetime == LIFETIME_INFINITE:
            return NEVER
        return self.since + self.lifetime


def granted(attempt: Attempt, lifetime: int, *, overlap: bool) -> Registration:
    """Return what an accepted attempt has brought.

    :param overlap: the home agent keeps the binding before as well. The next request,
        soon, has no S and so replaces that one.
    """
    refresh = refresh_after(lifetime)
    return Registration(
        attachment=attempt.attachment,
        home_agent=attempt.home_agent,
        terms=replace(attempt.terms, simultaneous=False),
        lifetime=lifetime,
        since=attempt.sent_at,
        refresh_at=attempt.sent_at + (min(refresh, OVERLAP_S) if overlap else refresh),
    )


def refresh_after(lifetime: int) -> float:
    """Return after how many seconds a registration is renewed (MN-33); maybe `NEVER`.

    After two thirds of its lifetime, but so that a request and three more tries fit
    into what is left; where the lifetime is too short for that, after half of it.
    """
    if lifetime == LIFETIME_INFINITE:
        return NEVER
    return max(min(lifetime * 2 / 3, lifetime - REFRESH_MARGIN_S), lifetime / 2)
