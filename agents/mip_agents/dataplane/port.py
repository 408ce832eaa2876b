# SPDX-License-Identifier: GPL-2.0-only
"""Ports: where packets pass between us and the IP layer of the kernel.

What the kernel routes into the port's network interface is read here, and what is
written here arrives from that interface. `TunPort` is a TUN device. `VethPort` does the
same without /dev/net/tun, which containers and user namespaces often lack: a pair of
veth interfaces, the kernel's IP layer at the near end and a packet socket at the far
one.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Final, Protocol

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mip_agents.dataplane.api import DataplaneError
from mip_agents.protocol.tunnel import Role

TUN_DEVICE: Final = Path("/dev/net/tun")

INTERFACE_PREFIXES: Final = {
    Role.HOME_AGENT: "mipha",
    Role.FOREIGN_AGENT: "mipfa",
    Role.MOBILE_NODE: "mipmn",
}
"""How the names of all interfaces of a role begin."""

PORT_NAMES: Final = {role: f"{name}0" for role, name in INTERFACE_PREFIXES.items()}
"""The port of each role, the first one where it has more; the far end of a veth pair
has an `x` behind it."""

NEXT_HOP: Final = "192.0.0.8"
"""Next hop of routes into a port: the IPv4 dummy address (RFC 7600 section 4.8).

With one next hop the kernel keeps one neighbour entry for all destinations, and sends
no redirect for what comes from one tunnel and goes into another.
"""

_MTU = 65535  # the routes carry the real one, each tunnel's own
_MAX_PACKET = 65535
QUEUE_PACKETS: Final = 2048
"""That wait in a port at most."""
_SOCKET_BUFFER = 4 << 20

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000
_SIOCETHTOOL = 0x8946
_SIOCGIFHWADDR = 0x8927
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_PACKET_IGNORE_OUTGOING = 23
_SOL_PACKET = 263
_ETH_P_IP = 0x0800

_ETHTOOL_GLINK = 0x0A
_ETHTOOL_GGRO = 0x2B
_ETHTOOL_SGRO = 0x2C
_ETHTOOL_OFFLOADS = (
    0x17,
    0x19,
    0x1F,
    0x24,
    _ETHTOOL_SGRO,
)  # tx csum, sg, tso, gso, gro


class Port(Protocol):
    """An interface of the kernel whose other side we are."""

    name: str
    """Of the interface that the routes point to."""
    ifindex: int

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are packets."""

    def read(self) -> bytes:
        """Return one packet.

        :raises BlockingIOError: where there is none.
        """

    def write(self, packet: bytes) -> None:
        """Hand one IPv4 packet to the kernel.

        :raises OSError: where the kernel does not take it.
        """

    async def close(self) -> None:
        """Remove the interface."""


class TunPort:
    """A TUN device; it disappears with its descriptor, whatever happens to us."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self.ifindex = socket.if_nametoindex(name)
        self._descriptor = descriptor

    def fileno(self) -> int:
        """See `Port`."""
        return self._descriptor

    def read(self) -> bytes:
        """See `Port`."""
        return os.read(self._descriptor, _MAX_PACKET)

    def write(self, packet: bytes) -> None:
        """See `Port`."""
        os.write(self._descriptor, packet)

    async def close(self) -> None:
        """See `Port`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class VethPort:
    """A veth pair with a packet socket on its far end."""

    def __init__(self, ipr: AsyncIPRoute, name: str, near: int, far: str) -> None:
        self.name = name
        self.ifindex = near
        self._ipr = ipr
        # Frames with their link-layer header: sendto() with a packet address would look
        # the interface up by name for each packet.
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0
        )
        widen_buffers(self._socket)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((far, _ETH_P_IP))
        own = self._socket.getsockname()[4]
        mac = mac_address(name)
        self._header = mac + own + _ETH_P_IP.to_bytes(2, "big")

    def fileno(self) -> int:
        """See `Port`."""
        return self._socket.fileno()

    def read(self) -> bytes:
        """See `Port`."""
        return self._socket.recv(_MAX_PACKET + 14)[14:]

    def write(self, packet: bytes) -> None:
        """See `Port`."""
        self._socket.send(self._header + packet)

    async def close(self) -> None:
        """See `Port`."""
        self._socket.close()
        with contextlib.suppress(NetlinkError):  # someone else was faster
            await self._ipr.link("del", index=self.ifindex)


