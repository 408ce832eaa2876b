# SPDX-License-Identifier: GPL-2.0-only
"""Every message: importing this module registers all of them, so that `MIP` knows them.

Code that dissects whatever comes imports `MIP` from here.
"""

from scapy_mip import (
    experimental,
    handover,
    notification,
    regional,
    registration,
    revocation,
    routeopt,
    tunneldata,
)
from scapy_mip.base import MIP, MIPMessage, message_classes, message_name

__all__ = [
    "MIP",
    "MIPMessage",
    "experimental",
    "handover",
    "message_classes",
    "message_name",
    "notification",
    "regional",
    "registration",
    "revocation",
    "routeopt",
    "tunneldata",
]
