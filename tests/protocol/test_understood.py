# SPDX-License-Identifier: GPL-2.0-only
"""What agents take for known: the engines' own list, whatever layers there are."""

import random

import pytest

from mip_agents.protocol.view import UNDERSTOOD, Malformed, Request, parse
from scapy_mip.all import MIPMHAE, MIPRRQ
from support import registry
from support.strategies import every_class, random_instance

CLASSES = [pytest.param(cls, id=cls.__name__) for cls in every_class()]


def request_with(extension):
    return bytes(MIPRRQ()) + bytes(extension) + bytes(MIPMHAE(authenticator=b"m" * 16))


def test_the_list_is_what_the_engines_handle():
    assert {int(one) for one in UNDERSTOOD} == {0, 32, 33, 34, 36, 48, 131}


@pytest.mark.parametrize("cls", CLASSES)
def test_only_what_the_engines_implement_is_understood(cls):
    """COM-01, COM-02: also of an extension that has a layer."""
    data = request_with(random_instance(cls, random.Random(1)))
    kind = data[24]
    view = parse(data)
    if kind in UNDERSTOOD or kind >= 128:
        assert isinstance(view, Request)
        assert view.extension_types == (kind, 32)
        assert view.authentications[-1].offset == len(data) - 22
    else:
        assert isinstance(view, Malformed)
        assert view.rule == "COM-01"


@pytest.mark.parametrize(
    "entry", registry.control_extensions(), ids=lambda entry: entry["type"]
)
@pytest.mark.parametrize("body", [b"", b"\0", b"\1" * 9, bytes(40)])
def test_layers_change_nothing_for_odd_extensions(entry, body):
    kind = entry["type"]
    if kind in UNDERSTOOD:
        return
    head = bytes([kind, len(body)])
    if entry["form"] in ("long", "cvse"):
        head = bytes([kind, 1, 0, len(body)])
    view = parse(request_with(head + body))
    if kind < 128:
        assert isinstance(view, Malformed)
        assert view.rule == "COM-01"
    else:
        assert isinstance(view, Request)
        assert view.extension_types == (kind, 32)
