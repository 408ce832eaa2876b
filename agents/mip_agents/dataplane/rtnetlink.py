# SPDX-License-Identifier: GPL-2.0-only
"""Routes and neighbours as rtnetlink messages packed by hand, and their sending.

A home agent makes one of each for every binding. pyroute2 needs about 0.3 ms to build
such a message, the kernel 5 us to carry it out; packed by hand, ten thousand bindings
take a second. What is made once is left to pyroute2, which can say more.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from types import TracebackType
from typing import Final, NamedTuple, Self

_RTM_NEWLINK: Final = 16
_RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25
_RTM_GETROUTE: Final = 26
_RTM_NEWNEIGH: Final = 28
_RTM_DELNEIGH: Final = 29
_RTM_GETNEIGH: Final = 30
_RTM_NEWQDISC: Final = 36
_RTM_DELQDISC: Final = 37
_RTM_NEWTFILTER: Final = 44

_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_DUMP_INTR: Final = 0x10
_NLM_F_REPLACE: Final = 0x100
_NLM_F_EXCL: Final = 0x200
_NLM_F_CREATE: Final = 0x400
NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_DUMPS: Final = 10  # until one was not disturbed

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_METRICS, _RTA_TABLE, _RTA_ENCAP_TYPE, _RTA_ENCAP = 8, 15, 21, 22
_RTAX_MTU: Final = 2
_RTN_UNICAST: Final = 1
_MAIN_TABLE: Final = 254
_RTM_F_CLONED: Final = 0x200
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_RTNH_F_ONLINK: Final = 4
_LWTUNNEL_ENCAP_IP: Final = 2
_ENCAP_ID, _ENCAP_DST, _ENCAP_SRC, _ENCAP_TTL, _ENCAP_TOS, _ENCAP_FLAGS = range(1, 7)
_TUNNEL_KEY, _TUNNEL_DONT_FRAGMENT = 0x0004, 0x0100

_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL = 1, 2, 12
_NUD_PERMANENT: Final = 0x80
_NTF_PROXY: Final = 8

_IFLA_LINKINFO: Final = 18
_INFO_KIND, _INFO_DATA = 1, 2

_TCA_KIND, _TCA_OPTIONS = 1, 2
_CLSACT_HANDLE, _CLSACT_PARENT, _CLSACT_INGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2
_BPF_OPS_LEN, _BPF_OPS, _BPF_FLAGS = 4, 5, 8
_DIRECT_ACTION: Final = 1
_RETURN, _SHOT = 0x06, 2
_ETH_P_ALL: Final = 3

TUNNEL_TTL: Final = 64
"""Time to live of outer headers, which counts routers between the tunnel's ends."""

_TOS_OF_INNER: Final = 1
_PER_SEND: Final = 100  # errors come back one by one, and have to fit into the buffer

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_ROUTE = Struct("=BBBBBBBBI")
_NEIGHBOUR = Struct("=BxxxiHBB")
_LINK = Struct("=BxHiII")
_TRAFFIC_CONTROL = Struct("=BxxxiIII")
_INSTRUCTION = Struct("=HBBI")
_U16 = Struct("=H")
_U32 = Struct("=I")
_ERROR = Struct("=i")


class Outer(NamedTuple):
    """The outer header that a route into an external tunnel device gives."""

    source: str
    destination: str
    key: int | None = None
    """Of GRE; None: the packets have none."""


class DefaultRoute(NamedTuple):
    """A default route of the main table."""

    ifindex: int
    gateway: str | None
    metric: int


