# SPDX-License-Identifier: GPL-2.0-only
"""Registering and soliciting by hand, at Scapy's prompt.

They send and receive as Scapy does, with raw sockets and the privileges those need.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scapy.config import conf
from scapy.error import warning
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet
from scapy.plist import PacketList
from scapy.sendrecv import send, sniff, sr

from scapy_mip import ident
from scapy_mip.ansmachine import ntp_now
from scapy_mip.auth import Algorithm, SecurityAssociation
from scapy_mip.const import (
    DEFAULT_LIFETIME,
    MIP_PORT,
    REPLY_CODES,
    Issuer,
    ReplyCode,
    describe_code,
)
from scapy_mip.discovery import MIPAgentAdvertisement, MIPAgentSolicitation
from scapy_mip.extensions.auth import MIPMHAE
from scapy_mip.registration import MIPRRP, MIPRRQ
from scapy_mip.sniffing import MIPSession

ALL_ROUTERS = "224.0.0.2"
"""Where solicitations go. RFC 1256 section 4.2."""

_DYNAMIC_PORTS = range(49152, 65536)


@dataclass(frozen=True, kw_only=True)
class Registrant:
    """A mobile node as far as its requests tell."""

    home_address: str
    home_agent: str
    association: SecurityAssociation
    care_of_address: str | None = None
    """None for the address that the route to the home agent starts from."""
    foreign_agent: str | None = None
    """Where requests go instead of the home agent."""
    flags: str | int | None = None
    """None for D, a co-located care-of address, where there is no foreign agent."""
    extensions: Sequence[Packet] = ()
    """What goes in front of the authentication."""

    def request(self, lifetime: int, identification: int) -> Packet:
        """Return the datagram with a request, signed, from a random port.

        >>> shared = SecurityAssociation(256, "1234567812345678")
        >>> node = Registrant(
        ...     home_address="10.1.1.10",
        ...     home_agent="10.1.1.20",
        ...     association=shared,
        ...     foreign_agent="10.1.2.1",
        ... )
        >>> node.request(600, 7)[MIPRRQ].summary()
        'Mobile IP RRQ 10.1.1.10 at 10.1.2.1 HA 10.1.1.20 lifetime 600 flags '
        """
        to = self.foreign_agent or self.home_agent
        care_of = self.care_of_address or self.foreign_agent or conf.route.route(to)[1]
        flags = self.flags
        if flags is None:
            flags = 0 if self.foreign_agent else "D"
        request = MIPRRQ(
            flags=flags,
            lifetime=lifetime,
            home_address=self.home_address,
            home_agent=self.home_agent,
            care_of_address=care_of,
            identification=identification,
            extensions=list(self.extensions),
            association=self.association,
        )
        ports = UDP(sport=random.choice(_DYNAMIC_PORTS), dport=MIP_PORT)
        datagram: Packet = (
            IP(dst=to) / ports / request / MIPMHAE(spi=self.association.spi)
        )
        return datagram

    def judge(self, reply: Packet, request: Packet) -> bool:
        """Annotate the reply to a request; return whether the home agent signed it."""
        MIPSession(self.association).process(reply)
        message: Any = reply[MIPRRP]
        message.request = request
        return any(
            getattr(extension, "verdict", None) == "valid"
            for extension in message.extensions
        )


def clock_offset(reply: Any, now: int) -> int:
    """Return what the home agent's clock is ahead, from a reply with code 133.

    Only its seconds are known, so that half a second is taken for the fraction
    (RFC 5944 section 5.7.1).

    :param now: our own 64-bit NTP time, in whose units the difference is.
    """
    seconds = ident.split(reply.identification)[0]
    return ident.difference(ident.join(seconds, 1 << 31), now)


def mip_register(
    home_address: str,
    home_agent: str,
    care_of_address: str | None = None,
    *,
    key: bytes | str | None = None,
    spi: int = 256,
    algorithm: Algorithm | str | None = None,
    association: SecurityAssociation | None = None,
    lifetime: int = DEFAULT_LIFETIME,
    flags: str | int | None = None,
    foreign_agent: str | None = None,
    extensions: Sequence[Packet] = (),
    timeout: float = 2.0,
) -> Packet | None:
    """Register and return the reply, None where none came.

    `mip_register("10.1.1.10", "10.1.1.20", key="1234567812345678", lifetime=600)`

    After a signed reply with code 133 it tries once more with the home agent's time.
    The reply is annotated as by `MIPSession`, with the request in
    `reply[MIPRRP].request`. `lifetime=0` deregisters.

    :param key: shared with the home agent under `spi`; or give the `association`.
    :param flags: the RFC's letters; D by default where there is no foreign agent.
    :param extensions: go in front of the Mobile-Home Authentication.
    :param timeout: seconds to wait for each reply.
    :raises ValueError: neither a key nor an association was given.
    """
    if association is None:
        if key is None:
            raise ValueError("give a key, or an association")
        association = SecurityAssociation(spi, key, algorithm)
    node = Registrant(
        home_address=home_address,
        home_agent=home_agent,
        association=association,
        care_of_address=care_of_address,
        foreign_agent=foreign_agent,
        flags=flags,
        extensions=extensions,
    )
    offset = 0
    for last_try in (False, True):
        request = node.request(lifetime, ntp_now() + offset)
        reply = _exchange(request, timeout)
        if reply is None:
            return None
        authentic = node.judge(reply, request)
        code = reply[MIPRRP].code
        if not authentic and not is_of_foreign_agent(code):
            warning("the reply is not authentic: %s", describe_code(code))
        mismatch = code == ReplyCode.HA_IDENTIFICATION_MISMATCH
        if last_try or not (mismatch and authentic):
            break
        offset = clock_offset(reply[MIPRRP], ntp_now())
    return reply


def _exchange(request: Packet, timeout: float) -> Packet | None:
    """Send a request and return the reply that comes in time.

    `sr1()` would return the "port unreachable" of the kernel that runs `mip_had`.
    """
    asked: Any = request[MIPRRQ]

    def is_reply(packet: Any) -> bool:
        return (
            MIPRRP in packet
            and type(packet[MIPRRP].underlayer) is UDP  # not quoted in an ICMP error
            and bool(packet[MIPRRP].answers(asked))
        )

    answered, _unanswered = sr(
        request, multi=True, timeout=timeout, stop_filter=is_reply, verbose=0
    )
    return next((reply for _request, reply in answered if is_reply(reply)), None)


def is_of_foreign_agent(code: int) -> bool:
    """Return whether a denial comes from a foreign agent, which cannot sign for us."""
    known = REPLY_CODES.get(code)
    return known is not None and known.issuer is Issuer.FA


def mip_solicit(
    iface: Any = None,
    timeout: float = 2.0,
    *,
    count: int = 0,
    destination: str = ALL_ROUTERS,
) -> PacketList:
    """Send an agent solicitation; return the agent advertisements that were heard.

    `mip_solicit("eth0", timeout=3).show()`

    :param iface: the link; Scapy's `conf.iface` by default.
    :param timeout: seconds to listen.
    :param count: stop after so many advertisements; 0 listens to the end.
    :param destination: all routers; 255.255.255.255 is allowed as well (RFC 1256).
    """
    link = iface or conf.iface

    def ask() -> None:
        send(IP(dst=destination) / MIPAgentSolicitation(), iface=link, verbose=0)

    heard: PacketList = sniff(
        iface=link,
        filter="icmp",
        lfilter=lambda packet: MIPAgentAdvertisement in packet,
        started_callback=ask,
        timeout=timeout,
        count=count,
    )
    return heard
