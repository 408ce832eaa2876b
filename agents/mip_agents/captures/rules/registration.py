# SPDX-License-Identifier: GPL-2.0-only
"""Requests and replies beside each other (MN, FA, HA). RFC 5944 sections 3.6 to 3.8.

One object watches one capture. A node is known by its home address, or by its NAI where
it has none; a reply belongs to a request with the same low 32 bits of Identification.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Kind, Observation
from mip_agents.captures.rules import Deviations
from mip_agents.captures.rules.answers import (
    HA_30,
    check_answer,
    check_grant,
    check_resynchronisation,
    fits,
)
from mip_agents.captures.rules.messages import NAI_01
from mip_agents.protocol.reply_checks import ACCEPTING
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    TTL_REVERSE_TUNNEL,
    Encapsulation,
    ExtensionType,
    ReplyCode,
    RequestFlag,
)
from scapy_mip.ident import from_unix_ns, split

HA_18 = Rule("HA-18", Severity.WARNING, "RFC 5944 3.8.2.2")
HA_29 = Rule("HA-29", Severity.ERROR, "RFC 5944 5.7")
HA_19 = Rule("HA-19", Severity.ERROR, "RFC 5944 3.8.2.2")
MN_18 = Rule("MN-18", Severity.ERROR, "RFC 5944 3.6.1.1")
MN_25 = Rule("MN-25", Severity.ERROR, "RFC 5944 5.7")
MN_38 = Rule("MN-38", Severity.ERROR, "RFC 5944 3.6.3")
RT_02 = Rule("RT-02", Severity.ERROR, "RFC 3024 3.2")

_ANY = "0.0.0.0"
_LEAST_PAUSE_S = 0.98
"""One second, but for what clocks and queues do to it."""
_FORGET_S = 600.0
_MOST_ASKING = 10_000


@dataclass(slots=True)
class Binding:
    """A mobility binding as a reply has granted it."""

    care_of_address: str
    home_agents: set[str]
    """The addresses that a home agent is known by: asked, answering, named."""
    encapsulations: frozenset[int]
    """IP protocols that may tunnel packets: IP-in-IP, and what was asked for."""
    until: float
    """Seconds since 1970."""
    since: float
    """From when on it is as it is."""
    identification: int
    """Of its request."""


@dataclass(slots=True)
class _Node:
    """What was seen of one mobile node."""

    requests: list[Observation] = field(default_factory=list)
    accepted: int = 0
    """The newest Identification that was accepted."""
    single: bool = False
    """Whether its home agent has said that it has no simultaneous bindings."""
    bindings: dict[str, Binding] = field(default_factory=dict)
    is_whole: bool = False
    """Whether `bindings` has those, too, that are older than the capture."""


class Registrations:
    """Watches the registrations of one capture."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._asking: dict[int, _Node] = {}
        """By the Identification of their last requests."""

    def see(self, seen: Observation) -> Deviations:
        """Compare a request or a reply with what came before."""
        node = self._nodes.setdefault(node_name(seen), _Node())
        if seen.kind is Kind.REQUEST:
            yield from self._request(node, seen)
            self._remember(node, seen)
        else:
            yield from self._reply(self._asker(node, seen), seen)

    def _remember(self, node: _Node, request: Observation) -> None:
        if len(self._asking) >= _MOST_ASKING:
            del self._asking[next(iter(self._asking))]
        self._asking[request.packet.identification] = node

    def _asker(self, node: _Node, reply: Observation) -> _Node:
        """Return the node that a reply answers.

        A node without a home address is given one by the reply, and is known by it from
        then on. Other replies may name a node that has not asked.
        """
        if _find_request(node, reply) is not None:
            return node
        other = self._asking.get(reply.packet.identification)
        asked = _find_request(other, reply) if other else None
        if other is None or asked is None or not fits(asked, reply):
            return node
        given = reply.packet.home_address
        is_given = asked.packet.home_address == _ANY != given
        if is_given and reply.packet.code in ACCEPTING:
            self._nodes[given] = other
        return other

    def bindings(self, home_address: str, now: float) -> list[Binding] | None:
        """Return what a node has; None where nothing is known of the node."""
        node = self._nodes.get(home_address)
        if node is None or not node.is_whole:
            return None
        return [one for one in node.bindings.values() if one.until >= now]

    def is_asked_for(self, home_address: str, care_of_address: str) -> bool:
        """Return whether a request for a binding has no answer yet.

        A home agent may tunnel before its reply leaves.
        """
        node = self._nodes.get(home_address)
        return node is not None and any(
            request.packet.care_of_address == care_of_address
            and not _was_answered(request)
            for request in node.requests
        )

    def _request(self, node: _Node, seen: Observation) -> Deviations:
        packet = seen.packet
        yield from _check_addresses(seen)
        for before in reversed(node.requests):
            if (before.ip.source, before.ip.destination) != (
                seen.ip.source,
                seen.ip.destination,
            ):
                continue
            if _is_same_packet(before, seen):
                return
            pause = seen.time - before.time
            impatient = pause < _LEAST_PAUSE_S and not _was_answered(before)
            if impatient and _ask_for_the_same(before, seen):
                yield MN_38, f"sent {pause:.3f} s after a request without an answer"
            if before.packet.identification == packet.identification:
                if before.data == seen.data and not _is_timestamp(before):
                    pass  # with nonces this is how to retransmit (MN-37)
                elif before.data == seen.data:
                    text = f"the request of frame {before.frame} again, byte for byte"
                    yield MN_25, f"{text}, where timestamps want a new Identification"
                else:
                    yield MN_25, f"the Identification of frame {before.frame} again"
            break
        node.requests.append(seen)
        while seen.time - node.requests[0].time > _FORGET_S:
            node.requests.pop(0)

    def _reply(self, node: _Node, seen: Observation) -> Deviations:
        asked = _find_request(node, seen)
        if asked is None:
            waiting = [
                one
                for one in node.requests
                if not _was_answered(one) and fits(one, seen)
            ]
            if waiting:
                yield (
                    HA_29,
                    "the low 32 bits of Identification are not those of a request",
                )
            asked = waiting[-1] if waiting else None
        if asked is None:
            return
        _answered(asked)
        yield from check_answer(asked, seen)
        code = seen.packet.code
        if code in ACCEPTING:
            yield from self._accepted(node, asked, seen)
        elif code == ReplyCode.HA_TOO_MANY_BINDINGS:
            if node.single:
                yield HA_18, "too many bindings, says an agent that has but one"
            if asked.packet.lifetime == LIFETIME_DEREGISTER:
                yield HA_19, "too many bindings, where one was to be removed"
        elif code == ReplyCode.HA_IDENTIFICATION_MISMATCH:
            yield from check_resynchronisation(asked, seen)

    def _accepted(
        self, node: _Node, asked: Observation, seen: Observation
    ) -> Deviations:
        request, reply = asked.packet, seen.packet
        yield from check_grant(asked, seen)
        if reply.identification == request.identification:  # else nonces
            if request.identification < node.accepted:
                yield HA_30, "accepted an Identification that is older than one before"
            node.accepted = max(node.accepted, request.identification)
        if reply.code == ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS:
            node.single = True
        self._bind(node, asked, seen)

    def _bind(self, node: _Node, asked: Observation, seen: Observation) -> None:
        request, reply = asked.packet, seen.packet
        care_of, now = request.care_of_address, seen.time
        granted = min(request.lifetime, reply.lifetime)
        if granted == LIFETIME_DEREGISTER:
            if care_of == request.home_address:
                node.bindings.clear()
                node.is_whole = True
            else:
                node.bindings.pop(care_of, None)
            return
        keeps = request.flags & RequestFlag.S and reply.code == ReplyCode.ACCEPTED
        if not keeps:
            node.is_whole = True
            node.bindings = {
                name: one for name, one in node.bindings.items() if name == care_of
            }
        known = node.bindings.get(care_of)
        infinite = granted == 0xFFFF
        forms = _encapsulations(asked)
        if known and known.identification == request.identification:
            forms |= known.encapsulations  # the same, relayed: a key came on the way
        node.bindings[care_of] = Binding(
            care_of,
            {asked.ip.destination, seen.ip.source, reply.home_agent},
            forms,
            float("inf") if infinite else now + granted,
            known.since if known and known.encapsulations == forms else now,
            request.identification,
        )


