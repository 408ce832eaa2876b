# SPDX-License-Identifier: GPL-2.0-only
"""A correspondent, a home agent and a mobile node around one router.

cn 10.9.0.2 -- rt -- 10.1.1.20 ha         home link 10.1.1.0/24
                |
                +-- 10.1.2.5 mn (eth0), 10.1.3.5 mn (wlan0)
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import os
import re
import select
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet, Raw

from mip_agents.dataplane import probe
from mip_agents.dataplane.outer import make_encapsulator
from mip_agents.dataplane.port import get_gro
from mip_agents.dataplane.rawsockets import refuse_tunnel_data
from mip_agents.dataplane.select import DRIVERS
from mip_agents.lab.links import offloads_off
from mip_agents.protocol.tunnel import Form, Role, Tunnel
from scapy_mip.const import Encapsulation
from support.netns import Node, connect_all, isolated, run

HOME = "10.1.1.10"
HOME_AGENT = "10.1.1.20"
CORRESPONDENT = "10.9.0.2"
ETH0 = "10.1.2.5"
WLAN0 = "10.1.3.5"
HOME_NETWORK = IPv4Network("10.1.1.0/24")

PORTS = ("tun", "veth")
DRIVER = "tun"
"""What worlds are made with, if they are not told."""
MN_DRIVER: str | None = None
"""The mobile node's, where it is another."""

UDP_PORTS = (434, 50434)
FORMS = {
    "ipip": Form(Encapsulation.IPIP),
    "gre": Form(Encapsulation.GRE),
    "gre-key": Form(Encapsulation.GRE, send_key=0x1001, receive_key=0x2002),
    "minimal": Form(Encapsulation.MINIMAL),
    "ipip-udp": Form(Encapsulation.IPIP, ports=UDP_PORTS),
    "gre-udp": Form(Encapsulation.GRE, ports=UDP_PORTS),
    "minimal-udp": Form(Encapsulation.MINIMAL, ports=UDP_PORTS),
}
"""Every way to wrap packets, as the home agent sees it."""

_OVER_UDP = {name for name, form in FORMS.items() if form.ports}
CANNOT_CARRY = {"kernel": {"minimal", *_OVER_UDP}}
"""What drivers refuse, because Linux has no such devices; the others carry all."""

_driver: Any = None
_control: list[socket.socket] = []


def combinations(*choices: Iterable[str]) -> list[Any]:
    """Return all combinations, for `parametrize`; `kernel` as a choice marks one."""
    return [
        pytest.param(
            *one,
            marks=[pytest.mark.kernel] if "kernel" in one else [],
            id="-".join(one),
        )
        for one in itertools.product(*choices)
    ]


def forms_of(*drivers: str) -> dict[str, Form]:
    """Return the forms that all of the drivers carry."""
    refused = set().union(*(CANNOT_CARRY.get(name, set()) for name in drivers))
    return {name: form for name, form in FORMS.items() if name not in refused}


def mirrored(form: Form) -> Form:
    """Return a form as the other end sees it."""
    return form._replace(
        send_key=form.receive_key,
        receive_key=form.send_key,
        ports=form.ports and form.ports[::-1],
    )


def ha_tunnel(
    care_of: str = ETH0, *, form: Form | None = None, **changes: Any
) -> Tunnel:
    """The home agent's end."""
    values = {
        "home_address": HOME,
        "local": HOME_AGENT,
        "peers": (care_of,),
        "encapsulation": Encapsulation.IPIP,
        "reverse": True,
    }
    return Tunnel(**(values | _in(form) | changes))


def mn_tunnel(
    care_of: str = ETH0,
    interface: str = "eth0",
    *,
    form: Form | None = None,
    **changes: Any,
) -> Tunnel:
    """The mobile node's end."""
    values = {
        "home_address": HOME,
        "local": care_of,
        "peers": (HOME_AGENT,),
        "encapsulation": Encapsulation.IPIP,
        "reverse": True,
        "interface": interface,
    }
    return Tunnel(**(values | _in(form) | changes))


def reverse_tunnelled(form: Form, outer: str, inner: str, mark: str) -> bytes:
    """Return a packet to the correspondent as a mobile node at `outer` sends it."""
    packet: Packet = (
        IP(src=inner, dst=CORRESPONDENT) / UDP(dport=7100) / Raw(mark.encode())
    )
    ends = socket.inet_aton(outer), socket.inet_aton(HOME_AGENT)
    made = make_encapsulator(*ends, mirrored(form), complete=True)
    outside = made.encapsulate(bytes(packet))
    assert isinstance(outside, bytes)
    return outside


def _in(form: Form | None) -> dict[str, Any]:
    if form is None:
        return {}
    return {"encapsulation": form.encapsulation, "peer_forms": (form,)}


