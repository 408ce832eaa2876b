# SPDX-License-Identifier: GPL-2.0-only
"""Hypothesis strategies for messages, extensions and damaged bytes.

Everything is made through the layers. The functions that take a `random.Random` give
the same kinds of input faster, for tests that need thousands of them.
"""

import functools
import ipaddress
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from scapy.fields import (
    ConditionalField,
    Field,
    FieldListField,
    IP6Field,
    IPField,
    MACField,
    PacketListField,
    StrField,
)
from scapy.packet import Packet

from scapy_mip.base import MIPMessage
from scapy_mip.compression import RealmDictionary, prefix_bytes
from scapy_mip.const import LONG_FORM_EXTENSIONS, SENT_SHORT_EXTENSIONS
from scapy_mip.extensions import base
from scapy_mip.extensions.auth import (
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPGeneralizedMobileIPAuthentication,
)
from scapy_mip.extensions.base import (
    MIPExtension,
    MIPLongExtension,
    MIPOneBytePadding,
    extension_classes,
)
from scapy_mip.extensions.identity import MIPNAI
from scapy_mip.extensions.regional import MIPReplayProtectionStyleShort
from scapy_mip.extensions.routeopt import MIPRoutePrefixRecord
from scapy_mip.extensions.vendor import vendor_items
from scapy_mip.registration import MIPRRP, MIPRRQ

AUTHENTICATIONS = (MIPMHAE, MIPMFAE, MIPFHAE)
UNKNOWN_SHORT = sorted(
    set(range(1, 256)) - LONG_FORM_EXTENSIONS - set(extension_classes())
)
UNKNOWN_LONG = sorted(
    int(cls.extension_type)
    for cls in extension_classes().values()
    if cls.only_subtype is not None
    and cls.extension_type in LONG_FORM_EXTENSIONS - set(SENT_SHORT_EXTENSIONS)
)
UNKNOWN_SUBTYPE = 9
"""A subtype that no type of the long format has."""


def unsigned(bits: int) -> st.SearchStrategy[int]:
    """Integers that fit into `bits` bits."""
    return st.integers(0, (1 << bits) - 1)


addresses = unsigned(32).map(lambda number: str(ipaddress.IPv4Address(number)))


@functools.cache
def every_class() -> list[type[MIPExtension]]:
    """Return every extension class that dissection can give, but the plain ones."""
    return [
        *extension_classes().values(),
        *base._SENT_SHORT.values(),
        *(cls for known in base._SUBTYPES.values() for cls in known.values()),
        *vendor_items().values(),
        MIPReplayProtectionStyleShort,
    ]


def random_instance(cls: type[Packet], rng: random.Random) -> Packet:
    """Make a packet of a class with random values in all its fields."""
    values = {}
    for field in cls.fields_desc:
        if field.name in ("type", "length", "bid_count"):
            continue
        if field.name in ("subtype", "sub_type", "vendor_id", "vendor_type"):
            values |= random_kind(cls, field, rng)
            continue
        values[field.name] = random_value(field, rng)
    return cls(**values)


def random_kind(cls: type[Packet], field: Field, rng: random.Random) -> dict[str, int]:
    """Give a field that decides on the class a value that keeps the class."""
    if field.name != "subtype":
        if "vendor_value" in cls().default_fields:
            return {field.name: rng.getrandbits(8 * field.sz) | 0x8000}
        return {}
    kind = cls().type, cls.header_size
    if cls.extension_subtype is not None or cls.only_subtype is not None:
        return {}
    if cls.extension_type in SENT_SHORT_EXTENSIONS and cls.header_size == 2:
        known = SENT_SHORT_EXTENSIONS[cls.extension_type].subtypes
        return {"subtype": rng.choice(sorted(known))}
    taken = base._SUBTYPES.get(kind, {})
    return {"subtype": rng.choice(sorted(set(range(256)) - set(taken)))}


def random_value(field: Any, rng: random.Random) -> Any:
    """Make a value for a field."""
    if isinstance(field, ConditionalField):
        field = field.fld
    if isinstance(field, PacketListField):
        return [random_record(rng) for _n in range(rng.randrange(4))]
    if isinstance(field, FieldListField):
        return [random_value(field.field, rng) for _n in range(rng.randrange(4))]
    if isinstance(field, StrField):
        return rng.randbytes(rng.randrange(24))
    if isinstance(field, IPField):
        return random_address(rng)
    if isinstance(field, IP6Field):
        return str(ipaddress.IPv6Address(rng.getrandbits(128)))
    if isinstance(field, MACField):
        return rng.randbytes(6).hex(":")
    bits = field.size if hasattr(field, "size") else 8 * field.sz
    return rng.getrandbits(bits)


def random_address(rng: random.Random) -> str:
    """Make an IPv4 address."""
    return str(ipaddress.IPv4Address(rng.getrandbits(32)))


def random_record(rng: random.Random) -> MIPRoutePrefixRecord:
    """Make one record of type 50."""
    if rng.random() < 0.4:
        return MIPRoutePrefixRecord(
            flags="M",
            plen_or_info=rng.randrange(2),
            home_address=random_address(rng),
        )
    length, delta = rng.randrange(33), rng.random() < 0.4
    return MIPRoutePrefixRecord(
        flags="D" if delta else 0,
        plen_or_info=length,
        prefix=rng.randbytes(prefix_bytes(length, delta)),
        realm=RealmDictionary().compress(rng.choice(("", "a", "foo.example.com"))),
    )


