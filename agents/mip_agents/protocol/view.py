# SPDX-License-Identifier: GPL-2.0-only
"""From bytes to typed values and back: the only place where engines meet Scapy.

Everything behind this module is typed; Scapy's `Any` ends here. Judgement stays with the
engines: a view says what a message is, not whether it is welcome.
"""

from __future__ import annotations

from dataclasses import dataclass

from scapy_mip.auth import SecurityAssociation


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is no message that an engine can judge; it is dropped and counted."""

    rule: str
    """Why, as a rule of the checklist (`COM-01`: unknown non-skippable extension)."""
    reason: str
    """One phrase for the log."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """One authentication extension of a received message."""

    type: int
    """32 mobile-home, 33 mobile-foreign, 34 foreign-home, 36 generalized."""
    spi: int
    offset: int
    """Where the extension starts in the message: its coverage follows from it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A Registration Request. RFC 5944 section 3.3."""

    data: bytes
    """The message as received; authenticators are verified over it."""
    flags: int
    lifetime: int
    home_address: str
    home_agent: str
    care_of_address: str
    identification: int
    extension_types: tuple[int, ...]
    """In wire order."""
    authentications: tuple[Authentication, ...]
    """In wire order."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A Registration Reply. RFC 5944 section 3.4."""

    data: bytes
    code: int
    lifetime: int
    home_address: str
    home_agent: str
    identification: int
    extension_types: tuple[int, ...]
    authentications: tuple[Authentication, ...]


def parse(data: bytes) -> Request | Reply | Malformed:
    """Turn a UDP payload into a view.

    A message type that is neither request nor reply, a message that is cut short, an
    extension that runs over the end and an unknown extension below 128 (COM-01) are
    `Malformed`; unknown extensions from 128 on are skipped (COM-02). Never raises.
    """
    raise NotImplementedError


def build_request(
    *,
    flags: int,
    lifetime: int,
    home_address: str,
    home_agent: str,
    care_of_address: str,
    identification: int,
    mobile_home: SecurityAssociation,
) -> bytes:
    """Make a request that ends with a mobile-home authentication extension."""
    raise NotImplementedError


def build_reply(
    *,
    code: int,
    lifetime: int,
    home_address: str,
    home_agent: str,
    identification: int,
    mobile_home: SecurityAssociation | None,
    foreign_home: SecurityAssociation | None = None,
) -> bytes:
    """Make a reply with a mobile-home and, behind it, a foreign-home authentication.

    Each is left out where its association is None (HA-27 gives the order).
    """
    raise NotImplementedError
