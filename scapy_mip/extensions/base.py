# SPDX-License-Identifier: GPL-2.0-only
"""Extensions of control messages: framing, registry, and the list that holds them.

Three framings exist (RFC 5944 sections 1.9 to 1.11): type and 8-bit length; type,
subtype and 16-bit length; and the one byte of padding. A class stands for a type, or
for one subtype of it: the subtype is the second byte in the long format and the third
in the short one. What has no class of its own takes the class of its type, and
`MIPExtension` or `MIPLongExtension` where there is none. So does one whose length runs
over the end of the message: its length stays as stated and the rest of the message is
its data. Bytes behind the fields of a class that has no variable end are its padding.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from scapy.config import conf
from scapy.fields import (
    BitEnumField,
    BitField,
    ByteField,
    ConditionalField,
    FlagsField,
    FlagValue,
    PacketListField,
    StrField,
)
from scapy.packet import NoPayload, Packet

from scapy_mip import _fastpath
from scapy_mip._fastpath import FastPacket, Walker
from scapy_mip.const import (
    LONG_FORM_EXTENSIONS,
    SENT_SHORT_EXTENSIONS,
    SKIPPABLE_MIN,
    ExtensionType,
    slug,
)
from scapy_mip.fields import LengthField, RestField, TypeField

conf.contribs.setdefault("mip", {}).setdefault("lenient_replay_style", False)

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
    extension_subtype: int | None = None
    """The subtype that it stands for; None for all that have no class of their own."""
    only_subtype: int | None = None
    """The one subtype that the type of this class has; others are shown plainly."""
    least_body: int = 0
    """Bytes behind the length that the fixed fields take; set when it is registered."""
    json_names: Mapping[str, str] = types.MappingProxyType({})
    """The registry's name of a field that Scapy does not let have it."""

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
        return header == cls.header_size and end == len(data) >= size

    @classmethod
    def narrowed(cls, data: bytes, start: int, end: int) -> type[MIPExtension]:
        """Choose the class for one whole extension of this type: by its subtype."""
        subtypes = _SUBTYPES.get((data[start], cls.header_size))
        if not subtypes:
            return cls
        place = start + (1 if cls.header_size == 4 else 2)
        return subtypes.get(data[place], cls) if place < end else cls

    @classmethod
    def fits(cls, data: bytes, start: int, end: int) -> bool:
        """Return whether the fields of this class find their bytes there."""
        if end - start - cls.header_size < cls.least_body:
            return False
        only = cls.only_subtype
        return only is None or data[start + (1 if cls.header_size == 4 else 2)] == only

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
        return len(self.build()) < self.header_size + stated

    header_size: int = 2
    """Bytes through the length, which the length does not count."""

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leave what follows to the next extension."""
        return b"", s

    def build_after(self, covered: bytes, message: Packet | None = None) -> bytes:
        """Return the bytes of this extension behind `covered`, the message so far.

        :param message: the message that the extension is part of.
        """
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
    header_size = 1
    extension_type = ExtensionType.ONE_BYTE_PADDING
    fields_desc = [ExtensionTypeField(ExtensionType.ONE_BYTE_PADDING)]


_CLASSES: dict[int, type[MIPExtension]] = {}
_SENT_SHORT: dict[int, type[MIPExtension]] = {}
"""Classes of types of the long format that are also met in the short one."""
_SUBTYPES: dict[tuple[int, int], dict[int, type[MIPExtension]]] = {}
"""Classes by subtype, for each type and size of its header."""


def register_extension(cls: type[MIPExtension]) -> type[MIPExtension]:
    """Make dissection give `cls` for its `extension_type`; usable as a decorator.

    With an `extension_subtype` it is given for that subtype alone.

    :raises ValueError: the class names no type.
    """
    if cls.extension_type is None:
        raise ValueError(f"{cls.__name__} sets no extension_type")
    kind = int(cls.extension_type)
    cls.least_body = fixed_bytes(cls.fields_desc) - cls.header_size
    if cls.extension_subtype is not None:
        known = _SUBTYPES.setdefault((kind, cls.header_size), {})
        known[int(cls.extension_subtype)] = cls
    elif kind in LONG_FORM_EXTENSIONS and cls.header_size == 2:
        _SENT_SHORT[kind] = cls
    else:
        _CLASSES[kind] = cls
    ExtensionListField.walk.forget()
    return cls


def fixed_bytes(fields: list[Any]) -> int:
    """Return the bytes that fields take at least."""
    bits = 0
    for field in fields:
        if isinstance(field, (BitField, BitEnumField, FlagsField)):
            bits += field.size
        elif not (field.islist or isinstance(field, (StrField, ConditionalField))):
            bits += field.sz * 8
    return bits // 8


def extension_classes() -> dict[int, type[MIPExtension]]:
    """Return the class of every registered extension type."""
    return dict(_CLASSES)


def subtype_classes() -> dict[tuple[int, int], type[MIPExtension]]:
    """Return the class of every registered subtype, in the format of its type."""
    return {
        (kind, subtype): cls
        for (kind, header), known in _SUBTYPES.items()
        if header == (4 if kind in LONG_FORM_EXTENSIONS else 2)
        for subtype, cls in known.items()
    }


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

    Some agents send a type of the long format in the short one. A valid long one names
    a subtype that exists in its second byte, where the short format has its length;
    a short one names it in the third byte, behind a length that no subtype has. Types
    outside that table, and odd ones, are long unless only the short length fits.
    """
    kind = data[start]
    if kind == ExtensionType.ONE_BYTE_PADDING:
        return 1, start + 1
    if stop - start < 2:
        return 0, stop + 1
    second = data[start + 1]
    short_end = start + 2 + second
    if kind not in LONG_FORM_EXTENSIONS:
        if kind == ExtensionType.REPLAY_PROTECTION_STYLE and second == 2:
            return 2, short_end + _uncounted(short_end, stop)
        return 2, short_end
    if stop - start >= 4:
        known = SENT_SHORT_EXTENSIONS.get(kind)
        if (
            known is not None
            and short_end <= stop
            and second in known.lengths
            and second not in known.subtypes
            and data[start + 2] in known.subtypes
        ):
            return 2, short_end
        long_end = start + 4 + int.from_bytes(data[start + 2 : start + 4], "big")
        if long_end <= stop or short_end > stop:
            return 4, long_end
    return 2, short_end


