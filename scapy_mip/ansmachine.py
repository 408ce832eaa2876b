# SPDX-License-Identifier: GPL-2.0-only
"""`mip_had`: a toy home agent for the prompt. RFC 5944 section 3.8.2.

It answers registrations and keeps the bindings in a dictionary, but moves no packets:
`mip ha` is the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scapy.ansmachine import AnsweringMachine
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet
from scapy.sendrecv import send

from scapy_mip import ident
from scapy_mip.auth import SecurityAssociation, verify
from scapy_mip.const import (
    LIFETIME_DEREGISTER,
    LIFETIME_INFINITE,
    MIP_PORT,
    REPLAY_TOLERANCE_DEFAULT,
    ExtensionType,
    ReplyCode,
)
from scapy_mip.extensions.auth import MIPMHAE
from scapy_mip.keyring import Keys, authentications, make_ring
from scapy_mip.registration import MIPRRP, MIPRRQ

_UNSPECIFIED = "0.0.0.0"


def ntp_now() -> int:
    """Return the time of day as a 64-bit NTP integer."""
    return ident.from_unix_ns(time.time_ns())


@dataclass(frozen=True, slots=True)
class ToyBinding:
    """Where a mobile node is, and until when."""

    care_of_address: str
    until: int | None
    """NTP time; None for an infinite lifetime."""


class MIP_am(AnsweringMachine[Packet]):  # noqa: N801  # as Scapy names them
    """A toy home agent: `mip_had(keys, iface="eth0")` answers until Ctrl-C.

    It judges the authenticator (code 131), the time stamp (133), whether it is meant
    (136), the number of bindings (130) and the care-of address (134); it grants up to
    `lifetime` seconds and signs its replies. Without any binding of its own, a kernel
    answers port 434 as well: with "port unreachable", which nodes ignore.

    `make_reply()` works without a network:

    >>> from scapy.layers.inet import IP, UDP
    >>> from scapy_mip.all import MIPMHAE, MIPRRP, MIPRRQ, SecurityAssociation
    >>> shared = SecurityAssociation(256, "1234567812345678")
    >>> agent = MIP_am(keys=shared, verbose=False)
    >>> request = IP(dst="10.1.1.20") / UDP(sport=5000) / MIPRRQ(
    ...     home_address="10.1.1.10",
    ...     home_agent="10.1.1.20",
    ...     care_of_address="10.1.2.5",
    ...     identification=ntp_now(),
    ... ) / MIPMHAE(association=shared)
    >>> reply = agent.make_reply(request)
    >>> reply[MIPRRP].code, list(agent.bindings)
    (0, ['10.1.1.10'])

    :param keys: security associations, see `make_ring`.
    :param home_agent: our address; None answers whatever address was asked.
    :param lifetime: the longest that is granted, in seconds.
    :param tolerance: how far a time stamp may be off, in seconds.
    :param max_bindings: how many nodes may be registered at once.
    :param code: answer every authentic request with this code instead.
    :param now: gives the time of day as a 64-bit NTP integer.
    """

    function_name = "mip_had"
    filter = f"udp and port {MIP_PORT}"
    sniff_options_list = [
        *AnsweringMachine.sniff_options_list,
        "timeout",
        "started_callback",
    ]
    send_options_list = ["inter", "loop", "verbose", "socket"]
    send_function = staticmethod(send)  # type: ignore[assignment]  # routed

    bindings: dict[str, ToyBinding]
    """By home address."""

    def __init__(self, **kargs: Any) -> None:
        self.bindings = {}
        self.last_accepted: dict[str, int] = {}
        self._answered: dict[str, tuple[bytes, Packet]] = {}
        super().__init__(**kargs)

    def parse_options(
        self,
        keys: Keys = None,
        home_agent: str | None = None,
        lifetime: int = 36000,
        tolerance: int = REPLAY_TOLERANCE_DEFAULT,
        max_bindings: int = 1024,
        code: int | None = None,
        now: Callable[[], int] = ntp_now,
    ) -> None:
        """Take the options of the prompt."""
        self.ring = make_ring(keys)
        self.home_agent = home_agent
        self.lifetime = lifetime
        self.tolerance = tolerance
        self.max_bindings = max_bindings
        self.code = code
        self.now = now

    def is_request(self, req: Packet) -> int:
        """Take Registration Requests to us."""
        udp: Any = req[MIPRRQ].underlayer if MIPRRQ in req else None
        if type(udp) is not UDP or udp.dport != MIP_PORT:
            return False  # also where an ICMP error quotes one
        ip: Any = udp.underlayer
        return self.home_agent in (None, ip.dst)

    def make_reply(self, req: Packet) -> Any:
        """Decide, keep the binding, and return the reply.

        Return None where no key is known that could sign one (HA-06).
        """
        if not req[MIPRRQ].original:  # made, not received
            req = type(req)(bytes(req))
        request: Any = req[MIPRRQ]
        udp: Any = request.underlayer
        ip: Any = udp.underlayer
        before = self._answered.get(request.home_address)
        if before is not None and before[0] == request.original:
            return before[1]  # a repetition
        found = self._authenticate(request, ip.src)
        if found is None:
            return None
        association, authentic = found
        now = self.now()
        code = self._decide(request, ip.dst, now) if authentic else _AUTHENTICATION
        granted = min(request.lifetime, self.lifetime)
        if code not in _ACCEPTED:
            granted = 0
        elif self.code is None:
            self._bind(request, granted, now)
        low = ident.split(request.identification)[1]
        resynchronising = code == ReplyCode.HA_IDENTIFICATION_MISMATCH
        high = ident.split(now if resynchronising else request.identification)[0]
        reply = (
            IP(src=ip.dst, dst=ip.src)
            / UDP(sport=udp.dport, dport=udp.sport)
            / MIPRRP(
                code=int(code),
                lifetime=granted,
                home_address=request.home_address,
                home_agent=self.home_agent or ip.dst,
                identification=ident.join(high, low),
            )
            / MIPMHAE(association=association)
        )
        if authentic:
            self._answered[request.home_address] = request.original, reply
        return reply

    def _authenticate(
        self, request: Any, source: str
    ) -> tuple[SecurityAssociation, bool] | None:
        """Return the association for the reply, and whether it signed the request."""
        peers = {request.home_address, source}
        for extension, offset in authentications(request):
            if extension.type in _AUTHORIZING:
                known = self.ring.find(extension.spi, peers)
                for association in known:
                    if verify(association, request.original, offset):
                        return association, True
                return (known[0], False) if known else None
        return None

    def _decide(self, request: Any, destination: str, now: int) -> int:
        """Return the code for an authentic request."""
        if self.code is not None:
            return self.code
        home, stamp = request.home_address, request.identification
        last = self.last_accepted.get(home)
        if abs(ident.difference(stamp, now)) > ident.seconds(self.tolerance) or (
            last is not None and ident.difference(stamp, last) <= 0
        ):
            return ReplyCode.HA_IDENTIFICATION_MISMATCH
        if request.home_agent != (self.home_agent or destination):
            return ReplyCode.HA_UNKNOWN_HOME_AGENT
        if request.lifetime == LIFETIME_DEREGISTER:
            return ReplyCode.ACCEPTED
        if _UNSPECIFIED in (home, request.care_of_address):
            return ReplyCode.HA_POORLY_FORMED_REQUEST
        self._forget_expired(now)
        if home not in self.bindings and len(self.bindings) >= self.max_bindings:
            return ReplyCode.HA_INSUFFICIENT_RESOURCES
        if request.flags.S:
            return ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS
        return ReplyCode.ACCEPTED

    def _bind(self, request: Any, granted: int, now: int) -> None:
        home = request.home_address
        self.last_accepted[home] = request.identification
        if granted == LIFETIME_DEREGISTER:
            self.bindings.pop(home, None)
            return
        until = None if granted == LIFETIME_INFINITE else now + ident.seconds(granted)
        self.bindings[home] = ToyBinding(request.care_of_address, until)

    def _forget_expired(self, now: int) -> None:
        for home, binding in list(self.bindings.items()):
            if binding.until is not None and ident.difference(binding.until, now) <= 0:
                del self.bindings[home]


_ACCEPTED = {ReplyCode.ACCEPTED, ReplyCode.ACCEPTED_NO_SIMULTANEOUS_BINDINGS}
_AUTHENTICATION = ReplyCode.HA_MN_FAILED_AUTHENTICATION
_AUTHORIZING = {
    ExtensionType.MOBILE_HOME_AUTHENTICATION,
    ExtensionType.GENERALIZED_MOBILE_IP_AUTHENTICATION,
}


def mip_had(keys: Keys = None, **options: Any) -> None:
    """Be a toy home agent until Ctrl-C: `mip_had({256: "secret"}, iface="eth0")`.

    `MIP_am(keys=...).bg(iface="eth0")` does it in the background and returns the
    sniffer to `stop()`.

    :param keys: security associations, see `make_ring`.
    :param options: those of `MIP_am`, and `iface`, `count`, `timeout` of `sniff()`.
    """
    MIP_am(keys=keys, **options)()