def route(
    action: str,
    *,
    destination: str,
    ifindex: int,
    table: int,
    metric: int,
    protocol: int,
    gateway: str | None = None,
    source: str | None = None,
    mtu: int | None = None,
    outer: Outer | None = None,
) -> bytes:
    """Return the request to `replace` (or make) or `del` a route.

    :param destination: with prefix length, as `10.1.1.10/32`
    :param metric: distinguishes routes to one destination. Those that lead into tunnels
        need a metric each: the kernel files routes that differ in their outer header
        alone in one place, where adding n of them takes time in proportion to n squared
    """
    network, _, length = destination.partition("/")
    adding = action == "replace"
    if not adding:
        scope = _SCOPE_NOWHERE  # any
    else:
        scope = _SCOPE_LINK if gateway is None else _SCOPE_UNIVERSE
    flags = _RTNH_F_ONLINK if adding and gateway is not None else 0
    body = _ROUTE.pack(
        socket.AF_INET, int(length), 0, 0, min(table, 252), protocol, scope,
        _RTN_UNICAST if adding else 0, flags,
    )  # fmt: skip
    body += (
        make_attribute(_RTA_DST, socket.inet_aton(network))
        + make_attribute(_RTA_TABLE, _U32.pack(table))
        + make_attribute(_RTA_OIF, _U32.pack(ifindex))
        + make_attribute(_RTA_PRIORITY, _U32.pack(metric))
    )
    if gateway is not None:
        body += make_attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
    if adding:
        if source is not None:
            body += make_attribute(_RTA_PREFSRC, socket.inet_aton(source))
        if mtu is not None:
            body += make_attribute(
                _RTA_METRICS, make_attribute(_RTAX_MTU, _U32.pack(mtu))
            )
        if outer is not None:
            body += make_attribute(_RTA_ENCAP_TYPE, _U16.pack(_LWTUNNEL_ENCAP_IP))
            body += make_attribute(_RTA_ENCAP, _encapsulation(outer))
        return make_request(_RTM_NEWROUTE, _NLM_F_CREATE | _NLM_F_REPLACE, body)
    return make_request(_RTM_DELROUTE, 0, body)


def _encapsulation(outer: Outer) -> bytes:
    """Describe an outer header; it has DF, since routes carry the tunnel's MTU."""
    flags = _TUNNEL_DONT_FRAGMENT
    key = b""
    if outer.key is not None:
        flags |= _TUNNEL_KEY
        key = make_attribute(_ENCAP_ID, outer.key.to_bytes(8, "big"))
    return (
        key
        + make_attribute(_ENCAP_DST, socket.inet_aton(outer.destination))
        + make_attribute(_ENCAP_SRC, socket.inet_aton(outer.source))
        + make_attribute(_ENCAP_TTL, bytes((TUNNEL_TTL,)))
        + make_attribute(_ENCAP_TOS, bytes((_TOS_OF_INNER,)))
        + make_attribute(_ENCAP_FLAGS, flags.to_bytes(2, "big"))
    )


def proxy(action: str, *, address: str, ifindex: int, protocol: int) -> bytes:
    """Return the request to `add` or `del` a proxy neighbour."""
    body = _NEIGHBOUR.pack(socket.AF_INET, ifindex, 0, _NTF_PROXY, 0)
    body += make_attribute(_NDA_DST, socket.inet_aton(address))
    if action == "del":
        return make_request(_RTM_DELNEIGH, 0, body)
    body += make_attribute(_NDA_PROTOCOL, bytes((protocol,)))
    return make_request(_RTM_NEWNEIGH, _NLM_F_CREATE | _NLM_F_EXCL, body)


def neighbour(
    action: str,
    *,
    address: str,
    ifindex: int,
    link_address: str = "",
    protocol: int = 0,
) -> bytes:
    """Return the request to `replace` (or make) or `del` a neighbour for good.

    :param link_address: as `02:00:00:00:00:01`
    """
    adding = action == "replace"
    state = _NUD_PERMANENT if adding else 0
    body = _NEIGHBOUR.pack(socket.AF_INET, ifindex, state, 0, 0)
    body += make_attribute(_NDA_DST, socket.inet_aton(address))
    if not adding:
        return make_request(_RTM_DELNEIGH, 0, body)
    body += make_attribute(_NDA_LLADDR, bytes.fromhex(link_address.replace(":", "")))
    body += make_attribute(_NDA_PROTOCOL, bytes((protocol,)))
    return make_request(_RTM_NEWNEIGH, _NLM_F_CREATE | _NLM_F_REPLACE, body)