class World:
    """The nodes; every agent is a process of its own in the namespace of its node."""

    def __init__(
        self,
        port: str = "auto",
        driver: str | None = None,
        *,
        mn_driver: str | None = None,
    ) -> None:
        """`port` is that of drivers called `tun`."""
        self.port = port
        self.ha_driver = driver or DRIVER
        self.mn_driver = mn_driver or driver or MN_DRIVER or self.ha_driver
        for name, role in (
            (self.ha_driver, Role.HOME_AGENT),
            (self.mn_driver, Role.MOBILE_NODE),
        ):
            problem = DRIVERS[name].problem(role)
            if problem is not None:
                pytest.skip(f"driver {name}: {problem}")
        self.cn, self.rt = Node("cn"), Node("rt")
        self.ha, self.mn = Node("ha"), Node("mn")
        connect_all(
            (self.cn, "eth0", self.rt, "to_cn"),
            (self.ha, "home0", self.rt, "to_ha"),
            (self.mn, "eth0", self.rt, "to_eth0"),
            (self.mn, "wlan0", self.rt, "to_wlan0"),
        )
        self.cn.ip(
            "addr add 10.9.0.2/24 dev eth0",
            "route add default via 10.9.0.1",
        )
        self.ha.ip(
            "addr add 10.1.1.20/24 dev home0",
            "route add default via 10.1.1.1",
        )
        self.mn.ip(
            "addr add 10.1.2.5/24 dev eth0",
            "addr add 10.1.3.5/24 dev wlan0",
            "route add default via 10.1.2.1 dev eth0 metric 100",
            "route add default via 10.1.3.1 dev wlan0 metric 200",
        )
        self.rt.ip(
            "addr add 10.9.0.1/24 dev to_cn",
            "addr add 10.1.1.1/24 dev to_ha",
            "addr add 10.1.2.1/24 dev to_eth0",
            "addr add 10.1.3.1/24 dev to_wlan0",
        )
        self.rt.set("ip_forward", "1")
        self.ha_agent = self.mn_agent = None

    def start_ha(self, **options: Any) -> Node:
        """Open the home agent's data plane in a process of its own."""
        self.ha_agent = agent = Node("ha agent", inside=self.ha)
        options = {"address": HOME_AGENT} | self._port(self.ha_driver) | options
        agent.call(open_driver, Role.HOME_AGENT, options, self.ha_driver)
        return agent

    def start_mn(self, **options: Any) -> Node:
        """Open the mobile node's data plane in a process of its own."""
        self.mn_agent = agent = Node("mn agent", inside=self.mn)
        options = {"home_network": HOME_NETWORK} | self._port(self.mn_driver) | options
        agent.call(open_driver, Role.MOBILE_NODE, options, self.mn_driver)
        return agent

    def like_wires(self) -> None:
        """Let links carry what wires do: no giant segments, no unfinished checksums.

        Sockets of the `tun` driver can make nothing of those.
        """
        for node in (self.cn, self.rt, self.ha, self.mn):
            node.call(all_offloads_off)

    def _port(self, driver: str) -> dict[str, str]:
        return {"port": self.port} if driver == "tun" else {}

    def start(self, encapsulation: Encapsulation, reverse: bool) -> None:
        """Open both and install the tunnel at both ends."""
        self.start_ha()
        self.start_mn()
        self.install(Form(encapsulation), reverse=reverse)

    def install(
        self,
        form: Form,
        care_of: str = ETH0,
        interface: str = "eth0",
        *,
        reverse: bool = True,
    ) -> None:
        """Install the tunnel at both ends, the home agent's first."""
        self.ha_agent.call(install, ha_tunnel(care_of, form=form, reverse=reverse))
        tunnel = mn_tunnel(care_of, interface, form=mirrored(form), reverse=reverse)
        self.mn_agent.call(install, tunnel)


# What agents do on request


def driver() -> Any:
    """Return this process's data plane."""
    assert _driver is not None
    return _driver


async def open_driver(
    role: Role, options: dict[str, Any], name: str | None = None
) -> None:
    """Make and open it."""
    global _driver
    _driver = DRIVERS[name or DRIVER].make(role, **options)
    await _driver.open()


def all_offloads_off() -> None:
    """Switch them off at every interface of the node."""
    for _, name in socket.if_nameindex():
        offloads_off(name)


