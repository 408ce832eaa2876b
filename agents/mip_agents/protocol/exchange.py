# SPDX-License-Identifier: GPL-2.0-only
"""Requests out and replies in: how often, with which Identification, which to believe.

RFC 5944 sections 3.6.2.1 and 5.7.1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mip_agents.protocol.attempts import Attempt
from mip_agents.protocol.backoff import Backoff, for_denials, for_replies
from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import Severity
from mip_agents.protocol.limits import TokenBucket
from mip_agents.protocol.outbox import Fields, Outbox
from mip_agents.protocol.policy import MobileNodePolicy
from mip_agents.protocol.replay import Timestamps
from mip_agents.protocol.reply_checks import check_reply
from mip_agents.protocol.requests import make_request
from mip_agents.protocol.view import Reply

LAST_CODES = 5
"""Codes of replies that are kept for whoever asks."""


class Exchange:
    """A mobile node's messages to and from its home agent."""

    def __init__(
        self,
        policy: MobileNodePolicy,
        random_bytes: Callable[[int], bytes],
        outbox: Outbox,
    ) -> None:
        self._policy = policy
        self._random_bytes = random_bytes
        self._outbox = outbox
        self.timestamps = Timestamps(random_bytes, coarse=policy.coarse_timestamps)
        self.codes: deque[int] = deque(maxlen=LAST_CODES)
        """Codes of the latest replies that were believed, the newest first."""
        self._believed = b""
        # One request per second on average (MN-15); after a quiet time a handover or a
        # resynchronisation need not wait for the second after the last request.
        self._bucket = TokenBucket(rate=1, burst=2)
        self._round_trip = 0.0

    def waits_for_replies(self, lifetime: int) -> Backoff:
        """Return a new schedule of waits between unanswered requests (MN-38)."""
        return for_replies(lifetime, self._round_trip, self._random_bytes)

    def waits_after_denials(self) -> Backoff:
        """Return a new schedule of waits between denied requests."""
        return for_denials(self._random_bytes)

    def send(self, attempt: Attempt, now: Instant) -> None:
        """Send a request, each time with a new Identification (MN-25, MN-37).

        Where that would be too early (MN-15), the attempt is due when it is not.
        """
        if not self._bucket.take(now.mono):
            attempt.due = self._bucket.ready_at(now.mono)
            return
        identification = self.timestamps.next(now.ntp)
        attempt.awaited = identification
        attempt.sent_at = now.mono
        attempt.tries += 1
        attempt.due = now.mono + attempt.backoff.wait()
        self._outbox.put(make_request(self._policy, attempt, identification))
        agent = attempt.attachment.agent
        fields: Fields = {
            "interface": attempt.attachment.interface,
            "foreign_agent": agent.address if agent else None,
            "care_of_address": attempt.care_of_address,
            "home_agent": attempt.home_agent,
            "lifetime": attempt.terms.lifetime,
            "identification": f"{identification:016x}",
            "tries": attempt.tries,
        }
        self._outbox.note("request_sent", fields)

    def believe(
        self, attempt: Attempt | None, reply: Reply, source: str, now: Instant
    ) -> int | None:
        """Return the Identification that a reply answers; None if it is dropped.

        The attempt then awaits no further reply.
        """
        sent = attempt.awaited if attempt is not None else None
        agent = attempt.attachment.agent if attempt is not None else None
        doubt = check_reply(self._policy, reply, sent, source, agent)
        if doubt is not None:
            fields: Fields = {
                "source": source,
                "code": reply.code,
                "reason": doubt.reason,
            }
            # A reply may come by a socket and as a frame as well, which is no news.
            again = reply.data == self._believed
            severity = Severity.DEBUG if again else Severity.WARNING
            self._outbox.note(
                "message_dropped", fields, rule=doubt.rule, severity=severity
            )
            return None
        if attempt is not None:
            self._believed = reply.data
            attempt.awaited = None
            attempt.last_code = reply.code
            self.codes.appendleft(reply.code)
            self._round_trip = now.mono - attempt.sent_at
        return sent
