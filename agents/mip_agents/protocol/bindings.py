# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's mobility bindings and when they end. RFC 5944 section 3.8.1 (HA-02).

A home address may have several bindings (S).
"""

from __future__ import annotations

import heapq
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from scapy.utils import inet_aton, inet_ntoa

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import BindingRecord
from mip_agents.protocol.tunnel import BROADCASTS, Category, Delivery, Form, Tunnel
from scapy_mip.const import LIFETIME_INFINITE, Encapsulation, RequestFlag
from scapy_mip.ident import difference

NEVER = float("inf")
"""End of a binding with infinite lifetime (COM-16)."""

TICKS = 1024
"""Parts of a second to which the ends of bindings are rounded. It is a power of two: so
nothing is lost between the time that is asked for and the time that has come."""

_NTP_SECOND = 1 << 32
# Plain integers: operations on enumerated flags take ten times as long.
_M, _G, _T = RequestFlag.M.value, RequestFlag.G.value, RequestFlag.T.value
_B, _D = RequestFlag.B.value, RequestFlag.D.value
_FORM_FLAGS = _M | _G | _T
_DELIVERY_FLAGS = _B | _D
_IPIP, _GRE, _MINIMAL = Encapsulation.IPIP, Encapsulation.GRE, Encapsulation.MINIMAL


class Binding(NamedTuple):
    """One care-of address of a home address."""

    care_of_address: str
    source: str
    """Where the request came from: the node or its foreign agent."""
    flags: int
    """Flags of the request, as on the wire."""
    lifetime: int
    """Granted seconds; 65535 is infinite."""
    expires: float
    """Monotonic second of its end, whole `TICKS`; `NEVER` for an infinite lifetime."""
    identification: int
    spi: int
    send_key: int | None = None
    """GRE key of the packets that we send; None: they have none (RFC 6245)."""
    receive_key: int | None = None
    """GRE key of the packets that we get; None: none was asked for."""


Bindings = tuple[Binding, ...]

new_binding: Callable[[tuple[Any, ...]], Binding] = partial(tuple.__new__, Binding)
"""Makes a binding of all its fields in order, in half the time that its class takes."""


def expiry(lifetime: int, now: Instant) -> float:
    """Return the monotonic second at which a binding granted now ends."""
    return NEVER if lifetime == LIFETIME_INFINITE else _ticked(now.mono + lifetime)


def _ticked(moment: float) -> float:
    """Round down to a tick, so that ends can be ordered as whole numbers."""
    return math.floor(moment * TICKS) / TICKS


def record(
    home_address: str, home_agent: str, binding: Binding, now: Instant
) -> BindingRecord:
    """Turn a binding into what the journal keeps of it."""
    expires, ends = now.ntp, None
    if binding.expires != NEVER:
        ends = binding.expires
        expires += int((ends - now.mono) * _NTP_SECOND)
    (
        care_of_address,
        source,
        flags,
        lifetime,
        _end,
        identification,
        spi,
        send_key,
        receive_key,
    ) = binding
    return BindingRecord(
        home_address,
        care_of_address,
        home_agent,
        flags,
        lifetime,
        expires & 0xFFFFFFFFFFFFFFFF,
        identification,
        spi,
        source,
        send_key,
        receive_key,
        ends,
    )


def restore(kept: BindingRecord, now: Instant) -> Binding | None:
    """Turn a journal record back into a binding; None where its time is over.

    Where the monotonic clock is still the same, what time of day it is does not matter.
    What remains is never more than was granted, even if the clock went back (HA-22).
    """
    expires = NEVER
    if kept.lifetime != LIFETIME_INFINITE:
        end = kept.ends
        if end is None:
            end = now.mono + difference(kept.expires, now.ntp) / _NTP_SECOND
        expires = _ticked(min(end, now.mono + kept.lifetime))
        if expires <= now.mono:
            return None
    return Binding(
        care_of_address=kept.care_of_address,
        source=kept.source,
        flags=kept.flags,
        lifetime=kept.lifetime,
        expires=expires,
        identification=kept.identification,
        spi=kept.spi,
        send_key=kept.send_key,
        receive_key=kept.receive_key,
    )


def choose_encapsulation(
    flags: int, allowed: frozenset[Encapsulation], *, with_key: bool = False
) -> Encapsulation | None:
    """Return the encapsulation that a request gets; None if none is allowed (HA-43).

    The RFC is silent about M and G together. The node says then that it can take
    either, and GRE goes first: minimal encapsulation cannot carry fragments (TUN-05).

    :param with_key: a foreign agent asks for GRE, whatever the flags say (TUN-08).
    """
    if with_key:
        return _GRE if _GRE in allowed else None
    if not flags & (_G | _M):
        return _IPIP if _IPIP in allowed else None
    if flags & _G and _GRE in allowed:
        return _GRE
    return _MINIMAL if flags & _M and _MINIMAL in allowed else None


def form_of(
    binding: Binding, allowed: frozenset[Encapsulation]
) -> Encapsulation | None:
    """Return the encapsulation of a binding; None if it is not allowed any more."""
    keyed = binding.receive_key is not None
    return choose_encapsulation(binding.flags, allowed, with_key=keyed)


def has_care_of_address(bindings: Bindings, care_of_address: str) -> bool:
    """Return whether one of the bindings is for a care-of address."""
    for binding in bindings:  # noqa: SIM110 - of one mostly, and it takes half
        if binding.care_of_address == care_of_address:
            return True
    return False


def flags_of_tunnels(broadcasts: frozenset[Category]) -> int:
    """Return the flags of a request that make a difference to the data plane.

    :param broadcasts: what may be passed on; with none of it, B and D mean nothing.
    """
    return _FORM_FLAGS | _DELIVERY_FLAGS if broadcasts else _FORM_FLAGS


def same_tunnel(one: Bindings, other: Bindings, counting: int) -> bool:
    """Return whether two sets of bindings need the same of the data plane.

    :param counting: see `flags_of_tunnels`.
    """
    if one is other:
        return True
    if len(one) != len(other):
        return False
    for a, b in zip(one, other):  # noqa: B905 - of one length, and it takes a third
        if a.care_of_address != b.care_of_address:
            return False
        if (a.flags ^ b.flags) & counting:
            return False
        if a.send_key != b.send_key or a.receive_key != b.receive_key:
            return False
    return True


def tunnel_of(
    home_address: str,
    home_agent: str,
    bindings: Bindings,
    allowed: frozenset[Encapsulation],
    broadcasts: frozenset[Category],
) -> Tunnel:
    """Return the tunnel that carries a copy to each care-of address (HA-33, HA-35).

    Each copy has the form that its own request asked for (HA-44). Packets are accepted
    from the node if any of its bindings has T.
    """
    forms = tuple(
        Form(
            form_of(binding, allowed) or Encapsulation.IPIP,
            send_key=binding.send_key,
            receive_key=binding.receive_key,
        )
        for binding in bindings
    )
    plain = len(set(forms)) == 1 and forms[0].send_key is None
    return Tunnel(
        home_address=home_address,
        local=home_agent,
        peers=tuple(binding.care_of_address for binding in bindings),
        encapsulation=forms[-1].encapsulation,
        reverse=any(binding.flags & _T for binding in bindings),
        peer_forms=() if plain else forms,
        deliveries=tuple(_deliveries(bindings, broadcasts)),
    )


def _deliveries(
    bindings: Bindings, broadcasts: frozenset[Category]
) -> Iterator[Delivery]:
    """Yield who gets what is sent to many, and how (HA-40, HA-41).

    Broadcasts are for those who set B. Groups are for those who join them, which takes
    a reverse tunnel (RFC 5944 section 4.4).
    """
    for binding in bindings:
        wanted = broadcasts
        if not binding.flags & _B:
            wanted -= BROADCASTS
        if not binding.flags & _T:
            wanted &= BROADCASTS
        if wanted:
            nested = not binding.flags & _D
            yield Delivery(binding.care_of_address, nested, wanted)


_BEFORE_END = "!16p16pBH"
_PACKED = struct.Struct(f"{_BEFORE_END}dQIBII")
"""A `Binding`, its fields in their order; before the keys, which of them there are.
Its addresses are text: to spell them at each look would take longer than the rest."""
_SIZE = _PACKED.size
_END = struct.calcsize(_BEFORE_END)
_DOUBLE = struct.Struct("!d")
"""The field `expires`, and where it is."""
_HAS_SEND_KEY, _HAS_RECEIVE_KEY = 1, 2


class BindingTable:
    """Bindings by home address, with one structure for all their ends.

    There may be a hundred thousand, so they are kept packed: a third of the memory,
    and nothing in it that the garbage collector would walk through.

    The heap has a number for each node: when the first of its bindings ends, in ticks,
    and the home address in the lowest 32 bits. It is corrected lazily: a refresh leaves
    the entry where it is, and when that comes up, it is put back for the new end. So
    there is about one entry for each node and no scan, however many there are.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, bytes] = {}
        self._heap: list[int] = []
        self._reported: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, Binding]]:
        for home_address, packed in self._nodes.items():
            for binding in _unpack(packed):
                yield home_address, binding

    @property
    def nodes(self) -> int:
        """How many home addresses have a binding."""
        return len(self._nodes)

    def home_addresses(self) -> list[str]:
        """Return the home addresses that have a binding now."""
        return list(self._nodes)

    def get(self, home_address: str) -> Bindings:
        """Return the bindings of a home address, the oldest first."""
        return _unpack(self._nodes.get(home_address, b""))

    def replace(self, home_address: str, bindings: Bindings) -> None:
        """Put `bindings` in place of all that a home address had."""
        nodes = self._nodes
        old = nodes.get(home_address, b"")
        if len(bindings) == 1:  # as nearly always
            packed = _pack(*bindings[0])
            end = bindings[0].expires
        else:
            packed = b"".join([_pack(*binding) for binding in bindings])
            end = _first_end(packed)
        if packed:
            nodes[home_address] = packed
        elif old:
            del nodes[home_address]
            self._bound_heap()
        self._count += (len(packed) - len(old)) // _SIZE
        covered = _first_end(old)
        if self._reported and home_address in self._reported:
            covered = NEVER
            self._reported.remove(home_address)
        # An entry that comes up too early is put back; one that comes up too late
        # would let a binding outlive its lifetime.
        if end < covered:
            self._push(home_address, end)
            self._bound_heap()

    def _push(self, home_address: str, end: float) -> None:
        heapq.heappush(self._heap, _entry(home_address, end))

    def _bound_heap(self) -> None:
        # Lifetimes that shrink leave entries behind; this bounds their number.
        if len(self._heap) <= 2 * len(self._nodes) + 64:
            return
        ends = (
            (home_address, _first_end(packed))
            for home_address, packed in self._nodes.items()
        )
        self._heap = [_entry(*node) for node in ends if node[1] != NEVER]
        heapq.heapify(self._heap)

    def next_expiry(self) -> float | None:
        """Return the second at which `overdue` may have something, if at all."""
        return (self._heap[0] >> 32) / TICKS if self._heap else None

    def overdue(self, now: float) -> Iterable[str]:
        """Return the home addresses with a binding whose time is over, each once.

        Each is reported until it is replaced only once; `lapsed` says which it is.
        """
        found: dict[str, None] = {}
        come = now * TICKS
        while self._heap and self._heap[0] >> 32 <= come:
            number = heapq.heappop(self._heap) & 0xFFFFFFFF
            home_address = inet_ntoa(number.to_bytes(4, "big"))
            end = _first_end(self._nodes.get(home_address, b""))
            if end <= now:
                found[home_address] = None
                self._reported.add(home_address)
            elif end != NEVER:
                self._push(home_address, end)
        return found

    def lapsed(self, home_address: str, now: float) -> Bindings:
        """Return the bindings of a home address whose time is over."""
        return tuple(b for b in self.get(home_address) if b.expires <= now)