def proxy_place(address: str) -> int:
    """Return the chain in which the kernel keeps the proxy neighbour of an address.

    There are 16 whatever their number, and each is searched from one end to the other
    before another is added. With one chain at a time that stays in the processor's
    cache: a hundred thousand take 5 s then, and 30 s in any other order.
    """
    number = int.from_bytes(socket.inet_aton(address), "little")
    for bits in (16, 8, 4):
        number ^= number >> bits
    return number & 0xF


def only_other_routes(notifications: bytes) -> bool:
    """Tell whether notifications are of nothing but routes that are no default."""
    start = 0
    while start < len(notifications):
        length, kind, *_ = _HEADER.unpack_from(notifications, start)
        if kind not in (_RTM_NEWROUTE, _RTM_DELROUTE):
            return False
        _, bits, *_ = _ROUTE.unpack_from(notifications, start + _HEADER.size)
        if not bits:
            return False
        start += (length + 3) & ~3
    return True


def impossible_link(kind: str, attribute: int, value: bytes) -> bytes:
    """Return the request for a device with an attribute that its kind refuses.

    A kernel that knows the kind answers EINVAL, one that does not EOPNOTSUPP.
    """
    information = make_attribute(_INFO_KIND, kind.encode()) + make_attribute(
        _INFO_DATA, make_attribute(attribute, value)
    )
    body = _LINK.pack(0, 0, 0, 0, 0) + make_attribute(_IFLA_LINKINFO, information)
    return make_request(_RTM_NEWLINK, _NLM_F_CREATE | _NLM_F_EXCL, body)


def clsact(action: str, ifindex: int) -> bytes:
    """Return the request to `add` or `del` the qdisc for tc programs."""
    body = _TRAFFIC_CONTROL.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
    body += make_attribute(_TCA_KIND, b"clsact\0")
    if action == "del":
        return make_request(_RTM_DELQDISC, 0, body)
    return make_request(_RTM_NEWQDISC, _NLM_F_CREATE | _NLM_F_EXCL, body)


def drop_filter(ifindex: int) -> bytes:
    """Return the request to drop all that arrives at an interface with `clsact`.

    The program is one of classic BPF, which a user namespace may have too.
    """
    options = (
        make_attribute(_BPF_OPS_LEN, _U16.pack(1))
        + make_attribute(_BPF_OPS, _INSTRUCTION.pack(_RETURN, 0, 0, _SHOT))
        + make_attribute(_BPF_FLAGS, _U32.pack(_DIRECT_ACTION))
    )
    info = 1 << 16 | socket.htons(_ETH_P_ALL)  # its place among filters; for what
    body = _TRAFFIC_CONTROL.pack(0, ifindex, 0, _CLSACT_INGRESS, info)
    body += make_attribute(_TCA_KIND, b"bpf\0") + make_attribute(_TCA_OPTIONS, options)
    return make_request(_RTM_NEWTFILTER, _NLM_F_CREATE | _NLM_F_EXCL, body)


def make_request(kind: int, flags: int, body: bytes) -> bytes:
    """Return a request of netlink, which `Requests` numbers when it sends it."""
    return (
        _HEADER.pack(_HEADER.size + len(body), kind, flags | _NLM_F_REQUEST, 0, 0)
        + body
    )


