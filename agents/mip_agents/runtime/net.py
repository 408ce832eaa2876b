# SPDX-License-Identifier: GPL-2.0-only
"""All ways by which an agent hears and speaks: its UDP port, and its links."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mip_agents.protocol.effects import Send, SendDiscovery
from mip_agents.protocol.events import Event, Received
from mip_agents.protocol.links import InterfaceState
from mip_agents.runtime.linknet import LinkNeeds, LinkNet
from mip_agents.runtime.ports import Notes
from mip_agents.runtime.udp import UdpServer
from scapy_mip.const import MIP_PORT


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

    @property
    def port(self) -> int:
        """The UDP port that is bound."""
        return self._udp.port

    def open(self) -> None:
        """Bind the UDP port.

        :raises MipError: in one line that says what to do.
        """
        self._udp.open()
        self._links.open(self._udp.port)

    def start(self, deliver: Callable[[Sequence[Event]], None]) -> None:
        """Begin to read; `deliver` gets the events of each wake-up at once."""

        def deliver_once(batch: Sequence[Event]) -> None:
            left = [event for event in batch if not self._comes_twice(event)]
            if left:
                deliver(left)

        self._udp.start(deliver_once if self._needs.own_addresses else deliver)
        self._links.start(deliver)

    def _comes_twice(self, event: Event) -> bool:
        """Return whether a datagram of the UDP socket comes as a frame, too."""
        return isinstance(event, Received) and self._links.replaces_udp(event.interface)

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
