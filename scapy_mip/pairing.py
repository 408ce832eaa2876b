# SPDX-License-Identifier: GPL-2.0-only
"""How a reply finds its request: the base of the messages that come in pairs."""

from __future__ import annotations

from typing import Any

from scapy.packet import Packet

from scapy_mip.base import MIP, MIPMessage, with_udp
from scapy_mip.ident import LOW_MASK


class Paired(MIP):
    """A message whose answer repeats one of its fields."""

    pairing_field = "identification"
    """The field that the answer repeats."""
    pairing_mask = LOW_MASK
    """The bits of it that are repeated."""
    answered: type[Packet] | None = None
    """What this message answers."""
    summary_format = ""
    """What `sprintf()` makes the summary from, behind the message's name."""

    def hashret(self) -> bytes:
        """Give what the answer repeats."""
        number: int = getattr(self, self.pairing_field) & self.pairing_mask
        return number.to_bytes(8, "big")

    def answers(self, other: Packet) -> bool:
        """Match the request by the repeated field and, where both have it, by node.

        A request with home address 0 asks for one, so that any may come back.
        """
        if self.answered is None or not isinstance(other, self.answered):
            return False
        if self.hashret() != other.hashret():
            return False
        asked = getattr(other, "home_address", "0.0.0.0")
        return asked in ("0.0.0.0", getattr(self, "home_address", asked))

    def mysummary(self) -> Any:
        """Name the message and say what matters of it."""
        return with_udp(f"{self.name} {self.sprintf(self.summary_format)}".rstrip())


class PairedMessage(Paired, MIPMessage):
    """One of them that has extensions."""

    def mysummary(self) -> Any:
        """Say what was found out about the authenticators, too."""
        text, below = super().mysummary()
        return text + self.verdicts(), below
