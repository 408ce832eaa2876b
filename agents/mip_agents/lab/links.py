# SPDX-License-Identifier: GPL-2.0-only
"""Network devices of the laboratory: cables (veth), switches (bridge), addresses.

A device is told by the name of its network namespace and its own. Offloads are off, so
that packets look as on a wire: no giant segments, no checksums left to be filled in.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.lab import namespaces
from mip_agents.lab.namespaces import NETNS_DIR, LabError

_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, STSO, SGSO, SGRO (linux/ethtool.h)
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)


@dataclass(frozen=True, slots=True)
class Port:
    """One network device: where it is and what it is called."""

    namespace: str
    name: str


class Links:
    """Makes and changes devices in the namespaces of this sandbox.

    :raises LabError: from every method, when the kernel lacks a kind of device.
    """

    def __init__(self) -> None:
        self._netlink: dict[str, Any] = {}

    def close(self) -> None:
        """Close the netlink sockets; devices go with their namespaces."""
        for netlink in self._netlink.values():
            netlink.close()
        self._netlink.clear()

    def of(self, namespace: str) -> Any:
        """Return the `IPRoute` of a namespace."""
        if namespace not in self._netlink:
            with namespaces.inside(namespace):
                self._netlink[namespace] = IPRoute()
        return self._netlink[namespace]

    def index(self, port: Port) -> int:
        """Return the number of a device."""
        found = self.of(port.namespace).link_lookup(ifname=port.name)
        if not found:
            raise LabError(f"no device {port.name} in namespace {port.namespace}")
        return int(found[0])

    def cable(self, one: Port, other: Port, macs: tuple[str, str]) -> None:
        """Join two new devices; both are down."""
        self._add(
            one.namespace,
            ifname=one.name,
            kind="veth",
            address=macs[0],
            peer={
                "ifname": other.name,
                "address": macs[1],
                "net_ns_fd": str(NETNS_DIR / other.namespace),
            },
        )
        wire_like(one)
        wire_like(other)

    def switch(self, port: Port, mac: str) -> None:
        """Make a bridge that forwards at once: no spanning tree, no delay."""
        self._add(
            port.namespace,
            ifname=port.name,
            kind="bridge",
            address=mac,
            br_stp_state=0,
            br_forward_delay=0,
        )
        wire_like(port)
        self.up(port)

    def _add(self, namespace: str, **attributes: Any) -> None:
        try:
            self.of(namespace).link("add", **attributes)
        except NetlinkError as error:
            raise LabError(
                f"this kernel makes no {attributes['kind']} devices "
                f"({error}): load the module, `sudo modprobe {attributes['kind']}`"
            ) from error

    def up(self, port: Port) -> None:
        """Switch a device on."""
        self.of(port.namespace).link("set", index=self.index(port), state="up")

    def enslave(self, port: Port, switch: str) -> None:
        """Put a device into a switch of its namespace."""
        master = self.index(Port(port.namespace, switch))
        self.of(port.namespace).link("set", index=self.index(port), master=master)

    def move(self, port: Port, namespace: str) -> Port:
        """Carry a device into another namespace, where it is down at first."""
        self.of(port.namespace).link(
            "set", index=self.index(port), net_ns_fd=str(NETNS_DIR / namespace)
        )
        return Port(namespace, port.name)

    def add_address(self, port: Port, address: str) -> None:
        """Give a device an address such as `10.1.1.1/24`."""
        plain, _, length = address.partition("/")
        self.of(port.namespace).addr(
            "add", index=self.index(port), address=plain, prefixlen=int(length)
        )

    def remove_address(self, port: Port, address: str) -> None:
        """Take an address away, if it is there; its routes go with it."""
        plain, _, length = address.partition("/")
        with contextlib.suppress(NetlinkError):
            self.of(port.namespace).addr(
                "del", index=self.index(port), address=plain, prefixlen=int(length)
            )

    def add_route(
        self, port: Port, destination: str, gateway: str, metric: int = 0
    ) -> None:
        """Route a prefix (or `default`) through a gateway on this device."""
        self.of(port.namespace).route(
            "add",
            dst=destination,
            gateway=gateway,
            oif=self.index(port),
            priority=metric,
        )

    def remove_route(self, port: Port, destination: str, metric: int) -> None:
        """Remove a route, if it is there."""
        with contextlib.suppress(NetlinkError):
            self.of(port.namespace).route(
                "del", dst=destination, oif=self.index(port), priority=metric
            )

    def addresses(self, port: Port) -> list[str]:
        """Return the IPv4 addresses of a device, as `10.1.1.1/24`."""
        return [
            f"{entry.get('address')}/{entry['prefixlen']}"
            for entry in self.of(port.namespace).get_addr(
                index=self.index(port), family=socket.AF_INET
            )
        ]

    def has_carrier(self, port: Port) -> bool:
        """Tell whether something that is switched on is at the other end."""
        (link,) = self.of(port.namespace).get_links(self.index(port))
        return bool(link.get("carrier"))

    def wait_up(self, port: Port, timeout: float = 3.0) -> None:
        """Wait until a device with carrier can send.

        After carrier comes the kernel still throws packets away until its link watch
        has run, a few milliseconds later; only then the state is UP.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            (link,) = self.of(port.namespace).get_links(self.index(port))
            if link.get("state") == "up" and link.get("operstate") == "UP":
                return
            time.sleep(0.001)
        raise LabError(f"{port.name} in namespace {port.namespace} does not come up")


def wire_like(port: Port) -> None:
    """Switch the offloads of a device off."""
    with namespaces.inside(port.namespace):
        offloads_off(port.name)


def offloads_off(name: str) -> None:
    """Switch the offloads of a device of this namespace off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for command in _OFFLOADS:
            value = array.array("I", (command, 0))  # struct ethtool_value
            address, _ = value.buffer_info()
            request = struct.pack("16sP16x", name.encode(), address)
            with contextlib.suppress(OSError):  # a device without this offload
                fcntl.ioctl(handle, _SIOCETHTOOL, request)
