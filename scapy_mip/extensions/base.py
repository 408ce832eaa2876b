# SPDX-License-Identifier: GPL-2.0-only
"""Extensions of control messages: framing, registry, and the list that holds them.

Three framings exist (RFC 5944 sections 1.9 to 1.11): type and 8-bit length; type,
subtype and 16-bit length; and the one byte of padding. An extension without a class of
its own keeps its bytes in `MIPExtension` or `MIPLongExtension`. So does one whose
length runs over the end of the message: its length stays as stated and the rest of the
message is its data.
"""

from __future__ import annotations

from typing import Any

from scapy.config import conf
from scapy.fields import ByteField, PacketListField
from scapy.packet import NoPayload, Packet

from scapy_mip._fastpath import FastPacket, Walker
from scapy_mip.const import (
    LONG_FORM_EXTENSIONS,
    SKIPPABLE_MIN,
    ExtensionType,
    slug,
)
from scapy_mip.fields import LengthField, RestField, TypeField

EXTENSION_NAMES: dict[int, str] = {int(known): known.title for known in ExtensionType}


class ExtensionTypeField(TypeField):
    """The type byte of an extension, shown with the registry's name."""

    def __init__(self, default: int) -> None:
        super().__init__("type", default, EXTENSION_NAMES)


class MIPExtension(FastPacket):
    """Any extension in the short format: type, 8-bit length, data. RFC 5944 1.9, 1.11.

    Called with bytes, it gives the class that knows them.
    """

    name = "Mobile IP Extension"
    match_subclass = True
    fields_desc = [
        ExtensionTypeField(0xFF),
        LengthField(of="data"),
        RestField("data", b""),
    ]

    extension_type: int | None = None
    """The type that a subclass stands for."""
    least_body: int = 0
    """Bytes behind the length that the fixed fields take."""

    @classmethod
    def dispatch_hook(
        cls, _pkt: bytes = b"", *_args: Any, **_kwargs: Any
    ) -> type[Packet]:
        """Choose the class for the bytes of one extension."""
        return find_class(_pkt, 0, len(_pkt)) if _pkt else cls

    @classmethod
    def is_whole(cls, data: bytes, size: int) -> bool:
        """Return whether `data` is one extension that this class shows."""
        header, end = frame(data, 0, len(data))
        return header > 0 and end == len(data) >= size and _shows(cls, data, header)

    @property
    def skippable(self) -> bool:
        """Whether a node that does not know the type goes on. RFC 5944 section 1.8."""
        return is_skippable(self.type)

    @property
    def is_cut(self) -> bool:
        """Whether the stated length runs over the end of the extension's bytes."""
        stated = self.fields.get("length")
        if not isinstance(stated, int):
            return False
        return len(self.raw_packet_cache or self.build()) < self.header_size + stated

    header_size: int = 2
    """Bytes through the length, which the length does not count."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leave what follows to the next extension."""
        return b"", s

    def build_after(self, covered: bytes) -> bytes:
        """Return the bytes of this extension behind `covered`, the message so far."""
        return self.build()

    def mysummary(self) -> str:
        """Name the extension."""
        kind = self.type
        known = EXTENSION_NAMES.get(kind) if isinstance(kind, int) else None
        return known or f"extension {kind}"


class MIPLongExtension(MIPExtension):
    """Any extension in the long format: type, subtype, 16-bit length. RFC 5944 1.10."""

    name = "Mobile IP Long Extension"
    header_size = 4
    fields_desc = [
        ExtensionTypeField(0x7F),
        ByteField("subtype", 0),
        LengthField(of="data", fmt="H"),
        RestField("data", b""),
    ]


class MIPOneBytePadding(MIPExtension):
    """One byte of padding without a length. RFC 5944 section 1.8."""

    name = "One-byte Padding"
    extension_type = ExtensionType.ONE_BYTE_PADDING
    fields_desc = [ExtensionTypeField(ExtensionType.ONE_BYTE_PADDING)]


_CLASSES: dict[int, type[MIPExtension]] = {}


def register_extension(cls: type[MIPExtension]) -> type[MIPExtension]:
    """Make dissection give `cls` for its `extension_type`; usable as a decorator.

    :raises ValueError: the class names no type.
    """
    if cls.extension_type is None:
        raise ValueError(f"{cls.__name__} sets no extension_type")
    _CLASSES[int(cls.extension_type)] = cls
    ExtensionListField.walk.forget()
    return cls


def extension_classes() -> dict[int, type[MIPExtension]]:
    """Return the class of every registered extension type."""
    return dict(_CLASSES)


def is_skippable(extension_type: int) -> bool:
    """Return whether an unknown extension of this type is skipped. RFC 5944 1.8.

    >>> is_skippable(32), is_skippable(131)
    (False, True)
    """
    return extension_type >= SKIPPABLE_MIN


