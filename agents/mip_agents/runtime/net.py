# SPDX-License-Identifier: GPL-2.0-only
"""All ways by which an agent hears and speaks: its UDP port, and its links."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from mip_agents.protocol.effects import Send, SendDiscovery
from mip_agents.protocol.events import Event, Received
from mip_agents.protocol.links import InterfaceState
from mip_agents.runtime.linknet import LinkNeeds, LinkNet
from mip_agents.runtime.ports import Notes
from mip_agents.runtime.udp import UdpServer
from scapy_mip.const import MIP_PORT

_REMEMBERED = 32
"""Datagrams whose other copy may still come."""


class Copies:
    """Tells the second copy of a datagram that comes as a frame and by UDP.

    Whether both come, and in which order, depends on what the kernel makes of the
    frame: it may not have the address, or see no way back to the sender.
    """

    def __init__(self) -> None:
        self._ahead: OrderedDict[tuple[str, int, bytes], int] = OrderedDict()
        """By how many the frames are ahead; those of UDP, where it is negative."""

    def found(self, received: Received) -> bool:
        """Return whether this is the second of the two."""
        key = (received.source, received.source_port, received.data)
        before = self._ahead.pop(key, 0)
        after = before + (-1 if received.link_address is None else 1)
        if after:
            self._ahead[key] = after
        if len(self._ahead) > _REMEMBERED:
            self._ahead.popitem(last=False)
        return abs(after) < abs(before)


class AgentNet:
    """The port `Net` of a driver.

    :param needs: what it is to hear of its links.
    :param errors: hear of datagrams that do not arrive (`Undelivered`).
    """

    def __init__(
        self,
        notes: Notes,
        needs: LinkNeeds,
        *,
        address: str = "0.0.0.0",
        port: int = MIP_PORT,
        errors: bool = False,
    ) -> None:
        self._needs = needs
        self._udp = UdpServer(notes, address=address, port=port, errors=errors)
        self._links = LinkNet(notes, needs)
        self._copies = Copies()

    @property
    def port(self) -> int:
        """The UDP port that is bound."""
        return self._udp.port

    @property
    def drops(self) -> Mapping[str, int]:
        """Control messages that were lost on our side, by reason."""
        return self._udp.drops.reasons

    def open(self) -> None:
        """Bind the UDP port.

        :raises MipError: in one line that says what to do.
        """
        self._udp.open()
        self._links.open(self._udp.port)

    def start(self, deliver: Callable[[Iterable[Event]], None]) -> None:
        """Begin to read; `deliver` gets the events of each wake-up as they come."""

        def deliver_once(batch: Iterable[Event]) -> None:
            deliver(event for event in batch if not self._comes_twice(event))

        # Most agents are home agents, and hear nothing twice.
        taking = deliver_once if self._needs.control_messages else deliver
        self._udp.start(taking)
        self._links.start(taking)

    def _comes_twice(self, event: Event) -> bool:
        """Return whether a datagram that comes both ways counts the other way."""
        if not isinstance(event, Received):
            return False
        if self._needs.own_addresses:
            by_udp = event.link_address is None
            return by_udp and self._links.replaces_udp(event.interface)
        return event.destination in self._needs.addresses and self._copies.found(event)

    def follow(self, interfaces: Mapping[str, InterfaceState]) -> None:
        """Take in that interfaces have changed."""
        self._udp.forget_interfaces()
        self._links.follow(interfaces)

    def stop(self) -> None:
        """Read no more; sending still works."""
        self._udp.stop()
        self._links.stop()

    def close(self) -> None:
        """Give everything back. Safe to call twice."""
        self._links.close()
        self._udp.close()

    def send(self, send: Send) -> None:
        """Send now or as soon as possible. Trouble is noted, never raised."""
        if send.link_address is None:
            self._udp.send(send)
        else:
            self._links.send(send)

    def send_discovery(self, send: SendDiscovery) -> None:
        """Send a router discovery message now. Trouble is noted, never raised."""
        self._links.send_discovery(send)
