# SPDX-License-Identifier: GPL-2.0-only
"""Authentication extensions and challenges. RFC 5944 section 3.5, RFC 4721.

An authenticator that is left None is computed when the message is built, over all that
precedes it, with the security association given to the extension, given to the message,
or found by SPI in `conf.contribs["mip"]["security_associations"]`. Without one it
becomes zeros.
"""

from __future__ import annotations

from typing import Any

from scapy.error import warning
from scapy.fields import ByteEnumField
from scapy.packet import Packet

from scapy_mip._fastpath import adds_keywords
from scapy_mip.auth import SPI_BYTES, SecurityAssociation, sign
from scapy_mip.const import ExtensionType
from scapy_mip.extensions.base import (
    ExtensionTypeField,
    MIPExtension,
    extension_name,
    register_extension,
)
from scapy_mip.fields import LengthField, RestField, SPIField
from scapy_mip.signing import Associated, given_to, known_for

UNSIGNED_BYTES = 16
"""Size of the zeros where no association is known: that of the default HMAC-MD5."""


class AuthenticatorField(RestField):
    """The authenticator; None stands for one that is computed when building.

    :param plus: bytes between the length and this field.
    """

    def __init__(self, plus: int = SPI_BYTES) -> None:
        super().__init__("authenticator", None, plus=plus)

    def i2len(self, pkt: Any, x: Any) -> int:
        """Return the bytes that it takes or will take."""
        return pkt.authenticator_size() if x is None else len(x)

    def i2m(self, pkt: Any, x: Any) -> bytes:
        """Put zeros where the authenticator will come."""
        if x is None:
            return bytes(pkt.authenticator_size() if pkt else UNSIGNED_BYTES)
        return super().i2m(pkt, x)

    def i2repr(self, pkt: Any, x: Any) -> str:
        """Show the bytes, with the verdict on them where one was given."""
        shown: str = super().i2repr(pkt, x)
        verdict = getattr(pkt, "verdict", None)
        return f"{shown} ({verdict})" if verdict else shown


_SHORT_NAMES: dict[int, str] = {
    ExtensionType.MOBILE_HOME_AUTHENTICATION: "MHAE",
    ExtensionType.MOBILE_FOREIGN_AUTHENTICATION: "MFAE",
    ExtensionType.FOREIGN_HOME_AUTHENTICATION: "FHAE",
    ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION: "GAE",
}


def short_name(extension_type: int) -> str:
    """Return what engineers call an authentication extension.

    >>> short_name(32), short_name(131)
    ('MHAE', 'mobile_node_nai')
    """
    return _SHORT_NAMES.get(extension_type) or extension_name(extension_type)


class MIPAuthentication(MIPExtension, Associated):
    """What all authentication extensions share; not on the wire itself.

    :param association: the security association to sign with.
    """

    fields_desc = [
        ExtensionTypeField(ExtensionType.MOBILE_HOME_AUTHENTICATION),
        LengthField(of="authenticator", plus=SPI_BYTES),
        SPIField("spi", 256),
        AuthenticatorField(),
    ]
    association: SecurityAssociation | None = None
    verdict: str | None = None
    """What `MIPSession` found out: valid, invalid or no-key."""

    @adds_keywords
    def __init__(
        self,
        _pkt: bytes = b"",
        *args: Any,
        association: SecurityAssociation | None = None,
        **fields: Any,
    ) -> None:
        if association is not None:
            fields.setdefault("spi", association.spi)
        super().__init__(_pkt, *args, association=association, **fields)

    def find_association(
        self, message: Packet | None = None
    ) -> SecurityAssociation | None:
        """Return the association to sign with, None where there is none.

        It is the given one, else one that the message was given, else one that is known
        for the SPI. If the SPI was left out, the only one of the message will do.
        """
        if self.association is not None:
            return self.association
        spi = self.getfieldval("spi")
        given = given_to(message)
        if len(given) == 1 and "spi" not in self.fields:
            return given[0]
        for association in given:
            if association.spi == spi:
                return association
        return known_for(spi)

    def authenticator_size(self) -> int:
        """Return the bytes that a computed authenticator takes."""
        found = self.find_association()
        return found.size if found else UNSIGNED_BYTES

    def build_after(self, covered: bytes, message: Packet | None = None) -> bytes:
        """Build, and sign where the authenticator was left None."""
        if (
            self.fields.get("authenticator") is not None
            or self.getfieldval("authenticator") is not None
        ):
            return self.build()
        if not isinstance(self.getfieldval("spi"), int):
            settled: Any = next(iter(self))  # a random SPI takes its value
            return bytes(settled.build_after(covered, message))
        association = self.find_association(message)
        if association is None:
            warning(
                "no security association for SPI %s: zeros as authenticator",
                self.getfieldval("spi"),
            )
            return self.build()
        signed = self
        if self.association is None and given_to(message):
            signed = self.copy()
            signed.association = association
            signed.fields.setdefault("spi", association.spi)
        header = signed.build()[: -association.size]
        return header + sign(association, covered + header)


@register_extension
class MIPMobileHomeAuthentication(MIPAuthentication):
    """Mobile-Home Authentication extension, MHAE. RFC 5944 section 3.5.2."""

    name = "Mobile-Home Authentication"
    extension_type = ExtensionType.MOBILE_HOME_AUTHENTICATION
    type = ExtensionType.MOBILE_HOME_AUTHENTICATION


@register_extension
class MIPMobileForeignAuthentication(MIPAuthentication):
    """Mobile-Foreign Authentication extension, MFAE. RFC 5944 section 3.5.3."""

    name = "Mobile-Foreign Authentication"
    extension_type = ExtensionType.MOBILE_FOREIGN_AUTHENTICATION
    type = ExtensionType.MOBILE_FOREIGN_AUTHENTICATION


@register_extension
class MIPForeignHomeAuthentication(MIPAuthentication):
    """Foreign-Home Authentication extension, FHAE. RFC 5944 section 3.5.4."""

    name = "Foreign-Home Authentication"
    extension_type = ExtensionType.FOREIGN_HOME_AUTHENTICATION
    type = ExtensionType.FOREIGN_HOME_AUTHENTICATION


GENERALIZED_SUBTYPES = {1: "Mobile-AAA", 2: "FA-FA", 3: "MN-GFA", 4: "MN-PAR"}
"""Who authenticates to whom. RFC 4721 section 6, RFC 4857 section 11, RFC 4988 8."""


@register_extension
class MIPGeneralizedMobileIPAuthentication(MIPAuthentication):
    """Generalized Mobile IP Authentication extension. RFC 4721 section 5."""

    name = "Generalized Mobile IP Authentication"
    extension_type = ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION
    header_size = 4
    fields_desc = [
        ExtensionTypeField(ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION),
        ByteEnumField("subtype", 1, GENERALIZED_SUBTYPES),
        LengthField(of="authenticator", plus=SPI_BYTES, fmt="H"),
        SPIField("spi", 256),
        AuthenticatorField(),
    ]


@register_extension
class MIPMobileForeignChallenge(MIPExtension):
    """Mobile-Foreign Challenge extension. RFC 4721 section 4."""

    name = "Mobile-Foreign Challenge"
    extension_type = ExtensionType.MOBILE_FOREIGN_CHALLENGE
    fields_desc = [
        ExtensionTypeField(ExtensionType.MOBILE_FOREIGN_CHALLENGE),
        LengthField(of="challenge"),
        RestField("challenge", b""),
    ]


MIPMHAE = MIPMobileHomeAuthentication
MIPMFAE = MIPMobileForeignAuthentication
MIPFHAE = MIPForeignHomeAuthentication
