# SPDX-License-Identifier: GPL-2.0-only
"""Form, order and authentication of single messages (COM, and their like).

RFC 5944 sections 1.8 and 3.2 to 3.5.
"""

from __future__ import annotations

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Observation
from mip_agents.captures.rules import Deviations
from scapy_mip.auth import authenticator_at
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    MIP_PORT,
    REPLY_CODES,
    SPI_RESERVED_MAX,
    TTL_REVERSE_TUNNEL,
    ExtensionType,
    Issuer,
    MessageType,
    ReplyCode,
    RequestFlag,
)
from scapy_mip.extensions.auth import short_name
from scapy_mip.extensions.base import (
    MIPExtension,
    MIPLongExtension,
    extension_name,
    is_skippable,
)
from scapy_mip.messages import MIPMessage, message_name

COM_01 = Rule("COM-01", Severity.ERROR, "RFC 5944 1.8")
COM_03 = Rule("COM-03", Severity.ERROR, "RFC 5944 1.8")
COM_05 = Rule("COM-05", Severity.WARNING, "RFC 5944 1.10")
COM_06 = Rule("COM-06", Severity.WARNING, "RFC 5944 3.1")
COM_07 = Rule("COM-07", Severity.ERROR, "RFC 5944 3.7.2.1")
COM_09 = Rule("COM-09", Severity.ERROR, "RFC 5944 1.6")
COM_13 = Rule("COM-13", Severity.ERROR, "RFC 5944 3.5.1")
COM_15 = Rule("COM-15", Severity.ERROR, "RFC 5944 3.2")
C_3 = Rule("C-3", Severity.WARNING, "RFC 5944 3.5.4")
HA_06 = Rule("HA-06", Severity.ERROR, "RFC 5944 3.8.2.1")
HA_15 = Rule("HA-15", Severity.WARNING, "RFC 5944 3.8.2.3")
HA_27 = Rule("HA-27", Severity.ERROR, "RFC 5944 3.8.3.3")
MN_19 = Rule("MN-19", Severity.ERROR, "RFC 5944 3.6.1.1")
MN_26 = Rule("MN-26", Severity.ERROR, "RFC 5944 3.6.1.3")
MN_31 = Rule("MN-31", Severity.ERROR, "RFC 5944 3.6.2.1")
NAI_01 = Rule("NAI-01", Severity.ERROR, "RFC 2794 2")
RT_03 = Rule("RT-03", Severity.ERROR, "RFC 3024 3.3")

_ALL_AGENTS, _LINK_TTL = "224.0.0.11", 1
_FIXED = (MessageType.REGISTRATION_REQUEST, MessageType.REGISTRATION_REPLY)
_KNOWN = frozenset(int(kind) for kind in ExtensionType)
_PLAIN = (MIPExtension, MIPLongExtension)
"""What an extension is shown as where no class fits it."""
_AAA_SPIS = range(2, 6)
"""SPIs of generalized authentication that stand for algorithms. RFC 4721 section 8."""


def check_datagram(seen: Observation) -> Deviations:
    """Check what carries a message, and that it is whole."""
    if seen.checksum_is_wrong:
        yield COM_07, "the UDP checksum is wrong, so that nobody takes the message"
    elif seen.checksum_is_zero:
        yield COM_06, "sent without a UDP checksum"
    if not seen.data:
        yield COM_03, "an empty datagram"
    elif not isinstance(seen.packet, MIPMessage) and seen.data[0] in _FIXED:
        name = message_name(seen.data[0]).replace("_", " ")
        yield COM_03, f"the {name} is cut short: {len(seen.data)} bytes"


def check_extensions(seen: Observation) -> Deviations:
    """Check that a receiver can walk along the extensions and knows what it must."""
    for offset, extension in seen.extensions:
        if not isinstance(extension, MIPExtension):
            yield COM_03, f"a stray byte at the end, 0x{seen.data[offset]:02x}"
            continue
        name = extension_name(extension.type)
        if extension.is_cut:
            yield COM_03, f"the length of {name} runs over the end of the message"
        elif extension.type not in _KNOWN and not is_skippable(extension.type):
            yield COM_01, f"{name} is unknown, so that receivers discard the message"
        elif type(extension) in _PLAIN and extension.type in _KNOWN:
            yield COM_05, f"{name} has a form that no RFC gives it"
    padding = sum(
        extension.type == ExtensionType.ONE_BYTE_PADDING
        for _, extension in seen.extensions
        if isinstance(extension, MIPExtension)
    )
    if padding > 1:
        yield COM_03, f"{padding} zero bytes behind the message"


