# SPDX-License-Identifier: GPL-2.0-only
"""Captured requests as they would be sent today: new Identification, new signatures.

What was right or wrong about a captured request stays so. A timestamp keeps its
distance from the clock, so that one that was too old is as old again; a nonce that came
from a reply is taken from the reply that comes now; a repeated request is repeated; and
what a wrong key has signed is signed with that key again, if it is among the keys.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from mip_agents.captures.observation import Observation
from mip_agents.captures.replay_exchanges import Exchange
from mip_agents.protocol.replay import COARSE_BITS
from scapy_mip.auth import (
    SPI_BYTES,
    SecurityAssociation,
    authenticator_at,
    sign,
    verify,
)
from scapy_mip.const import REPLY_CODES, ExtensionType, ReplyCode
from scapy_mip.extensions.auth import MIPAuthentication
from scapy_mip.ident import difference, from_unix_ns, join, seconds, split
from scapy_mip.keyring import KeyRing, authentications, named_addresses

_IDENTIFICATION = slice(16, 24)
"""Where a request has it. RFC 5944 section 3.3."""
_MASK = 0xFFFFFFFFFFFFFFFF
_CLOCKS_APART_S = 3600
"""An Identification that is further from the time of its capture is none."""
_FAILED_AUTHENTICATION = (
    ReplyCode.FA_MN_FAILED_AUTHENTICATION,
    ReplyCode.FA_HA_FAILED_AUTHENTICATION,
    ReplyCode.HA_MN_FAILED_AUTHENTICATION,
    ReplyCode.HA_FA_FAILED_AUTHENTICATION,
)


@dataclass(slots=True)
class _Node:
    """What is known of one mobile node."""

    renewed: dict[int, int] = field(default_factory=dict)
    """New Identification by captured one."""
    newest: tuple[int, int] | None = None
    """The greatest captured one so far, and what it has become."""
    ahead: int = 0
    """What was added to adopt the agent's time, in units of 2**-32 s."""
    nonces: dict[int, int] = field(default_factory=dict)
    """High half of a reply that came now, by that of the captured reply."""
    nonce: int | None = None
    """High half for the next request, where the agent wants nonces."""


class Renewal:
    """Makes the requests of one capture new, in their order.

    :param keys: to sign with; more of them may share an SPI.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._nodes: defaultdict[tuple[str, bytes], _Node] = defaultdict(_Node)
        self.unknown_spis: set[int] = set()
        """SPIs without a key: what they sign is sent as it was captured."""

    def renew(self, exchange: Exchange, clock: int) -> bytes:
        """Return a request as it is to be sent now.

        :param clock: our own 64-bit NTP time.
        """
        request = exchange.request
        captured = request.packet.identification
        node = self._node(request)
        if captured not in node.renewed:
            node.renewed[captured] = _stamp(node, request, clock)
        number = node.renewed[captured]
        if node.newest is None or difference(captured, node.newest[0]) > 0:
            node.newest = captured, number
        return self._sign(exchange, number)

    def learn(self, exchange: Exchange, sent: bytes, reply: Any) -> bool:
        """Take from a reply what the next requests need.

        Return whether the request should be sent once more, with what code 133 told:
        the agent's time, or its nonce (RFC 5944 section 5.7).

        :param sent: the request that is answered.
        :param reply: its layer.
        """
        request = exchange.request
        captured = request.packet.identification
        number = int.from_bytes(sent[_IDENTIFICATION], "big")
        told, low = split(reply.identification)[0], split(number)[1]
        if self._is_forged(request, reply):
            return False
        node = self._node(request)
        mismatched = exchange.reply is not None and _is_mismatch(exchange.reply.packet)
        if exchange.reply is not None:
            before = exchange.reply.packet.identification
            if not _is_time(before, exchange.reply.time):
                node.nonces[split(before)[0]] = told
        known = REPLY_CODES.get(reply.code)
        if known is not None and known.accepted and reply.identification != number:
            node.nonce = told
        resynchronised = join(told, low)
        if not _is_mismatch(reply) or mismatched or resynchronised == number:
            return False
        node.ahead += difference(resynchronised, number)
        node.renewed[captured] = resynchronised
        node.newest = captured, resynchronised
        return True

    def _node(self, request: Observation) -> _Node:
        nai: Any = request.extension(ExtensionType.MOBILE_NODE_NAI)
        name = b"" if nai is None else bytes(nai.original)
        return self._nodes[request.packet.home_address, name]

    def _is_forged(self, request: Observation, reply: Any) -> bool:
        """Return whether the keys show that a reply is not authentic (MN-35)."""
        peers = {request.ip.source, request.ip.destination, *named_addresses(reply)}
        return any(
            self._keys.verdict(reply.original, offset, extension.spi, peers)
            == "invalid"
            for extension, offset in authentications(reply)
        )

    def _sign(self, exchange: Exchange, number: int) -> bytes:
        request = exchange.request
        message = bytearray(request.data[: request.packet.fixed_size])
        message[_IDENTIFICATION] = number.to_bytes(8, "big")
        for offset, extension in request.extensions:
            association = None
            if isinstance(extension, MIPAuthentication):
                association = self._association(exchange, offset, extension.spi)
            if association is None:
                message += extension.original
                continue
            size = extension.header_size
            length = (SPI_BYTES + association.size).to_bytes(size // 2, "big")
            message += extension.original[: size - len(length)] + length
            message += association.spi.to_bytes(SPI_BYTES, "big")
            message += sign(association, bytes(message))
        return bytes(message)

    def _association(
        self, exchange: Exchange, offset: int, spi: int
    ) -> SecurityAssociation | None:
        """Choose what to sign with; None to leave an authenticator as it is."""
        request = exchange.request
        if authenticator_at(request.data, offset) is None:
            return None
        named = named_addresses(request.packet)
        known = self._keys.find(
            spi, {request.ip.source, request.ip.destination, *named}
        )
        for association in known:
            if verify(association, request.data, offset):
                return association
        if not known:
            self.unknown_spis.add(spi)
            return None
        reply = exchange.reply
        if reply is not None and reply.packet.code in _FAILED_AUTHENTICATION:
            return None  # it was wrong when it was captured
        return known[0]


def _stamp(node: _Node, request: Observation, clock: int) -> int:
    captured: int = request.packet.identification
    high, low = split(captured)
    if high in node.nonces and not _is_time(captured, request.time):
        return join(node.nonces[high], low)
    if node.nonce is not None:
        return join(node.nonce, low)
    passed = difference(clock, _ntp(request.time))
    number = (captured + passed + node.ahead) & _MASK
    # An agent that keeps Identification in a double wants the lowest bits to be zero.
    unit = 1 if captured % (1 << COARSE_BITS) else 1 << COARSE_BITS
    number -= number % unit
    if node.newest is not None:
        before, became = node.newest
        # What took minutes takes microseconds now, less than stamping varies by.
        if difference(captured, before) > 0 >= difference(number, became):
            return (became + unit) & _MASK
    return number


def _is_time(identification: int, moment: float) -> bool:
    """Return whether an Identification can be a time stamp; else it has nonces."""
    apart = difference(identification, _ntp(moment))
    return abs(apart) < seconds(_CLOCKS_APART_S)


def _ntp(moment: float) -> int:
    return from_unix_ns(round(moment * 1e9))


def _is_mismatch(reply: Any) -> bool:
    return bool(reply.code == ReplyCode.HA_IDENTIFICATION_MISMATCH)
