# SPDX-License-Identifier: GPL-2.0-only
"""Which ICMP messages count as errors about the packets of tunnel devices."""

import asyncio

from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Packet, Raw

from dataplane.test_icmp_relay import INNER, outer
from dataplane.traffic import send_packets
from dataplane.world import FORMS
from mip_agents.dataplane.api import DropCounters
from mip_agents.dataplane.deviceerrors import DeviceErrors
from support.netns import isolated

HERE = "127.0.0.1"


def error(quoted: bytes, **fields: int) -> Packet:
    return IP(src=HERE, dst=HERE) / ICMP(**fields) / Raw(quoted)


async def heard(packets: list[Packet]) -> tuple[dict[str, int], int]:
    """Return what is counted when `packets` come, and how often a path has changed."""
    drops, changes, last = DropCounters(), [], asyncio.Event()

    def find(_inner: bytes) -> None:
        if "icmp_11_0" in drops.reasons:
            last.set()

    errors = DeviceErrors(drops, find, lambda: changes.append(1))
    end = error(outer(FORMS["ipip"]), type=11, code=0)
    send_packets([bytes(packet) for packet in (*packets, end)])
    async with asyncio.timeout(5):
        await last.wait()
    errors.close()
    assert drops.reasons.pop("icmp_11_0") == 1
    return drops.reasons, len(changes)


@isolated
def test_errors_about_tunnel_packets_count_and_nothing_else() -> None:
    """TUN-03, TUN-04."""
    ipip, gre, minimal = (outer(FORMS[name]) for name in ("ipip", "gre", "minimal"))
    too_big = {"type": 3, "code": 4, "nexthopmtu": 1300}
    packets = [
        error(ipip, **too_big),
        error(gre[:28], type=3, code=1),  # what RFC 792 asks for
        error(minimal, **too_big),  # not of a device
        error(bytes(INNER), **too_big),
        error(bytes(IP() / UDP()), type=3, code=3),
        error(ipip, chksum=1, **too_big),
        error(ipip[:19], **too_big),
        error(b"", type=3, code=1),
        error(ipip, type=5, code=1),
        IP(src=HERE, dst=HERE) / ICMP(type=8) / Raw(ipip),
    ]
    assert asyncio.run(heard(packets)) == ({"icmp_3_4": 1, "icmp_3_1": 1}, 1)