authentications = st.one_of(
    *(
        st.builds(cls, spi=unsigned(32), authenticator=st.binary(max_size=40))
        for cls in AUTHENTICATIONS
    ),
    st.builds(
        MIPGeneralizedMobileIPAuthentication,
        subtype=unsigned(8),
        spi=unsigned(32),
        authenticator=st.binary(max_size=300),
    ),
)
nais = st.builds(MIPNAI, nai=st.text(max_size=40))
unknown_extensions = st.one_of(
    st.builds(
        MIPExtension, type=st.sampled_from(UNKNOWN_SHORT), data=st.binary(max_size=255)
    ),
    st.builds(
        MIPLongExtension,
        type=st.sampled_from(UNKNOWN_LONG),
        subtype=st.integers(UNKNOWN_SUBTYPE, 255),
        data=st.binary(max_size=300),
    ),
)
paddings = st.builds(MIPOneBytePadding)
registered_extensions = st.builds(
    lambda cls, seed: random_instance(cls, random.Random(seed)),
    st.sampled_from(every_class()),
    unsigned(64),
)
extensions = st.one_of(
    authentications, nais, unknown_extensions, paddings, registered_extensions
)
extension_lists = st.lists(extensions, max_size=6)

requests = st.builds(
    MIPRRQ,
    flags=unsigned(8),
    lifetime=unsigned(16),
    home_address=addresses,
    home_agent=addresses,
    care_of_address=addresses,
    identification=unsigned(64),
    extensions=extension_lists,
)
replies = st.builds(
    MIPRRP,
    code=unsigned(8),
    lifetime=unsigned(16),
    home_address=addresses,
    home_agent=addresses,
    identification=unsigned(64),
    extensions=extension_lists,
)
messages = st.one_of(requests, replies)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Bytes of a message that was cut, overwritten, or whose lengths lie."""
    message = draw(messages)
    data = bytes(message)
    kind = draw(st.sampled_from(("cut", "tail", "overwrite", "length")))
    at = draw(st.integers(0, len(data)))
    if kind == "cut":
        return data[:at]
    if kind == "tail":
        return data[:at] + draw(st.binary(max_size=64))
    if kind == "overwrite":
        changed = draw(st.binary(min_size=1, max_size=4))
        return data[:at] + changed + data[at + len(changed) :]
    places = length_offsets(message)
    if not places:
        return data
    place = draw(st.sampled_from(places))
    return data[:place] + bytes([draw(unsigned(8))]) + data[place + 1 :]


def length_offsets(message: MIPMessage) -> list[int]:
    """Where in the bytes of `message` the last byte of each extension's length is."""
    places, at = [], message.fixed_size
    for extension in message.extensions:
        if not isinstance(extension, MIPOneBytePadding):
            places.append(at + extension.header_size - 1)
        at += len(bytes(extension))
    return places


def random_extension(rng: random.Random) -> MIPExtension:
    """Make one extension of any kind."""
    body = rng.randbytes(rng.randrange(24))
    makers: tuple[Callable[[], MIPExtension], ...] = (
        lambda: MIPMHAE(spi=rng.getrandbits(32), authenticator=rng.randbytes(16)),
        lambda: rng.choice(AUTHENTICATIONS)(authenticator=body),
        lambda: MIPGeneralizedMobileIPAuthentication(
            subtype=rng.randrange(6), spi=rng.getrandbits(32), authenticator=body
        ),
        lambda: MIPNAI(nai=body),
        lambda: MIPExtension(type=rng.choice(UNKNOWN_SHORT), data=body),
        lambda: MIPLongExtension(
            type=rng.choice(UNKNOWN_LONG), subtype=UNKNOWN_SUBTYPE, data=body
        ),
        lambda: random_instance(rng.choice(every_class()), rng),
        lambda: random_instance(rng.choice(every_class()), rng),
        MIPOneBytePadding,
    )
    return rng.choice(makers)()


def random_message(rng: random.Random) -> MIPMessage:
    """Make a request or a reply with up to five extensions."""
    addresses = [random_address(rng) for _address in range(3)]
    common = {
        "lifetime": rng.getrandbits(16),
        "home_address": addresses[0],
        "home_agent": addresses[1],
        "identification": rng.getrandbits(64),
        "extensions": [random_extension(rng) for _n in range(rng.randrange(6))],
    }
    if rng.random() < 0.5:
        return MIPRRP(code=rng.getrandbits(8), **common)
    return MIPRRQ(flags=rng.getrandbits(8), care_of_address=addresses[2], **common)


def random_damage(rng: random.Random, message: MIPMessage) -> bytes:
    """Give the message's bytes, in half of the cases damaged in one or two ways."""
    data = bytes(message)
    places = length_offsets(message)
    for _time in range(rng.choice((0, 0, 1, 1, 2))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + rng.randbytes(rng.randrange(32))
        elif kind == 2 and data:
            at = rng.randrange(len(data))
            data = data[:at] + rng.randbytes(1) + data[at + 1 :]
        elif places and (at := rng.choice(places)) < len(data):
            lie = rng.choice((rng.getrandbits(8), max(data[at] - 1, 0), data[at] ^ 1))
            data = data[:at] + bytes([lie]) + data[at + 1 :]
    return data
