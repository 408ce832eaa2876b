# SPDX-License-Identifier: GPL-2.0-only
"""What holds for every test."""

import pytest
from scapy.config import conf
from scapy.layers.inet import IP


@pytest.fixture(scope="session", autouse=True)
def loud_dissectors():
    """Let an exception in a dissector surface, where Scapy would give `Raw`."""
    conf.debug_dissector = True


@pytest.fixture
def without_scapys_igmp(monkeypatch):
    """Leave out a layer that writes an option into the IP header in front of it.

    Scapy's own IGMP, which `scapy.all` loads, does so when it dissects.
    """
    kept = [one for one in IP.payload_guess if one[1].__module__ != "scapy.layers.igmp"]
    monkeypatch.setattr(IP, "payload_guess", kept)
