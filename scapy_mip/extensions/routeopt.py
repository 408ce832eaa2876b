# SPDX-License-Identifier: GPL-2.0-only
"""Extensions of home agent assisted route optimization. RFC 6521 section 5.

The compression of prefixes and realms is in `scapy_mip.compression`.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Any

from scapy.fields import (
    BitEnumField,
    BitField,
    ByteEnumField,
    ByteField,
    ConditionalField,
    FieldListField,
    FlagsField,
    IPField,
    PacketListField,
    ShortField,
    StrField,
    StrLenField,
)
from scapy.packet import Packet

from scapy_mip.auth import SecurityAssociation
from scapy_mip.compression import (
    REALM_END,
    RealmDictionary,
    compress_prefix,
    expand_prefix,
    prefix_bytes,
    realm_end,
)
from scapy_mip.const import ROUTE_OPTIMIZATION_CODES, ExtensionType
from scapy_mip.extensions.auth import AuthenticatorField
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField
from scapy_mip.keys import CORRESPONDENT_BYTES, correspondent_coverage
from scapy_mip.signing import Associated

ROUTE_OPTIMIZATION_SUBTYPES = {
    1: "reply",
    2: "mobile-correspondent authentication",
    3: "care-of address",
}
"""What is said between mobile routers and home agent. RFC 6521 section 5."""


@register_extension
class MIPRouteOptimization(MIPExtension):
    """Route Optimization extension of a subtype that is not known. RFC 6521 5."""

    name = "Route Optimization"
    extension_type = ExtensionType.ROUTE_OPTIMIZATION
    fields_desc = [
        ExtensionTypeField(ExtensionType.ROUTE_OPTIMIZATION),
        LengthField(of="data", plus=1),
        ByteEnumField("subtype", 0, ROUTE_OPTIMIZATION_SUBTYPES),
        RestField("data", b"", plus=1),
    ]


@register_extension
class MIPRouteOptimizationReply(MIPExtension):
    """Route Optimization Reply extension. RFC 6521 section 5.2."""

    name = "Route Optimization Reply"
    extension_type = ExtensionType.ROUTE_OPTIMIZATION
    extension_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.ROUTE_OPTIMIZATION),
        LengthField(plus=2),
        ByteEnumField("subtype", 1, ROUTE_OPTIMIZATION_SUBTYPES),
        FlagsField("flags", 0, 3, "SNO"),
        BitEnumField("code", 0, 5, ROUTE_OPTIMIZATION_CODES),
    ]


@register_extension
class MIPMobileCorrespondentAuthentication(MIPExtension, Associated):
    """Mobile-Correspondent Authentication extension. RFC 6521 section 5.3.

    There is no SPI. The authenticator is computed where it was left None:

    >>> from scapy_mip.keys import registration_key
    >>> shared = SecurityAssociation(0, registration_key(b"home", b""), "hmac-sha1")
    >>> signed = MIPMobileCorrespondentAuthentication(association=shared)
    >>> len(signed.build_after(b"message"))
    24

    :param association: the registration key KRm with HMAC-SHA1; without one the
        authenticator becomes zeros.
    """

    name = "Mobile-Correspondent Authentication"
    extension_type = ExtensionType.ROUTE_OPTIMIZATION
    extension_subtype = 2
    fields_desc = [
        ExtensionTypeField(ExtensionType.ROUTE_OPTIMIZATION),
        LengthField(of="authenticator", plus=6),
        ByteEnumField("subtype", 2, ROUTE_OPTIMIZATION_SUBTYPES),
        ByteField("reserved", 0),
        ShortField("home_nonce_index", 0),
        ShortField("care_of_nonce_index", 0),
        AuthenticatorField(plus=6),
    ]
    association: SecurityAssociation | None = None

    def authenticator_size(self) -> int:
        """Return the bytes that a computed authenticator takes."""
        return CORRESPONDENT_BYTES

    def build_after(self, covered: bytes, message: Packet | None = None) -> bytes:
        """Build, and sign where the authenticator was left None."""
        built = self.build()
        if self.getfieldval("authenticator") is not None or self.association is None:
            return built
        coverage = correspondent_coverage(covered + built, len(covered))
        digest = self.association.digest(coverage)[:CORRESPONDENT_BYTES]
        return built[:-CORRESPONDENT_BYTES] + digest


@register_extension
class MIPCareOfAddress(MIPExtension):
    """Care-of Address extension: where a tunnel may end. RFC 6521 section 5.4."""

    name = "Care-of Address"
    extension_type = ExtensionType.ROUTE_OPTIMIZATION
    extension_subtype = 3
    fields_desc = [
        ExtensionTypeField(ExtensionType.ROUTE_OPTIMIZATION),
        LengthField(of="care_of_addresses", plus=2),
        ByteEnumField("subtype", 3, ROUTE_OPTIMIZATION_SUBTYPES),
        ByteField("reserved", 0),
        FieldListField(
            "care_of_addresses",
            [],
            IPField("", "0.0.0.0"),
            length_from=lambda pkt: max(pkt.length - 2, 0),
        ),
    ]

    @classmethod
    def fits(cls, data: bytes, start: int, end: int) -> bool:
        """Return whether the addresses are whole."""
        return end - start >= 4 and (end - start) % 4 == 0


class RealmField(StrField):
    """A realm in its compressed form, up to and with the zero that ends it."""

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, bytes]:
        """Take the labels; where the end is missing, all that is left."""
        end = realm_end(s, 0, len(s))
        end = len(s) if end is None else end
        return s[end:], s[:end]


class MIPRoutePrefixRecord(Packet):
    """A mobile router's home address, or one of its networks. RFC 6521 section 5.5.

    With M set it is a home address, and `plen_or_info` 1 says that the router opens
    connections only outwards. Without M it is a prefix of that many bits and a realm,
    in the form that goes over the wire; D marks a prefix that is told by its difference
    from the last one without D.
    """

    name = "Route Optimization prefix record"
    fields_desc = [
        FlagsField("flags", 0, 2, "MD"),
        BitField("plen_or_info", 0, 6),
        ConditionalField(
            IPField("home_address", "0.0.0.0"), lambda pkt: bool(pkt.flags.M)
        ),
        ConditionalField(
            StrLenField("prefix", b"", length_from=lambda pkt: _prefix_size(pkt)),
            lambda pkt: not pkt.flags.M,
        ),
        ConditionalField(RealmField("realm", REALM_END), lambda pkt: not pkt.flags.M),
    ]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        """Leave what follows to the next record."""
        return b"", s


def _prefix_size(pkt: Any) -> int:
    return prefix_bytes(pkt.plen_or_info, bool(pkt.flags.D))


def prefix_records(
    networks: Iterable[tuple[str, IPv4Network | str, str]],
) -> list[MIPRoutePrefixRecord]:
    """Return the records for home addresses with their networks and realms.

    Prefixes and realms are compressed as far as their order allows.
    """
    dictionary = RealmDictionary()
    owner: str | None = None
    master: IPv4Network | None = None
    records = []
    for home_address, network, realm in networks:
        network = IPv4Network(network)
        if home_address != owner:
            owner = home_address
            records.append(MIPRoutePrefixRecord(flags="M", home_address=owner))
        delta, told = compress_prefix(network, master)
        if not delta:
            master = network
        records.append(
            MIPRoutePrefixRecord(
                flags="D" if delta else 0,
                plen_or_info=network.prefixlen,
                prefix=told,
                realm=dictionary.compress(realm),
            )
        )
    return records


def record_end(data: bytes, start: int, stop: int) -> int | None:
    """Return where the record at `start` ends, None where it is cut short."""
    head, at = data[start], start + 1
    if head & 0x40:
        at += 4
    else:
        at += prefix_bytes(head & 0x3F, bool(head & 0x80))
        realm = realm_end(data, at, stop)
        if realm is None:
            return None
        at = realm
    return at if at <= stop else None


class RecordListField(PacketListField):
    """Records up to the end that the extension's `length` states.

    Each is cut out before it is dissected: Scapy hands all that is left to every one,
    which keeps a copy of it, and stops at `conf.max_list_count`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, [], MIPRoutePrefixRecord)

    def getfield(self, pkt: Packet, s: bytes) -> tuple[bytes, list[Any]]:
        """Dissect record by record; one that is cut short takes what is left."""
        stop = min(max(pkt.length, 0), len(s))
        records, at = [], 0
        while at < stop:
            end = record_end(s, at, stop) or stop
            records.append(MIPRoutePrefixRecord(s[at:end], _parent=pkt))
            at = end
        return s[stop:], records


