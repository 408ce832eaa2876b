# SPDX-License-Identifier: GPL-2.0-only
"""The challenge that an authenticator for an AAA server answers. RFC 4721 section 8."""

from __future__ import annotations

from typing import Any

from scapy_mip.extensions.auth import MIPMobileForeignChallenge
from scapy_mip.messages import MIP

NO_CHALLENGE = b"\0"
"""What a node with a co-located care-of address answers. RFC 4721 section 3.5."""


def find_challenge(covered: bytes) -> bytes:
    """Return the challenge in a message, or the one zero byte that stands for none.

    Of several, it is the one nearest to the authenticator.

    :param covered: the UDP payload through the SPI of the authentication extension.
    """
    message: Any = MIP(covered)
    for extension in reversed(getattr(message, "extensions", [])):
        if isinstance(extension, MIPMobileForeignChallenge):
            found: bytes = extension.challenge
            return found
    return NO_CHALLENGE