def extension_name(extension_type: int) -> str:
    """Return the name of a type as JSON and logs write it.

    >>> extension_name(32), extension_name(200)
    ('mobile_home_authentication', 'unknown_200')
    """
    title = EXTENSION_NAMES.get(extension_type)
    return slug(title) if title else f"unknown_{extension_type}"


def frame(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return header size and end of the extension at `start`.

    A header of 4 bytes is the long format. The end lies behind `stop` where the length
    lies or the header is cut short; the header size is 0 where not even that is there.
    A type of the long format whose 16-bit length does not fit but whose 8-bit length
    does was sent in the short format by an agent after an old draft.
    """
    kind = data[start]
    if kind == ExtensionType.ONE_BYTE_PADDING:
        return 1, start + 1
    if stop - start < 2:
        return 0, stop + 1
    short_end = start + 2 + data[start + 1]
    if kind not in LONG_FORM_EXTENSIONS:
        return 2, short_end
    if stop - start >= 4:
        long_end = start + 4 + int.from_bytes(data[start + 2 : start + 4], "big")
        if long_end <= stop or short_end > stop:
            return 4, long_end
    return 2, short_end


def _shows(cls: type[MIPExtension], data: bytes, header: int) -> bool:
    """Return whether `cls` is the plain class of this framing, or that of this type."""
    if cls.extension_type is None:
        return cls is (MIPLongExtension if header == 4 else MIPExtension)
    return cls.extension_type == data[0]


def find_class(data: bytes, start: int, stop: int) -> type[Packet]:
    """Return the class that shows the extension at `start` of `data`."""
    header, end = frame(data, start, stop)
    if not header:
        return conf.raw_layer
    plain = MIPLongExtension if header == 4 else MIPExtension
    known = _CLASSES.get(data[start])
    if known is None or end > stop or end - start - header < known.least_body:
        return plain
    # An agent after an old draft: a type of the long format in the short one.
    return plain if header == 2 and data[start] in LONG_FORM_EXTENSIONS else known


def dissect_extension(data: bytes, start: int, stop: int) -> tuple[Packet, int]:
    """Return the extension at `start` and where the next one starts.

    Every byte is kept. One lone byte that is no padding becomes `Raw`.
    """
    _header, end = frame(data, start, stop)
    end = min(end, stop)
    return find_class(data, start, stop)(data[start:end]), end


def dissect_extensions(data: bytes, start: int = 0) -> list[Packet]:
    """Return the extensions from `start` to the end of `data`, in wire order."""
    extensions: list[Packet] = []
    while start < len(data):
        extension, start = dissect_extension(data, start, len(data))
        extensions.append(extension)
    return extensions


class ExtensionListField(PacketListField):
    """The extensions of a message, in wire order, up to its end. RFC 5944 section 1.8.

    The packets in the list have no `parent`: without that cycle a message is freed as
    soon as it is dropped, which a busy agent needs.
    """

    walk = Walker(
        dissect_extension,
        short=lambda: (
            (kind, _CLASSES.get(kind, MIPExtension))
            for kind in range(1, 256)
            if kind not in LONG_FORM_EXTENSIONS
        ),
        long=lambda: (
            (kind, _CLASSES.get(kind, MIPLongExtension))
            for kind in LONG_FORM_EXTENSIONS
        ),
    )
    """The compiled way through the list; `getfield` is the plain one."""

    def __init__(self, name: str = "extensions") -> None:
        super().__init__(name, [], MIPExtension)

    def any2i(self, pkt: Packet | None, x: Any) -> list[Any]:
        """Take a list of extensions, or one; a chain made by `/` becomes a list."""
        items = x if isinstance(x, list) else [x]
        for item in items:
            if isinstance(item, Packet) and not isinstance(item.payload, NoPayload):
                return [single for item in items for single in unchain(item)]
        return items

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, list[Any]]:
        """Dissect all that is left."""
        return b"", dissect_extensions(s)

    def addfield(self, pkt: Packet | None, s: bytes, val: Any) -> bytes:
        """Build one extension behind the other: each may cover what precedes it."""
        for item in val:
            build_after = getattr(item, "build_after", None)
            s += build_after(s) if build_after else bytes(item)
        return s


def unchain(packet: Packet) -> list[Packet]:
    """Turn `MIPNAI()/MIPMHAE()` into the two extensions that it consists of."""
    chain: list[Packet] = []
    while packet:
        following = packet.payload
        if following:
            packet = packet.copy()
            following = packet.payload
            packet.remove_payload()
        chain.append(packet)
        packet = following
    return chain


register_extension(MIPOneBytePadding)
