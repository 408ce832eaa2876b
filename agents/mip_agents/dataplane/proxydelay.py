# SPDX-License-Identifier: GPL-2.0-only
"""The delay before a proxy ARP answer, per interface.

The kernel waits up to 0.8 s, at random, before it answers for another host: too long at
a handover (ARP-01). The sysctl `neigh/IFACE/proxy_delay` exists in the initial user
namespace alone, so this speaks netlink, which is allowed in all; pyroute2 cannot write
neighbour tables.
"""

from __future__ import annotations

import os
import socket
from struct import Struct
from typing import Final

from mip_agents.dataplane.rtnetlink import (
    NLM_F_DUMP,
    Requests,
    attributes,
    make_attribute,
    make_request,
)

_RTM_GETNEIGHTBL: Final = 66
_RTM_SETNEIGHTBL: Final = 67
_NDTA_NAME: Final = 1
_NDTA_PARMS: Final = 6
_NDTPA_IFINDEX: Final = 1
_NDTPA_PROXY_DELAY: Final = 13

_FAMILY = Struct("=Bxxx")
_U32 = Struct("=I")
_U64 = Struct("=Q")


def get_proxy_delay(interface: str) -> int:
    """Return the delay of `interface` in milliseconds.

    :raises OSError: where there is no such interface.
    """
    ifindex = socket.if_nametoindex(interface)
    request = make_request(_RTM_GETNEIGHTBL, NLM_F_DUMP, _FAMILY.pack(socket.AF_INET))
    with Requests() as requests:
        for body in requests.dump(request):
            table = dict(attributes(body[_FAMILY.size :]))
            parameters = dict(attributes(table.get(_NDTA_PARMS, b"")))
            if parameters.get(_NDTPA_IFINDEX) == _U32.pack(ifindex):
                return int(_U64.unpack(parameters[_NDTPA_PROXY_DELAY])[0])
    raise OSError(19, os.strerror(19), interface)


def set_proxy_delay(interface: str, milliseconds: int) -> None:
    """Set the delay of `interface`. :raises OSError: as the kernel answers."""
    ifindex = socket.if_nametoindex(interface)
    parameters = make_attribute(_NDTPA_IFINDEX, _U32.pack(ifindex))
    parameters += make_attribute(_NDTPA_PROXY_DELAY, _U64.pack(milliseconds))
    body = _FAMILY.pack(socket.AF_INET) + make_attribute(_NDTA_NAME, b"arp_cache\0")
    body += make_attribute(_NDTA_PARMS, parameters)
    with Requests() as requests:
        requests.call(make_request(_RTM_SETNEIGHTBL, 0, body))
