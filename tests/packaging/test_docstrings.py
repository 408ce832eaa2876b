# SPDX-License-Identifier: GPL-2.0-only
"""The examples in docstrings give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import mip_agents
import scapy_mip

ROOT = Path(__file__).parents[2]
PACKAGES = [Path(one.__file__).parent for one in (scapy_mip, mip_agents)]


def modules_with_examples():
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(package.parent).with_suffix("").parts
                yield ".".join(parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_give_what_they_show(name, monkeypatch):
    monkeypatch.chdir(ROOT)  # where an example finds its captures
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