def _uncounted(end: int, stop: int) -> int:
    """Return the bytes of type 141 that a length of 2 leaves out.

    RFC 4857 section 9.3 draws ten bytes and says that Length is 2. The length counts,
    so that the following extensions are found; `lenient_replay_style` in
    `conf.contribs["mip"]` takes the eight bytes of the figure along.
    """
    lenient = conf.contribs["mip"].get("lenient_replay_style")
    return 8 if lenient and end + 8 <= stop else 0


def find_class(data: bytes, start: int, stop: int) -> type[Packet]:
    """Return the class that shows the extension at `start` of `data`."""
    header, end = frame(data, start, stop)
    if not header:
        return conf.raw_layer
    return _choose(data, start, end, stop, header)


def _choose(
    data: bytes, start: int, end: int, stop: int, header: int
) -> type[MIPExtension]:
    """Return the class for an extension of known frame: the narrowest that fits."""
    kind = data[start]
    plain = MIPLongExtension if header == 4 else MIPExtension
    if end > stop:
        return plain
    table = _SENT_SHORT if header == 2 and kind in LONG_FORM_EXTENSIONS else _CLASSES
    known = table.get(kind, plain)
    narrowed = known.narrowed(data, start, end)
    if narrowed is not known and narrowed.fits(data, start, end):
        return narrowed
    return known if known.fits(data, start, end) else plain


def place_extension(data: bytes, start: int, stop: int) -> tuple[type[Packet], int]:
    """Return what `dissect_extension` makes a packet of, and where the next starts."""
    header, end = frame(data, start, stop)
    if not header:
        return conf.raw_layer, stop
    return _choose(data, start, end, stop, header), min(end, stop)


def dissect_extension(data: bytes, start: int, stop: int) -> tuple[Packet, int]:
    """Return the extension at `start` and where the next one starts.

    Every byte is kept. One lone byte that is no padding becomes `Raw`.
    """
    cls, end = place_extension(data, start, stop)
    if not issubclass(cls, MIPExtension):
        return cls(data[start:end]), end
    compiled = cls.compiled() if _fastpath.ENABLED else None
    if compiled is not None and (
        end - start == compiled.size
        or (compiled.takes_rest and end - start > compiled.size)
    ):
        packet = compiled.cut(data, start, end)
        return packet, end
    return cls(data[start:end]), end


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
        place_extension,
        short=lambda: (
            (kind, _CLASSES.get(kind, MIPExtension))
            for kind in range(1, 256)
            if kind not in LONG_FORM_EXTENSIONS and not _is_narrowed(kind)
        ),
        long=lambda: (
            (kind, _CLASSES.get(kind, MIPLongExtension))
            for kind in LONG_FORM_EXTENSIONS
            if kind not in SENT_SHORT_EXTENSIONS and not _is_narrowed(kind)
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

    def do_copy(self, x: Any) -> Any:
        """Copy the list, or the fields of one extension with all that can be edited.

        Scapy keeps such a copy of the fields to see whether an extension was edited.
        """
        if not isinstance(x, dict):
            return super().do_copy(x)
        return {
            name: value.copy()
            if isinstance(value, FlagValue)
            else super(ExtensionListField, self).do_copy(value)
            if isinstance(value, list)
            else value
            for name, value in x.items()
        }

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, list[Any]]:
        """Dissect all that is left."""
        return b"", dissect_extensions(s)

    def addfield(self, pkt: Packet | None, s: bytes, val: Any) -> bytes:
        """Build one extension behind the other: each may cover what precedes it."""
        for item in val:
            build_after = getattr(item, "build_after", None)
            s += build_after(s, pkt) if build_after else bytes(item)
        return s


def _is_narrowed(kind: int) -> bool:
    """Return whether more than the type decides on the class."""
    known = _CLASSES.get(kind)
    return known is not None and (
        "narrowed" in vars(known)
        or any(kind == one for one, _header in _SUBTYPES)
        or known.only_subtype is not None
    )


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
