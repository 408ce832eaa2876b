# SPDX-License-Identifier: GPL-2.0-only
"""Field by field against tshark, for what it is known to decode rightly."""

import datetime
import json
import random
import shutil
import subprocess

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from scapy_mip import ident
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPGeneralizedMobileIPAuthentication,
    RequestFlag,
)

TSHARK = shutil.which("tshark")
pytestmark = pytest.mark.skipif(TSHARK is None, reason="tshark is not installed")

PACKETS = 120
REPLIES_KNOWN = [0, 1, *range(64, 79), 88, *range(128, 143)]


def random_extensions(rng):
    body = rng.randbytes(rng.choice((16, 20, 32)))
    spi = rng.getrandbits(32)
    makers = [
        lambda: MIPMHAE(spi=spi, authenticator=body),
        lambda: MIPMFAE(spi=spi, authenticator=body),
        lambda: MIPFHAE(spi=spi, authenticator=body),
        lambda: MIPGeneralizedMobileIPAuthentication(
            subtype=rng.randrange(1, 5), spi=spi, authenticator=body
        ),
        lambda: MIPNAI(nai=f"mn{rng.getrandbits(16)}@example.org"),
    ]
    return [rng.choice(makers)() for _n in range(rng.randrange(6))]


def address(rng):
    return f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def random_message(rng):
    common = {
        "lifetime": rng.getrandbits(16),
        "home_address": address(rng),
        "home_agent": address(rng),
        # tshark shows it as a time: keep to the era it knows
        "identification": rng.randrange(1 << 63, 1 << 64),
        "extensions": random_extensions(rng),
    }
    if rng.random() < 0.5:
        return MIPRRP(code=rng.choice(REPLIES_KNOWN), **common)
    return MIPRRQ(flags=rng.getrandbits(8), care_of_address=address(rng), **common)


def frame(message):
    ports = {"sport": 4000, "dport": 434}
    if isinstance(message, MIPRRP):
        ports = {"sport": 434, "dport": 4000}
    ends = {"src": "10.0.0.1", "dst": "10.0.0.2"}
    mac = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
    return Ether(**mac) / IP(**ends) / UDP(**ports) / message


@pytest.fixture(scope="module")
def decoded(tmp_path_factory):
    """Messages as we read them, beside what tshark makes of the same frames."""
    rng = random.Random(434)
    messages = [random_message(rng) for _n in range(PACKETS)]
    path = tmp_path_factory.mktemp("tshark") / "messages.pcap"
    wrpcap(str(path), [frame(message) for message in messages])
    run = subprocess.run(
        [TSHARK, "-r", path, "-T", "json"],
        capture_output=True,
        timeout=60,
        check=True,
    )
    frames = json.loads(run.stdout, object_pairs_hook=Pairs)
    layers = [dict(dict(dict(one)["_source"])["layers"]) for one in frames]
    ours = [MIP(bytes(message)) for message in messages]
    return list(zip(ours, layers, strict=True))


class Pairs(list):
    """A JSON object whose names may recur, in order."""


def flat(tree):
    """All pairs of name and value below an object, in order."""
    for name, value in tree:
        if isinstance(value, Pairs):
            yield from flat(value)
        else:
            yield name, value


def values(protocols, name):
    return [value for key, value in flat(protocols["mip"]) if key == name]


def test_nothing_is_malformed(decoded):
    for message, layers in decoded:
        assert "_ws.expert" not in json.dumps(layers), bytes(message).hex()
        assert "_ws.malformed" not in layers, bytes(message).hex()
        assert "mip" in layers


def test_fixed_fields_agree(decoded):
    for message, layers in decoded:
        assert values(layers, "mip.type") == [str(int(message.type))]
        assert values(layers, "mip.life") == [str(message.lifetime)]
        assert values(layers, "mip.homeaddr") == [message.home_address]
        assert values(layers, "mip.haaddr") == [message.home_agent]
        if isinstance(message, MIPRRP):
            assert values(layers, "mip.code") == [str(message.code)]
        else:
            assert values(layers, "mip.coa") == [message.care_of_address]


def test_flags_agree(decoded):
    for message, layers in decoded:
        if isinstance(message, MIPRRQ):
            for flag in RequestFlag:
                # The letter r was V in RFC 2002, and still is to tshark.
                letter = "v" if flag.name == "r" else flag.name.lower()
                shown = values(layers, f"mip.{letter}")
                assert shown == [str(int(getattr(message.flags, flag.name)))], flag


def test_identification_agrees_to_the_microsecond(decoded):
    for message, layers in decoded:
        (shown,) = values(layers, "mip.ident")
        moment, fraction = shown.removesuffix(" UTC").rsplit(".", 1)
        read = datetime.datetime.strptime(moment, "%b %d, %Y %H:%M:%S")
        read = read.replace(microsecond=int(fraction[:6]))
        ours = datetime.datetime(1970, 1, 1) + datetime.timedelta(
            microseconds=ident.to_unix_ns(message.identification) // 1000
        )
        assert abs(ours - read) <= datetime.timedelta(microseconds=1)


def test_extensions_agree(decoded):
    for message, layers in decoded:
        listed = message.extensions
        assert values(layers, "mip.ext.type") == [str(one.type) for one in listed]
        assert values(layers, "mip.ext.len") == [str(one.length) for one in listed]
        nais = [one.nai for one in listed if isinstance(one, MIPNAI)]
        assert values(layers, "mip.nai") == nais
        signed = [one for one in listed if not isinstance(one, MIPNAI)]
        spis = [int(one, 0) for one in values(layers, "mip.auth.spi")]
        assert spis == [one.spi for one in signed]
        authenticators = [
            bytes.fromhex(one.replace(":", ""))
            for one in values(layers, "mip.auth.auth")
        ]
        assert authenticators == [one.authenticator for one in signed]
        subtypes = [
            str(one.subtype)
            for one in listed
            if isinstance(one, MIPGeneralizedMobileIPAuthentication)
        ]
        assert values(layers, "mip.ext.auth.subtype") == subtypes
