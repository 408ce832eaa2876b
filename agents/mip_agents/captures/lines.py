# SPDX-License-Identifier: GPL-2.0-only
"""What a packet is, in a few words: the lines of `mip decode`.

`summary` says it of what has been decoded. The bulk of a capture are registrations and
tunnelled packets without anything odd about them; `usual` says the same of their bytes,
ten times as fast.
"""

from __future__ import annotations

from functools import lru_cache
from socket import inet_ntoa
from struct import Struct
from typing import Any, NamedTuple

from scapy_mip.base import message_name
from scapy_mip.const import (
    MIP_PORT,
    REPLY_CODES,
    Encapsulation,
    ExtensionType,
    MessageType,
    describe_code,
    flag_letters,
)
from scapy_mip.extensions.auth import short_name

_ICMP, _UDP, _IPIP = 1, 17, int(Encapsulation.IPIP)
_ICMP_HEADER_BYTES = 8
_ICMP_ERRORS: dict[int, str] = {
    3: "dest-unreach",
    4: "source-quench",
    5: "redirect",
    11: "time-exceeded",
    12: "parameter-problem",
}


def summary(record: dict[str, Any]) -> str:
    """Say in one line what a packet is; what goes without saying is left out."""
    fields = record["fields"]
    named: str = record["message"]
    text = named
    if "inner_src" in fields:
        text += f" {fields['inner_src']} > {fields['inner_dst']}"
    elif "home_address" not in fields:
        pass  # also a registration that is cut short
    elif named == "registration_request":
        text = f"RRQ {fields['home_address']} at {fields['care_of_address']}"
        if fields["home_agent"] != record["dst"]:
            text += f" HA {fields['home_agent']}"
        text += f" {fields['lifetime']} s {fields['flags']}".rstrip()
    elif named == "registration_reply":
        text = _reply(fields["home_address"], fields["lifetime"], fields["code"])
    for extension in record["extensions"]:
        shown = extension["fields"]
        if "registration_lifetime" in shown:
            text += (
                f" {shown['flags']} {shown['registration_lifetime']} s"
                f" sequence {shown['sequence_number']}"
            )
            text += "".join(f" CoA {one}" for one in shown["care_of_addresses"])
        if "verdict" in extension:
            name = short_name(extension["type"])
            text += f" {name} {extension['fields']['spi']} {extension['verdict']}"
    if "incomplete" in record:
        part = record["incomplete"]
        text += f" ({part['why']}: {part['bytes']} of {part['length']} bytes)"
    return text


def _reply(home_address: str, lifetime: int, code: int) -> str:
    known = REPLY_CODES.get(code)
    granted = known is None or known.accepted
    # In a denial it has no meaning. RFC 5944 section 3.4.
    seconds = f" {lifetime} s" if granted else ""
    return f"RRP {home_address}{seconds} code {code} ({describe_code(code)})"


def icmp_error(packet: bytes) -> str | None:
    """Describe an ICMP error about a datagram of Mobile IP, which quotes its start.

    None for any other packet. It is no message of Mobile IP, and no object in JSON.
    """
    error = packet[(packet[0] & 15) * 4 :]
    quoted = error[_ICMP_HEADER_BYTES:]
    if packet[9] != _ICMP or len(quoted) < 28 or error[0] not in _ICMP_ERRORS:
        return None
    udp = quoted[(quoted[0] & 15) * 4 :]
    ports = int.from_bytes(udp[:2], "big"), int.from_bytes(udp[2:4], "big")
    if quoted[0] >> 4 != 4 or quoted[9] != _UDP or MIP_PORT not in ports:
        return None
    from scapy.layers.inet import icmpcodes

    kind = _ICMP_ERRORS[error[0]]
    named = icmpcodes.get(error[0], {}).get(error[1], kind)
    about = f"{inet_ntoa(quoted[12:16])} > {inet_ntoa(quoted[16:20])}"
    message = f" {message_name(udp[8])}" if len(udp) > 8 else ""
    return f"ICMP {named.replace('-', ' ')}, about {about}{message}"


