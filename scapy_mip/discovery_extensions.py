# SPDX-License-Identifier: GPL-2.0-only
"""Extensions of router discovery: a number space of its own (COM-04).

Type and 8-bit length as in control messages, the one byte of padding, and the options
of fast handovers (20 to 22), whose length counts units of 8 octets of the whole option.
What has no class, or a length that does not fit its class or the message, keeps its
bytes in `MIPDiscoveryExtension`.
"""

from __future__ import annotations

from typing import Any

from scapy.config import conf
from scapy.fields import (
    BitField,
    ByteEnumField,
    ByteField,
    FieldListField,
    FlagsField,
    IntField,
    IPField,
    PacketListField,
    ShortField,
    StrLenField,
)
from scapy.packet import NoPayload, Packet
from scapy.volatile import RandBin, RandNum

from scapy_mip._fastpath import FastPacket
from scapy_mip.const import (
    ADDRESS_OPTION_CODES,
    DEFAULT_LIFETIME,
    LINK_LAYER_ADDRESS_SUBTYPES,
    LINK_LAYER_OPTION_CODES,
    NAI_CARRYING_SUBTYPES,
    AgentFlag,
    DiscoveryExtensionType,
    slug,
)
from scapy_mip.extensions.base import is_skippable, unchain
from scapy_mip.fields import (
    LengthField,
    LifetimeField,
    RestField,
    TextField,
    TypeField,
)

DISCOVERY_EXTENSION_NAMES: dict[int, str] = {
    int(known): known.title for known in DiscoveryExtensionType
}
_IN_UNITS = frozenset(
    {
        DiscoveryExtensionType.LINK_LAYER_ADDRESS,
        DiscoveryExtensionType.NEW_IPV4_ADDRESS,
        DiscoveryExtensionType.NEW_ROUTER_PREFIX_INFORMATION,
    }
)
_UNIT = 8
_RESERVED_BITS = 5
_MOST_ITEMS = 0xFF


class DiscoveryTypeField(TypeField):
    """The type byte, shown with the registry's name."""

    def __init__(self, default: int) -> None:
        super().__init__("type", default, DISCOVERY_EXTENSION_NAMES)


class OpenField(StrLenField):
    """All bytes that are left, whatever a length says."""

    def __init__(self, name: str) -> None:
        super().__init__(name, b"", length_from=lambda _pkt: 1 << 16)

    def randval(self) -> RandBin:
        """Give random bytes that the 8-bit length can still state."""
        return RandBin(RandNum(0, 0xFF))


