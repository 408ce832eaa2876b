# SPDX-License-Identifier: GPL-2.0-only
"""`mip replay`: a capture's requests sent to a live agent, its replies compared.

    from mip_agents.captures.replay import ReplayOptions, replay_file

    for outcome in replay_file("run.pcap", ReplayOptions(to="10.1.1.20")):
        print(outcome.exchange.request.frame, outcome.differences)

Requests leave one after the other, each when the one before has its answer. Needs no
privileges: replies come back to the port that we send from.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mip_agents.captures.decode import decode_message
from mip_agents.captures.observation import Observation
from mip_agents.captures.replay_differences import Difference, differences
from mip_agents.captures.replay_exchanges import Exchange, read_exchanges
from mip_agents.captures.replay_requests import Renewal
from mip_agents.protocol.errors import InputError, MipError
from scapy_mip.const import MIP_PORT, TTL_REVERSE_TUNNEL
from scapy_mip.ident import from_unix_ns
from scapy_mip.keyring import KeyRing
from scapy_mip.messages import MIP
from scapy_mip.registration import MIPRegistrationReply

_LARGEST = 65535
# Linux' ABI; not in the socket module before Python 3.14.
_IP_RECVERR = 11
_MSG_ERRQUEUE = 0x2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Where requests go, and how."""

    to: str
    """Address of a home agent or a foreign agent."""
    port: int = MIP_PORT
    source: str | None = None
    """Our own address to send from; None for that of the route."""
    captured_to: str | None = None
    """Send those requests alone that went to this address; None for `to` if any did,
    else for all."""
    fresh: bool = False
    """Make Identification and authenticators new; else requests go as they were."""
    keys: KeyRing | None = None
    """To sign with; needed with `fresh` where requests are signed."""
    timeout: float = 1.0
    """Seconds to wait for each reply."""
    retries: int = 2
    """How often a request is sent again that has no reply, but had one."""
    pace: bool = False
    """Leave the time between requests that there was, at least."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """What was sent or came back."""

    time: float
    """Seconds since 1970."""
    source: tuple[str, int]
    """Address and port."""
    destination: tuple[str, int]
    data: bytes


@dataclass(slots=True)
class Outcome:
    """What became of one request."""

    exchange: Exchange
    """As captured."""
    datagrams: list[Datagram] = field(default_factory=list)
    """All that was sent for it, and the replies."""
    captured: dict[str, Any] | None = None
    """The captured reply, as `mip decode --json` shows messages."""
    replied: dict[str, Any] | None = None
    """The reply that came now; None for none."""
    differences: list[Difference] = field(default_factory=list)
    resynchronised: bool = False
    """Whether the agent's time was adopted, and the request sent again."""
    error: str | None = None
    """What the network said, such as that nobody listens."""

    @property
    def is_same(self) -> bool:
        """Whether the agent did as the one in the capture."""
        return not self.differences


class Replay:
    """A capture that is being replayed.

    :raises mip_agents.captures.reader.CaptureError: the file is no capture.
    :raises InputError: it has no request to send, or keys are missing.
    """

    def __init__(self, path: str | Path, options: ReplayOptions) -> None:
        every = read_exchanges(path)
        if not every:
            raise InputError(f"{path}: no Registration Request in it")
        self._options = options
        self.exchanges = _chosen(every, options)
        """What is sent."""
        self.left_out = len(every) - len(self.exchanges)
        """Requests that went to other addresses."""
        if not self.exchanges:
            raise InputError(f"{path}: no request went to {options.captured_to}")
        self._renewal = Renewal(options.keys or KeyRing()) if options.fresh else None
        if options.fresh and options.keys is None:
            for exchange in self.exchanges:
                _refuse_signed(exchange.request)

    @property
    def unknown_spis(self) -> set[int]:
        """SPIs without a key: their authenticators went as they were captured."""
        return self._renewal.unknown_spis if self._renewal is not None else set()

    def run(self) -> Iterator[Outcome]:
        """Send the requests in order; give what became of each.

        :raises MipError: they cannot be sent.
        """
        options = self._options
        with _Line(options) as line:
            first, began = self.exchanges[0].request.time, time.monotonic()
            for exchange in self.exchanges:
                if options.pace:
                    due = began + exchange.request.time - first
                    time.sleep(max(0.0, due - time.monotonic()))
                yield self._replay(line, exchange)

    def _replay(self, line: _Line, exchange: Exchange) -> Outcome:
        outcome = Outcome(exchange)
        reply = self._ask(line, outcome)
        if self._renewal is not None and reply is not None:
            sent = outcome.datagrams[-2].data
            if self._renewal.learn(exchange, sent, reply):
                outcome.resynchronised = True
                reply = self._ask(line, outcome)
        asked = exchange.request
        if exchange.reply is not None:
            peers = {asked.ip.source, asked.ip.destination}
            outcome.captured = self._shown(exchange.reply.data, peers)
        if reply is not None:
            source = outcome.datagrams[-1].source[0]
            outcome.replied = self._shown(reply.original, {source, line.source})
        outcome.differences = differences(outcome.captured, outcome.replied)
        return outcome

    def _ask(self, line: _Line, outcome: Outcome) -> Any:
        """Send a request until its reply comes; return the reply's layer or None."""
        exchange = outcome.exchange
        data = exchange.request.data
        if self._renewal is not None:
            data = self._renewal.renew(exchange, from_unix_ns(time.time_ns()))
        request: Any = MIP(data)
        # Where silence is expected, one attempt will do.
        retries = self._options.retries if exchange.reply is not None else 0
        for _attempt in range(1 + retries):
            outcome.datagrams.append(line.send(data, exchange.request.ip.ttl))
            came, outcome.error = line.receive(
                lambda reply: reply.answers(request), self._options.timeout
            )
            if came is not None:
                outcome.datagrams.append(came)
                return MIP(came.data)
        return None

    def _shown(self, data: bytes, peers: set[str]) -> dict[str, Any]:
        return decode_message(data, peers, self._options.keys)[0]


