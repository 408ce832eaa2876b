# SPDX-License-Identifier: GPL-2.0-only
"""The base of all control messages on UDP port 434, and how their types are told apart.

RFC 5944 section 3: the first byte is the message type.
"""

from __future__ import annotations

from typing import Any

from scapy.packet import Packet

from scapy_mip._fastpath import FastPacket
from scapy_mip.const import MessageType, slug
from scapy_mip.extensions.auth import short_name
from scapy_mip.extensions.base import MIPExtension, fixed_bytes, unchain
from scapy_mip.fields import TypeField
from scapy_mip.signing import Associated

MESSAGE_NAMES: dict[int, str] = {int(known): known.title for known in MessageType}


class MessageTypeField(TypeField):
    """The type byte of a message, shown with the registry's name."""

    def __init__(self, default: int) -> None:
        super().__init__("type", default, MESSAGE_NAMES)


_CLASSES: dict[int, type[MIP]] = {}


def with_udp(text: str) -> tuple[str, list[type[Packet]]]:
    """Return what `mysummary` gives for a summary that stands for the UDP layer, too.

    Scapy's IP layers are a third of all that a program with messages imports, and an
    agent that reads from sockets needs none of them.
    """
    from scapy.layers.inet import UDP

    return text, [UDP]


class MIP(FastPacket):
    """A control message of a type that has no class of its own.

    Called with bytes, it gives the class of their message type.
    """

    name = "Mobile IP"
    match_subclass = True
    dispatch_table = _CLASSES
    fields_desc = [MessageTypeField(MessageType.REGISTRATION_REQUEST)]

    message_type: int | None = None
    """The type that a subclass stands for."""
    fixed_size: int = 1
    """Bytes in front of the extensions."""
    request: Packet | None = None
    """The packet that this message answers, if `MIPSession` has seen it."""

    @classmethod
    def dispatch_hook(
        cls, _pkt: bytes = b"", *_args: Any, **_kwargs: Any
    ) -> type[Packet]:
        """Choose the class by the first byte; a message cut short stays with `MIP`."""
        known = _CLASSES.get(_pkt[0]) if _pkt else None
        return known if known is not None and len(_pkt) >= known.fixed_size else cls

    def mysummary(self) -> Any:
        """Name the message."""
        kind = self.type
        known = MESSAGE_NAMES.get(kind) if isinstance(kind, int) else None
        return with_udp(f"Mobile IP {known or f'message {kind}'}")


def register_message(cls: type[MIP]) -> type[MIP]:
    """Make dissection give `cls` for its `message_type`; usable as a decorator.

    :raises ValueError: the class names no type.
    """
    if cls.message_type is None:
        raise ValueError(f"{cls.__name__} sets no message_type")
    cls.fixed_size = fixed_bytes(cls.fields_desc)
    _CLASSES[int(cls.message_type)] = cls
    MIP.forget()
    return cls


def message_classes() -> dict[int, type[MIP]]:
    """Return the class of every registered message type."""
    return dict(_CLASSES)


def message_name(message_type: int) -> str:
    """Return the name of a message type as JSON and logs write it.

    >>> message_name(1), message_name(99)
    ('registration_request', 'unknown_99')
    """
    title = MESSAGE_NAMES.get(message_type)
    return slug(title) if title else f"unknown_{message_type}"


class MIPMessage(MIP, Associated):
    """A message with a fixed part and extensions; `/` appends an extension.

    >>> from scapy_mip.all import MIPMHAE, MIPRRQ, SecurityAssociation, verify
    >>> shared = SecurityAssociation(1000, "1234567812345678")
    >>> datagram = bytes(MIPRRQ(association=shared) / MIPMHAE())
    >>> verify(shared, datagram, offset=24)
    True

    :param association: what its authentication extensions are signed with, unless they
        have one of their own; several are told apart by their SPI.
    """

    takes_all = True  # extensions go up to the end

    def verdicts(self) -> str:
        """Say what `MIPSession` found out about the authenticators, for summaries."""
        return "".join(
            f" {short_name(extension.type)} {extension.spi} {extension.verdict}"
            for extension in self.extensions
            if getattr(extension, "verdict", None)
        )

    def add_payload(self, payload: Packet | bytes) -> None:
        """Append an extension to `extensions`; leave anything else to Scapy."""
        if isinstance(payload, MIPExtension):
            self.setfieldval(
                "extensions", [*self.getfieldval("extensions"), *unchain(payload)]
            )
        else:
            super().add_payload(payload)