def check_authentication(seen: Observation) -> Deviations:
    """Check SPIs and authenticators, and that the right one comes first."""
    for offset, extension in seen.authentications:
        name, spi = short_name(extension.type), extension.spi
        general = extension.type == ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION
        if spi <= SPI_RESERVED_MAX and not (general and spi in _AAA_SPIS):
            yield COM_09, f"{name} has the reserved SPI {spi}"
        if not authenticator_at(seen.data, offset):
            yield COM_13, f"{name} has no authenticator at all"
        elif seen.verdicts.get(offset) == "invalid":
            yield COM_13, f"{name} does not verify with any key for SPI {spi}"
    if seen.authentications and seen.enabling:
        first = seen.authentications[0][1]
        if first is not seen.enabling[1]:
            name = short_name(first.type)
            yield COM_15, f"{name} stands before the mobile-home authentication"


def check_request(seen: Observation) -> Deviations:
    """Check a request by itself. RFC 5944 section 3.6.1."""
    packet = seen.packet
    if seen.enabling is None:
        yield HA_06, "no authentication for the home agent, which discards it"
    reserved = packet.flags & (RequestFlag.r | RequestFlag.x)
    if reserved:
        yield HA_15, f"reserved bits are set: {reserved}"
    if seen.destination_port != MIP_PORT:
        yield MN_26, f"sent to UDP port {seen.destination_port}"
    ttls = {
        _LINK_TTL,
        TTL_REVERSE_TUNNEL if packet.flags & RequestFlag.T else _LINK_TTL,
    }
    if seen.ip.destination == _ALL_AGENTS and seen.ip.ttl not in ttls:
        yield MN_19, f"sent to all agents of the link with TTL {seen.ip.ttl}"
    yield from _check_order(seen, ExtensionType.MOBILE_FOREIGN_AUTHENTICATION, MN_26)
    yield from _check_places(seen)


def _check_places(seen: Observation) -> Deviations:
    """Check what has to stand before or behind the authentications of a request."""
    kinds = [getattr(extension, "type", None) for _, extension in seen.extensions]
    enabling = seen.enabling[1].type if seen.enabling else None
    foreign = ExtensionType.MOBILE_FOREIGN_AUTHENTICATION

    def stands_behind(kind: ExtensionType, other: int | None) -> bool:
        return other in kinds and kinds.index(kind) > kinds.index(other)

    nai, style = (
        ExtensionType.MOBILE_NODE_NAI,
        ExtensionType.ENCAPSULATING_DELIVERY_STYLE,
    )
    if nai in kinds and (stands_behind(nai, enabling) or stands_behind(nai, foreign)):
        yield NAI_01, "the NAI stands behind an authentication"
    if style not in kinds:
        return
    if not seen.packet.flags & RequestFlag.T:
        yield RT_03, "encapsulating delivery without reverse tunnelling (T)"
    if not stands_behind(style, enabling) or stands_behind(style, foreign):
        wanted = "behind the mobile-home and before the mobile-foreign authentication"
        yield RT_03, f"encapsulating delivery does not stand {wanted}"


def check_reply(seen: Observation) -> Deviations:
    """Check a reply by itself. RFC 5944 section 3.8.3."""
    code = REPLY_CODES.get(seen.packet.code)
    ours = code is None or code.issuer in (Issuer.HA, Issuer.ACCEPT)
    if ours and seen.enabling is None:
        yield MN_31, "a home agent's reply without authentication for the mobile node"
    yield from _check_order(seen, ExtensionType.FOREIGN_HOME_AUTHENTICATION, HA_27)
    foreign = seen.extension(ExtensionType.FOREIGN_HOME_AUTHENTICATION)
    if foreign is not None and _is_deregistration(seen):
        yield C_3, "foreign-home authentication in the reply to a deregistration"


def _is_deregistration(seen: Observation) -> bool:
    granted = seen.packet.code in (
        ReplyCode.ACCEPTED,
        ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS,
    )
    return granted and seen.packet.lifetime == LIFETIME_DEREGISTER


def _check_order(seen: Observation, last: ExtensionType, rule: Rule) -> Deviations:
    """Check that the authentication of the hop comes behind that of the node."""
    kinds = [extension.type for _, extension in seen.authentications]
    if last in kinds and kinds.index(last) != len(kinds) - 1:
        yield rule, f"{short_name(last)} is not the last authentication"
