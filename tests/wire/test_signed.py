# SPDX-License-Identifier: GPL-2.0-only
"""Messages that are signed as they are made are what building gives."""

import pytest
from scapy.volatile import RandByte

from scapy_mip import _fastpath
from scapy_mip.all import (
    MIP,
    MIPFHAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPGeneralizedMobileIPAuthentication,
    SecurityAssociation,
    make_signed,
    verify,
)

HOME = SecurityAssociation(256, b"home" * 4)
FOREIGN = SecurityAssociation(300, b"foreign!", "hmac-sha1")
SIGNATURES = [
    (MIPMHAE, HOME),
    (MIPFHAE, FOREIGN),
    (MIPGeneralizedMobileIPAuthentication, HOME),
]
FIELDS = {
    "lifetime": 600,
    "home_address": "10.9.0.1",
    "home_agent": "10.1.1.20",
    "identification": 1 << 40,
}


@pytest.fixture(params=[True, False], ids=["compiled", "stock"], autouse=True)
def path(request, monkeypatch):
    """Take the compiled path, and Scapy's own."""
    monkeypatch.setattr(_fastpath, "ENABLED", request.param)


def built(cls, signatures, extensions=(), **fields):
    """Return the bytes of the same message, built as one types it."""
    signing = [kind(association=known) for kind, known in signatures]
    return bytes(cls(**fields, extensions=[*extensions, *signing]))


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("extensions", [[], [MIPNAI(nai="a@b")]])
def test_bytes_are_those_of_a_built_message(count, extensions):
    fields = {**FIELDS, "extensions": extensions}
    made = make_signed(MIPRRP, SIGNATURES[:count], code=1, **fields)
    wanted = built(MIPRRP, SIGNATURES[:count], code=1, **fields)
    assert made.original == bytes(made) == wanted
    assert made == MIP(wanted)
    assert len(extensions) <= 1
    at = len(wanted) - sum(len(one) for one in made.extensions[len(extensions) :])
    for one, (kind, association) in zip(
        made.extensions[len(extensions) :], SIGNATURES, strict=False
    ):
        assert type(one) is kind
        assert verify(association, made.original, at)
        at += len(one)


def test_it_is_an_ordinary_packet_afterwards():
    made = make_signed(MIPRRQ, SIGNATURES[:1], flags="DT", **FIELDS)
    same = MIP(made.original)
    assert made.show2(dump=True) == same.show2(dump=True)
    assert made.copy() == same.copy()
    assert made.flags.D
    assert not made.flags.S
    made.flags.S = 1
    made.extensions[0].spi = 500
    again = MIP(bytes(made))
    assert again.flags.S
    assert again.extensions[0].spi == 500
    assert again.extensions[0].authenticator == same.extensions[0].authenticator


def test_authenticator_set_to_none_is_computed_again():
    made = make_signed(MIPRRP, SIGNATURES[:1], **FIELDS)
    made.lifetime = 5
    made.extensions[0].authenticator = None
    made.extensions[0].__dict__["association"] = HOME
    assert verify(HOME, bytes(made), MIPRRP.fixed_size)


def test_random_values_are_settled():
    made = make_signed(MIPRRP, SIGNATURES[:1], code=RandByte(), **FIELDS)
    assert isinstance(made.code, int)
    assert verify(HOME, made.original, MIPRRP.fixed_size)


def test_name_that_is_no_field_is_refused():
    with pytest.raises(AttributeError, match="nonsense"):
        make_signed(MIPRRP, SIGNATURES, nonsense=1)
