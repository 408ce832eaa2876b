# SPDX-License-Identifier: GPL-2.0-only
"""Extensions, one file per topic; importing the package registers all of them."""

from scapy_mip.extensions import (
    auth,
    base,
    identity,
    keys,
    linklayer,
    network,
    others,
    proxy,
    regional,
    routeopt,
    text,
    tunnels,
    vendor,
)

__all__ = [
    "auth",
    "base",
    "identity",
    "keys",
    "linklayer",
    "network",
    "others",
    "proxy",
    "regional",
    "routeopt",
    "text",
    "tunnels",
    "vendor",
]
