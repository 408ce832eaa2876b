# SPDX-License-Identifier: GPL-2.0-only
# scapy.contrib.description = Mobile IPv4 (RFC 5944 and its family)
# scapy.contrib.status = loads
"""What `load_contrib("mip")` executes: a re-export, so that every class exists once."""

from scapy_mip.all import *  # noqa: F403
from scapy_mip.all import __all__  # noqa: F401
