# SPDX-License-Identifier: GPL-2.0-only
"""A home agent and nodes away from it, to see what a crash or a fault does to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace

from mip_agents.protocol.view import Reply, parse
from scapy_mip.const import MIP_PORT
from support.daemons import COMMAND, KEY_HEX, Daemon, environment
from support.netns import Node, connect, sh
from support.requests import request

HOME_AGENT = "10.1.1.20"
CARE_OFS = ("10.1.2.5", "10.1.2.6")
_PATIENCE_S = 10
_MOMENT_S = 0.2
_PROBE = 9
"""The port discard."""

HA = f"""\
[home_agent]
address = "{HOME_AGENT}"
home_network = "10.1.1.0/24"
advertise = false
state_dir = "state"
control_socket = "ha.sock"
dataplane = "DATAPLANE"
[[mobile_node]]
home_address = "10.1.1.0/24"
spi = 256
key_hex = "{KEY_HEX}"
"""

Asked = tuple[str, bytes]
"""A care-of address, and the request with it."""


def homes(count: int) -> list[str]:
    """Return home addresses."""
    first = int(IPv4Address("10.1.1.100"))
    return [str(IPv4Address(first + number)) for number in range(count)]


class World(SimpleNamespace):
    """The home agent's host, which is here, and a host with all care-of addresses."""

    def __init__(self, folder: Path, dataplane: str = "none") -> None:
        super().__init__(folder=folder, state=folder / "state")
        self.away = Node("away")
        self.here = Node("here", inside=SimpleNamespace(pid=os.getpid()))
        self.connect()
        self.make_home_link()
        self.config = folder / "ha.toml"
        self.config.write_text(HA.replace("DATAPLANE", dataplane))
        self.config.chmod(0o600)

    def connect(self) -> None:
        """Join the two hosts, whose interfaces are new."""
        connect(self.here, "eth9", self.away, "eth0")
        sh("ip address add 10.1.2.1/24 dev eth9")
        for address in CARE_OFS:
            self.away.sh(f"ip address add {address}/24 dev eth0")
        self.away.sh("ip route add default via 10.1.2.1")

    def make_home_link(self) -> None:
        sh("ip link add home0 type veth peer name home1")
        sh(f"ip address add {HOME_AGENT}/24 dev home0")
        sh("ip link set home0 up; ip link set home1 up")

    def mount_state(self, options: str) -> None:
        """Give the journal a file system of its own, of this namespace alone."""
        self.state.mkdir()
        sh("mount --make-rprivate /")
        sh(f"mount -t tmpfs -o {options} none {self.state}")

    def refuse(self, *before: str) -> tuple[int, str]:
        """Start the home agent in vain; return the exit code and its one line.

        :param before: what stands before the command, such as `setpriv` with options.
        """
        done = subprocess.run(
            [*before, *COMMAND, "ha", "--config", str(self.config)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        (line,) = done.stderr.splitlines()
        return done.returncode, line

    def start(self, **more: str) -> Daemon:
        """Start the home agent and wait until it is ready."""
        daemon = Daemon("ha", self.config, self.folder / "ha.sock", **more)
        daemon.wait_ready()
        return daemon

    def ask(self, home_address: str, care_of: str = CARE_OFS[0], **more: int) -> int:
        """Register a node; return the code of the reply."""
        code: int = self.away.call(_ask, home_address, care_of, more)
        return code


def bound(daemon: Daemon) -> dict[str, tuple[str, str]]:
    """Return care-of address and Identification by home address."""
    with daemon.client() as client:
        return {
            one["home_address"]: (one["care_of_address"], one["identification"])
            for one in client.bindings()
        }


@contextlib.contextmanager
def _sockets() -> Iterator[dict[str, socket.socket]]:
    with contextlib.ExitStack() as stack:
        found = {}
        for address in CARE_OFS:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            stack.enter_context(sock)
            sock.bind((address, 0))
            sock.connect((HOME_AGENT, MIP_PORT))
            found[address] = sock
        yield found


def _read(sock: socket.socket) -> Reply:
    reply = parse(sock.recv(4096))
    assert isinstance(reply, Reply)
    return reply


def _ask(home_address: str, care_of: str, more: dict[str, int]) -> int:
    with _sockets() as socks:
        sock = socks[care_of]
        sock.settimeout(_PATIENCE_S)
        sock.send(request(HOME_AGENT, care_of, home_address=home_address, **more))
        return _read(sock).code


def wander(seed: int, addresses: list[str]) -> tuple[dict[str, list[Asked]], ...]:
    """Register and move nodes, each as soon as it is answered, until nobody answers.

    Return by home address what was granted, and what was asked last without an answer.
    """
    rng = random.Random(seed)
    granted: dict[str, list[Asked]] = {home: [] for home in addresses}
    waiting: dict[str, Asked] = {}
    with _sockets() as socks:

        def ask(home: str) -> None:
            care_of = rng.choice(CARE_OFS)
            data = request(HOME_AGENT, care_of, home_address=home)
            waiting[home] = care_of, data
            socks[care_of].send(data)

        def take(sock: socket.socket) -> str:
            reply = _read(sock)
            assert reply.code == 0
            home = reply.home_address
            assert reply.identification.to_bytes(8, "big") == waiting[home][1][16:24]
            granted[home].append(waiting.pop(home))
            return home

        with contextlib.suppress(ConnectionRefusedError):
            for home in addresses:
                ask(home)
            while ready := select.select(socks.values(), [], [], 0.5)[0]:
                for sock in ready:
                    ask(take(sock))
        for sock in socks.values():
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    with contextlib.suppress(ConnectionRefusedError):
                        take(sock)
    return granted, {home: [asked] for home, asked in waiting.items()}


def replay(requests: list[Asked]) -> list[int]:
    """Send requests; return the codes of the replies that come."""
    codes = []
    with _sockets() as socks:
        for care_of, data in requests:
            socks[care_of].send(data)
        while ready := select.select(socks.values(), [], [], _MOMENT_S)[0]:
            codes += [_read(sock).code for sock in ready]
    return codes


_listeners: list[socket.socket] = []


def listen() -> None:
    """Begin to hear what comes in tunnels."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    sock.setblocking(False)
    _listeners.append(sock)


async def tunnelled(count: int, patience: float = _PATIENCE_S) -> set[tuple[str, str]]:
    """Return outer and inner destination of what came in tunnels since `listen`.

    It waits for so many of them, and a moment longer for any that are too many.
    """
    found: set[tuple[str, str]] = set()
    loop = asyncio.get_running_loop()
    with _listeners.pop() as sock:
        patience = patience if count else _MOMENT_S
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(patience):
                    packet = await loop.sock_recv(sock, 2048)
                inner = packet[(packet[0] & 15) * 4 :]
                if inner[22:24] == _PROBE.to_bytes(2, "big"):
                    ends = packet[16:20], inner[16:20]
                    found.add((socket.inet_ntoa(ends[0]), socket.inet_ntoa(ends[1])))
                if len(found) >= count:
                    patience = _MOMENT_S
    return found


def probe(addresses: list[str]) -> None:
    """Send a packet from the home agent's host to each home address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOME_AGENT, 0))
        for address in addresses:
            sock.sendto(b"probe", (address, _PROBE))
