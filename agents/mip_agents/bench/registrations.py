# SPDX-License-Identifier: GPL-2.0-only
"""What a registration costs a home agent, beside servers that do no more than needed.

All servers run at once in a network namespace, on one core; requests come from the
other. In each round every server, in an order drawn by chance, refreshes the bindings
of thousands of home addresses, with a window of requests in flight. What counts is the
CPU time that the scheduler accounts to the server: the rate says as much about the
machine's other work. Each request is signed afresh before its round.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import json as json_format
import os
import random
import select
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import IO

from mip_agents.bench import registrars, versions
from mip_agents.bench.registrars import REPLY, REQUEST, SPI, Keys, Place
from mip_agents.lab import namespaces
from mip_agents.lab.links import Links, Port
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import Child, Children, run_in_sandbox
from scapy_mip.ident import from_unix_ns

HOME_NETWORK = IPv4Network("10.1.0.0/16")
HOME_AGENT, GENERATOR = "10.1.255.1", "10.9.0.1"
NODES = 4096
WINDOW = 64
"""Requests in flight."""
ROUNDS = 15

_NAMESPACE = "bench"
_PATIENCE_S = 5.0
_FLAGS, _LIFETIME = 0x22, 600
_TEXTBOOK_SHARE = 8
"""The slow rival gets one request of so many: it would take all the time."""

_JOURNAL, _MEMORY, _BARE, _TEXTBOOK = "journal", "memory", "struct", "textbook"


@dataclasses.dataclass(frozen=True, slots=True)
class Burst:
    """What one server did in one round."""

    cpu_us: float
    """CPU time of the server for one registration."""
    rate: float
    """Registrations per second."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One line: the home agent beside a rival, as the median of the rounds' ratios."""

    name: str
    what: str
    rival: str
    ours: float
    theirs: float
    ratio: float
    """How many times better than the rival."""
    goal: float
    """The ratio that is meant to be reached."""
    met: bool


class BenchError(Exception):
    """A server does not answer as it should."""


def main(json: bool = False, rounds: int = ROUNDS, nodes: int = NODES) -> int:
    """Measure and write a table, or JSON, to standard output.

    Return 0 whatever the figures are, 1 if there are none.
    """
    try:
        results = run(rounds, nodes)
    except (BenchError, LabError) as error:
        sys.stderr.write(f"mip bench ha: {error}\n")
        return 1
    if json:
        everything = {
            "versions": versions(),
            "rounds": rounds,
            "nodes": nodes,
            "window": WINDOW,
            "cases": [dataclasses.asdict(result) for result in results],
        }
        text = json_format.dumps(everything, indent=2)
    else:
        text = "\n".join((_heading(rounds, nodes), *map(_line, results)))
    sys.stdout.write(text + "\n")
    return 0


_ROW = "{:<23} {:<20} {:>9} {:>9} {:>5} {:>5} {:<3}"


def _heading(rounds: int, nodes: int) -> str:
    known = versions()
    head = _ROW.format(
        "home agent", "against", "ours", "theirs", "ratio", "goal", "met"
    )
    return (
        f"Python {known['python']}, Scapy {known['scapy']}, {known['machine']}; "
        f"{nodes} nodes, {WINDOW} requests in flight,\n"
        f"medians of {rounds} rounds\n\n{head}\n{'-' * len(head)}"
    )


def _line(result: Result) -> str:
    return _ROW.format(
        result.what,
        result.rival,
        f"{result.ours:.1f}" if result.ours < 1000 else f"{result.ours:.0f}",
        f"{result.theirs:.1f}" if result.theirs < 1000 else f"{result.theirs:.0f}",
        f"{result.ratio:.2f}",
        f"{result.goal:g}",
        "yes" if result.met else "no",
    ).rstrip()