def _pack(
    care_of_address: str,
    source: str,
    flags: int,
    lifetime: int,
    expires: float,
    identification: int,
    spi: int,
    send_key: int | None,
    receive_key: int | None,
) -> bytes:
    return _PACKED.pack(
        care_of_address.encode(),
        source.encode(),
        flags,
        lifetime,
        expires,
        identification,
        spi,
        (send_key is not None and _HAS_SEND_KEY)
        | (receive_key is not None and _HAS_RECEIVE_KEY),
        send_key or 0,
        receive_key or 0,
    )


def _unpack(packed: bytes) -> Bindings:
    if len(packed) == _SIZE:  # as nearly always
        return (_binding(*_PACKED.unpack(packed)),)
    return tuple([_binding(*fields) for fields in _PACKED.iter_unpack(packed)])


def _binding(
    care_of_address: bytes,
    source: bytes,
    flags: int,
    lifetime: int,
    expires: float,
    identification: int,
    spi: int,
    present: int,
    send_key: int,
    receive_key: int,
) -> Binding:
    return new_binding(
        (
            care_of_address.decode(),
            source.decode(),
            flags,
            lifetime,
            expires,
            identification,
            spi,
            send_key if present & _HAS_SEND_KEY else None,
            receive_key if present & _HAS_RECEIVE_KEY else None,
        )
    )


def _first_end(packed: bytes) -> float:
    """Return when the first of a node's bindings ends; `NEVER` where none does."""
    if len(packed) == _SIZE:
        end: float = _DOUBLE.unpack_from(packed, _END)[0]
        return end
    ends = range(_END, len(packed), _SIZE)
    return min([_DOUBLE.unpack_from(packed, end)[0] for end in ends], default=NEVER)


def _entry(home_address: str, end: float) -> int:
    return math.ceil(end * TICKS) << 32 | int.from_bytes(inet_aton(home_address), "big")