async def open_port(
    ipr: AsyncIPRoute, role: Role, kind: str = "auto", *, number: int = 0
) -> Port:
    """Create a port of `role`: `tun`, `veth`, or `auto` for the first that works.

    :raises DataplaneError: if none can be had; the text gives the reason for each.
    """
    name = f"{INTERFACE_PREFIXES[role]}{number}"
    reasons = []
    if kind in ("auto", "tun"):
        try:
            return await _open_tun(ipr, name)
        except OSError as error:
            reasons.append(f"{TUN_DEVICE}: {error.strerror}")
        except NetlinkError as error:
            reasons.append(f"{name}: {os.strerror(error.code)}")
    if kind in ("auto", "veth"):
        try:
            return await _open_veth(ipr, name)
        except OSError as error:
            reasons.append(f"packet socket: {error.strerror}")
        except NetlinkError as error:
            reasons.append(f"veth: {os.strerror(error.code)}")
    raise DataplaneError(
        f"no port to the kernel ({'; '.join(reasons)}): "
        "run with CAP_NET_ADMIN and CAP_NET_RAW, as root or in a user namespace"
    )


async def _open_tun(ipr: AsyncIPRoute, name: str) -> TunPort:
    descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        port = TunPort(name, descriptor)
        _without_ipv6(name)
        await ipr.link("set", index=port.ifindex, mtu=_MTU, txqlen=QUEUE_PACKETS)
        await ipr.link("set", index=port.ifindex, state="up")
    except BaseException:
        os.close(descriptor)
        raise
    return port


async def _open_veth(ipr: AsyncIPRoute, name: str) -> VethPort:
    near, _ = await open_pair(ipr, name)
    try:
        for end in (name, f"{name}x"):
            # Checksums and segments must be complete in what the socket reads.
            set_offloads(end, False)
        return VethPort(ipr, name, near, f"{name}x")
    except BaseException:
        with contextlib.suppress(NetlinkError):
            await ipr.link("del", index=near)
        raise


async def open_pair(ipr: AsyncIPRoute, name: str) -> tuple[int, int]:
    """Create the veth pair `name` and return the indexes of its near and far end.

    :raises NetlinkError: as the kernel answers.
    """
    far = f"{name}x"
    await ipr.link(
        "add", ifname=name, kind="veth", mtu=_MTU, peer={"ifname": far, "mtu": _MTU}
    )
    near = socket.if_nametoindex(name)
    try:
        for end in (name, far):
            _without_ipv6(end)
            await ipr.link(
                "set", index=socket.if_nametoindex(end), state="up", arp=False
            )
        for end in (name, far):
            settle_link(end)
        return near, socket.if_nametoindex(far)
    except BaseException:
        with contextlib.suppress(NetlinkError):
            await ipr.link("del", index=near)
        raise


def settle_link(interface: str) -> None:
    """Let an interface that is up send at once.

    After carrier comes, the kernel throws packets away until its link watch has run,
    which asking for the state of the link makes it do.
    """
    with contextlib.suppress(OSError):  # a driver that cannot tell has no carrier
        ethtool(interface, _ETHTOOL_GLINK, 0)


def widen_buffers(sock: socket.socket) -> None:
    """Give `sock` room for bursts, beyond the system's limit where we may."""
    pairs = (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
    )
    for force, plain in pairs:
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _SOCKET_BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, _SOCKET_BUFFER)


def ethtool(interface: str, command: int, value: int) -> int:
    """Carry out an ethtool command that takes and gives one number.

    :raises OSError: where the interface or the driver does not know it.
    """
    data = array.array("I", (command, value))
    address, _ = data.buffer_info()
    request = struct.pack("16sP16x", interface.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
    return data[1]


def set_offloads(interface: str, value: bool) -> None:
    """Switch what leaves the completion of checksums and segments to a later hand."""
    for command in _ETHTOOL_OFFLOADS:
        with contextlib.suppress(OSError):  # not every kernel has each
            ethtool(interface, command, int(value))


def get_gro(interface: str) -> bool:
    """Tell whether received segments are merged on `interface`."""
    return bool(ethtool(interface, _ETHTOOL_GGRO, 0))


def set_gro(interface: str, value: bool) -> None:
    """Switch the merging of received segments."""
    ethtool(interface, _ETHTOOL_SGRO, int(value))


def _without_ipv6(name: str) -> None:
    """Keep link-local addresses and router solicitations off the interface."""
    with contextlib.suppress(OSError):  # a kernel without IPv6, or read-only /proc/sys
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


def mac_address(name: str) -> bytes:
    """Return the link-layer address of an interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        reply = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("40s", name.encode()))
    return reply[18:24]
