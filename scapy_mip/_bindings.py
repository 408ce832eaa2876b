# SPDX-License-Identifier: GPL-2.0-only
"""What Scapy dissects with these layers: UDP port 434, IP protocol 55, ICMP 9, 10, 41.

UDP port 434 was Scapy's built-in `mobileip`. Its classes stay importable and craftable:
only what UDP dissects changes. It is imported first, so that a later import of it
cannot bind itself again.

ICMP: the bond stands just in front of that of Scapy's `ICMP`, to which it leaves all
types but 9, 10 and 41.
"""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.mobileip import MobileIP
from scapy.packet import bind_bottom_up, bind_layers, bind_top_down, split_bottom_up

from scapy_mip.const import MIP_PORT, Encapsulation
from scapy_mip.discovery import (
    MIPICMP,
    MIPAgentAdvertisement,
    MIPAgentSolicitation,
)
from scapy_mip.encap import MIPMinimalEncapsulation
from scapy_mip.messages import MIP, message_classes
from scapy_mip.registration import MIPRegistrationReply, MIPRegistrationRequest

_PORTS = ({"dport": MIP_PORT}, {"sport": MIP_PORT})
_ICMP = {"proto": 1, "frag": 0}
_TTL_ON_LINK = 1
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
    known = [cls for _values, cls in IP.payload_guess]
    place = known.index(ICMP) if ICMP in known else 0
    IP.payload_guess.insert(place, (_ICMP, MIPICMP))
    for on_link in (MIPAgentAdvertisement, MIPAgentSolicitation):
        bind_top_down(IP, on_link, **_ICMP, ttl=_TTL_ON_LINK)


def restore() -> None:
    """Give UDP port 434 back to the built-in layer; a second call changes nothing.

    What Scapy had no layer for becomes `Raw` again, router discovery `ICMP`.
    """
    split_bottom_up(UDP, MIP)
    split_bottom_up(UDP, MobileIP)
    for port in (*_PORTS, dict.fromkeys(("sport", "dport"), MIP_PORT)):
        bind_bottom_up(UDP, MobileIP, **port)
    split_bottom_up(IP, MIPMinimalEncapsulation)
    split_bottom_up(IP, MIPICMP)


take_over()