def _encapsulations(request: Observation) -> frozenset[int]:
    """Return the forms of encapsulation that a request allows. RFC 6245 section 4."""
    flags, forms = request.packet.flags, {Encapsulation.IPIP}
    if flags & RequestFlag.M:
        forms.add(Encapsulation.MINIMAL)
    has_key = request.extension(ExtensionType.GRE_KEY) is not None
    if flags & RequestFlag.G or has_key:
        forms.add(Encapsulation.GRE)
    return frozenset(int(form) for form in forms)


def node_name(seen: Observation) -> str:
    """Return what a mobile node is known by: its home address, or else its NAI."""
    address: str = seen.packet.home_address
    if address != _ANY:
        return address
    nai = seen.extension(ExtensionType.MOBILE_NODE_NAI)
    return str(nai.nai) if nai is not None else address


def _is_same_packet(one: Observation, other: Observation) -> bool:
    """Whether a packet was captured twice, as at two ports of a router."""
    same = one.data == other.data and one.ip.identification == other.ip.identification
    return (
        same and other.time - one.time < _LEAST_PAUSE_S and one.ip.ttl != other.ip.ttl
    ) or (same and other.time - one.time < 0.001)


def _ask_for_the_same(one: Observation, other: Observation) -> bool:
    """Whether a request is what its sender wanted with the one before, too.

    Only then it is a retransmission: a node that moves on or leaves has a new purpose,
    and need not wait (MN-15 counts the average).
    """
    a, b = one.packet, other.packet
    leave = a.lifetime == LIFETIME_DEREGISTER, b.lifetime == LIFETIME_DEREGISTER
    return leave[0] == leave[1] and bool(a.care_of_address == b.care_of_address)


