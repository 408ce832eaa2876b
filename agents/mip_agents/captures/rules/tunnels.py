# SPDX-License-Identifier: GPL-2.0-only
"""Tunnelled packets, by themselves and beside the registrations (TUN, RT, HA)."""

from __future__ import annotations

from scapy.utils import checksum

from mip_agents.captures.findings import Rule, Severity
from mip_agents.captures.observation import Observation
from mip_agents.captures.rules import Deviations
from mip_agents.captures.rules.registration import Binding, Registrations
from scapy_mip.const import Encapsulation

HA_33 = Rule("HA-33", Severity.ERROR, "RFC 5944 4.2.3")
HA_35 = Rule("HA-35", Severity.ERROR, "RFC 5944 4.2.3")
HA_43 = Rule("HA-43", Severity.ERROR, "RFC 5944 4.1")
RT_07 = Rule("RT-07", Severity.ERROR, "RFC 3024 4.3.2")
TUN_01 = Rule("TUN-01", Severity.ERROR, "RFC 2003 3.1")
TUN_05 = Rule("TUN-05", Severity.ERROR, "RFC 2004 3")
TUN_06 = Rule("TUN-06", Severity.ERROR, "RFC 2004 3")
TUN_07 = Rule("TUN-07", Severity.WARNING, "RFC 2784 2")

_GRACE_S = 2.0
"""For packets that are on their way while a binding changes."""
_LONG_HEADER = 0x80
_GRE_RESERVED = 0x5FF8
"""All bits of a GRE header's first half but checksum, key, sequence and version."""


def check_tunnel(seen: Observation) -> Deviations:
    """Check a tunnelled packet by itself."""
    inner, kind = seen.inner, seen.ip.protocol
    if inner is not None and kind in (Encapsulation.IPIP, Encapsulation.GRE):
        if inner.ttl == 0:
            yield TUN_01, "a packet with TTL 0 was tunnelled"
        if (
            inner.dont_fragment
            and not seen.ip.dont_fragment
            and not seen.ip.is_fragment
        ):
            yield TUN_01, "DF is set inside, but not outside"
    if kind == Encapsulation.MINIMAL:
        size = 12 if seen.body[1] & _LONG_HEADER else 8
        if seen.ip.is_fragment:
            yield TUN_05, "minimal encapsulation of a fragment"
        elif checksum(seen.body[:size]) != 0:
            yield TUN_06, "the checksum of the forwarding header is wrong"
    if kind == Encapsulation.GRE:
        first = int.from_bytes(seen.body[:2], "big")
        if first & 7:
            yield TUN_07, f"GRE version {first & 7}"
        elif first & _GRE_RESERVED & ~0x3000:
            yield TUN_07, f"reserved GRE bits are set: 0x{first:04x}"


def check_binding(seen: Observation, registrations: Registrations) -> Deviations:
    """Compare a tunnelled packet with the bindings that its capture has shown.

    A node of which no registration was seen cannot be judged.
    """
    inner = seen.inner
    if inner is None:
        return
    towards = registrations.bindings(inner.destination, seen.time - _GRACE_S)
    if towards is not None:
        yield from _check_forward(seen, inner.destination, towards, registrations)
        return
    back = registrations.bindings(inner.source, seen.time - _GRACE_S)
    if back is not None:
        yield from _check_reverse(seen, inner.source, back)


def _check_forward(
    seen: Observation,
    home: str,
    bindings: list[Binding],
    registrations: Registrations,
) -> Deviations:
    outer = seen.ip
    if not bindings:
        if not registrations.is_asked_for(home, outer.destination):
            yield HA_33, f"tunnelled to {home}, which has no binding"
        return
    found = [one for one in bindings if one.care_of_address == outer.destination]
    if not found:
        fresh = max(one.since for one in bindings)
        asked = registrations.is_asked_for(home, outer.destination)
        if seen.time - fresh > _GRACE_S and not asked:
            yield HA_33, f"tunnelled to {outer.destination}, where {home} is not bound"
        return
    if outer.source not in found[0].home_agents:
        yield HA_35, f"tunnelled from {outer.source}, which is not the home agent"
    if not _is_asked_form(seen, found[0]):
        yield HA_43, f"tunnelled to {home} in a form that it did not ask for"


def _check_reverse(seen: Observation, home: str, bindings: list[Binding]) -> Deviations:
    outer = seen.ip
    if not bindings:
        yield RT_07, f"tunnelled back from {home}, which has no binding"
        return
    if outer.source == home:
        return  # to a foreign agent, by encapsulating delivery
    found = [one for one in bindings if one.care_of_address == outer.source]
    if not found:
        fresh = max(one.since for one in bindings)
        if seen.time - fresh > _GRACE_S:
            yield (
                RT_07,
                f"tunnelled back from {outer.source}, where {home} is not bound",
            )
    elif not _is_asked_form(seen, found[0]):
        yield RT_07, f"tunnelled back from {home} in a form that it did not ask for"


def _is_asked_form(seen: Observation, binding: Binding) -> bool:
    """Whether the encapsulation was agreed on, or may be that of before."""
    is_other = seen.ip.protocol in (Encapsulation.GRE, Encapsulation.MINIMAL)
    is_agreed = seen.ip.protocol in binding.encapsulations
    return is_agreed or not is_other or seen.time - binding.since <= _GRACE_S
