# SPDX-License-Identifier: GPL-2.0-only
"""Everything that can happen to an engine.

Events are past facts, named by participles. A `token` ties an answer to the effect that
asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mip_agents.protocol.effects import (
    BindingRecord,
    IdentificationRecord,
    LeaseRecord,
    NonceRecord,
)
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.values import Value


class Received(Value, frozen=True):
    """A datagram arrived on UDP port 434."""

    data: bytes
    """The UDP payload exactly as it came."""
    source: str
    source_port: int
    destination: str
    """Where the sender addressed it: ours, or a broadcast or multicast address."""
    destination_port: int
    interface: str | None = None
    ttl: int | None = None
    """IP TTL, where it is known: a foreign agent asks for it (RT-02)."""
    link_address: str | None = None
    """Link-layer address that it came from, as `02:00:00:00:00:01`, where it is known:
    a foreign agent answers there (FA-28)."""


class DiscoveryReceived(Value, frozen=True):
    """A router discovery message arrived: ICMP type 9 or 10, with a good checksum."""

    data: bytes
    """The ICMP message exactly as it came."""
    source: str
    destination: str
    interface: str
    ttl: int
    link_address: str
    """Link-layer address that it came from."""


class Undelivered(Value, frozen=True):
    """An ICMP error came for a datagram that we sent (FA-20)."""

    data: bytes
    """What was sent, as far as it is known."""
    destination: str
    icmp_code: int
    """Of Destination Unreachable; another ICMP type counts as code 1, host."""


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The moment that `next_timer()` named has come."""


class JournalWritten(Value, frozen=True):
    """The changes of a `Journal` effect are durable."""

    token: int


@dataclass(frozen=True, slots=True)
class JournalFailed:
    """The changes of a `Journal` effect could not be made durable."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class TunnelReady:
    """The data plane has carried out an `InstallTunnel` or `RemoveTunnel`."""

    token: int


@dataclass(frozen=True, slots=True)
class TunnelFailed:
    """The data plane could not carry out an `InstallTunnel` or `RemoveTunnel`."""

    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """Start-up: what the journal of an earlier process holds."""

    bindings: tuple[BindingRecord, ...]
    identifications: tuple[IdentificationRecord, ...]
    nonces: tuple[NonceRecord, ...] = ()
    leases: tuple[LeaseRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class InterfacesChanged:
    """The whole state of the interfaces, after a change and once at the start."""

    interfaces: Mapping[str, InterfaceState]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequested:
    """Someone asks the mobile node to register; answered by `Finished`."""

    token: int
    interface: str
    lifetime: int | None = None
    """Seconds; None takes the configured lifetime."""


@dataclass(frozen=True, slots=True)
class DeregisterRequested:
    """Someone asks the mobile node to end its registration; answered by `Finished`."""

    token: int


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Someone asks the mobile node to give up the request that is under way."""

    token: int


@dataclass(frozen=True, slots=True)
class ClearRequested:
    """Someone asks the home agent to drop a node's bindings; answered by `Finished`."""

    token: int
    home_address: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The agent is about to end: time for a final advertisement."""


Event = (
    Received
    | DiscoveryReceived
    | Undelivered
    | TimerFired
    | JournalWritten
    | JournalFailed
    | TunnelReady
    | TunnelFailed
    | Restored
    | InterfacesChanged
    | RegisterRequested
    | DeregisterRequested
    | CancelRequested
    | ClearRequested
    | Stopping
)
