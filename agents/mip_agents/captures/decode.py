# SPDX-License-Identifier: GPL-2.0-only
"""From frames to the JSON objects of `mip decode`: one for each Mobile IP packet.

Messages are dissected by the layers of `scapy_mip`; what carries them is looked at by
offsets, since dissecting every frame with Scapy costs twenty times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from socket import inet_ntoa
from typing import Any

from scapy.fields import FlagValue
from scapy.packet import Packet

from mip_agents.captures.reader import Frame, read_frames
from scapy_mip.const import (
    MIP_PORT,
    Encapsulation,
    ExtensionType,
    MessageType,
)
from scapy_mip.discovery import MIPICMP, MIPAgentAdvertisement, MIPAgentSolicitation
from scapy_mip.discovery_extensions import (
    MIPDiscoveryExtension,
    discovery_extension_name,
)
from scapy_mip.extensions.auth import MIPAuthentication
from scapy_mip.extensions.base import MIPExtension, extension_name, is_skippable
from scapy_mip.keyring import KeyRing, named_addresses
from scapy_mip.messages import MIP, MIPMessage, message_name

_ICMP, _UDP = 1, 17
_ROUTER_ADVERTISEMENT, _ROUTER_SOLICITATION = 9, 10
_ROUTER_DISCOVERY_BYTES = 8
_MORE_FRAGMENTS = 0x20
_UDP_HEADER_BYTES = 8
_RULE_OF_FORM = "COM-03"
_CODE_NO_COMMON_TRAFFIC = 16
_AGENT_ADVERTISEMENT_EXTENSION = 16
_TUNNELS: dict[int, str] = {
    Encapsulation.IPIP: "ip_in_ip",
    Encapsulation.GRE: "gre",
    Encapsulation.MINIMAL: "minimal_encapsulation",
}
_CARRIERS = frozenset((_ICMP, _UDP, *_TUNNELS))
_GRE_IPV4 = 0x0800
_HIDDEN = {"type", "extensions"}
_WIDE_BYTES = 8
"""Numbers of this size are shown in hex, as `identification`."""

_KNOWN_EXTENSIONS = frozenset(int(known) for known in ExtensionType)


def decode_file(
    path: str | Path, keys: KeyRing | None = None
) -> Iterator[tuple[dict[str, Any], Packet | None]]:
    """Give what `decode_frame` says of each packet that is about Mobile IP.

    :param path: `-` is standard input.
    :raises CaptureError: it cannot be read, or not to its end.
    """
    for frame in read_frames(path):
        found = decode_frame(frame, keys)
        if found is not None:
            yield found


def decode_frame(
    frame: Frame, keys: KeyRing | None = None
) -> tuple[dict[str, Any], Packet | None] | None:
    """Decode one IPv4 packet; None where it is not about Mobile IP.

    The object is that of `mip decode --json` without `file`. It has `incomplete` where
    the rest is in other fragments, or was cut by the snap length.
    """
    data = frame.packet
    protocol = data[9]
    if int.from_bytes(data[6:8], "big") & 0x1FFF or protocol not in _CARRIERS:
        return None  # a later fragment has no header of its own
    header = (data[0] & 15) * 4
    total = int.from_bytes(data[2:4], "big")
    body = data[header : total if total >= header else len(data)]
    base = {
        "frame": frame.number,
        "time": round(frame.time, 6),
        "src": _address(data[12:16]),
        "dst": _address(data[16:20]),
    }
    if protocol == _UDP:
        return _decode_udp(base, data, body, keys)
    if protocol == _ICMP:
        return _decode_icmp(base, body)
    record = _decode_tunnel(base, protocol, data[12:20], body)
    return (record, None) if record else None


def _decode_udp(
    base: dict[str, Any], packet: bytes, body: bytes, keys: KeyRing | None
) -> tuple[dict[str, Any], Packet | None] | None:
    if len(body) < 8:
        return None
    source, destination, length = (
        int.from_bytes(body[at : at + 2], "big") for at in (0, 2, 4)
    )
    if MIP_PORT not in (source, destination):
        return None
    data = body[8 : length if length >= 8 else len(body)]
    shown, layer = decode_message(data, {base["src"], base["dst"]}, keys)
    record = {**base, "sport": source, "dport": destination, **shown}
    why = _why_incomplete(packet) if len(body) < length else None
    if why is not None:
        record["incomplete"] = {
            "why": why,
            "bytes": len(data),
            "length": length - _UDP_HEADER_BYTES,
        }
        # Whoever sent it is not to blame for where it ends.
        record["problems"] = [
            one for one in record["problems"] if one["rule"] != _RULE_OF_FORM
        ]
    return record, layer


def _why_incomplete(packet: bytes) -> str | None:
    if packet[6] & _MORE_FRAGMENTS:
        return "fragment"
    total = int.from_bytes(packet[2:4], "big")
    return "truncated" if total > len(packet) else None


def decode_message(
    data: bytes, peers: set[str], keys: KeyRing | None = None
) -> tuple[dict[str, Any], Packet | None]:
    """Decode the payload of a datagram, from `message` to `problems`.

    :param peers: the addresses that it travels between, for choosing keys.
    """
    record: dict[str, Any]
    if not data:
        problem = _problem(_RULE_OF_FORM, "empty datagram", "RFC 5944 3.1")
        record = {"message": "empty", "fields": {}, "extensions": []}
        return {**record, "problems": [problem]}, None
    if data[0] == MessageType.TUNNEL_DATA:
        inner = {"next_header": data[1] if len(data) > 1 else None}
        if len(data) >= 24 and data[4] >> 4 == 4:
            inner |= _inner(data[4:])
        record = {"message": "mip_tunnel_data", "type": data[0], "fields": inner}
        return {**record, "extensions": [], "problems": []}, None
    packet: Any = MIP(data)
    problems: list[dict[str, str]] = []
    if not isinstance(packet, MIPMessage):
        record = {"message": message_name(data[0]), "type": data[0]}
        record |= {"fields": {"data": data[1:].hex()}, "extensions": []}
        if data[0] in (
            MessageType.REGISTRATION_REQUEST,
            MessageType.REGISTRATION_REPLY,
        ):
            problems.append(
                _problem(_RULE_OF_FORM, "message is cut short", "RFC 5944 3.3")
            )
        return {**record, "problems": problems}, packet
    peers = peers | named_addresses(packet)
    extensions = []
    offset = packet.fixed_size
    for extension in packet.extensions:
        shown, found = _decode_extension(extension, data, offset, keys, peers)
        extensions.append(shown)
        if found:
            problems.append(found)
        offset += len(extension.original)
    record = {"message": message_name(packet.type), "type": packet.type}
    record |= {"fields": _fields(packet), "extensions": extensions}
    return {**record, "problems": problems}, packet


def _decode_extension(
    extension: Packet, data: bytes, offset: int, keys: KeyRing | None, peers: set[str]
) -> tuple[dict[str, Any], dict[str, str] | None]:
    if not isinstance(extension, MIPExtension):
        raw = data[offset:]
        problem = _problem(_RULE_OF_FORM, f"stray byte 0x{raw.hex()}", "RFC 5944 1.9")
        return {
            "type": raw[0],
            "name": extension_name(raw[0]),
            "fields": {"data": raw.hex()},
        }, problem
    kind = extension.type
    shown: dict[str, Any] = {
        "type": kind,
        "name": extension_name(kind),
        "fields": _fields(extension, hide_length=not extension.is_cut),
    }
    if extension.payload:
        shown["fields"]["trailing"] = bytes(extension.payload).hex()
    if extension.is_cut:
        text = f"length of {shown['name']} runs over the end of the message"
        return shown, _problem(_RULE_OF_FORM, text, "RFC 5944 1.9")
    if isinstance(extension, MIPAuthentication) and keys is not None:
        shown["verdict"] = keys.verdict(data, offset, extension.spi, peers)
    if kind not in _KNOWN_EXTENSIONS and not is_skippable(kind):
        text = f"unknown extension {kind} makes a receiver discard the message"
        return shown, _problem("COM-01", text, "RFC 5944 1.8")
    return shown, None


def _decode_icmp(
    base: dict[str, Any], body: bytes
) -> tuple[dict[str, Any], Packet] | None:
    """Decode router discovery as far as agents use it. RFC 5944 section 2.1."""
    kind = body[0] if body else None
    if kind not in (_ROUTER_ADVERTISEMENT, _ROUTER_SOLICITATION):
        return None
    packet: Any = MIPICMP(body)
    problems = []
    if kind == _ROUTER_SOLICITATION:
        named = "agent_solicitation"
        if len(body) < _ROUTER_DISCOVERY_BYTES:
            problems.append(
                _problem("AG-21", "solicitation is cut short", "RFC 1256 4.2")
            )
    else:
        named = "agent_advertisement"
        if not isinstance(packet, MIPAgentAdvertisement):
            return None  # cut short
        mobility = any(
            getattr(one, "type", None) == _AGENT_ADVERTISEMENT_EXTENSION
            for one in packet.extensions
        )
        if not mobility and packet.code != _CODE_NO_COMMON_TRAFFIC:
            return None  # a router without mobility support
        if not mobility:
            text = "agent advertisement without extension 16"
            problems.append(_problem("MN-05", text, "RFC 5944 2.4"))
    record: dict[str, Any] = {"message": named, "type": kind}
    if isinstance(packet, MIPAgentAdvertisement | MIPAgentSolicitation):
        shown = _fields(packet)
        del shown["checksum"]
        extensions = [_discovery_extension(one) for one in packet.extensions]
        record |= {"fields": shown, "extensions": extensions}
    else:
        record |= {"fields": {}, "extensions": []}
    return {**base, **record, "problems": problems}, packet


def _discovery_extension(extension: Packet) -> dict[str, Any]:
    """Show an extension of router discovery: a number space of its own (COM-04)."""
    raw = bytes(extension)
    fields = {"data": raw[1:].hex()}  # a stray byte
    if isinstance(extension, MIPDiscoveryExtension):
        fields = _fields(extension)
    named = discovery_extension_name(raw[0])
    return {"type": raw[0], "name": named, "fields": fields}


def _decode_tunnel(
    base: dict[str, Any], kind: int, outer: bytes, body: bytes
) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    if kind == Encapsulation.IPIP:
        inner = body
    elif kind == Encapsulation.GRE:
        flags = body[0] if body else 0
        # Checksum, key and sequence number take four bytes each. RFC 2784, RFC 2890.
        inner = body[4 + 4 * sum(bool(flags & bit) for bit in (0x80, 0x20, 0x10)) :]
        if int.from_bytes(body[2:4], "big") != _GRE_IPV4:
            return None
    else:
        if len(body) < 8:
            return None
        source = body[8:12] if body[1] & 0x80 and len(body) >= 12 else outer[:4]
        fields = {
            "inner_src": _address(source),
            "inner_dst": _address(body[4:8]),
            "inner_protocol": body[0],
        }
        inner = b""
    if inner:
        if len(inner) < 20 or inner[0] >> 4 != 4:
            return None
        fields = _inner(inner)
    record = {"message": _TUNNELS[kind], "type": kind, "fields": fields}
    return {**base, **record, "extensions": [], "problems": []}


def _inner(packet: bytes) -> dict[str, Any]:
    return {
        "inner_src": _address(packet[12:16]),
        "inner_dst": _address(packet[16:20]),
        "inner_protocol": packet[9],
    }


def _fields(packet: Any, hide_length: bool = True) -> dict[str, Any]:
    """Show the fields of a packet, also of one that is an element of a field.

    Nothing but reserved zeros is left out: what has no news (interfaces).
    """
    shown = {}
    names = getattr(packet, "json_names", {})
    for name in packet.fields:
        if name in _HIDDEN or (name == "length" and hide_length):
            continue
        value = getattr(packet, name)
        if value is None or (name.startswith("reserved") and not value):
            continue
        wide = packet.get_field(name).sz == _WIDE_BYTES
        shown[names.get(name, name)] = _value(value, wide)
    return shown


def _value(value: Any, wide: bool = False) -> Any:
    """Show one value as the interfaces fix it."""
    if isinstance(value, FlagValue):
        bits = range(len(value.names) - 1, -1, -1)
        return "".join(value.names[bit] for bit in bits if value >> bit & 1)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [_value(one) for one in value]
    if isinstance(value, Packet):
        return _fields(value)
    if wide and isinstance(value, int):
        return f"{value:016x}"
    return value


def _problem(rule: str, text: str, source: str) -> dict[str, str]:
    return {"rule": rule, "severity": "error", "text": text, "source": source}


def _address(data: bytes) -> str:
    return inet_ntoa(data) if len(data) == 4 else "?"
