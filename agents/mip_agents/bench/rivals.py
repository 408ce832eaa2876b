# SPDX-License-Identifier: GPL-2.0-only
"""What the layers are measured against: the same messages, done the usual ways.

The textbook layer is what Scapy's documentation teaches: a field for every bit, and a
packet list that chooses the class by the type. The built-in layer is Scapy's own, which
leaves the extensions unparsed. dpkt's is written as dpkt's layers are.
"""

from __future__ import annotations

import hmac
import importlib
import importlib.util
import struct
from typing import Any

from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FieldLenField,
    IntField,
    IPField,
    LongField,
    PacketListField,
    ShortField,
    StrLenField,
)
from scapy.layers.mobileip import MobileIP, MobileIPRRP
from scapy.packet import Packet, Raw

from scapy_mip.const import LONG_FORM_EXTENSIONS, ExtensionType, MessageType

dpkt: Any = None
if importlib.util.find_spec("dpkt"):  # a rival only where it is installed
    dpkt = importlib.import_module("dpkt")

_AUTHENTICATIONS = (32, 33, 34)

# The textbook layer


class TextbookExtension(Packet):
    """Any extension: type, length, data."""

    fields_desc = [  # noqa: RUF012
        ByteField("type", 255),
        FieldLenField("length", None, fmt="B", length_of="data"),
        StrLenField("data", b"", length_from=lambda pkt: pkt.length),
    ]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leave the rest to the next extension."""
        return b"", s


class TextbookAuthentication(TextbookExtension):
    """An authentication extension: SPI and authenticator."""

    fields_desc = [  # noqa: RUF012
        ByteField("type", 32),
        FieldLenField(
            "length",
            None,
            fmt="B",
            length_of="authenticator",
            adjust=lambda _pkt, size: size + 4,
        ),
        IntField("spi", 256),
        StrLenField("authenticator", b"", length_from=lambda pkt: pkt.length - 4),
    ]


class TextbookNAI(TextbookExtension):
    """The node's name."""

    fields_desc = [  # noqa: RUF012
        ByteField("type", 131),
        FieldLenField("length", None, fmt="B", length_of="nai"),
        StrLenField("nai", b"", length_from=lambda pkt: pkt.length),
    ]


class TextbookGeneralizedAuthentication(TextbookExtension):
    """An authentication extension in the long format."""

    fields_desc = [  # noqa: RUF012
        ByteField("type", 36),
        ByteField("subtype", 1),
        FieldLenField(
            "length",
            None,
            fmt="H",
            length_of="authenticator",
            adjust=lambda _pkt, size: size + 4,
        ),
        IntField("spi", 256),
        StrLenField("authenticator", b"", length_from=lambda pkt: pkt.length - 4),
    ]


def textbook_class(data: bytes, **keywords: Any) -> Packet:
    """Dissect one extension with the class of its type."""
    kind = data[0]
    if kind in _AUTHENTICATIONS:
        return TextbookAuthentication(data, **keywords)
    if kind == ExtensionType.MOBILE_NODE_NAI:
        return TextbookNAI(data, **keywords)
    if kind == ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION:
        return TextbookGeneralizedAuthentication(data, **keywords)
    return TextbookExtension(data, **keywords)


class TextbookRequest(Packet):
    """A Registration Request."""

    fields_desc = [  # noqa: RUF012
        ByteEnumField("type", 1, {1: "RRQ", 3: "RRP"}),
        *(BitField(letter, 0, 1) for letter in "SBDMGrTx"),
        ShortField("lifetime", 1800),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        IPField("care_of_address", "0.0.0.0"),
        LongField("identification", 0),
        PacketListField("extensions", [], textbook_class),
    ]


class TextbookReply(Packet):
    """A Registration Reply."""

    fields_desc = [  # noqa: RUF012
        ByteEnumField("type", 3, {1: "RRQ", 3: "RRP"}),
        ByteField("code", 0),
        ShortField("lifetime", 1800),
        IPField("home_address", "0.0.0.0"),
        IPField("home_agent", "0.0.0.0"),
        LongField("identification", 0),
        PacketListField("extensions", [], textbook_class),
    ]


# Scapy's built-in layer


def builtin_dissect(data: bytes) -> Packet:
    """Dissect with the built-in layer, extensions staying bytes."""
    return MobileIP(data)