class Usual(NamedTuple):
    """A packet without anything odd."""

    text: str
    """Who sends to whom, and what `summary` says."""
    message: str
    """As in `mip decode --json`."""
    code: int | None = None
    """Of a reply."""


_START = Struct("!BxHxxHxBxx4s4sHHHxxB")
"""IPv4 and UDP headers and the first byte of the message."""
_REQUEST = Struct("!xBH4s4s4s8x")
_REPLY = Struct("!xBH4s4x8x")
_PLAIN_HEADER = 0x45
_FRAGMENT = 0x3FFF
_REQUEST_TYPE = int(MessageType.REGISTRATION_REQUEST)
_REPLY_TYPE = int(MessageType.REGISTRATION_REPLY)
_AT_UDP, _AT_MESSAGE = 20, 28
_AFTER_REQUEST, _AFTER_REPLY = _AT_MESSAGE + _REQUEST.size, _AT_MESSAGE + _REPLY.size
_AUTHENTICATIONS = (
    ExtensionType.MOBILE_HOME_AUTHENTICATION,
    ExtensionType.MOBILE_FOREIGN_AUTHENTICATION,
    ExtensionType.FOREIGN_HOME_AUTHENTICATION,
)
_LEAST_LENGTH = {
    **{int(kind): 4 for kind in _AUTHENTICATIONS},
    int(ExtensionType.MOBILE_NODE_NAI): 0,
}
"""What the length of a usual extension must be at least."""


_dotted = lru_cache(1 << 14)(inet_ntoa)
"""Few captures have more addresses than that."""


def usual(packet: bytes) -> Usual | None:
    """Describe a usual IPv4 packet; None sends the caller to `decode_frame`.

    Nothing that this gives has a problem, and no key was asked about it.
    """
    if len(packet) < _START.size:
        return None
    first, total, fragment, protocol, source, target, from_port, to_port, size, kind = (
        _START.unpack_from(packet)
    )
    if first != _PLAIN_HEADER or fragment & _FRAGMENT or total > len(packet):
        return None
    if protocol == _UDP:
        if size != total - _AT_UDP or MIP_PORT not in (from_port, to_port):
            return None
        if kind == _REQUEST_TYPE and _is_usual(packet, _AFTER_REQUEST, total):
            text = _usual_request(packet, target)
            named, code = "registration_request", None
        elif kind == _REPLY_TYPE and _is_usual(packet, _AFTER_REPLY, total):
            code, lifetime, home = _REPLY.unpack_from(packet, _AT_MESSAGE)
            text = _reply(_dotted(home), lifetime, code)
            named = "registration_reply"
        else:
            return None
    elif protocol == _IPIP and total >= 40 and packet[20] >> 4 == 4:
        text = f"ip_in_ip {_dotted(packet[32:36])} > {_dotted(packet[36:40])}"
        named, code = "ip_in_ip", None
    else:
        return None
    ends = f"{_dotted(source)} > {_dotted(target)}"
    return Usual(f"{ends}  {text}", named, code)


def _usual_request(packet: bytes, destination: bytes) -> str:
    flags, lifetime, home, home_agent, care_of = _REQUEST.unpack_from(
        packet, _AT_MESSAGE
    )
    text = f"RRQ {_dotted(home)} at {_dotted(care_of)}"
    if home_agent != destination:
        text += f" HA {_dotted(home_agent)}"
    return f"{text} {lifetime} s {flag_letters(flags)}".rstrip()


def _is_usual(packet: bytes, at: int, end: int) -> bool:
    """Return whether whole extensions of the usual types stand there."""
    while at + 2 <= end:
        least = _LEAST_LENGTH.get(packet[at])
        length = packet[at + 1]
        if least is None or length < least:
            return False
        at += 2 + length
    return at == end
