# SPDX-License-Identifier: GPL-2.0-only
"""What an agent does with one message: verify a request, and sign the reply."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from mip_agents.bench import rivals, samples
from mip_agents.bench.case import Case, Contest
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.base import MIP
from scapy_mip.extensions.auth import MIPMHAE
from scapy_mip.registration import MIPRRP
from scapy_mip.signed import make_signed

KEYS = {256: bytes(range(16))}
_REPEATED = {"lifetime", "home_address", "home_agent", "identification"}
ASSOCIATIONS = {spi: SecurityAssociation(spi, key) for spi, key in KEYS.items()}
SIGNATURES = [(MIPMHAE, ASSOCIATIONS[256])]


def answer(data: bytes) -> bytes | None:
    """Verify a request and sign a reply, both of them packets."""
    request = MIP(data)
    offset = request.fixed_size
    for extension in request.fields["extensions"]:
        if isinstance(extension, MIPMHAE):
            break
        offset += len(extension.original)
    association = ASSOCIATIONS[extension.fields["spi"]]
    if not verify(association, data, offset):
        return None
    fields = request.fields
    return make_signed(
        MIPRRP,
        [(MIPMHAE, association)],
        code=0,
        lifetime=fields["lifetime"],
        home_address=fields["home_address"],
        home_agent=fields["home_agent"],
        identification=fields["identification"],
    ).original


def answering(
    rival: Callable[[bytes, dict[int, bytes]], bytes | None],
) -> Contest:
    """Let both answer the same requests."""
    messages = samples.requests(samples.signed)
    next_of_ours = itertools.cycle(messages).__next__
    next_of_rival = itertools.cycle(messages).__next__

    def agree() -> bool:
        forged = messages[0][:-1] + bytes([messages[0][-1] ^ 1])
        if answer(forged) is not None or rival(forged, KEYS) is not None:
            return False
        return all(answer(data) == rival(data, KEYS) for data in messages[:100])

    return Contest(
        ours=lambda: answer(next_of_ours()),
        rival=lambda: rival(next_of_rival(), KEYS),
        agree=agree,
    )


def replying() -> Contest:
    """Let both make signed replies to the same requests."""
    replies = [
        {name: value for name, value in MIP(data).fields.items() if name in _REPEATED}
        for data in samples.requests(samples.signed)
    ]
    next_of_ours = itertools.cycle(replies).__next__
    next_of_rival = itertools.cycle(replies).__next__

    def ours(fields: dict[str, Any]) -> MIPRRP:
        return make_signed(MIPRRP, SIGNATURES, **fields)

    def rival(fields: dict[str, Any]) -> bytes:
        return rivals.textbook_reply(KEYS, 256, **fields)

    def agree() -> bool:
        return all(
            ours(fields).original == bytes(ours(fields)) == rival(fields)
            for fields in replies[:100]
        )

    return Contest(
        ours=lambda: ours(next_of_ours()),
        rival=lambda: rival(next_of_rival()),
        agree=agree,
    )


CASES = (
    Case(
        name="reply",
        what="build a signed reply",
        rival="textbook layer",
        goal=25,
        prepare=replying,
    ),
    Case(
        name="answer",
        what="verify, sign the reply",
        rival="textbook layer",
        goal=15,
        prepare=lambda: answering(rivals.textbook_answer),
    ),
    Case(
        name="answer-struct",
        what="verify, sign the reply",
        rival="bare struct",
        goal=0.38,
        prepare=lambda: answering(rivals.struct_answer),
    ),
)
