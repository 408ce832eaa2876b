# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of bytes that nobody sends in good faith."""

import pytest

from mip_agents.protocol import view
from mip_agents.protocol.view import MAX_EXTENSIONS, Malformed, Reply, Request, parse
from scapy_mip.all import MIPRRP, MIPRRQ


@pytest.mark.parametrize(("message", "kind"), [(MIPRRQ(), Request), (MIPRRP(), Reply)])
@pytest.mark.parametrize("extension", [b"\0", b"\xc8\0", b"\xc8\4abcd"])
def test_extensions_are_counted_before_they_are_built(
    message, kind, extension, monkeypatch
):
    """COM-03: a datagram full of tiny extensions must not cost an object for each."""
    fixed = bytes(message)
    assert isinstance(parse(fixed + extension * MAX_EXTENSIONS), kind)
    built = []
    monkeypatch.setattr(view, "MIP", built.append)
    found = parse(fixed + extension * (MAX_EXTENSIONS + 1))
    assert isinstance(found, Malformed)
    assert found.rule == "COM-03"
    assert built == []
