# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of bytes that nobody sends in good faith."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mip_agents.protocol import view
from mip_agents.protocol.view import (
    MAX_EXTENSIONS,
    Malformed,
    Reply,
    Request,
    append,
    authorized_end,
    build_reply,
    extension_types_in,
    parse,
)
from scapy_mip.all import (
    MIPFHAE,
    MIPMFAE,
    MIPMHAE,
    MIPNAI,
    MIPRRP,
    MIPRRQ,
    MIPGREKey,
)
from scapy_mip.auth import Algorithm, SecurityAssociation


@pytest.mark.parametrize(("message", "kind"), [(MIPRRQ(), Request), (MIPRRP(), Reply)])
@pytest.mark.parametrize("extension", [b"\0", b"\xc8\0", b"\xc8\4abcd"])
def test_extensions_are_counted_before_they_are_read(
    message, kind, extension, monkeypatch
):
    """COM-03: a datagram full of tiny extensions must not cost an object for each."""
    fixed = bytes(message)
    assert isinstance(parse(fixed + extension * MAX_EXTENSIONS), kind)
    read = []
    monkeypatch.setattr(view, "_read_request", read.append)
    monkeypatch.setattr(view, "_read_reply", read.append)
    found = parse(fixed + extension * (MAX_EXTENSIONS + 1))
    assert isinstance(found, Malformed)
    assert found.rule == "COM-03"
    assert read == []


@given(
    st.binary(min_size=23, max_size=23),
    st.integers(0, 24).map(bytes),
    st.sampled_from([0, 0, 0, -2, -1, 1, 2]),
    st.sampled_from([b"", b"", b"\0", bytes(MIPMHAE()), b"\xc8\0", b"\x20\2ab"]),
)
def test_the_usual_request_is_read_like_any_other(fixed, content, length_error, behind):
    """COM-03: whatever its length says, and whatever follows."""
    length = max(0, len(content) + length_error)
    data = b"\1" + fixed + bytes([32, length]) + content + behind
    assert parse(data) == view._request(data)
    if len(content) >= 4 and not length_error and not behind:
        assert view._usual_request(data) is not None


_ADDRESSES = st.integers(0, 0xFFFFFFFF).map(lambda n: str(IPv4Address(n)))
_ASSOCIATIONS = st.builds(
    SecurityAssociation,
    st.integers(256, 0xFFFFFFFF),
    st.binary(min_size=1),
    st.sampled_from(list(Algorithm)),
)
_FIXED = {
    "lifetime": st.integers(0, 0xFFFF),
    "home_address": _ADDRESSES,
    "home_agent": _ADDRESSES,
    "identification": st.integers(0, 0xFFFFFFFFFFFFFFFF),
}


@given(
    st.fixed_dictionaries(_FIXED | {"code": st.integers(0, 255)}),
    st.none() | _ASSOCIATIONS,
    st.none() | _ASSOCIATIONS,
    st.none() | st.sampled_from(["mn@example.org", "@example.org"]),
    st.none() | st.integers(0, 0xFFFFFFFF),
)
def test_a_reply_is_what_the_layers_would_build(
    fields, mobile_home, foreign_home, nai, gre_key
):
    """HA-27; replies are packed without layers, for speed."""
    extensions = []
    if nai is not None:
        extensions.append(MIPNAI(nai=nai))
    if mobile_home is not None:
        extensions.append(MIPMHAE(association=mobile_home))
    if gre_key is not None:
        extensions.append(MIPGREKey(key_identifier=gre_key))
    if foreign_home is not None:
        extensions.append(MIPFHAE(association=foreign_home))
    built = build_reply(
        **fields,
        mobile_home=mobile_home,
        foreign_home=foreign_home,
        nai=nai,
        gre_key=gre_key,
    )
    assert built == bytes(MIPRRP(**fields, extensions=extensions))


@given(
    st.none() | st.integers(0, 0xFFFFFFFF),
    st.none() | _ASSOCIATIONS,
    st.none() | _ASSOCIATIONS,
)
def test_what_is_appended_is_what_the_layers_would_build(
    gre_key, foreign_home, mobile_foreign
):
    """FA-17, FA-26, TUN-09: and it begins where a foreign agent may touch the bytes."""
    extensions = [MIPMHAE(association=SecurityAssociation(256, b"key"))]
    kept = bytes(MIPRRQ(extensions=extensions))
    if gre_key is not None:
        extensions.append(MIPGREKey(key_identifier=gre_key))
    if foreign_home is not None:
        extensions.append(MIPFHAE(association=foreign_home))
    if mobile_foreign is not None:
        extensions.append(MIPMFAE(association=mobile_foreign))
    whole = append(
        kept,
        gre_key=gre_key,
        foreign_home=foreign_home,
        mobile_foreign=mobile_foreign,
    )
    assert whole == bytes(MIPRRQ(extensions=extensions))
    request = parse(whole)
    assert isinstance(request, Request)
    assert authorized_end(request) == len(kept)
    types = [int(extension.type) for extension in extensions[1:]]
    assert extension_types_in(whole, len(kept)) == types


def test_without_authorization_nothing_must_stay():
    """FA-16: only an authorization-enabling extension protects what precedes it."""
    for extension in ([], [MIPFHAE(spi=300)], [MIPNAI(nai="mn@example.org")]):
        request = parse(bytes(MIPRRQ(extensions=extension)))
        assert isinstance(request, Request)
        assert authorized_end(request) is None
