# SPDX-License-Identifier: GPL-2.0-only
"""Packets inside of packets: what all layers of tunnels share.

The layers that may be inside are imported when they are met, see `base.with_udp`.
"""

from __future__ import annotations

import functools
from typing import Any

from scapy.config import conf
from scapy.packet import NoPayload, Packet


@functools.cache
def _least_bytes() -> dict[type[Packet], int]:
    """Return the bytes without which a layer cannot be; Scapy's own raise on less."""
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import GRE

    return {IP: 20, IPv6: 40, GRE: 4, UDP: 8, TCP: 20}


def layer_of(protocol: Any, data: bytes) -> type[Packet] | None:
    """Return the layer that `IP` would take for a protocol number and these bytes.

    None where it has none, or where the bytes end in its header.
    """
    from scapy.layers.inet import IP

    for values, layer in IP.payload_guess:
        if values.get("proto") == protocol and values.keys() <= {"proto", "frag"}:
            return layer if len(data) >= _least_bytes().get(layer, 0) else None
    return None


def protocol_of(payload: Any) -> int | None:
    """Return the protocol number that `IP` would give a payload."""
    from scapy.layers.inet import IP

    overload: dict[type[Packet], Any] = getattr(payload, "overload_fields", {})
    protocol: int | None = overload.get(IP, {}).get("proto")
    return protocol


LAYERS_MAX = 32
"""How many layers may be in front of what a tunnel dissects, and from it to the next.

A header of a tunnel has as few as four bytes: a datagram holds thousands of them, far
more than Python can go down, in building and copying too.
"""


class Tunnel(Packet):
    """A layer with a packet of another protocol inside, which it names by its number.

    Bytes that the layer of that protocol raises on, or that go on nesting beyond
    `LAYERS_MAX`, stay bytes: whoever filled the tunnel decides on them.
    """

    protocol_field = "protocol"
    """The field with the protocol number; it sets itself for what `/` puts behind."""

    def add_payload(self, payload: Packet | bytes) -> None:
        """Take the payload and its protocol number."""
        super().add_payload(payload)
        protocol = protocol_of(self.payload)
        if protocol is not None:
            self.overloaded_fields = {self.protocol_field: protocol}

    def guess_payload_class(self, payload: bytes) -> type[Packet]:
        """Take what `IP` would take for the protocol."""
        known = layer_of(self.getfieldval(self.protocol_field), payload)
        return known or super().guess_payload_class(payload)

    def do_dissect_payload(self, s: bytes) -> None:
        """Dissect what is inside, or keep it as bytes."""
        if s and not self._dissected(s):
            self.remove_payload()
            self.add_payload(conf.raw_layer(s, _internal=1, _underlayer=self))

    def _dissected(self, inside: bytes) -> bool:
        in_front = self.underlayer
        for _layer in range(LAYERS_MAX):
            if in_front is None:
                break
            in_front = in_front.underlayer
        else:
            return False
        try:
            super().do_dissect_payload(inside)
        except Exception:  # noqa: BLE001  # of Scapy's layers, under `debug_dissector`
            return False
        behind = self.payload
        for _layer in range(LAYERS_MAX):
            if isinstance(behind, NoPayload | Tunnel):
                return True
            behind = behind.payload
        return False

    def hashret(self) -> bytes:
        """Let the payload tell."""
        return self.payload.hashret()

    def answers(self, other: Packet) -> bool:
        """Let the payloads tell."""
        return isinstance(other, type(self)) and bool(
            self.payload.answers(other.payload)
        )