def replay_file(path: str | Path, options: ReplayOptions) -> Iterator[Outcome]:
    """Send a capture's requests to an agent; give what became of each, in order.

    Everything went as in the capture if `all(one.is_same for one in replay_file(...))`.
    :raises InputError: the file has nothing to send, or keys are missing.
    :raises MipError: the requests cannot be sent.
    """
    return Replay(path, options).run()


def _chosen(exchanges: list[Exchange], options: ReplayOptions) -> list[Exchange]:
    """Leave out what went elsewhere: a capture may show a request and its relay."""
    wanted = options.captured_to or options.to
    chosen = [one for one in exchanges if one.request.ip.destination == wanted]
    return chosen if chosen or options.captured_to else exchanges


def _refuse_signed(request: Observation) -> None:
    for _offset, extension in request.authentications:
        raise InputError(
            f"{request.file}: frame {request.frame}: signed with SPI {extension.spi}; "
            "to sign it anew, give --keys"
        )


class _Line:
    """A socket to one agent."""

    def __init__(self, options: ReplayOptions) -> None:
        self._to = (options.to, options.port)
        self._from = (options.source or "", 0)

    def __enter__(self) -> Self:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(self._from)
                probe.connect(self._to)
                self.source: str = probe.getsockname()[0]
            # Not connected: an agent may answer from another of its addresses.
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind((self.source, 0))
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        except OSError as error:
            raise MipError(
                f"from {self._from[0] or 'here'} to {self._to[0]}: {error.strerror}"
            ) from None
        self._default_ttl = self._socket.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, captured_ttl: int) -> Datagram:
        """Send a request. :raises MipError: there is no way to the agent."""
        # A foreign agent may demand it of requests with T (RFC 3024 section 3.2).
        ttl = (
            TTL_REVERSE_TUNNEL
            if captured_ttl == TTL_REVERSE_TUNNEL
            else self._default_ttl
        )
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        try:
            self._socket.sendto(data, self._to)
        except OSError:  # perhaps that of a request before
            self._forget_errors()
            try:
                self._socket.sendto(data, self._to)
            except OSError as error:
                raise MipError(f"to {self._to[0]}: {error.strerror}") from None
        own = self._socket.getsockname()
        return Datagram(time.time(), own, self._to, data)

    def receive(
        self, fits: Callable[[Any], bool], timeout: float
    ) -> tuple[Datagram | None, str | None]:
        """Wait for a reply; return it or None, and what the network says."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data, sender = self._socket.recvfrom(_LARGEST)
            except TimeoutError:
                break
            except OSError as error:
                self._forget_errors()
                return None, error.strerror
            reply: Any = MIP(data) if data else None
            if isinstance(reply, MIPRegistrationReply) and fits(reply):
                own = self._socket.getsockname()
                return Datagram(time.time(), sender, own, data), None
        return None, None

    def _forget_errors(self) -> None:
        self._socket.settimeout(0)
        with contextlib.suppress(OSError):
            while True:
                self._socket.recvmsg(1, 512, _MSG_ERRQUEUE)