class MIPDiscoveryExtension(FastPacket):
    """Any extension of router discovery: type, length, data. RFC 5944 section 1.9.

    Called with bytes, it gives the class that knows them.
    """

    name = "Router Discovery Extension"
    match_subclass = True
    fields_desc = [
        DiscoveryTypeField(0xFE),
        LengthField(of="data"),
        OpenField("data"),
    ]

    extension_type: int | None = None
    """The type that a subclass stands for."""
    least_size: int = 2
    """Bytes that its fixed fields take."""

    @classmethod
    def dispatch_hook(
        cls, _pkt: bytes = b"", *_args: Any, **_kwargs: Any
    ) -> type[Packet]:
        """Choose the class for the bytes of one extension."""
        return find_class(_pkt, 0, len(_pkt)) if _pkt else cls

    @classmethod
    def is_whole(cls, data: bytes, size: int) -> bool:
        """Return whether `data` is one extension that this class shows."""
        return (
            len(data) > 0
            and find_class(data, 0, len(data)) is cls
            and (cls is MIPDiscoveryExtension or frame(data, 0, len(data)) == len(data))
        )

    @classmethod
    def fits(cls, size: int) -> bool:
        """Return whether an extension of `size` bytes may be of this class."""
        return size >= cls.least_size

    @property
    def skippable(self) -> bool:
        """Whether a node that does not know the type goes on. RFC 5944 section 1.8."""
        return is_skippable(self.type)

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leave what follows to the next extension."""
        return b"", s

    def mysummary(self) -> str:
        """Name the extension."""
        kind = self.type
        known = DISCOVERY_EXTENSION_NAMES.get(kind) if isinstance(kind, int) else None
        return known or f"extension {kind}"


_CLASSES: dict[int, type[MIPDiscoveryExtension]] = {}


def register_discovery_extension(
    cls: type[MIPDiscoveryExtension],
) -> type[MIPDiscoveryExtension]:
    """Make dissection give `cls` for its `extension_type`; usable as a decorator.

    :raises ValueError: the class names no type.
    """
    if cls.extension_type is None:
        raise ValueError(f"{cls.__name__} sets no extension_type")
    cls.least_size = len(bytes(cls()))
    _CLASSES[int(cls.extension_type)] = cls
    return cls


def discovery_extension_classes() -> dict[int, type[MIPDiscoveryExtension]]:
    """Return the class of every registered extension type of router discovery."""
    return dict(_CLASSES)


def discovery_extension_name(extension_type: int) -> str:
    """Return the name of a type as JSON and logs write it.

    >>> discovery_extension_name(16), discovery_extension_name(200)
    ('mobility_agent_advertisement', 'unknown_200')
    """
    title = DISCOVERY_EXTENSION_NAMES.get(extension_type)
    return slug(title) if title else f"unknown_{extension_type}"


def frame(data: bytes, start: int, stop: int) -> int:
    """Return the end of the extension at `start`; behind `stop` where it lies."""
    kind = data[start]
    if kind == DiscoveryExtensionType.ONE_BYTE_PADDING:
        return start + 1
    if stop - start < 2:
        return stop + 1
    stated = data[start + 1]
    if kind not in _IN_UNITS:
        return start + 2 + stated
    return start + _UNIT * stated if stated else stop + 1


def find_class(data: bytes, start: int, stop: int) -> type[Packet]:
    """Return the class that shows the extension at `start` of `data`."""
    end = frame(data, start, stop)
    known = _CLASSES.get(data[start])
    if known is not None and end <= stop and known.fits(end - start):
        return known
    return MIPDiscoveryExtension if stop - start >= 2 else conf.raw_layer


def dissect_discovery_extensions(data: bytes) -> list[Packet]:
    """Return the extensions in `data`, in wire order; every byte is kept."""
    extensions: list[Packet] = []
    start, stop = 0, len(data)
    while start < stop:
        end = min(frame(data, start, stop), stop)
        cls = find_class(data, start, stop)
        if cls is MIPDiscoveryExtension:
            # The bytes are its own already, whatever their length says.
            extensions.append(_plain(data[start:end]))
        else:
            extensions.append(cls(data[start:end]))
        start = end
    return extensions


def _plain(data: bytes) -> MIPDiscoveryExtension:
    compiled = MIPDiscoveryExtension.compiled()
    if compiled is not None:
        packet: Any = compiled.dissect(data)
        return packet  # type: ignore[no-any-return]
    return MIPDiscoveryExtension(data)


class DiscoveryExtensionListField(PacketListField):
    """The extensions up to the end of the ICMP message, in wire order."""

    def __init__(self, name: str = "extensions") -> None:
        super().__init__(name, [], MIPDiscoveryExtension)

    def any2i(self, pkt: Packet | None, x: Any) -> list[Any]:
        """Take a list of extensions, or one; a chain made by `/` becomes a list."""
        items = x if isinstance(x, list) else [x]
        for item in items:
            if isinstance(item, Packet) and not isinstance(item.payload, NoPayload):
                return [single for item in items for single in unchain(item)]
        return items

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, list[Any]]:
        """Dissect all that is left."""
        return b"", dissect_discovery_extensions(s)

    def addfield(self, pkt: Packet | None, s: bytes, val: Any) -> bytes:
        """Build one behind the other."""
        return s + b"".join(bytes(item) for item in val)


@register_discovery_extension
class MIPDiscoveryOneBytePadding(MIPDiscoveryExtension):
    """One byte that makes the length of an advertisement even. RFC 5944 2.1.3."""

    name = "One-byte Padding"
    extension_type = DiscoveryExtensionType.ONE_BYTE_PADDING
    fields_desc = [DiscoveryTypeField(DiscoveryExtensionType.ONE_BYTE_PADDING)]


AGENT_FLAGS = [
    flag.name or "" for flag in sorted(AgentFlag, key=lambda flag: flag.value)
]
"""Flag letters, least significant bit first, as Scapy wants them."""


@register_discovery_extension
class MIPMobilityAgentAdvertisement(MIPDiscoveryExtension):
    """What a mobility agent offers on a link. RFC 5944 section 2.1.1.

    `flags` are the RFC's letters, R B H F M G r T U X I.
    """

    name = "Mobility Agent Advertisement"
    extension_type = DiscoveryExtensionType.MOBILITY_AGENT_ADVERTISEMENT
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.MOBILITY_AGENT_ADVERTISEMENT),
        LengthField(of="care_of_addresses", plus=6),
        ShortField("sequence_number", 0),
        LifetimeField("registration_lifetime", DEFAULT_LIFETIME),
        FlagsField("flags", 0, 11, "".join(AGENT_FLAGS)),
        BitField("reserved", 0, _RESERVED_BITS),
        FieldListField(
            "care_of_addresses",
            [],
            IPField("", "0.0.0.0"),
            length_from=lambda pkt: max(pkt.length - 6, 0) // 4 * 4,
            max_count=_MOST_ITEMS,
        ),
    ]

    @classmethod
    def fits(cls, size: int) -> bool:
        """Return whether the addresses are whole ones."""
        return size >= cls.least_size and size % 4 == 0

    def mysummary(self) -> str:
        """Say who may register where."""
        return self.sprintf(
            "Mobility Agent %flags% CoA %care_of_addresses% "
            "sequence %sequence_number% lifetime %registration_lifetime%"
        )


@register_discovery_extension
class MIPPrefixLengths(MIPDiscoveryExtension):
    """Prefix lengths of the advertised routers, in their order. RFC 5944 2.1.2."""

    name = "Prefix-Lengths"
    extension_type = DiscoveryExtensionType.PREFIX_LENGTHS
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.PREFIX_LENGTHS),
        LengthField(of="prefix_lengths"),
        FieldListField(
            "prefix_lengths",
            [],
            ByteField("", 0),
            length_from=lambda pkt: pkt.length,
            max_count=_MOST_ITEMS,
        ),
    ]


def pad_option(data: bytes) -> bytes:
    """Fill an option up to a multiple of 8 bytes, by Pad1 or PadN. RFC 4988 6.1."""
    missing = -len(data) % _UNIT
    if missing < 2:
        return data + bytes(missing)
    return data + bytes([1, missing - 2]) + bytes(missing - 2)


@register_discovery_extension
class MIPLinkLayerAddress(MIPDiscoveryExtension):
    """Link-Layer Address option of fast handovers. RFC 4988 section 6.1.

    With the length left None, the option is padded to a multiple of 8 bytes. Nothing
    on the wire tells the padding from the address, so that `lla` then holds both.
    """

    name = "Link-Layer Address"
    extension_type = DiscoveryExtensionType.LINK_LAYER_ADDRESS
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.LINK_LAYER_ADDRESS),
        ByteField("length", None),  # None is computed
        ByteEnumField("option_code", 0, LINK_LAYER_OPTION_CODES),
        StrLenField("lla", b"", length_from=lambda pkt: max(_UNIT * pkt.length - 3, 0)),
    ]

    def post_build(self, pkt: bytes, pay: bytes) -> bytes:
        """Pad, and fill in the length, where that was left None."""
        if self.length is None:
            pkt = pad_option(pkt)
            pkt = pkt[:1] + bytes([min(len(pkt) // _UNIT, 0xFF)]) + pkt[2:]
        return pkt + pay


@register_discovery_extension
class MIPNewIPv4Address(MIPDiscoveryExtension):
    """New IPv4 Address option of fast handovers. RFC 4988 section 6.2."""

    name = "New IPv4 Address"
    extension_type = DiscoveryExtensionType.NEW_IPV4_ADDRESS
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.NEW_IPV4_ADDRESS),
        ByteField("length", 1),
        ByteEnumField("option_code", 2, ADDRESS_OPTION_CODES),
        ByteField("reserved", 0),
        IPField("address", "0.0.0.0"),
    ]

    @classmethod
    def fits(cls, size: int) -> bool:
        """Return whether it is one unit long."""
        return size == _UNIT


@register_discovery_extension
class MIPNewRouterPrefixInformation(MIPDiscoveryExtension):
    """New Router Prefix Information option of fast handovers. RFC 4988 section 6.3."""

    name = "New Router Prefix Information"
    extension_type = DiscoveryExtensionType.NEW_ROUTER_PREFIX_INFORMATION
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.NEW_ROUTER_PREFIX_INFORMATION),
        ByteField("length", 1),
        ByteField("option_code", 0),
        ByteField("prefix_length", 0),
        IntField("reserved", 0),
    ]

    @classmethod
    def fits(cls, size: int) -> bool:
        """Return whether it is one unit long."""
        return size == _UNIT


@register_discovery_extension
class MIPChallenge(MIPDiscoveryExtension):
    """Challenge that mobile nodes answer when they register. RFC 4721 section 2."""

    name = "Challenge"
    extension_type = DiscoveryExtensionType.CHALLENGE
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.CHALLENGE),
        LengthField(of="challenge"),
        RestField("challenge", b""),
    ]


@register_discovery_extension
class MIPDiscoveryExperimentalNonSkippable(MIPDiscoveryExtension):
    """Experimental extension, not skippable; in the short format. RFC 4064 4.2."""

    name = "Experimental non-skippable"
    extension_type = DiscoveryExtensionType.EXPERIMENTAL_NON_SKIPPABLE
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.EXPERIMENTAL_NON_SKIPPABLE),
        LengthField(of="opaque"),
        RestField("opaque", b""),
    ]


@register_discovery_extension
class MIPDiscoveryNAICarrying(MIPDiscoveryExtension):
    """Name of an agent: FA-NAI is subtype 3. RFC 3846 section 3, RFC 4857 8.2."""

    name = "NAI Carrying"
    extension_type = DiscoveryExtensionType.NAI_CARRYING
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.NAI_CARRYING),
        LengthField(of="nai", plus=1),
        ByteEnumField("subtype", 3, NAI_CARRYING_SUBTYPES),
        TextField("nai", b"", plus=1),
    ]


@register_discovery_extension
class MIPDiscoveryLinkLayerAndIPv4Address(MIPDiscoveryExtension):
    """Generalized Link Layer and IPv4 Address, also in solicitations. RFC 4881 9."""

    name = "Generalized Link Layer and IPv4 Address"
    extension_type = DiscoveryExtensionType.LINK_LAYER_AND_IPV4_ADDRESS
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.LINK_LAYER_AND_IPV4_ADDRESS),
        LengthField(of="lla", plus=1),
        ByteEnumField("subtype", 3, LINK_LAYER_ADDRESS_SUBTYPES),
        RestField("lla", b"", plus=1),
    ]


@register_discovery_extension
class MIPDiscoveryExperimentalSkippable(MIPDiscoveryExtension):
    """Experimental extension, skippable. RFC 4064 section 4.4."""

    name = "Experimental skippable"
    extension_type = DiscoveryExtensionType.EXPERIMENTAL_SKIPPABLE
    fields_desc = [
        DiscoveryTypeField(DiscoveryExtensionType.EXPERIMENTAL_SKIPPABLE),
        LengthField(of="opaque"),
        RestField("opaque", b""),
    ]