@register_extension
class MIPRouteOptimizationData(MIPExtension):
    """Route Optimization Prefix Advertisement extension. RFC 6521 section 5.5."""

    name = "Route Optimization Data"
    extension_type = ExtensionType.ROUTE_OPTIMIZATION_DATA
    only_subtype = 1
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.ROUTE_OPTIMIZATION_DATA),
        ByteField("subtype", 1),
        LengthField(of="records", fmt="H"),
        RecordListField("records"),
    ]

    def networks(self) -> list[tuple[str, IPv4Network, str]]:
        """Return home address, network and realm of each prefix, all expanded.

        :raises ValueError: the records contradict each other.
        """
        dictionary = RealmDictionary()
        owner, master = "0.0.0.0", None
        found = []
        for record in self.records:
            if record.flags.M:
                owner = record.home_address
                continue
            delta = bool(record.flags.D)
            network = expand_prefix(record.prefix, record.plen_or_info, delta, master)
            if not delta:
                master = network
            found.append((owner, network, dictionary.expand(record.realm)))
        return found

    @classmethod
    def fits(cls, data: bytes, start: int, end: int) -> bool:
        """Return whether the records fill the extension."""
        if not super().fits(data, start, end):
            return False
        at = start + cls.header_size
        while at < end:
            following = record_end(data, at, end)
            if following is None:
                return False
            at = following
        return at == end


class CapabilityLengthField(LengthField):
    """The length of an extension with an address where S is set."""

    def i2m(self, pkt: Packet | None, x: Any) -> Any:
        """Count the address."""
        if x is None and pkt is not None and pkt.flags.S:
            return self.plus + 4
        return super().i2m(pkt, x)


@register_extension
class MIPMRRouteOptimizationIndication(MIPExtension):
    """Mobile Router Route Optimization Capability extension. RFC 6521 section 5.1."""

    name = "MR Route Optimization Indication"
    extension_type = ExtensionType.MR_ROUTE_OPTIMIZATION_INDICATION
    only_subtype = 1
    fields_desc = [
        ExtensionTypeField(ExtensionType.MR_ROUTE_OPTIMIZATION_INDICATION),
        CapabilityLengthField(plus=2),
        ByteField("subtype", 1),
        FlagsField("flags", 0, 4, "OSRA"),
        BitField("reserved", 0, 4),
        ConditionalField(
            IPField("mr_home_address", "0.0.0.0"), lambda pkt: bool(pkt.flags.S)
        ),
    ]

    @classmethod
    def fits(cls, data: bytes, start: int, end: int) -> bool:
        """Return whether the address is there where S says so."""
        if not super().fits(data, start, end):
            return False
        return not data[start + 3] & 0x20 or end - start >= 8
