# SPDX-License-Identifier: GPL-2.0-only
"""From bytes to typed values and back: the only place where engines meet Scapy.

Everything behind this module is typed; Scapy's `Any` ends here. Judgement stays with
the engines: a view says what a message is, not whether it is welcome.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from mip_agents.protocol.values import Value
from scapy_mip.auth import SPI_BYTES, SecurityAssociation, header_size
from scapy_mip.const import ExtensionType, MessageType
from scapy_mip.extensions.auth import (
    MIPAuthentication,
    MIPForeignHomeAuthentication,
    MIPMobileForeignAuthentication,
    MIPMobileHomeAuthentication,
)
from scapy_mip.extensions.base import (
    MIPExtension,
    MIPLongExtension,
    dissect_extension,
    extension_name,
    frame,
    is_skippable,
)
from scapy_mip.extensions.identity import MIPMobileNodeNAI
from scapy_mip.extensions.tunnels import MIPEncapsulatingDeliveryStyle, MIPGREKey
from scapy_mip.messages import message_name
from scapy_mip.registration import MIPRegistrationReply, MIPRegistrationRequest
from scapy_mip.signed import Part, signed, with_parts
from scapy_mip.values import Place, Reader, field_reader, field_writer

_REQUEST_FIELDS = (
    "flags",
    "lifetime",
    "home_address",
    "home_agent",
    "care_of_address",
    "identification",
)
_read_request = field_reader(MIPRegistrationRequest, *_REQUEST_FIELDS, "extensions")
_read_fixed_request = field_reader(MIPRegistrationRequest, *_REQUEST_FIELDS)
_write_request = field_writer(MIPRegistrationRequest, *_REQUEST_FIELDS)
_read_mobile_home = field_reader(MIPMobileHomeAuthentication, "type", "length", "spi")
_read_reply = field_reader(
    MIPRegistrationReply,
    "code",
    "lifetime",
    "home_address",
    "home_agent",
    "identification",
    "extensions",
)
_write_reply = field_writer(
    MIPRegistrationReply,
    "code",
    "lifetime",
    "home_address",
    "home_agent",
    "identification",
)
_REQUEST = MessageType.REGISTRATION_REQUEST.value
_REPLY = MessageType.REGISTRATION_REPLY.value

_PLAIN = {MIPExtension, MIPLongExtension}
"""What an extension is shown as when no class knows it."""

UNDERSTOOD = frozenset(
    {
        ExtensionType.ONE_BYTE_PADDING,
        ExtensionType.MOBILE_HOME_AUTHENTICATION,
        ExtensionType.MOBILE_FOREIGN_AUTHENTICATION,
        ExtensionType.FOREIGN_HOME_AUTHENTICATION,
        ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION,
        ExtensionType.GRE_KEY,
        ExtensionType.MOBILE_NODE_NAI,
    }
)
"""The types that the engines can judge. That a layer shows an extension does not make
an agent understand it: one below 128 that is not named here discards the message."""

MAX_EXTENSIONS = 64
"""More than that stand in no message; strangers could make us build thousands."""

AUTHORIZING = (
    ExtensionType.MOBILE_HOME_AUTHENTICATION.value,
    ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION.value,
)
"""Authorization-enabling extensions. RFC 5944 section 1.6; all subtypes of 36 count,
and without AAA they are verified with the node's own associations (HA-08)."""

_GRE_KEY_SIZE = 8
_MOBILE_HOME = ExtensionType.MOBILE_HOME_AUTHENTICATION.value
_MOBILE_HOME_ALONE = (_MOBILE_HOME,)
_HEADER_SIZE = header_size(_MOBILE_HOME)
_REQUEST_SIZE = MIPRegistrationRequest.fixed_size
_REPLY_SIZE = MIPRegistrationReply.fixed_size
"""Bytes in front of the extensions."""
_USUAL_LEAST = _REQUEST_SIZE + _HEADER_SIZE + SPI_BYTES
"""Bytes of a request with an authentication extension that has no authenticator."""
_LEAST_WITH_TOO_MANY = min(_REQUEST_SIZE, _REPLY_SIZE) + MAX_EXTENSIONS
"""Bytes that a message with too many extensions has more than."""


class _SpiReaders(dict[type, Reader | None]):
    """What reads the SPI, by the class of an extension; None: it authenticates not."""

    def __missing__(self, cls: Any) -> Reader | None:
        signs = issubclass(cls, MIPAuthentication)
        self[cls] = found = field_reader(cls, "spi") if signs else None
        return found


