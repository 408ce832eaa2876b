# SPDX-License-Identifier: GPL-2.0-only
"""What an agent hears and says on its links by packet sockets.

Router discovery goes this way, and control messages with link-layer addresses. The
interfaces that matter are followed as they come, go and are renamed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mip_agents.dataplane.datagrams import (
    ICMP,
    Datagram,
    UdpDatagram,
    make_icmp,
    make_udp,
    open_datagram,
    open_udp,
)
from mip_agents.dataplane.linkport import Frame, LinkPort
from mip_agents.dataplane.linksocket import GroupMember
from mip_agents.dataplane.outer import checksum
from mip_agents.protocol.effects import Noted, Send, SendDiscovery, Severity
from mip_agents.protocol.errors import MipError
from mip_agents.protocol.events import DiscoveryReceived, Event, Received
from mip_agents.protocol.links import InterfaceState
from mip_agents.protocol.policy import LIMITED_BROADCAST
from mip_agents.runtime.ports import Notes
from scapy_mip.const import TTL_DIRECT, ICMPType

DRAIN = 64
"""Packets of an interface per wake-up."""
ALL_ROUTERS, MOBILE_AGENTS = "224.0.0.2", "224.0.0.11"
AGENT_GROUPS = (ALL_ROUTERS, MOBILE_AGENTS)
"""Where solicitations are sent to (AG-08, RFC 1256 section 3)."""
_DISCOVERY_TTL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkNeeds:
    """What an agent wants to hear besides what its UDP socket hears."""

    wanted: Callable[[InterfaceState], bool]
    """On which interfaces."""
    groups: tuple[str, ...] = ()
    """Multicast groups to be in there."""
    addresses: frozenset[str] = frozenset()
    """Addresses for which control messages are heard as frames."""
    own_addresses: bool = False
    """Whether those to any address of this host are heard as frames, too: these
    interfaces are those of visitors, and the UDP socket does not count there."""
    required: bool = False
    """Whether the agent is of no use without."""

    @property
    def control_messages(self) -> bool:
        """Whether any are heard as frames."""
        return bool(self.addresses) or self.own_addresses


class LinkNet:
    """The packet sockets of an agent."""

    def __init__(self, notes: Notes, needs: LinkNeeds) -> None:
        self._notes = notes
        self._needs = needs
        self._udp_port: int | None = None
        self._ports: dict[str, LinkPort] = {}
        self._members: dict[str, list[GroupMember]] = {}
        self._for_us = needs.addresses
        self._refused = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Callable[[Sequence[Event]], None] | None = None

    def open(self, port: int) -> None:
        """Find out whether packet sockets are permitted, if nothing goes without them.

        :param port: our UDP port.
        :raises MipError: they are not.
        """
        self._udp_port = port if self._needs.control_messages else None
        if not self._needs.required:
            return
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
        except OSError:
            text = "hearing a link needs the capability CAP_NET_RAW: run as root"
            raise MipError(text) from None

    def start(self, deliver: Callable[[Sequence[Event]], None]) -> None:
        """Begin to read; `deliver` gets what is there at each wake-up."""
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        for port in self._ports.values():
            self._loop.add_reader(port, self._readable, port)

    def stop(self) -> None:
        """Read no more; sending still works."""
        if self._loop is not None:
            for port in self._ports.values():
                self._loop.remove_reader(port)
        self._deliver = None

    def close(self) -> None:
        """Close all sockets. Safe to call twice."""
        self.stop()
        for name in list(self._ports):
            self._close(name)

    def follow(self, interfaces: Mapping[str, InterfaceState]) -> None:
        """Be on the interfaces that matter, as they are now."""
        needs = self._needs
        if needs.own_addresses:
            own = (one for state in interfaces.values() for one in state.addresses)
            groups = (LIMITED_BROADCAST, *needs.groups)
            self._for_us = needs.addresses.union(groups, map(_address, own))
        wanted = {name for name, state in interfaces.items() if needs.wanted(state)}
        for name, port in list(self._ports.items()):
            if name not in wanted or _index(name) != port.index:
                self._close(name)
        for name in wanted - self._ports.keys():
            self._open(name)

    def replaces_udp(self, interface: str | None) -> bool:
        """Return whether control messages from there are heard as frames already."""
        return self._needs.own_addresses and interface in self._ports

    def _open(self, name: str) -> None:
        try:
            port = LinkPort(name, self._udp_port)
        except OSError as error:
            if not self._refused and _index(name):
                self._refused = True
                self._note("discovery_unavailable", _reason(error), interface=name)
            return
        self._ports[name] = port
        self._members[name] = self._join(port)
        if self._loop is not None and self._deliver is not None:
            self._loop.add_reader(port, self._readable, port)

    def _join(self, port: LinkPort) -> list[GroupMember]:
        members = []
        for group in self._needs.groups:
            try:
                members.append(GroupMember(socket.inet_aton(group), port.index))
            except OSError as error:
                fields = {"interface": port.name, "group": group}
                self._note("join_failed", _reason(error), **fields)
        return members

    def _close(self, name: str) -> None:
        port = self._ports.pop(name)
        if self._loop is not None:
            self._loop.remove_reader(port)
        port.close()
        for member in self._members.pop(name):
            member.close()

    # From a link

    def _readable(self, port: LinkPort) -> None:
        batch: list[Event] = []
        try:
            for _ in range(DRAIN):
                frame = port.read()
                event = None if frame is None else self._judge(port.name, frame)
                if event is not None:
                    batch.append(event)
        except OSError:  # no more packets; or the link is down, which netlink tells
            pass
        if batch and self._deliver is not None:
            self._deliver(batch)

    def _judge(self, interface: str, frame: Frame) -> Event | None:
        datagram = open_datagram(frame.packet)
        if datagram is None:
            return None  # as the kernel has it, which counts it
        if datagram.protocol == ICMP:
            return self._discovery(interface, datagram, frame)
        return self._control_message(interface, datagram, frame)

    def _discovery(
        self, interface: str, datagram: Datagram, frame: Frame
    ) -> DiscoveryReceived | None:
        if not datagram.data:
            return None  # the filter has seen the padding of the frame
        if checksum(datagram.data):
            is_solicitation = datagram.data[0] == ICMPType.AGENT_SOLICITATION
            rule = "AG-21" if is_solicitation else "MN-05"
            self._refuse(interface, datagram, frame, rule)
            return None
        return DiscoveryReceived(
            data=datagram.data,
            source=datagram.source,
            destination=datagram.destination,
            interface=interface,
            ttl=datagram.ttl,
            link_address=frame.link_address,
        )

    def _control_message(
        self, interface: str, datagram: Datagram, frame: Frame
    ) -> Received | None:
        if datagram.destination not in self._for_us:
            return None  # to be routed, or another's
        udp = open_udp(datagram, verify=frame.checksum_ready)
        if udp is None:
            self._refuse(interface, datagram, frame, "COM-07")
            return None
        return Received(
            data=udp.data,
            source=datagram.source,
            source_port=udp.source_port,
            destination=datagram.destination,
            destination_port=udp.destination_port,
            interface=interface,
            ttl=datagram.ttl,
            link_address=frame.link_address,
        )

    def _refuse(
        self, interface: str, datagram: Datagram, frame: Frame, rule: str
    ) -> None:
        fields = {
            "source": datagram.source,
            "link_address": frame.link_address,
            "interface": interface,
        }
        self._note("message_dropped", "wrong checksum", rule=rule, **fields)

    # To a link

    def send(self, send: Send) -> None:
        """Send a datagram to a link-layer address. Trouble is noted, never raised."""
        udp = UdpDatagram(send.source_port, send.destination_port, send.data)
        ttl = TTL_DIRECT if send.ttl is None else send.ttl
        self._send(send, lambda: make_udp(send.source, send.destination, ttl, udp))

    def send_discovery(self, send: SendDiscovery) -> None:
        """Send a router discovery message. Trouble is noted, never raised."""
        self._send(
            send,
            lambda: make_icmp(send.source, send.destination, _DISCOVERY_TTL, send.data),
        )

    def _send(self, send: Send | SendDiscovery, make: Callable[[], bytes]) -> None:
        port = self._ports.get(send.interface or "")
        if port is None and self._refused:
            return  # there was a warning
        try:
            if port is None:
                raise OSError(f"no packet socket on {send.interface}")
            port.send(make(), send.link_address)
        except OSError as error:
            fields = {"interface": send.interface, "destination": send.destination}
            self._note("send_failed", _reason(error), **fields)

    def _note(
        self,
        event: str,
        reason: str,
        rule: str | None = None,
        **fields: str | None,
    ) -> None:
        self._notes.note(
            Noted(
                event=event,
                severity=Severity.WARNING,
                rule=rule,
                fields={"reason": reason, **fields},
            )
        )


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _address(text: str) -> str:
    return text.partition("/")[0]


def _index(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None
