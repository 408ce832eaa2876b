# SPDX-License-Identifier: GPL-2.0-only
"""The Registration Requests of a capture, each with the reply that it got."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mip_agents.captures.observation import Kind, Observation, observe
from mip_agents.captures.reader import read_frames
from scapy_mip.ident import split

_ANY = "0.0.0.0"
_SAME_PACKET_S = 1.0
"""A packet that a capture shows at several ports of a router comes within this time."""


@dataclass(eq=False, slots=True)
class Exchange:
    """One request, and what came back."""

    request: Observation
    reply: Observation | None = None
    """None where the capture has none."""


def read_exchanges(path: str | Path) -> list[Exchange]:
    """Read a capture and pair its replies with its requests, in order of the requests.

    A reply belongs to the first request without one that came from where the reply goes
    to, with the same home address and low 32 bits of Identification. Some agents do not
    repeat those; such a reply belongs to the last request from there.
    :raises mip_agents.captures.reader.CaptureError: the file is no capture.
    """
    pairing = _Pairing()
    for frame in read_frames(path):
        seen = observe(str(path), frame)
        if seen is None:
            continue
        if seen.kind is Kind.REQUEST:
            pairing.ask(seen)
        elif seen.kind is Kind.REPLY:
            pairing.answer(seen)
    return pairing.exchanges


class _Pairing:
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._by_number: defaultdict[int, list[Exchange]] = defaultdict(list)
        self._last_from: dict[str, Exchange] = {}

    def ask(self, seen: Observation) -> None:
        number = _number(seen)
        if any(_is_same_packet(one.request, seen) for one in self._by_number[number]):
            return
        exchange = Exchange(seen)
        self.exchanges.append(exchange)
        self._by_number[number].append(exchange)
        self._last_from[seen.ip.source] = exchange

    def answer(self, seen: Observation) -> None:
        for exchange in self._candidates(seen):
            if exchange.reply is None:
                exchange.reply = seen
                return

    def _candidates(self, seen: Observation) -> Iterator[Exchange]:
        destination = seen.ip.destination
        matching = [
            one
            for one in self._by_number.get(_number(seen), ())
            if seen.packet.answers(one.request.packet)
            and one.request.ip.source in (destination, _ANY)
        ]
        if matching:
            yield from matching
            return
        last = self._last_from.get(destination)
        if last is not None and (
            last.request.packet.home_address in (seen.packet.home_address, _ANY)
        ):
            yield last


def _number(seen: Observation) -> int:
    return split(seen.packet.identification)[1]


def _is_same_packet(one: Observation, other: Observation) -> bool:
    return (
        one.data == other.data
        and one.ip.source == other.ip.source
        and one.ip.destination == other.ip.destination
        and one.ip.identification == other.ip.identification != 0
        and other.time - one.time < _SAME_PACKET_S
    )
