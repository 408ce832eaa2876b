# SPDX-License-Identifier: GPL-2.0-only
"""Field types that Mobile IP needs beside Scapy's own.

They show values as the RFC speaks of them and judge nothing: what was received, however
odd, is kept byte for byte.
"""

from __future__ import annotations

from typing import Any

from scapy.fields import (
    ByteEnumField,
    FieldLenField,
    LongField,
    ShortField,
    StrLenField,
    XIntField,
)
from scapy.packet import Packet
from scapy.volatile import RandBin, RandNum

from scapy_mip import ident
from scapy_mip.const import LIFETIME_INFINITE


class TypeField(ByteEnumField):
    """The number that tells messages or extensions apart; `fuzz()` leaves it alone."""

    def randval(self) -> None:  # type: ignore[override]
        """Give no random value: a fuzzed message stays of its type."""


class LifetimeField(ShortField):
    """Seconds, where 65535 means infinity. RFC 5944 section 3.3."""

    def i2repr(self, pkt: Packet | None, x: Any) -> str:
        """Show the infinite lifetime as a word."""
        return "infinite" if x == LIFETIME_INFINITE else repr(self.i2h(pkt, x))


class IdentificationField(LongField):
    """64-bit Identification, an integer. RFC 5944 section 5.7.

    It is shown in hex with the NTP time that it would be; a nonce has no such time.
    """

    def i2repr(self, pkt: Packet | None, x: Any) -> str:
        """Show hex digits and, for an integer, the NTP time."""
        value = self.i2h(pkt, x)
        if not isinstance(value, int):
            return repr(value)
        return f"0x{value:016x} ({ident.format_ntp(value)})"


class SPIField(XIntField):
    """Security Parameter Index, 32 bits, shown in decimal. RFC 5944 section 1.6."""

    def i2repr(self, pkt: Packet | None, x: Any) -> str:
        """Show the SPI as it stands in configurations."""
        return repr(self.i2h(pkt, x))


class LengthField(FieldLenField):
    """Length of an extension: what follows it, filled in when left None.

    :param of: the variable field at the end of the extension, if there is one.
    :param plus: bytes between the length and that field, or the end.
    """

    __slots__ = ["plus"]

    def __init__(self, of: str | None = None, plus: int = 0, fmt: str = "B") -> None:
        self.plus = plus
        super().__init__(
            "length", None, fmt=fmt, length_of=of, adjust=lambda _pkt, size: size + plus
        )

    def i2m(self, pkt: Packet | None, x: Any) -> Any:
        """Fill in the length of an extension without a variable field."""
        if x is None and not self.length_of:
            return self.plus
        return super().i2m(pkt, x)


class RestField(StrLenField):
    """Bytes up to the end that the extension's `length` states, or to the data's end.

    :param plus: bytes between the length and this field.
    """

    __slots__ = ["plus"]

    def __init__(self, name: str, default: bytes | None, plus: int = 0) -> None:
        super().__init__(
            name,
            default,  # type: ignore[arg-type]  # None is computed when building
            length_from=lambda _pkt: 0,
        )
        self.count_from(plus)

    def count_from(self, plus: int) -> None:
        """Say how many bytes lie between the length and this field."""
        self.plus = plus
        self.length_from = lambda pkt: max(pkt.length - plus, 0)

    def randval(self) -> RandBin:
        """Give random bytes that the 8-bit length can still state."""
        return RandBin(RandNum(0, 0xFF - self.plus))


class TextField(RestField):
    """UTF-8 text as `str`; bytes that are no UTF-8 survive as surrogates. RFC 3629."""

    def any2i(self, pkt: Packet | None, x: Any) -> Any:
        """Encode text."""
        return _encode(x) if isinstance(x, str) else x

    def i2h(self, pkt: Packet | None, x: Any) -> Any:
        """Decode to text."""
        return _decode(x) if isinstance(x, bytes) else x

    def i2m(self, pkt: Packet | None, x: Any) -> bytes:
        """Encode text, also where it comes from a random value."""
        return _encode(x) if isinstance(x, str) else super().i2m(pkt, x)

    def i2repr(self, pkt: Packet | None, x: Any) -> str:
        """Show the text; bytes that are no UTF-8 are escaped."""
        return ascii(self.i2h(pkt, x)) if not _is_text(x) else repr(self.i2h(pkt, x))


def _is_text(value: Any) -> bool:
    if not isinstance(value, bytes):
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
