# SPDX-License-Identifier: GPL-2.0-only
"""People who have no key: they forge, they replay, and they flood a link."""

from __future__ import annotations

from mip_agents.protocol.discovery import build_advertisement
from mip_agents.protocol.effects import Send
from mip_agents.protocol.events import DiscoveryReceived, Received
from mip_agents.protocol.view import build_request
from mip_agents.simulation.network import BROADCAST, Port
from mip_agents.simulation.shell import Shell
from mip_agents.simulation.world import World
from scapy_mip.auth import SecurityAssociation
from scapy_mip.const import MIP_PORT, AgentFlag

_FORGED = SecurityAssociation(256, b"not the right key")
_ADDRESS = "10.100.9.9"
_DISCOVERY_LIFETIME = 9


class Strangers:
    """Those of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._requests: dict[int, Send] = {}
        """What a node sent last, for those who replay it."""
        for number, node in enumerate(world.nodes):
            self._overhear(number, node)

    def _overhear(self, number: int, node: Shell) -> None:
        account = node.on_send

        def sent(shell: Shell, send: Send) -> None:
            self._requests[number] = send
            if account is not None:
                account(shell, send)

        node.on_send = sent

    def forge(self, node: int) -> None:
        """Send a request for a node, somewhere on the Internet, with a wrong key."""
        world = self._world
        agent = world.home_agent_of(node)
        self._inject(agent, self._request(world.home_address(node), agent), _ADDRESS)

    def replay(self, node: int) -> None:
        """Send the last request of a node again, from elsewhere."""
        known = self._requests.get(node)
        if known is not None:
            self._inject(self._world.home_agent_of(node), known.data, _ADDRESS)

    def flood(self, link: str, count: int) -> None:
        """Be many nodes and many foreign agents on a link."""
        world = self._world
        agent = world.home_agents()[0]
        for number in range(count):
            mac = f"02:ff:00:00:{number >> 8:02x}:{number & 255:02x}"
            host = f"10.100.{number >> 8}.{number & 255 or 1}"
            advertisement = _advertisement(host, number)
            for port in list(world.internet.links[link].ports.values()):
                shell = world.shells[port.owner]
                self._inject(shell, self._request(host, agent), host, mac, port)
                event = DiscoveryReceived(
                    data=advertisement,
                    source=host,
                    destination=BROADCAST,
                    interface=port.name,
                    ttl=1,
                    link_address=mac,
                )
                world.internet.inject(port, event)

    def _request(self, home_address: str, agent: Shell) -> bytes:
        return build_request(
            flags=0x20,
            lifetime=600,
            home_address=home_address,
            home_agent=agent.ports["lan0"].addresses[0],
            care_of_address=_ADDRESS,
            identification=agent.clock.now().ntp,
            mobile_home=_FORGED,
        )

    def _inject(
        self,
        shell: Shell,
        data: bytes,
        source: str,
        mac: str | None = None,
        port: Port | None = None,
    ) -> None:
        """Send something to an agent; from its link where there is a `mac`."""
        port = port or shell.ports["lan0"]
        event = Received(
            data=data,
            source=source,
            source_port=MIP_PORT,
            destination=next(iter(port.addresses), BROADCAST),
            destination_port=MIP_PORT,
            interface=port.name,
            ttl=64 if mac is None else 1,
            link_address=mac,
        )
        self._world.internet.inject(port, event)


def _advertisement(host: str, number: int) -> bytes:
    return build_advertisement(
        code=0,
        lifetime=_DISCOVERY_LIFETIME,
        router_addresses=(host,),
        flags=AgentFlag.F | AgentFlag.R,
        sequence_number=number,
        registration_lifetime=600,
        care_of_addresses=(host,),
        prefix_lengths=(),
    )
