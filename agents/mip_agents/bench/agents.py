# SPDX-License-Identifier: GPL-2.0-only
"""What an agent does with one message: verify a request, and sign the reply."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from mip_agents.bench import rivals, samples
from mip_agents.bench.case import Case, Contest
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.base import MIP
from scapy_mip.extensions.auth import MIPMHAE
from scapy_mip.registration import MIPRRP

KEYS = {256: bytes(range(16))}
ASSOCIATIONS = {spi: SecurityAssociation(spi, key) for spi, key in KEYS.items()}


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
    return bytes(
        MIPRRP(
            code=0,
            lifetime=fields["lifetime"],
            home_address=fields["home_address"],
            home_agent=fields["home_agent"],
            identification=fields["identification"],
            extensions=[MIPMHAE(association=association)],
        )
    )


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


CASES = (
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