_SPI_READERS = _SpiReaders()


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is no message that an engine can judge; it is dropped and counted."""

    rule: str
    """Why, as a rule of the checklist (`COM-01`: unknown non-skippable extension)."""
    reason: str
    """One phrase for the log."""


class Authentication(Value, frozen=True):
    """One authentication extension of a received message."""

    type: int
    """32 mobile-home, 33 mobile-foreign, 34 foreign-home, 36 generalized."""
    spi: int
    offset: int
    """Where the extension starts in the message: its coverage follows from it."""


class Request(Value, frozen=True):
    """A Registration Request. RFC 5944 section 3.3."""

    data: bytes
    """The message as received; authenticators are verified over it."""
    flags: int
    lifetime: int
    home_address: str
    home_agent: str
    care_of_address: str
    identification: int
    extension_types: tuple[int, ...]
    """In wire order."""
    authentications: tuple[Authentication, ...]
    """In wire order."""
    nai: str | None = None
    """Of the mobile node, where it stands before the first authentication (NAI-01)."""
    gre_key: int | None = None
    """That the foreign agent wants in the packets to it; 0: we assign one (TUN-08)."""


class Reply(Value, frozen=True):
    """A Registration Reply. RFC 5944 section 3.4."""

    data: bytes
    code: int
    lifetime: int
    home_address: str
    home_agent: str
    identification: int
    extension_types: tuple[int, ...]
    authentications: tuple[Authentication, ...]
    nai: str | None = None
    gre_key: int | None = None
    """That the home agent wants in the packets to it (TUN-08)."""


def _has_too_many_extensions(data: bytes) -> bool:
    """Count by headers alone."""
    start = _REQUEST_SIZE if data[0] == _REQUEST else _REPLY_SIZE
    stop = len(data)
    count = 0
    while start < stop and count <= MAX_EXTENSIONS:
        start = frame(data, start, stop)[1]
        count += 1
    return count > MAX_EXTENSIONS


def parse(data: bytes) -> Request | Reply | Malformed:
    """Turn a UDP payload into a view.

    A message type that is neither request nor reply, a message that is cut short, an
    extension that runs over the end and an unknown extension below 128 (COM-01) are
    `Malformed`; unknown extensions from 128 on are skipped (COM-02). Never raises.
    """
    kind = data[0] if data else None
    if kind != _REQUEST and kind != _REPLY:
        return _not_for_us(data)
    if len(data) > _LEAST_WITH_TOO_MANY and _has_too_many_extensions(data):
        return Malformed("COM-03", f"more than {MAX_EXTENSIONS} extensions")
    try:
        if kind == _REPLY:
            return _reply(data)
        return _usual_request(data) or _request(data)
    except struct.error:
        return _not_for_us(data)


def _usual_request(data: bytes) -> Request | None:
    """Return a request with a mobile-home authentication extension and no other.

    None where it is not like that. Nearly all are, and this takes half the time.
    """
    size = len(data)
    if size < _USUAL_LEAST:
        return None
    kind, length, spi = _read_mobile_home(data, _REQUEST_SIZE)
    if kind != _MOBILE_HOME or _REQUEST_SIZE + _HEADER_SIZE + length != size:
        return None
    flags, lifetime, home, home_agent, care_of, number = _read_fixed_request(data)
    return Request(
        data,
        flags,
        lifetime,
        home,
        home_agent,
        care_of,
        number,
        _MOBILE_HOME_ALONE,
        (Authentication(kind, spi, _REQUEST_SIZE),),
    )


def _request(data: bytes) -> Request | Malformed:
    flags, lifetime, home, home_agent, care_of, number, places = _read_request(data)
    known = _judge(data, places)
    if isinstance(known, Malformed):
        return known
    types, authentications, nai, gre_key = known
    return Request(
        data,
        flags,
        lifetime,
        home,
        home_agent,
        care_of,
        number,
        types,
        authentications,
        nai,
        gre_key,
    )


def _reply(data: bytes) -> Reply | Malformed:
    code, lifetime, home, home_agent, number, places = _read_reply(data)
    known = _judge(data, places)
    if isinstance(known, Malformed):
        return known
    return Reply(data, code, lifetime, home, home_agent, number, *known)


_Known = tuple[tuple[int, ...], tuple[Authentication, ...], str | None, int | None]
"""Types, authentications, NAI and GRE key: what a view shows of the extensions."""


def _judge(data: bytes, places: list[Place]) -> _Known | Malformed:
    """Say what stands in the extensions of a message."""
    types: list[int] = []
    authentications: list[Authentication] = []
    nai: str | None = None
    gre_key: int | None = None
    for cls, start, end in places:
        kind = data[start]
        read_spi = _SPI_READERS[cls]
        if read_spi is not None:
            (spi,) = read_spi(data, start)
            authentications.append(Authentication(kind, spi, start))
        elif not issubclass(cls, MIPExtension):
            return Malformed("COM-03", f"one stray byte at {start}")
        elif cls in _PLAIN or kind not in UNDERSTOOD:
            where = f"{extension_name(kind)} at byte {start}"
            if _packet(data, start).is_cut:
                return Malformed("COM-03", f"{where} runs over the end")
            if not is_skippable(kind):
                return Malformed("COM-01", f"{where} is not understood")
        elif cls is MIPMobileNodeNAI:
            if nai is None and not authentications:
                nai = _packet(data, start).nai
        elif cls is MIPGREKey:
            if end - start != _GRE_KEY_SIZE:
                return Malformed("TUN-08", f"GRE key of wrong length at byte {start}")
            gre_key = _packet(data, start).key_identifier
        types.append(kind)
    return tuple(types), tuple(authentications), nai, gre_key


def _packet(data: bytes, start: int) -> Any:
    """Return an extension as a packet."""
    return dissect_extension(data, start, len(data))[0]


def authorized_end(message: Request | Reply) -> int | None:
    """Return where the last authorization-enabling extension ends.

    What stands before that is between node and home agent, and a foreign agent must not
    touch it (FA-16, FA-26); what stands behind is for the foreign agent. None where
    there is no such extension.
    """
    offsets = [a.offset for a in message.authentications if a.type in AUTHORIZING]
    if not offsets:
        return None
    return frame(message.data, offsets[-1], len(message.data))[1]


def extension_types_in(data: bytes, start: int) -> list[int]:
    """Return the types of the extensions from byte `start` of a message on."""
    types = []
    while start < len(data):
        types.append(data[start])
        start = frame(data, start, len(data))[1]
    return types


def _not_for_us(data: bytes) -> Malformed:
    name = message_name(data[0]) if data else "empty datagram"
    return Malformed("COM-03", f"{name}: cut short, or not for this agent")


def build_request(
    *,
    flags: int,
    lifetime: int,
    home_address: str,
    home_agent: str,
    care_of_address: str,
    identification: int,
    mobile_home: SecurityAssociation,
    encapsulating: bool = False,
    mobile_foreign: SecurityAssociation | None = None,
) -> bytes:
    """Make a request: what is for the home agent, then what is for a foreign agent.

    :param encapsulating: ask for the encapsulating delivery style (RT-03).
    :param mobile_foreign: what is shared with the foreign agent, if anything (MN-26).
    """
    parts: list[Part] = [(MIPMobileHomeAuthentication, mobile_home)]
    if encapsulating:
        parts.append(MIPEncapsulatingDeliveryStyle())
    if mobile_foreign is not None:
        parts.append((MIPMobileForeignAuthentication, mobile_foreign))
    fixed = _write_request(
        flags, lifetime, home_address, home_agent, care_of_address, identification
    )
    return with_parts(fixed, parts)


def build_reply(
    code: int,
    lifetime: int,
    home_address: str,
    home_agent: str,
    identification: int,
    mobile_home: SecurityAssociation | None,
    foreign_home: SecurityAssociation | None = None,
    nai: str | None = None,
    gre_key: int | None = None,
) -> bytes:
    """Make a reply: what is for the node, its authentication, what is for the agent.

    Each part is left out where it is None (HA-27 gives the order). The NAI is the
    node's, the GRE key the foreign agent's.
    """
    data = _write_reply(code, lifetime, home_address, home_agent, identification)
    if nai is not None:
        data += MIPMobileNodeNAI(nai=nai).build_after(data)
    if mobile_home is not None:
        data = signed(data, MIPMobileHomeAuthentication, mobile_home)
    if gre_key is not None:
        data += MIPGREKey(key_identifier=gre_key).build_after(data)
    if foreign_home is not None:
        data = signed(data, MIPForeignHomeAuthentication, foreign_home)
    return data


def append(
    message: bytes,
    *,
    gre_key: int | None = None,
    foreign_home: SecurityAssociation | None = None,
    mobile_foreign: SecurityAssociation | None = None,
) -> bytes:
    """Put a foreign agent's extensions behind a message, those that are not None."""
    if gre_key is not None:
        message += bytes(MIPGREKey(key_identifier=gre_key))
    for cls, association in (
        (MIPForeignHomeAuthentication, foreign_home),
        (MIPMobileForeignAuthentication, mobile_foreign),
    ):
        if association is not None:
            message += cls(association=association).build_after(message)
    return message
