# SPDX-License-Identifier: GPL-2.0-only
"""What a message is signed with: given to an extension or to the message, or known.

None of it is on the wire, in `command()`, in `json()` or in a pickle: those would tell
the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from scapy.config import conf
from scapy.packet import Packet

from scapy_mip._fastpath import FastPacket, adds_keywords
from scapy_mip.auth import SecurityAssociation

conf.contribs.setdefault("mip", {}).setdefault("security_associations", {})


class Associated(FastPacket):
    """A packet that can be given security associations, which its copies keep.

    :param association: what to sign with; several are told apart by their SPI.
    """

    association: SecurityAssociation | Iterable[SecurityAssociation] | None = None

    @adds_keywords
    def __init__(
        self,
        _pkt: bytes = b"",
        *args: Any,
        association: SecurityAssociation | Iterable[SecurityAssociation] | None = None,
        **fields: Any,
    ) -> None:
        if association is not None:
            if not isinstance(association, SecurityAssociation):
                association = tuple(association)
            self.__dict__["association"] = association
        super().__init__(_pkt, *args, **fields)

    def copy(self) -> Self:
        """Copy with the association."""
        clone = super().copy()
        self._hand_on(clone)
        return clone

    def clone_with(self, payload: Packet | None = None, **kargs: Any) -> Any:
        """Clone with the association, as building does."""
        clone = super().clone_with(payload, **kargs)
        self._hand_on(clone)
        return clone

    def _hand_on(self, clone: Packet) -> None:
        if self.association is not None:
            clone.__dict__["association"] = self.association


def given_to(packet: Packet | None) -> tuple[SecurityAssociation, ...]:
    """Return the associations that a packet was given."""
    given = getattr(packet, "association", None)
    if given is None:
        return ()
    return (given,) if isinstance(given, SecurityAssociation) else tuple(given)


def known_for(spi: int) -> SecurityAssociation | None:
    """Return the association that `conf.contribs["mip"]` has for an SPI."""
    known: dict[int, SecurityAssociation] = conf.contribs["mip"][
        "security_associations"
    ]
    return known.get(spi)