def builtin_build_reply(
    lifetime: int, home_address: str, home_agent: str, identification: int, body: bytes
) -> bytes:
    """Build a reply whose Mobile-Home Authentication is packed by hand."""
    message: Packet = MobileIP(type=MessageType.REGISTRATION_REPLY)
    message = message / MobileIPRRP(
        code=0,
        lifetime=lifetime,
        homeaddr=home_address,
        haaddr=home_agent,
        id=identification,
    )
    header = struct.pack("!BBI", 32, 4 + len(body), 256)
    return bytes(message / Raw(load=header + body))


# dpkt

if dpkt is not None:

    class DpktExtension(dpkt.Packet):  # type: ignore[misc]
        """Any extension: type, length, data."""

        __hdr__ = (("type", "B", 255), ("length", "B", 0))

    class DpktLongExtension(dpkt.Packet):  # type: ignore[misc]
        """An extension in the long format."""

        __hdr__ = (("type", "B", 36), ("subtype", "B", 1), ("length", "H", 4))

    class DpktAuthentication(dpkt.Packet):  # type: ignore[misc]
        """An authentication extension; the authenticator is its `data`."""

        __hdr__ = (("type", "B", 32), ("length", "B", 4), ("spi", "I", 256))

    class DpktRequest(dpkt.Packet):  # type: ignore[misc]
        """A Registration Request with its extensions as objects."""

        __hdr__ = (
            ("type", "B", 1),
            ("flags", "B", 0),
            ("lifetime", "H", 1800),
            ("home_address", "4s", bytes(4)),
            ("home_agent", "4s", bytes(4)),
            ("care_of_address", "4s", bytes(4)),
            ("identification", "Q", 0),
        )

        def unpack(self, buf: bytes) -> None:
            """Read the fixed part, then one extension after the other."""
            dpkt.Packet.unpack(self, buf)
            rest = buf[self.__hdr_len__ :]
            start, self.extensions = 0, []
            while start < len(rest):
                kind = rest[start]
                cls = DpktExtension
                end = start + 2 + rest[start + 1]
                if kind in _AUTHENTICATIONS:
                    cls = DpktAuthentication
                elif kind in LONG_FORM_EXTENSIONS:
                    cls = DpktLongExtension
                    end = start + 4 + (rest[start + 2] << 8 | rest[start + 3])
                self.extensions.append(cls(rest[start:end]))
                start = end
            self.data = b""

# A home agent's answer to a request, without objects

_REQUEST = struct.Struct("!BBH4s4s4sQ")
_REPLY = struct.Struct("!BBH4s4sQ")
_AUTHENTICATION = struct.Struct("!BBI")


def struct_answer(data: bytes, keys: dict[int, bytes]) -> bytes | None:
    """Verify a request and sign a reply, with no more than `struct` and `hmac`."""
    _type, _flags, lifetime, home_address, home_agent, _care_of, identification = (
        _REQUEST.unpack_from(data)
    )
    at = _REQUEST.size
    while data[at] != ExtensionType.MOBILE_HOME_AUTHENTICATION:
        at += 2 + data[at + 1]
    _type, length, spi = _AUTHENTICATION.unpack_from(data, at)
    place = at + _AUTHENTICATION.size
    valid = hmac.digest(keys[spi], data[:place], "md5")
    if not hmac.compare_digest(valid, data[place : at + 2 + length]):
        return None
    reply = _REPLY.pack(3, 0, lifetime, home_address, home_agent, identification)
    reply += _AUTHENTICATION.pack(32, 20, spi)
    return reply + hmac.digest(keys[spi], reply, "md5")


def textbook_answer(data: bytes, keys: dict[int, bytes]) -> bytes | None:
    """Do the same with the textbook layers."""
    request: Any = TextbookRequest(data)
    at = _REQUEST.size
    for extension in request.extensions:
        if extension.type == ExtensionType.MOBILE_HOME_AUTHENTICATION:
            break
        at += len(extension)
    key = keys[extension.spi]
    valid = hmac.digest(key, data[: at + _AUTHENTICATION.size], "md5")
    if not hmac.compare_digest(valid, extension.authenticator):
        return None
    return textbook_reply(
        keys,
        extension.spi,
        lifetime=request.lifetime,
        home_address=request.home_address,
        home_agent=request.home_agent,
        identification=request.identification,
    )


def textbook_reply(keys: dict[int, bytes], spi: int, **fields: Any) -> bytes:
    """Build a reply with the textbook layers, and sign its bytes."""
    extension = TextbookAuthentication(spi=spi, length=20)
    reply = bytes(TextbookReply(code=0, extensions=[extension], **fields))
    return reply + hmac.digest(keys[spi], reply, "md5")
