# SPDX-License-Identifier: GPL-2.0-only
"""Hypothesis strategies for messages, extensions and damaged bytes.

Everything is made through the layers. The functions that take a `random.Random` give
the same kinds of input faster, for tests that need thousands of them.
"""

import ipaddress
import random
from collections.abc import Callable

from hypothesis import strategies as st

from scapy_mip.base import MIPMessage
from scapy_mip.const import LONG_FORM_EXTENSIONS
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
from scapy_mip.registration import MIPRRP, MIPRRQ

AUTHENTICATIONS = (MIPMHAE, MIPMFAE, MIPFHAE)
UNKNOWN_SHORT = sorted(
    set(range(1, 256)) - LONG_FORM_EXTENSIONS - set(extension_classes())
)
UNKNOWN_LONG = sorted(LONG_FORM_EXTENSIONS - set(extension_classes()))


def unsigned(bits: int) -> st.SearchStrategy[int]:
    """Integers that fit into `bits` bits."""
    return st.integers(0, (1 << bits) - 1)


addresses = unsigned(32).map(lambda number: str(ipaddress.IPv4Address(number)))

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
        subtype=unsigned(8),
        data=st.binary(max_size=300),
    ),
)
paddings = st.builds(MIPOneBytePadding)
extensions = st.one_of(authentications, nais, unknown_extensions, paddings)
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
            type=rng.choice(UNKNOWN_LONG), subtype=rng.randrange(4), data=body
        ),
        MIPOneBytePadding,
    )
    return rng.choice(makers)()


def random_message(rng: random.Random) -> MIPMessage:
    """Make a request or a reply with up to five extensions."""
    addresses = [
        str(ipaddress.IPv4Address(rng.getrandbits(32))) for _address in range(3)
    ]
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
