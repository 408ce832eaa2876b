# SPDX-License-Identifier: GPL-2.0-only
"""The small Internet in which the mobile node roams.

    correspondent 10.1.9.10 --- internet --- home       10.1.1.0/24  (ha 10.1.1.20)
                                   |-------- visited-a  10.1.2.0/24
                                   `-------- visited-b  10.1.3.0/24

`home`, `visited-a` and `visited-b` are each a router (.1) with a switch; `ha` is a host
on the home link. `mn` has two interfaces, `eth0` and `wlan0`, whose other ends lie in a
drawer until they are plugged in. Each box is a network namespace of that name, each
line a veth pair, or a long wire (`mip_agents.lab.wires`) where a scenario wants to
spoil it. Hosts and routers are set up as a distribution would: routers forward,
hosts do not, and nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from mip_agents.lab import namespaces
from mip_agents.lab.links import Links, Port
from mip_agents.lab.wires import WIRES

HOME_ADDRESS = "10.1.1.10"
HOME_AGENT = "10.1.1.20"
HOME_PREFIX = "10.1.1.0/24"
CORRESPONDENT = "10.1.9.10"

LAN = "lan0"
"""The switch of a network, and the router's own address on it."""
WAN = "wan0"
"""A router's way to the Internet."""
_DRAWER = "drawer"


@dataclass(frozen=True, slots=True)
class Network:
    """A network that the mobile node can visit."""

    name: str
    prefix: str
    gateway: str
    lease: str
    """What its DHCP server gives to the mobile node, with the prefix length."""
    uplink: tuple[str, str]
    """Addresses on the way to the Internet: of `internet`, of the router."""


NETWORKS = {
    network.name: network
    for network in (
        Network(
            "home",
            HOME_PREFIX,
            "10.1.1.1",
            f"{HOME_ADDRESS}/24",
            ("10.1.0.1", "10.1.0.2"),
        ),
        Network(
            "visited-a",
            "10.1.2.0/24",
            "10.1.2.1",
            "10.1.2.5/24",
            ("10.1.0.5", "10.1.0.6"),
        ),
        Network(
            "visited-b",
            "10.1.3.0/24",
            "10.1.3.1",
            "10.1.3.5/24",
            ("10.1.0.9", "10.1.0.10"),
        ),
    )
}

ROUTERS = ("internet", "home", "visited-a", "visited-b")
HOSTS = ("correspondent", "ha", "mn")

METRICS = {"eth0": 100, "wlan0": 600}
"""Interfaces of the mobile node, with the metrics that NetworkManager gives to a cable
and to Wi-Fi."""

MOBILE_MACS = {"eth0": "02:00:00:00:00:e0", "wlan0": "02:00:00:00:00:a0"}


