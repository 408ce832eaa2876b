# SPDX-License-Identifier: GPL-2.0-only
"""What Scapy dissects with these layers: UDP port 434 and IP protocol 55.

UDP port 434 was Scapy's built-in `mobileip`. Its classes stay importable and craftable:
only what UDP dissects changes. It is imported first, so that a later import of it
cannot bind itself again.
"""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.mobileip import MobileIP
from scapy.packet import bind_bottom_up, bind_layers, bind_top_down, split_bottom_up

from scapy_mip.const import MIP_PORT, Encapsulation
from scapy_mip.encap import MIPMinimalEncapsulation
from scapy_mip.messages import MIP, message_classes
from scapy_mip.registration import MIPRegistrationReply, MIPRegistrationRequest

_PORTS = ({"dport": MIP_PORT}, {"sport": MIP_PORT})
_MINIMAL = {"frag": 0, "proto": int(Encapsulation.MINIMAL)}


def take_over() -> None:
    """Bind UDP port 434 to `MIP` and the rest; calling it again changes nothing.

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
    for cls in message_classes().values():
        # An answer comes from the port that was asked.
        if getattr(cls, "answered", None) is not None:
            bind_top_down(UDP, cls, sport=MIP_PORT)
    bind_layers(IP, MIPMinimalEncapsulation, **_MINIMAL)


def restore() -> None:
    """Give UDP port 434 back to the built-in layer; a second call changes nothing.

    What Scapy had no layer for becomes `Raw` again.
    """
    split_bottom_up(UDP, MIP)
    split_bottom_up(UDP, MobileIP)
    for port in (*_PORTS, dict.fromkeys(("sport", "dport"), MIP_PORT)):
        bind_bottom_up(UDP, MobileIP, **port)
    split_bottom_up(IP, MIPMinimalEncapsulation)


take_over()
