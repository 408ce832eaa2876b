# SPDX-License-Identifier: GPL-2.0-only
"""The home agent's mobility bindings and when they end. RFC 5944 section 3.8.1 (HA-02).

A home address may have several bindings (S). They are small tuples, there may be many.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mip_agents.protocol.clock import Instant
from mip_agents.protocol.effects import BindingRecord
from mip_agents.protocol.tunnel import BROADCASTS, Category, Delivery, Form, Tunnel
from scapy_mip.const import LIFETIME_INFINITE, Encapsulation, RequestFlag
from scapy_mip.ident import difference, seconds

NEVER = float("inf")
"""End of a binding with infinite lifetime (COM-16)."""

_NTP_SECOND = 1 << 32
# Plain integers: operations on enumerated flags take ten times as long.
_M, _G, _T = RequestFlag.M.value, RequestFlag.G.value, RequestFlag.T.value
_B, _D = RequestFlag.B.value, RequestFlag.D.value
_FORM_FLAGS = _M | _G | _T
_DELIVERY_FLAGS = _B | _D


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
    """Monotonic second of its end; `NEVER` for an infinite lifetime."""
    identification: int
    spi: int
    send_key: int | None = None
    """GRE key of the packets that we send; None: they have none (RFC 6245)."""
    receive_key: int | None = None
    """GRE key of the packets that we get; None: none was asked for."""


Bindings = tuple[Binding, ...]


def expiry(lifetime: int, now: Instant) -> float:
    """Return the monotonic second at which a binding granted now ends."""
    return NEVER if lifetime == LIFETIME_INFINITE else now.mono + lifetime


def record(
    home_address: str, home_agent: str, binding: Binding, now: Instant
) -> BindingRecord:
    """Turn a binding into what the journal keeps of it."""
    expires = now.ntp
    if binding.expires != NEVER:
        expires += int((binding.expires - now.mono) * _NTP_SECOND)
    return BindingRecord(
        home_address=home_address,
        care_of_address=binding.care_of_address,
        home_agent=home_agent,
        flags=binding.flags,
        lifetime=binding.lifetime,
        expires=expires & 0xFFFFFFFFFFFFFFFF,
        identification=binding.identification,
        spi=binding.spi,
        source=binding.source,
        send_key=binding.send_key,
        receive_key=binding.receive_key,
    )


def restore(kept: BindingRecord, now: Instant) -> Binding | None:
    """Turn a journal record back into a binding; None where its time is over.

    What remains is never more than was granted, even if the clock went back (HA-22).
    """
    expires = NEVER
    if kept.lifetime != LIFETIME_INFINITE:
        remaining = min(difference(kept.expires, now.ntp), seconds(kept.lifetime))
        if remaining <= 0:
            return None
        expires = now.mono + remaining / _NTP_SECOND
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
        return Encapsulation.GRE if Encapsulation.GRE in allowed else None
    wanted = [
        form
        for flag, form in (
            (_G, Encapsulation.GRE),
            (_M, Encapsulation.MINIMAL),
        )
        if flags & flag
    ] or [Encapsulation.IPIP]
    return next((form for form in wanted if form in allowed), None)


def form_of(
    binding: Binding, allowed: frozenset[Encapsulation]
) -> Encapsulation | None:
    """Return the encapsulation of a binding; None if it is not allowed any more."""
    keyed = binding.receive_key is not None
    return choose_encapsulation(binding.flags, allowed, with_key=keyed)


def same_tunnel(
    one: Bindings, other: Bindings, *, broadcasts: frozenset[Category]
) -> bool:
    """Return whether two sets of bindings need the same of the data plane.

    :param broadcasts: what may be passed on; with none of it, B and D mean nothing.
    """
    counting = _FORM_FLAGS | (_DELIVERY_FLAGS if broadcasts else 0)
    return len(one) == len(other) and all(
        a.care_of_address == b.care_of_address
        and not (a.flags ^ b.flags) & counting
        and (a.send_key, a.receive_key) == (b.send_key, b.receive_key)
        for a, b in zip(one, other, strict=True)
    )


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


class BindingTable:
    """Bindings by home address, with one structure for all their ends.

    The heap is corrected lazily: a refresh leaves the entry where it is, and when that
    comes up, it is put back for the new end. So there is about one entry for each
    binding and no scan, however many there are.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, Bindings] = {}
        self._heap: list[tuple[float, str, str]] = []
        self._reported: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, Binding]]:
        for home_address, bindings in self._nodes.items():
            for binding in bindings:
                yield home_address, binding

    @property
    def nodes(self) -> int:
        """How many home addresses have a binding."""
        return len(self._nodes)

    def get(self, home_address: str) -> Bindings:
        """Return the bindings of a home address, the oldest first."""
        return self._nodes.get(home_address, ())

    def replace(self, home_address: str, bindings: Bindings) -> None:
        """Put `bindings` in place of all that a home address had."""
        old = self._nodes.get(home_address, ())
        self._count += len(bindings) - len(old)
        if bindings:
            self._nodes[home_address] = bindings
        else:
            self._nodes.pop(home_address, None)
        covered = (
            {}
            if home_address in self._reported
            else {binding.care_of_address: binding.expires for binding in old}
        )
        self._reported.discard(home_address)
        for binding in bindings:
            # An entry that comes up too early is put back; one that comes up too
            # late would let the binding outlive its lifetime.
            if binding.expires < covered.get(binding.care_of_address, NEVER):
                self._push(home_address, binding)
        if len(self._heap) > 2 * self._count + 64:
            self._rebuild()

    def _push(self, home_address: str, binding: Binding) -> None:
        if binding.expires != NEVER:
            entry = (binding.expires, home_address, binding.care_of_address)
            heapq.heappush(self._heap, entry)

    def _rebuild(self) -> None:
        # Lifetimes that shrink leave entries behind; this bounds their number.
        self._heap = [
            (binding.expires, home_address, binding.care_of_address)
            for home_address, binding in self
            if binding.expires != NEVER
        ]
        heapq.heapify(self._heap)

    def next_expiry(self) -> float | None:
        """Return the second at which `overdue` may have something, if at all."""
        return self._heap[0][0] if self._heap else None

    def overdue(self, now: float) -> Iterable[str]:
        """Return the home addresses with a binding whose time is over, each once.

        Each is reported until it is replaced only once; `lapsed` says which it is.
        """
        found: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= now:
            _, home_address, care_of_address = heapq.heappop(self._heap)
            for binding in self.get(home_address):
                if binding.care_of_address != care_of_address:
                    continue
                if binding.expires > now:
                    self._push(home_address, binding)
                else:
                    found[home_address] = None
                    self._reported.add(home_address)
        return found

    def lapsed(self, home_address: str, now: float) -> Bindings:
        """Return the bindings of a home address whose time is over."""
        return tuple(b for b in self.get(home_address) if b.expires <= now)
