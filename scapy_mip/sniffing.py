# SPDX-License-Identifier: GPL-2.0-only
"""`MIPSession` for Scapy's `sniff()`: verdicts on authenticators, and who answers whom.

What it finds out is written beside the packets, never into their bytes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from scapy.layers.inet import IP, UDP, UDPerror
from scapy.packet import Packet
from scapy.sessions import DefaultSession

from scapy_mip.base import MIP, MIPMessage
from scapy_mip.extensions.auth import MIPAuthentication, short_name
from scapy_mip.keyring import Keys, authentications, make_ring, named_addresses

_COPIES = 4
"""Places where one capture can meet a request: agents relay it."""


class MIPSession(DefaultSession):
    """Annotate packets as they are sniffed, live or from a file.

    Each authentication extension gets a `verdict`: valid, invalid, or no-key. Each
    message that answers another gets that packet as its `request`. Both are said in the
    `comments` of the packet, which `wrpcapng()` keeps, and verdicts show in `summary()`
    and `show()` as well.

    >>> from scapy.all import sniff
    >>> from scapy_mip.all import MIPRRP, MIPSession
    >>> keys = {256: "1234567812345678"}
    >>> seen = sniff(
    ...     offline="pcaps/recorded/mkiol-denied-badauth.pcap",
    ...     session=MIPSession(keys),
    ...     quiet=True,
    ... )
    >>> reply = seen[MIPRRP][0][MIPRRP]
    >>> reply.extensions[0].verdict, reply.request.summary()[-16:]
    ('valid', 'MHAE 256 invalid')

    :param keys: security associations, see `make_ring`.
    :param remembered: how many requests without an answer are kept.
    :param supersession: another session that sees the packets first, `IPSession` say.
    """

    def __init__(
        self,
        keys: Keys = None,
        *,
        remembered: int = 1024,
        supersession: Any = None,
    ) -> None:
        super().__init__(supersession)
        self._ring = make_ring(keys)
        self._remembered = remembered
        self._asked: OrderedDict[bytes, deque[Packet]] = OrderedDict()

    def process(self, pkt: Packet) -> Packet | None:
        """Annotate one packet and give it back."""
        packet: Packet | None = super().process(pkt)
        if packet is not None:
            message: Any = packet.getlayer(MIP)
            if message is not None and not isinstance(message.underlayer, UDPerror):
                self._annotate(packet, message)
        return packet

    def _annotate(self, packet: Packet, message: Any) -> None:
        received = message
        if not message.original:  # made, not received: only its bytes can be judged
            received = MIP(bytes(message))
        notes = []
        if isinstance(received, MIPMessage):
            peers = {*_addresses(message)[:2], *named_addresses(received)}
            made = iter([one for one in message.extensions if _is_authentication(one)])
            for extension, offset in authentications(received):
                verdict = self._ring.verdict(
                    received.original, offset, extension.spi, peers
                )
                # A length that lies can hide some in what is received.
                next(made, extension).verdict = verdict
                notes.append(f"{short_name(extension.type)} {extension.spi} {verdict}")
        request = self._pair(packet, message, received)
        if request is not None:
            message.request = request
            seconds = float(packet.time) - float(request.time)
            notes.append(f"answers the request of {seconds:.6f} s before")
        _comment(packet, notes)

    def _pair(self, packet: Packet, message: Any, received: Any) -> Packet | None:
        """Return the request that a message answers; keep it if it is a request."""
        key = received.hashret()
        if not key:
            return None
        asked = self._asked.get(key, ())
        answered = [one for one in asked if received.answers(_received(one))]
        if answered:
            mirrored = _mirrored(_addresses(message))
            for one in reversed(answered):
                if _addresses(one[MIP]) == mirrored:
                    return one
            return answered[-1]
        self._asked.setdefault(key, deque(maxlen=_COPIES)).append(packet)
        self._asked.move_to_end(key)
        if len(self._asked) > self._remembered:
            self._asked.popitem(last=False)
        return None


def _is_authentication(extension: Packet) -> bool:
    return isinstance(extension, MIPAuthentication)


def _received(packet: Packet) -> Any:
    message: Any = packet[MIP]
    return message if message.original else MIP(bytes(message))


def _addresses(message: Packet) -> tuple[str, str, int, int]:
    """Return source, destination and ports of the datagram with a message."""
    udp = message.underlayer
    ip = udp.underlayer if isinstance(udp, UDP) else None
    if udp is None or not isinstance(ip, IP):
        return "", "", 0, 0
    return ip.src, ip.dst, udp.sport, udp.dport


def _mirrored(addresses: tuple[str, str, int, int]) -> tuple[str, str, int, int]:
    source, destination, sport, dport = addresses
    return destination, source, dport, sport


def _comment(packet: Packet, notes: list[str]) -> None:
    """Add notes to the comments of a packet, once each."""
    said = list(packet.comments or ())
    said += [note.encode() for note in notes if note.encode() not in said]
    if said:
        packet.comments = said