def _is_timestamp(request: Observation) -> bool:
    """Whether an Identification can be the time of day; else it has nonces."""
    high = split(request.packet.identification)[0]
    return abs(high - split(from_unix_ns(int(request.time * 1e9)))[0]) < 3600


def _was_answered(request: Observation) -> bool:
    return request.verdicts.get(-1) == "answered"


def _answered(request: Observation) -> None:
    request.verdicts[-1] = "answered"


def _find_request(node: _Node, reply: Observation) -> Observation | None:
    low = split(reply.packet.identification)[1]
    for request in reversed(node.requests):
        if split(request.packet.identification)[1] == low and fits(request, reply):
            return request
    for request in reversed(node.requests):
        if split(request.packet.identification)[1] == low:
            return request
    return None


def _check_addresses(seen: Observation) -> Deviations:
    """Check where a request comes from, and for whom it is."""
    packet, source = seen.packet, seen.ip.source
    care_of, home = packet.care_of_address, packet.home_address
    if home == _ANY and seen.extension(ExtensionType.MOBILE_NODE_NAI) is None:
        yield NAI_01, "no home address, and no NAI either"
    if packet.flags & RequestFlag.D or care_of == home:
        return
    if source in (home, _ANY):
        wanted = packet.flags & RequestFlag.T
        if wanted and seen.ip.ttl != TTL_REVERSE_TUNNEL:
            yield RT_02, f"a request with T and TTL {seen.ip.ttl} instead of 255"
    elif source != care_of:
        yield MN_18, f"sent from {source}, neither the home nor the care-of address"
