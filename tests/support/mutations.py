# SPDX-License-Identifier: GPL-2.0-only
"""Random packets of every layer, and what an attacker or a bad link makes of them.

A `Sample` is whole; `mutated()` damages what lies behind its first bytes: they choose
the layer, and the rest is what that layer has to bear.
"""

import dataclasses
import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import NoPayload, Packet, Raw

from scapy_mip.base import MIP, MIPMessage, message_classes
from scapy_mip.discovery import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPRouterEntry,
    icmp_classes,
)
from scapy_mip.discovery_extensions import (
    MIPDiscoveryExtension,
    discovery_extension_classes,
)
from scapy_mip.encap import MIPMinimalEncapsulation
from scapy_mip.tunneldata import MIPTunnelData
from support.strategies import length_offsets, random_extension, random_value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A whole packet and what there is to know about its bytes."""

    data: bytes
    dissect: Callable[[bytes], Packet]
    """The layer that reads them."""
    kept: int
    """First bytes that a mutation leaves alone."""
    lengths: tuple[int, ...] = ()
    """Where a byte says how long something is."""


def filled(cls: type[Packet], rng: random.Random, keep: set[str]) -> Packet:
    """Return a packet with random values in all fields but those to keep."""
    return cls(
        **{
            field.name: random_value(field, rng)
            for field in cls.fields_desc
            if field.name not in keep | {"type", "length", "extensions", "options"}
        }
    )


def control(rng: random.Random) -> Sample:
    """Make a message of any type but tunnel data, with up to five extensions."""
    classes = [cls for cls in message_classes().values() if cls is not MIPTunnelData]
    message = filled(rng.choice(classes), rng, {"opaque"})
    lengths: tuple[int, ...] = ()
    if isinstance(message, MIPMessage):
        message.extensions = [random_extension(rng) for _n in range(rng.randrange(6))]
        lengths = tuple(length_offsets(message))
    else:
        message /= Raw(rng.randbytes(rng.randrange(40)))
    return Sample(data=bytes(message), dissect=MIP, kept=1, lengths=lengths)


def discovery(rng: random.Random) -> Sample:
    """Make an ICMP message 9, 10 or 41 with up to five extensions or options."""
    cls = rng.choice([*icmp_classes().values()])
    message = filled(cls, rng, {"num_addrs", "addr_entry_size", "entries", "checksum"})
    lengths = []
    if cls is MIPAgentAdvertisement:
        routers = range(rng.randrange(4))
        message.entries = [filled(MIPRouterEntry, rng, {"more"}) for _n in routers]
        lengths = [4, 5]
    at = len(bytes(message))
    for _n in range(rng.randrange(6)):
        one = random_discovery_extension(rng)
        message /= one
        lengths.append(at + 1)
        at += len(bytes(one))
    return Sample(
        data=bytes(message),
        dissect=MIPICMP,
        kept=1,
        lengths=tuple(place for place in lengths if place < at),
    )


def random_discovery_extension(rng: random.Random) -> MIPDiscoveryExtension:
    """Make one extension of router discovery, or option of fast handovers."""
    made = filled(rng.choice([*discovery_extension_classes().values()]), rng, set())
    assert isinstance(made, MIPDiscoveryExtension)
    return made


def inside(rng: random.Random, depth: int = 3) -> Packet:
    """Make a packet for a tunnel, often with further tunnels inside."""
    ends = {"src": "10.1.1.1", "dst": "10.1.1.2"}
    data = Raw(rng.randbytes(rng.randrange(20)))
    ip = IP(**ends)
    plain: list[Callable[[], Packet]] = [
        lambda: ip / UDP(sport=5, dport=6) / data,
        lambda: ip / TCP(options=[("MSS", 1460), ("SAckOK", b"")]) / data,
        lambda: ip / ICMP() / data,
        lambda: IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5) / data,
        lambda: GRE(key_present=1, key=7) / ip / data,
    ]
    nested: list[Callable[[], Packet]] = [
        lambda: ip / inside(rng, depth - 1),
        lambda: GRE() / ip / UDP(sport=5, dport=434) / tunnel_data(rng, depth - 1),
        lambda: minimal_header(rng) / inside(rng, depth - 1),
        lambda: ip / UDP(sport=5, dport=434) / tunnel_data(rng, depth - 1),
        lambda: ip / UDP(sport=5, dport=434) / MIP(control(rng).data),
    ]
    return rng.choice(plain if depth == 0 else plain + nested)()


def minimal_header(rng: random.Random) -> MIPMinimalEncapsulation:
    """Make a header of minimal encapsulation, with or without the source."""
    ends = {"original_destination": "10.1.1.2"}
    if rng.random() < 0.5:
        ends["original_source"] = "10.1.1.1"
    return MIPMinimalEncapsulation(**ends)


def tunnel_data(rng: random.Random, depth: int = 3) -> Packet:
    """Make tunnel data with a packet inside."""
    return MIPTunnelData(reserved=rng.getrandbits(16)) / inside(rng, depth)


def tunnelled(rng: random.Random) -> Sample:
    """Make tunnel data, with an inner header that a mutation may leave alone."""
    return Sample(
        data=bytes(tunnel_data(rng)), dissect=MIP, kept=rng.choice((1, 4, 24))
    )


def minimal(rng: random.Random) -> Sample:
    """Make minimal encapsulation without the outer IP header."""
    return Sample(
        data=bytes(minimal_header(rng) / inside(rng)),
        dissect=MIPMinimalEncapsulation,
        kept=rng.choice((1, 8, 12)),
    )


def framed(rng: random.Random) -> Sample:
    """Make an Ethernet frame with any of the others inside."""
    inner = rng.choice((control, discovery, tunnelled, minimal))(rng)
    below: Packet = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / IP(
        src="10.0.0.1", dst="10.0.0.2"
    )
    if inner.dissect is MIP:
        below /= UDP(sport=5000, dport=434)
    elif inner.dissect is MIPICMP:
        below[IP].proto = 1
    else:
        below[IP].proto = 55
    at = len(below)
    return Sample(
        data=bytes(below / Raw(inner.data)),
        dissect=Ether,
        kept=at + max(inner.kept, 1),
        lengths=tuple(at + place for place in inner.lengths),
    )


def mutated(rng: random.Random, sample: Sample, other: bytes) -> bytes:
    """Return the sample's bytes, damaged in up to three ways.

    :param other: bytes of another packet, which may end up inside this one.
    """
    data, kept = sample.data, min(sample.kept, len(sample.data))
    for _time in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.randrange(kept, len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + rng.randbytes(rng.randrange(48))
        elif kind == 2:
            changed = rng.randbytes(rng.randrange(1, 4))
            data = data[:at] + changed + data[at + len(changed) :]
        elif kind == 3:
            data = data[:at] + other + data[at:]
        elif kind == 4:
            data += data[at:]
        else:
            data = lying(rng, data, sample.lengths)
    return data


def lying(rng: random.Random, data: bytes, places: tuple[int, ...]) -> bytes:
    """Return the bytes with another value where a length is, often almost right."""
    there = [place for place in places if place < len(data)]
    if not there:
        return data
    at = rng.choice(there)
    told = data[at]
    lie = rng.choice((rng.getrandbits(8), (told - 1) % 256, (told + 1) % 256, 0, 255))
    return data[:at] + bytes([lie]) + data[at + 1 :]


def layers(packet: Packet) -> Iterator[Packet]:
    """Give a packet and its payloads, outermost first."""
    while not isinstance(packet, NoPayload):
        yield packet
        packet = packet.payload


def own_layers(packet: Packet) -> list[Packet]:
    """Return the layers of this project, with the packets in their lists."""
    found = []
    for layer in layers(packet):
        if not type(layer).__module__.startswith("scapy_mip"):
            continue
        found.append(layer)
        for value in layer.fields.values():
            if isinstance(value, list):
                found += [one for one in value if isinstance(one, Packet)]
    return found


def forget_bytes(packet: Packet) -> None:
    """Make the layers of this project build from their fields again.

    Those of Scapy keep what they received, which their fields cannot always tell.
    """
    for layer in own_layers(packet):
        layer.raw_packet_cache = layer.raw_packet_cache_fields = None


def check(dissect: Callable[[bytes], Packet], data: bytes, *, thoroughly: bool) -> None:
    """Read bytes, and check that none is lost, however the packet is built or shown."""
    packet = dissect(data)
    assert bytes(packet) == data
    if isinstance(packet, MIPMessage):
        listed = b"".join(bytes(one) for one in packet.extensions)
        assert listed == data[packet.fixed_size :]
    assert packet.summary()
    if thoroughly:
        assert packet.show(dump=True)
        assert packet.command()
        assert packet.json()
        packet.hashret()
        packet.answers(packet)
        assert bytes(packet.copy()) == data
    forget_bytes(packet)
    assert bytes(packet) == data


@functools.cache
def adversarial(size: int) -> dict[str, tuple[Any, bytes]]:
    """Return datagrams of about `size` bytes that cost as much as they can."""
    request = bytes(message_classes()[1]())
    advertisement = bytes(MIPAgentAdvertisement())
    records = bytes([50, 1]) + ((size - 28) // 14 * 14).to_bytes(2, "big")
    ip = bytes(IP(src="10.0.0.1", dst="10.0.0.2", proto=4, len=size))
    minimal_55 = bytes(MIPMinimalEncapsulation(protocol=55))
    minimal_4 = bytes(MIPMinimalEncapsulation(protocol=4))
    data_4, data_55 = (bytes(MIPTunnelData(next_header=one)) for one in (4, 55))
    data_udp = "04110000 000501b2ffff0000"
    patterns: dict[str, tuple[Any, bytes, str | bytes]] = {
        "padding": (MIP, request, "00"),
        "unknown extensions": (MIP, request, "c800"),
        "empty names": (MIP, request, "8300"),
        "long extensions": (MIP, request, "7f000000"),
        "long types sent short": (MIP, request, "2f020101"),
        "subtypes": (MIP, request, "98020300"),
        "lists of addresses": (MIP, request, "3106030001020304"),
        "items of vendors": (MIP, request, "860a00000000 0009000e0005"),
        "records": (MIP, request + records, "180a0101 086162636465666768 00"),
        "lengths up to the end": (MIP, request, "20ff"),
        "padding of advertisements": (MIPICMP, advertisement, "00"),
        "extensions of advertisements": (MIPICMP, advertisement, "1800"),
        "options": (MIPICMP, bytes([41, 0, 0, 0, 6, 0, 0, 0]), "1501010000000000"),
        "tunnel data in tunnel data": (MIP, b"", data_udp),
        "headers of tunnel data": (MIP, b"", "04040000"),
        "minimal in minimal": (MIPMinimalEncapsulation, b"", minimal_55),
        "minimal in tunnel data": (MIP, data_55, minimal_55),
        "IP in IP in tunnel data": (MIP, data_4, ip),
        "IP in IP in minimal": (MIPMinimalEncapsulation, minimal_4, ip),
    }
    found = {}
    for name, (dissect, start, pattern) in patterns.items():
        unit = pattern if isinstance(pattern, bytes) else bytes.fromhex(pattern)
        found[name] = dissect, start + unit * ((size - len(start)) // len(unit))
    return found