def run(rounds: int = ROUNDS, nodes: int = NODES) -> list[Result]:
    """Measure in a sandbox.

    :raises LabError: there can be none here.
    :raises BenchError: a server does not do its work.
    """
    folder = Path(tempfile.mkdtemp(prefix="mip-bench-"))
    try:
        return run_in_sandbox(
            lambda _how: _contest(folder, rounds, nodes), keep=(folder,)
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _contest(folder: Path, rounds: int, nodes: int) -> list[Result]:
    _build_network()
    rng = random.Random(5944)
    first = int(HOME_NETWORK.network_address) + 1
    keys = {str(IPv4Address(first + n)): rng.randbytes(16) for n in range(nodes)}
    servers: dict[str, Callable[[Place, IO[bytes]], None]] = {
        _JOURNAL: partial(registrars.home_agent, state_dir=folder),
        _MEMORY: partial(registrars.home_agent, state_dir=None),
        _BARE: registrars.bare,
        _TEXTBOOK: registrars.textbook,
    }
    with Children() as children, _generator() as sock:
        load = Load(sock, keys)
        running: dict[str, tuple[Child, Place]] = {}
        for port, (name, serve) in enumerate(servers.items(), start=4340):
            place = Place(HOME_AGENT, HOME_NETWORK, port, keys)
            running[name] = _start(children, name, place, serve), place
        bursts: dict[str, list[Burst]] = {name: [] for name in servers}
        for number in range(rounds + 1):
            for name in rng.sample(sorted(servers), len(servers)):
                count = nodes // _TEXTBOOK_SHARE if name == _TEXTBOOK else nodes
                burst = load.burst(*running[name], count)
                if number:  # the first round enters the bindings
                    bursts[name].append(burst)
    return _results(bursts)


def _build_network() -> None:
    namespaces.create(_NAMESPACE)
    links, loopback = Links(), Port(_NAMESPACE, "lo")
    links.up(loopback)
    for address in (HOME_AGENT, GENERATOR):
        links.add_address(loopback, f"{address}/32")
    links.close()


@contextlib.contextmanager
def _generator() -> Iterator[socket.socket]:
    """Give the socket that requests come from, on the first core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    with namespaces.inside(_NAMESPACE):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.bind((GENERATOR, 0))
        sock.setblocking(False)
        yield sock


def _start(
    children: Children,
    name: str,
    place: Place,
    serve: Callable[[Place, IO[bytes]], None],
) -> Child:
    def body(output: IO[bytes]) -> None:
        cores = sorted(os.sched_getaffinity(1))
        os.sched_setaffinity(0, {cores[-1]})
        serve(place, output)

    child = children.fork(name, body, _NAMESPACE)
    assert child.output is not None
    with os.fdopen(child.output, "rb") as ready:
        if not ready.read(1):
            raise BenchError(f"the server {name} did not start")
    return child


class Load:
    """Sends requests and counts what they cost."""

    def __init__(self, sock: socket.socket, keys: Keys) -> None:
        self._sock = sock
        self._keys = keys

    def burst(self, server: Child, place: Place, count: int) -> Burst:
        """Have the first `count` nodes register with a server.

        :raises BenchError: a reply is missing or wrong.
        """
        requests = list(_requests(self._keys, place.address, count))
        start, spent = time.perf_counter(), _cpu_ns(server.pid)
        replies = self._exchange(requests, (place.address, place.port))
        seconds, cost = time.perf_counter() - start, _cpu_ns(server.pid) - spent
        self._check(replies, requests, server.name)
        return Burst(cpu_us=cost / count / 1000, rate=count / seconds)

    def _exchange(self, requests: Sequence[bytes], to: tuple[str, int]) -> list[bytes]:
        """Keep `WINDOW` requests in flight until all are answered."""
        sock, replies, sent = self._sock, list[bytes](), 0
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        while len(replies) < len(requests):
            upto = min(len(replies) + WINDOW, len(requests))
            for request in requests[sent:upto]:
                sock.sendto(request, to)
            sent = upto
            if not poller.poll(_PATIENCE_S * 1000):
                break
            with contextlib.suppress(BlockingIOError):
                while True:
                    replies.append(sock.recv(2048))
        return replies

    def _check(
        self, replies: Sequence[bytes], requests: Sequence[bytes], name: str
    ) -> None:
        """Hold every reply against its request."""
        if len(replies) != len(requests):
            raise BenchError(f"{name}: {len(replies)} of {len(requests)} answered")
        asked = {(one[4:8], one[16:24]) for one in requests}
        for reply in replies:
            home, ident = reply[4:8], reply[12:20]
            key = self._keys[socket.inet_ntoa(home)]
            signed = hmac.digest(key, reply[: REPLY.size], "md5")
            if reply[0] != 3 or reply[1] > 1 or reply[REPLY.size :] != signed:
                raise BenchError(f"{name}: answered with {reply.hex()}")
            asked.discard((home, ident))
        if asked:
            raise BenchError(f"{name}: {len(asked)} requests got no reply of their own")


def _requests(keys: Keys, home_agent: str, count: int) -> Iterator[bytes]:
    """Sign a request of each of the first `count` nodes, as of now."""
    own = socket.inet_aton(home_agent)
    now = from_unix_ns(time.time_ns())
    for number, (home_address, key) in zip(range(count), keys.items(), strict=False):
        covered = REQUEST.pack(
            1,
            _FLAGS,
            _LIFETIME,
            socket.inet_aton(home_address),
            own,
            struct.pack("!I", 0x0A090000 + number),
            now,
            32,
            20,
            SPI,
        )
        yield covered + hmac.digest(key, covered, "md5")


def _cpu_ns(pid: int) -> int:
    """Return the run time that the scheduler accounts to a process."""
    return sum(
        int((task / "schedstat").read_text().split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def _results(bursts: dict[str, list[Burst]]) -> list[Result]:
    def cpu(name: str) -> list[float]:
        return [burst.cpu_us for burst in bursts[name]]

    def rate(name: str) -> list[float]:
        return [burst.rate for burst in bursts[name]]

    ours = cpu(_JOURNAL)
    spent, rates = "CPU us per registration", "registrations per s"
    return [
        _result("struct", spent, "struct, no journal", ours, cpu(_BARE), 0.38),
        _result("textbook", spent, "textbook Scapy layer", ours, cpu(_TEXTBOOK), 8),
        _result(
            "journal",
            rates,
            "itself, no journal",
            rate(_JOURNAL),
            rate(_MEMORY),
            0.6,
            more_is_better=True,
        ),
    ]


def _result(
    name: str,
    what: str,
    rival: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    goal: float,
    *,
    more_is_better: bool = False,
) -> Result:
    """Compare round by round."""
    ratio = statistics.median(
        own / other if more_is_better else other / own
        for own, other in zip(ours, theirs, strict=True)
    )
    return Result(
        name=name,
        what=what,
        rival=rival,
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        ratio=ratio,
        goal=goal,
        met=ratio >= goal,
    )