def listen(port: int) -> None:
    """Hold a UDP port as an agent does for its control messages."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    refuse_tunnel_data(sock)
    sock.setblocking(False)
    sock.bind(("", port))
    _control.append(sock)


async def control_port_of_sender() -> int:
    """Wait for a control message; return the port that it came from."""
    async with asyncio.timeout(5):
        _, peer = await asyncio.get_running_loop().sock_recvfrom(_control[0], 64)
    return int(peer[1])


def send_control(port: int, address: str) -> None:
    """Send a control message from the port that is held."""
    _control[0].sendto(b"\1", (address, port))


def control_has_data() -> bool:
    """Tell whether anything waits at the port that is held."""
    return bool(select.select(_control, [], [], 0)[0])


async def install(tunnel: Tunnel) -> int:
    """Install a tunnel; return the number of netlink calls that took."""
    before = driver().netlink_calls
    await driver().install(tunnel)
    return driver().netlink_calls - before


async def remove(home_address: str = HOME) -> None:
    """Remove a tunnel."""
    await driver().remove(home_address)
    assert driver().undo_failures == []


async def announce(*args: Any) -> None:
    """Announce an address."""
    await driver().announce(*args)


async def give_back(*args: Any) -> None:
    """Give an address back."""
    await driver().give_back(*args)


def drops() -> dict[str, int]:
    """Return the drop counters."""
    return dict(driver().drops().reasons)


def counters() -> tuple[int, int, int, int]:
    """Return the counters of the home address."""
    now = driver().counters(HOME)
    return (
        now.sent_packets,
        now.sent_bytes,
        now.received_packets,
        now.received_bytes,
    )


async def close() -> None:
    """Close the data plane."""
    await driver().close()
    assert driver().undo_failures == []


_SHOWN = (
    "link show",
    "addr show",
    "route show table all",
    "rule show",
    "neigh show proxy",
    "neigh show nud permanent",
    "ntable show name arp_cache",
)
"""What `ip` is asked for, of IPv4."""

_SETTINGS = (
    "conf/*/forwarding",
    "conf/*/rp_filter",
    "conf/*/arp_ignore",
    "conf/*/accept_local",
    "conf/*/accept_redirects",
    "icmp_errors_use_inbound_ifaddr",
)
"""Files under `/proc/sys/net/ipv4`."""


def state(node: Node) -> dict[str, str]:
    """Dump all that a data plane may touch in the namespace of `node`."""
    dump: dict[str, str] = node.call(asyncio.to_thread, _state)
    return dump


def _state() -> dict[str, str]:
    """Ask as few processes as can be: what takes time is their start."""
    names = [name for _, name in socket.if_nameindex()]
    decoder, dump = json.JSONDecoder(), {}
    text = run(["ip", "-4", "-json", "-batch", "-"], "\n".join((*_SHOWN, "")))
    for what in _SHOWN:
        entries, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        if what.startswith("ntable"):  # the rest changes by itself
            entries = [(one.get("dev"), one.get("proxy_delay")) for one in entries]
        dump[f"ip {what}"] = "\n".join(map(json.dumps, entries))
    assert text == ""
    filters = [
        f"filter show dev {name} {way}"
        for name in names
        for way in ("ingress", "egress")
    ]
    # It fails where there is no qdisc for filters, and goes on.
    asked = "\n".join(("qdisc show", *filters, ""))
    dump["tc"] = run(["tc", "-force", "-batch", "-"], asked, check=False)
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        table = Path("/proc/net/if_inet6").read_text()
        # Without the flags: an address is tentative for a while.
        dump["if_inet6"] = re.sub(r" \w+ +(\S+)$", r" \1", table, flags=re.MULTILINE)
    root = Path("/proc/sys/net/ipv4")
    for pattern in _SETTINGS:
        dump[pattern] = "\n".join(
            f"{file.relative_to(root)}: {file.read_text().strip()}"
            for file in sorted(root.glob(pattern))
        )
    dump["gro"] = " ".join(f"{name}={get_gro(name)}" for name in names)
    return dump


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return the lines in which two states differ."""
    lines = []
    for what, text in before.items():
        old, new = text.splitlines(), after[what].splitlines()
        lines += [f"- {line}" for line in old if line not in new]
        lines += [f"+ {line}" for line in new if line not in old]
    return lines


def with_devices(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test isolated, under a kernel that has tunnel devices; else skip it."""

    @pytest.mark.kernel
    @isolated
    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        reason = probe.kernel_driver_problem(Role.HOME_AGENT)
        if reason is not None:
            pytest.skip(f"{reason}: run make test-kernel")
        test(*args, **kwargs)

    return wrapper


def have_tun() -> bool:
    """Tell whether a TUN device can be opened here."""
    return os.access(Path("/dev/net/tun"), os.R_OK | os.W_OK)


def have_nft() -> bool:
    """Tell whether packets can be filtered and translated by `nft`."""
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    # The kernel must have it, too.
    return (
        nft is not None
        and not subprocess.run(
            [nft, "list", "tables"], capture_output=True, check=False
        ).returncode
    )
