# SPDX-License-Identifier: GPL-2.0-only
"""Captures held against the rules: every deviation is a finding.

Each capture is one link: registrations, agents and bindings are followed within it.
What a foreign agent must not change is compared over all captures of one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from mip_agents.captures.findings import Finding, Rule
from mip_agents.captures.observation import Kind, Observation, observe
from mip_agents.captures.reader import read_frames
from mip_agents.captures.rules import (
    Deviations,
    answers,
    discovery,
    messages,
    registration,
    relays,
    tunnels,
    visits,
)
from mip_agents.captures.rules.discovery import (
    Agents,
    check_advertisement,
    check_solicitation,
)
from mip_agents.captures.rules.messages import (
    check_authentication,
    check_datagram,
    check_extensions,
    check_reply,
    check_request,
)
from mip_agents.captures.rules.registration import Registrations
from mip_agents.captures.rules.relays import Relays
from mip_agents.captures.rules.tunnels import check_binding, check_tunnel
from mip_agents.captures.rules.visits import check_visit
from scapy_mip.keyring import KeyRing, named_addresses
from scapy_mip.messages import MIPMessage

RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in chain.from_iterable(
        vars(chapter).values()
        for chapter in (
            messages,
            registration,
            answers,
            relays,
            discovery,
            tunnels,
            visits,
        )
    )
    if isinstance(rule, Rule)
}
"""Every rule that a capture is held against, by its id."""


def check_files(
    paths: Sequence[str | Path], keys: KeyRing | None = None
) -> Iterator[Finding]:
    """Give the findings of captures, file by file and frame by frame.

    :param keys: to judge authenticators with; without, those are taken on trust
    :raises mip_agents.captures.reader.CaptureError: a file is no capture.
    """
    for _, findings in judge_files(paths, keys):
        yield from findings


def judge_files(
    paths: Sequence[str | Path], keys: KeyRing | None = None
) -> Iterator[tuple[Observation, list[Finding]]]:
    """Give every packet that concerns Mobile IP, with its findings, as `check_files`.

    :raises mip_agents.captures.reader.CaptureError: a file is no capture.
    """
    every = Relays()
    for path in paths:
        link = _Link(every, keys)
        for frame in read_frames(path):
            seen = observe(str(path), frame)
            if seen is not None:
                yield (
                    seen,
                    [
                        Finding(seen.file, seen.frame, rule, text)
                        for rule, text in link.judge(seen)
                    ],
                )


class _Link:
    """One capture, from its first frame on."""

    def __init__(self, every: Relays, keys: KeyRing | None) -> None:
        self._relays = every
        self._keys = keys
        self._agents = Agents()
        self._registrations = Registrations()

    def judge(self, seen: Observation) -> Deviations:
        """Hold one packet against all rules."""
        match seen.kind:
            case Kind.ADVERTISEMENT:
                yield from check_advertisement(seen)
                yield from self._agents.see(seen)
            case Kind.SOLICITATION:
                yield from check_solicitation(seen)
            case Kind.TUNNEL:
                yield from check_tunnel(seen)
                yield from check_binding(seen, self._registrations)
            case Kind.REQUEST | Kind.REPLY | Kind.MESSAGE:
                yield from self._judge_message(seen)

    def _judge_message(self, seen: Observation) -> Deviations:
        yield from check_datagram(seen)
        if not isinstance(seen.packet, MIPMessage):
            return
        if self._keys is not None:
            peers = {seen.ip.source, seen.ip.destination, *named_addresses(seen.packet)}
            for offset, extension in seen.authentications:
                verdict = self._keys.verdict(seen.data, offset, extension.spi, peers)
                seen.verdicts[offset] = verdict
        yield from check_extensions(seen)
        yield from check_authentication(seen)
        if seen.kind is Kind.MESSAGE:
            return
        if seen.kind is Kind.REQUEST:
            yield from check_request(seen)
            yield from check_visit(seen, self._agents)
        else:
            yield from check_reply(seen)
        yield from self._registrations.see(seen)
        yield from self._relays.see(seen)
