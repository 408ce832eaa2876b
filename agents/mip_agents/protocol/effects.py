# SPDX-License-Identifier: GPL-2.0-only
"""Everything an engine can ask for.

Effects are orders, named by imperatives, and plain values: the driver carries them out.
Those with a `token` are answered by an event with the same token.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import msgspec

from mip_agents.protocol.tunnel import Tunnel
from mip_agents.protocol.values import Value


class Send(Value, frozen=True):
    """Send a datagram once the journal entries before it are durable."""

    data: bytes
    source: str
    source_port: int
    destination: str
    destination_port: int
    interface: str | None = None
    """The interface to leave by; None: routing decides."""
    ttl: int | None = None
    """IP TTL; None: the system's default."""
    link_address: str | None = None
    """Link-layer address on `interface` to send to, as `02:00:00:00:00:01`, without
    routing or ARP; None: the system decides."""


class SendDiscovery(Value, frozen=True):
    """Send a router discovery message, always with TTL 1 (AG-02, MN-01)."""

    data: bytes
    """The ICMP message."""
    source: str
    destination: str
    interface: str
    link_address: str | None = None
    """Link-layer destination; None: that of the multicast or broadcast address."""


class BindingRecord(Value, frozen=True):
    """A mobility binding as the journal keeps it (HA-02)."""

    home_address: str
    care_of_address: str
    home_agent: str
    flags: int
    """Flags of the accepted request, as on the wire."""
    lifetime: int
    """Granted seconds; 65535 is infinite."""
    expires: int
    """End as 64-bit NTP time, since monotonic time does not outlive a boot."""
    identification: int
    spi: int
    source: str
    """Where the request came from: the node or its foreign agent."""
    send_key: int | None = None
    """GRE key of the packets that we send (RFC 6245)."""
    receive_key: int | None = None
    """GRE key of the packets that we get."""
    ends: float | None = None
    """End as monotonic second, which no setting of a clock changes; None where that is
    not known, as after a reboot, or where there is no end."""


class RenewedBinding(Value, frozen=True):
    """A binding that the journal has, renewed by the newest request of its node.

    Most changes are of this kind, and it says everything: the node is known by its home
    address and uses timestamps, and no `IdentificationRecord` comes with it (HA-30).
    """

    binding: BindingRecord


class IdentificationRecord(Value, frozen=True):
    """The newest Identification accepted from a node: nothing older is taken (HA-30).

    It outlives the binding, so that a replay finds it after deregistration, too.
    """

    node: str
    """Its home address, or its NAI where that is what it is known by."""
    identification: int


@dataclass(frozen=True, slots=True)
class NonceRecord:
    """The request accepted last from a node that uses nonces (HA-32)."""

    node: str
    """Its home address, or its NAI where that is what it is known by."""
    identification: int
    nonce: int
    """What its reply gave out: the high 32 bits that the next request must have."""


@dataclass(frozen=True, slots=True)
class DroppedBinding:
    """A binding that is gone from the journal."""

    home_address: str
    care_of_address: str


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A home address that belongs to a node with a name (HA-24)."""

    nai: str
    """In canonical form."""
    home_address: str
    granted: int
    """When it was handed out last, as 64-bit NTP time."""


Change = (
    BindingRecord
    | RenewedBinding
    | IdentificationRecord
    | NonceRecord
    | LeaseRecord
    | DroppedBinding
)


def accepted_timestamp(change: Change) -> IdentificationRecord | None:
    """Return the timestamp that counts as accepted once a change is durable (HA-30).

    None where a change accepts none.
    """
    match change:
        case IdentificationRecord():
            return change
        case RenewedBinding():
            binding = change.binding
            return IdentificationRecord(binding.home_address, binding.identification)
        case _:
            return None


@final
class Journal(Value, frozen=True):
    """Make the changes durable, all or none; answered by `JournalWritten`."""

    token: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class InstallTunnel:
    """Install or atomically replace a tunnel; answered by `TunnelReady`."""

    token: int
    tunnel: Tunnel


@dataclass(frozen=True, slots=True)
class RemoveTunnel:
    """Take a tunnel away with all that came with it; answered by `TunnelReady`."""

    token: int
    key: str
    """`Tunnel.key`: the home address, unless we are a foreign agent."""


@dataclass(frozen=True, slots=True)
class AnnounceAddress:
    """Send gratuitous ARP for an address with our own link-layer address (ARP-02)."""

    address: str
    interface: str | None = None
    """None: the home link of a home agent."""


@dataclass(frozen=True, slots=True)
class GiveBackAddress:
    """Announce the link-layer address of a node that is at home again (ARP-05).

    No message says which that is: the link is to be asked.
    """

    address: str
    interface: str | None = None
    """Where the node deregistered; None: the home link."""


@dataclass(frozen=True, slots=True)
class HoldAddress:
    """Mobile node: have the home address on the link where the home agent is (MN-13).

    It is taken away from the link that has had it from an earlier order.
    """

    address: str
    """With the prefix length of the home network, as `10.1.1.10/24`."""
    interface: str | None
    """None: on no link any more."""


class Severity(enum.IntEnum):
    """How loud a `Noted` is."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@final
class Noted(Value, frozen=True):
    """Something worth a log line, a counter and a control event, all three from here.

    Keys and authenticators never enter `fields`.
    """

    event: str
    """What happened, such as `registration_accepted`; also the counter's name."""
    severity: Severity = Severity.INFO
    rule: str | None = None
    """The rule of the checklist behind it, such as `HA-09`, with its RFC section."""
    fields: Mapping[str, str | int | None] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer to a request that came with a token."""

    token: int
    error: str | None = None
    """One line that says why it did not succeed; None is success."""
    code: int | None = None
    """Reply code, where a reply decided."""
    fields: Mapping[str, str | int | None] = field(default_factory=dict)


Effect = (
    Send
    | SendDiscovery
    | Journal
    | InstallTunnel
    | RemoveTunnel
    | AnnounceAddress
    | GiveBackAddress
    | HoldAddress
    | Noted
    | Finished
)
