# SPDX-License-Identifier: GPL-2.0-only
"""UDP port 434 belongs to these layers instead of Scapy's built-in `mobileip`.

The built-in classes stay importable and craftable: only what UDP dissects changes. It
is imported first, so that a later import of it cannot bind itself again.
"""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.mobileip import MobileIP
from scapy.packet import bind_bottom_up, bind_top_down, split_bottom_up

from scapy_mip.const import MIP_PORT
from scapy_mip.messages import MIP
from scapy_mip.registration import MIPRegistrationReply, MIPRegistrationRequest

_PORTS = ({"dport": MIP_PORT}, {"sport": MIP_PORT})


def take_over() -> None:
    """Bind UDP port 434 to `MIP`; calling it again changes nothing.

    The bonds go to the front: Scapy tries them in order, some ninety of them, and takes
    the first that fits.
    """
    restore()
    split_bottom_up(UDP, MobileIP)
    UDP.payload_guess = [(port, MIP) for port in _PORTS] + UDP.payload_guess
    # `bind_top_down` keeps one set of values per class, hence the side that is fixed.
    bind_top_down(UDP, MIP, dport=MIP_PORT)
    bind_top_down(UDP, MIPRegistrationRequest, dport=MIP_PORT)
    bind_top_down(UDP, MIPRegistrationReply, sport=MIP_PORT)


def restore() -> None:
    """Give UDP port 434 back to the built-in layer; a second call changes nothing."""
    split_bottom_up(UDP, MIP)
    split_bottom_up(UDP, MobileIP)
    for port in (*_PORTS, dict.fromkeys(("sport", "dport"), MIP_PORT)):
        bind_bottom_up(UDP, MobileIP, **port)


take_over()
