# SPDX-License-Identifier: GPL-2.0-only
"""Router discovery: ICMP types 9, 10 and 41. RFC 1256, RFC 5944 section 2, RFC 4988.

Scapy's `ICMP` takes the four bytes behind the checksum of these types for one `unused`
number. Here each type is a layer that stands in the place of `ICMP`, from the type byte
on, with the fields of the registry. It is a subclass of `ICMP`, so that a packet still
has an `ICMP` layer with `type` and `code` for whoever looks for one; all other types
stay `ICMP` itself, and `ICMP(type=9)` crafts what it always did.
"""

from __future__ import annotations

from typing import Any, Self

from scapy.config import conf
from scapy.fields import (
    ByteEnumField,
    ByteField,
    FieldLenField,
    IntField,
    IPField,
    MultiEnumField,
    PacketListField,
    ShortField,
    SignedIntField,
    StrField,
    XShortField,
)
from scapy.layers.inet import ICMP, IP
from scapy.packet import Packet
from scapy.utils import checksum

from scapy_mip.const import (
    AGENT_ADVERTISEMENT_CODES,
    DEFAULT_LIFETIME,
    HANDOVER_ACKNOWLEDGE_CODES,
    ICMP_MOBILITY_SUBTYPES,
    PROXY_ADVERTISEMENT_CODES,
    ICMPType,
)
from scapy_mip.discovery_extensions import (
    DiscoveryExtensionListField,
    MIPDiscoveryExtension,
    MIPDiscoveryOneBytePadding,
    dissect_discovery_extensions,
)
from scapy_mip.extensions.base import unchain
from scapy_mip.fields import TypeField

_NAMES = {int(known): known.title for known in ICMPType}
_HEADER_BYTES = 8
_WORD = 4
_ENTRY_WORDS = 2
_SOLICITATION, _ADVERTISEMENT, _INITIATE, _ACKNOWLEDGE = 6, 7, 8, 9
_CLASSES: dict[int, type[MIPICMP]] = {}


class ICMPTypeField(TypeField):
    """The ICMP type, shown by its name in Mobile IP."""

    def __init__(self, default: int) -> None:
        super().__init__("type", default, _NAMES)