def make_attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute of netlink, padded."""
    padding = -len(value) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * padding


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kinds and values; the marks for nested and network order are left out."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


class Requests:
    """A socket for requests; the kernel carries them out while they are being sent."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def carry_out(self, requests: Iterable[bytes]) -> list[int]:
        """Send requests, many at a time; return the error code of each, 0 for none."""
        codes: list[int] = []
        waiting = iter(requests)
        while some := list(islice(waiting, _PER_SEND)):
            codes += self._send(some)
        return codes

    def call(self, request: bytes) -> None:
        """Send one request. :raises OSError: as the kernel answers."""
        (code,) = self._send([request])
        if code:
            raise OSError(code, os.strerror(code))

    def proxies(self) -> list[tuple[str, int, int]]:
        """Return the proxy neighbours: address, interface, protocol of the maker."""
        return self._neighbours(_NTF_PROXY)

    def neighbours(self) -> list[tuple[str, int, int]]:
        """Return the other neighbours, in the same way."""
        return self._neighbours(0)

    def _neighbours(self, flags: int) -> list[tuple[str, int, int]]:
        body = _NEIGHBOUR.pack(socket.AF_INET, 0, 0, flags, 0)
        found = []
        for message in self.dump(make_request(_RTM_GETNEIGH, NLM_F_DUMP, body)):
            _, ifindex, _, _, _ = _NEIGHBOUR.unpack_from(message)
            held = dict(attributes(message[_NEIGHBOUR.size :]))
            protocol = held.get(_NDA_PROTOCOL, b"\0")[0]
            found.append((socket.inet_ntoa(held[_NDA_DST]), ifindex, protocol))
        return found

    def default_routes(self) -> list[DefaultRoute]:
        """Return the default routes of the main table, those by one interface."""
        found = []
        for message in self._routes():
            _, length, _, _, table, *_ = _ROUTE.unpack_from(message)
            if length or table != _MAIN_TABLE:
                continue
            held = dict(attributes(message[_ROUTE.size :]))
            if _RTA_OIF in held:
                gateway = held.get(_RTA_GATEWAY)
                found.append(
                    DefaultRoute(
                        _U32.unpack(held[_RTA_OIF])[0],
                        None if gateway is None else socket.inet_ntoa(gateway),
                        _U32.unpack(held.get(_RTA_PRIORITY, bytes(4)))[0],
                    )
                )
        return found

    def flush_routes(self, protocol: int) -> int:
        """Delete the routes with a mark, in all tables; return how many there were."""
        marked = []
        for message in self._routes():
            _, _, _, _, _, maker, _, _, flags = _ROUTE.unpack_from(message)
            if maker == protocol and not flags & _RTM_F_CLONED:
                # What tells of a route also names it.
                marked.append(make_request(_RTM_DELROUTE, 0, message))
        return self.carry_out(marked).count(0)

    def _routes(self) -> list[bytes]:
        body = _ROUTE.pack(socket.AF_INET, *bytes(8))
        return self.dump(make_request(_RTM_GETROUTE, NLM_F_DUMP, body))

    def dump(self, request: bytes) -> list[bytes]:
        """Ask for a table; return the bodies of the answer's messages.

        :raises OSError: as the kernel answers; EINTR: it changes all the time.
        """
        for _ in range(_DUMPS):
            messages, whole = self._dump_once(request)
            if whole:
                return messages
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))

    def _dump_once(self, request: bytes) -> tuple[list[bytes], bool]:
        """Return what the kernel told, and whether nothing changed meanwhile."""
        self._socket.send(request)
        messages: list[bytes] = []
        whole = True
        while True:
            data = self._socket.recv(65536)
            start = 0
            while start < len(data):
                length, kind, flags, *_ = _HEADER.unpack_from(data, start)
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if kind == _NLMSG_DONE:
                    return messages, whole
                if kind == _NLMSG_ERROR:
                    code = -_ERROR.unpack_from(data, start + _HEADER.size)[0]
                    raise OSError(code, os.strerror(code))
                messages.append(data[start + _HEADER.size : start + length])
                start += (length + 3) & ~3

    def _send(self, requests: list[bytes]) -> list[int]:
        first = self._sequence
        message = bytearray()
        for request in requests:
            start = len(message)
            message += request
            length, kind, flags, _, port = _HEADER.unpack_from(request)
            self._sequence = self._sequence + 1 & 0xFFFFFFFF
            if request is requests[-1]:
                flags |= _NLM_F_ACK
            _HEADER.pack_into(message, start, length, kind, flags, self._sequence, port)
        self._socket.send(message)
        codes = [0] * len(requests)
        while True:
            # Only what failed is answered, and the last one in any case.
            data = self._socket.recv(65536)
            while data:
                length, kind, _, sequence, _ = _HEADER.unpack_from(data)
                number = (sequence - first - 1) & 0xFFFFFFFF
                if kind == _NLMSG_ERROR and number < len(codes):
                    codes[number] = -_ERROR.unpack_from(data, _HEADER.size)[0]
                    if number == len(codes) - 1:
                        return codes
                data = data[(length + 3) & ~3 :]