def mac(address: str) -> str:
    """Return the link-layer address of an IPv4 address here: 02:00 and its bytes."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


class Topology:
    """Builds the networks when it is made; the mobile node is plugged in nowhere.

    :param wired: networks whose way to the Internet is a long wire
    :param without_dhcp: networks that give no addresses to the mobile node
    """

    def __init__(
        self, wired: Collection[str] = (), without_dhcp: Collection[str] = ()
    ) -> None:
        self.links = Links()
        self._places: dict[str, str | None] = dict.fromkeys(METRICS)
        self._without_dhcp = without_dhcp
        self.wires: dict[str, tuple[Port, Port]] = {}
        """The ends of each long wire, by network."""
        boxes = [*ROUTERS, *HOSTS, _DRAWER, *([WIRES] if wired else [])]
        for name in boxes:
            namespaces.create(name)
            self.links.up(Port(name, "lo"))
            # A new namespace may start with the settings of the machine.
            forwarding = "1" if name in ROUTERS else "0"
            namespaces.set_sysctl(name, "net/ipv4/ip_forward", forwarding)
        for network in NETWORKS.values():
            self._router(network, long=network.name in wired)
        self._host("correspondent", f"{CORRESPONDENT}/24", "internet", "10.1.9.1")
        self._host("ha", f"{HOME_AGENT}/24", "home", "10.1.1.1")
        for interface in METRICS:
            self.links.cable(
                Port("mn", interface),
                self._far_end(interface, _DRAWER),
                (MOBILE_MACS[interface], MOBILE_MACS[interface].replace("02", "06", 1)),
            )
            self.links.up(Port("mn", interface))

    def close(self) -> None:
        """Close the netlink sockets."""
        self.links.close()

    def _router(self, network: Network, *, long: bool) -> None:
        """Build a router with its switch, and join it to the Internet."""
        links, lan = self.links, Port(network.name, LAN)
        links.switch(lan, mac(network.gateway))
        links.add_address(lan, f"{network.gateway}/24")
        core, border = Port("internet", network.name), Port(network.name, WAN)
        theirs, ours = network.uplink
        if long:
            self.wires[network.name] = self._wire(network, core, border)
        else:
            links.cable(core, border, (mac(theirs), mac(ours)))
        for port, address in ((core, theirs), (border, ours)):
            links.add_address(port, f"{address}/30")
            links.up(port)
        links.add_route(core, network.prefix, ours)
        links.add_route(border, "default", theirs)

    def _wire(self, network: Network, core: Port, border: Port) -> tuple[Port, Port]:
        """Join two ports by a long wire; return its inner ends."""
        inner = []
        for side, port, address in zip(
            "ab", (core, border), network.uplink, strict=True
        ):
            end = Port(WIRES, f"{network.name}-{side}")
            own = mac(address)
            self.links.cable(port, end, (own, own.replace("02", "06", 1)))
            self.links.up(end)
            inner.append(end)
        return inner[0], inner[1]

    def _host(self, name: str, address: str, router: str, gateway: str) -> None:
        """Build a host that stays where it is."""
        links, port, far = self.links, Port(name, "eth0"), Port(router, name)
        own = mac(address.partition("/")[0])
        if router == "internet":  # a link of its own, without a switch
            links.cable(port, far, (own, mac(gateway)))
            links.add_address(far, f"{gateway}/24")
        else:
            links.cable(port, far, (own, own.replace("02", "06", 1)))
            links.enslave(far, LAN)
        links.up(far)
        links.add_address(port, address)
        links.up(port)
        links.add_route(port, "default", gateway)

    @staticmethod
    def _far_end(interface: str, namespace: str) -> Port:
        return Port(namespace, f"mn-{interface}")

    def place(self, interface: str) -> str | None:
        """Return the network in which an interface of the mobile node is plugged."""
        return self._places[interface]

    def plug(self, interface: str, network: str) -> str | None:
        """Plug an interface of the mobile node in, and let DHCP configure it.

        The far end of the cable goes into the network's switch. Carrier comes up, the
        interface gets the network's lease and a default route with its metric.
        :return: the address; None where the network gives none.
        """
        self.unplug(interface)
        links, there = self.links, NETWORKS[network]
        far = links.move(self._far_end(interface, _DRAWER), network)
        links.enslave(far, LAN)
        links.up(far)
        self._places[interface] = network
        own = Port("mn", interface)
        # For a lease, packets must have gone both ways: from the node to the router,
        # whose switch had no carrier as long as nothing was plugged in.
        for port in (own, far, Port(network, LAN)):
            links.wait_up(port)
        if network in self._without_dhcp:
            return None
        links.add_address(own, there.lease)
        links.add_route(own, "default", there.gateway, METRICS[interface])
        return there.lease.partition("/")[0]

    def unplug(self, interface: str) -> None:
        """Pull the cable: carrier drops, and the DHCP client gives the lease up."""
        network = self._places[interface]
        if network is None:
            return
        self._places[interface] = None
        self.links.move(self._far_end(interface, network), _DRAWER)
        own = Port("mn", interface)
        self.links.remove_route(own, "default", METRICS[interface])
        self.links.remove_address(own, NETWORKS[network].lease)
