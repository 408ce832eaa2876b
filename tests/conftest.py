# SPDX-License-Identifier: GPL-2.0-only
"""What holds for every test."""

import pytest
from scapy.config import conf


@pytest.fixture(scope="session", autouse=True)
def loud_dissectors():
    """Let an exception in a dissector surface, where Scapy would give `Raw`."""
    conf.debug_dissector = True