class MIPICMP(ICMP):
    """The base of the three; called with bytes, it gives the layer of their type.

    That is `ICMP` for a type that is not one of them.
    """

    match_subclass = True
    deprecated_fields = {"chksum": ("checksum", "")}

    def _resolve_alias(self, attr: str) -> str:
        """Take Scapy's name of the checksum, as for any other `ICMP`."""
        return self.deprecated_fields[attr][0]

    def __delattr__(self, attr: str) -> None:
        """Let `del packet[ICMP].chksum` ask for a new checksum here too."""
        super().__delattr__("checksum" if attr == "chksum" else attr)

    @classmethod
    def dispatch_hook(
        cls, _pkt: bytes = b"", *_args: Any, **_kwargs: Any
    ) -> type[Packet]:
        """Choose by the first byte; a message cut short in its header is `Raw`."""
        if not _pkt:
            return cls
        known = _CLASSES.get(_pkt[0])
        if known is None:
            return ICMP
        return known if len(_pkt) >= _HEADER_BYTES else conf.raw_layer

    def post_build(self, p: bytes, pay: bytes) -> bytes:
        """Fill in the checksum, over the whole message."""
        p += pay
        if self.checksum is None:
            p = p[:2] + checksum(p).to_bytes(2, "big") + p[4:]
        return p

    def post_dissection(self, pkt: Packet) -> None:
        """Leave the packet alone: RFC 4884 is not about these types."""

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Take what Scapy takes where nothing is known."""
        return Packet.guess_payload_class(self, payload)

    def add_payload(self, payload: Packet | bytes) -> None:
        """Append an extension to the list; leave anything else to Scapy."""
        if isinstance(payload, MIPDiscoveryExtension):
            name = self.fields_desc[-1].name
            self.setfieldval(name, [*self.getfieldval(name), *unchain(payload)])
        else:
            super().add_payload(payload)

    def padded(self) -> Self:
        """Return it with one byte of padding where its length is odd. RFC 5944 2.1.3.

        Nothing is padded unless asked for: the byte is an extension like any other.
        """
        return self / MIPDiscoveryOneBytePadding() if len(self) % 2 else self.copy()

    def hashret(self) -> bytes:
        """Give what question and answer share: nothing but the addresses below."""
        return b""

    def answers(self, other: Packet) -> bool:
        """Answer nothing, unless a subclass does."""
        return False

    def mysummary(self) -> Any:
        """Name the message."""
        return f"ICMP {self.name}", [IP]


class PreferenceField(SignedIntField):
    """Preference of a router, signed; also taken as the 32 bits that it is sent as."""

    def any2i(self, pkt: Packet | None, x: Any) -> Any:
        """Take 0x80000000, "never a default router", for the lowest number."""
        if isinstance(x, int) and 1 << 31 <= x < 1 << 32:
            return x - (1 << 32)
        return super().any2i(pkt, x)


class MIPRouterEntry(Packet):
    """One router of an advertisement. RFC 1256 section 3.

    `more` holds the words that an entry size above 2 brings.
    """

    name = "Router"
    fields_desc = [
        IPField("router_address", "0.0.0.0"),
        PreferenceField("preference_level", 0),
        StrField("more", b""),
    ]

    def mysummary(self) -> str:
        """Say which router, and how much it is preferred."""
        return self.sprintf("%router_address% (%preference_level%)")


class EntryListField(PacketListField):
    """Routers: `MIPRouterEntry`, or an address, or address and preference."""

    def __init__(self, name: str) -> None:
        super().__init__(name, [], MIPRouterEntry)

    def any2i(self, pkt: Packet | None, x: Any) -> list[Any]:
        """Make entries of addresses and pairs."""
        return [_as_entry(item) for item in (x if isinstance(x, list) else [x])]

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, list[Any]]:
        """Cut the entries by the stated number and size; what is cut short is `Raw`."""
        size = pkt.addr_entry_size * _WORD
        end = min(pkt.num_addrs * size, len(s))
        least = _ENTRY_WORDS * _WORD
        found: list[Packet] = []
        for at in range(0, end, size or 1):
            one = s[at : min(at + size, end)]
            cls = MIPRouterEntry if len(one) >= least else conf.raw_layer
            found.append(cls(one))
        return s[end:], found

    def addfield(self, pkt: Packet | None, s: bytes, val: Any) -> bytes:
        """Build one behind the other."""
        return s + b"".join(bytes(item) for item in val)


def _as_entry(item: Any) -> Any:
    if isinstance(item, str):
        return MIPRouterEntry(router_address=item)
    if isinstance(item, tuple):
        address, preference = item
        return MIPRouterEntry(router_address=address, preference_level=preference)
    return item


def _entry_words(pkt: Any, count: int) -> int:
    """Return the size of an entry in words, as the first one is."""
    return len(bytes(pkt.entries[0])) // _WORD if count else _ENTRY_WORDS


class MIPAgentAdvertisement(MIPICMP):
    """Router or Agent Advertisement, ICMP type 9. RFC 1256 section 3, RFC 5944 2.1.

    `MIPAgentAdvertisement(entries=["10.1.2.1"])/MIPMobilityAgentAdvertisement(...)`:
    `/` appends an extension; number and size of the entries fill themselves in. It is
    sent with TTL 1.
    """

    name = "Agent Advertisement"
    fields_desc = [
        ICMPTypeField(ICMPType.AGENT_ADVERTISEMENT),
        ByteEnumField("code", 0, AGENT_ADVERTISEMENT_CODES),
        XShortField("checksum", None),
        FieldLenField("num_addrs", None, fmt="B", count_of="entries"),
        FieldLenField(
            "addr_entry_size", None, fmt="B", count_of="entries", adjust=_entry_words
        ),
        ShortField("lifetime", DEFAULT_LIFETIME),
        EntryListField("entries"),
        DiscoveryExtensionListField(),
    ]

    def answers(self, other: Packet) -> bool:
        """Answer a solicitation.

        `IP` compares addresses first, which multicast does not survive: `sr1()` needs
        `conf.checkIPaddr = False` unless the solicitation went to the agent alone.
        """
        return isinstance(other, MIPAgentSolicitation)

    def mysummary(self) -> Any:
        """Say which routers there are, and what their agents offer."""
        listed = ", ".join(entry.summary() for entry in self.entries)
        offers = "".join(f" / {extension.summary()}" for extension in self.extensions)
        return f"ICMP {self.name} {listed}{offers}", [IP]


class MIPAgentSolicitation(MIPICMP):
    """Router or Agent Solicitation, ICMP type 10. RFC 1256 section 3, RFC 5944 2.2.

    Extensions: RFC 4881. It is sent with TTL 1.
    """

    name = "Agent Solicitation"
    fields_desc = [
        ICMPTypeField(ICMPType.AGENT_SOLICITATION),
        ByteField("code", 0),
        XShortField("checksum", None),
        IntField("reserved", 0),
        DiscoveryExtensionListField(),
    ]


class OptionListField(DiscoveryExtensionListField):
    """Options of fast handovers; those of other protocols stay bytes."""

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, list[Any]]:
        """Dissect all that is left, if it is of RFC 4988."""
        if _SOLICITATION <= pkt.subtype <= _ACKNOWLEDGE:
            return b"", dissect_discovery_extensions(s)
        return b"", [conf.raw_layer(s)] if s else []


class MIPExperimentalMobility(MIPICMP):
    """Messages of fast handovers and other experiments, ICMP type 41. RFC 4065, 4988.

    The two first bits of `reserved` are the flags S and U of a Handover Initiate
    (subtype 8); RFC 4065 alone, for subtypes 0 and 1, has no identifier but 24 reserved
    bits.
    """

    name = "Experimental Mobility"
    fields_desc = [
        ICMPTypeField(ICMPType.EXPERIMENTAL_MOBILITY),
        MultiEnumField(
            "code",
            0,
            {
                _ADVERTISEMENT: PROXY_ADVERTISEMENT_CODES,
                _ACKNOWLEDGE: HANDOVER_ACKNOWLEDGE_CODES,
            },
            depends_on=lambda pkt: int(getattr(pkt, "subtype", 0) or 0),
            fmt="B",
        ),
        XShortField("checksum", None),
        ByteEnumField("subtype", _SOLICITATION, ICMP_MOBILITY_SUBTYPES),
        ByteField("reserved", 0),
        ShortField("identifier", 0),
        OptionListField("options"),
    ]

    def hashret(self) -> bytes:
        """Give the identifier, which an answer repeats."""
        identifier: int = self.identifier
        return identifier.to_bytes(2, "big")

    def answers(self, other: Packet) -> bool:
        """Match subtype and identifier. RFC 4988 sections 5.4 and 5.6."""
        return (
            isinstance(other, MIPExperimentalMobility)
            and (other.subtype, self.subtype)
            in ((_SOLICITATION, _ADVERTISEMENT), (_INITIATE, _ACKNOWLEDGE))
            and self.identifier == other.identifier
        )

    def mysummary(self) -> Any:
        """Name the message of fast handovers that it is."""
        return self.sprintf("ICMP %subtype% %code% identifier %identifier%"), [IP]


_CLASSES |= {
    ICMPType.AGENT_ADVERTISEMENT: MIPAgentAdvertisement,
    ICMPType.AGENT_SOLICITATION: MIPAgentSolicitation,
    ICMPType.EXPERIMENTAL_MOBILITY: MIPExperimentalMobility,
}


def icmp_classes() -> dict[int, type[MIPICMP]]:
    """Return the layer of each ICMP type that has one here."""
    return dict(_CLASSES)
