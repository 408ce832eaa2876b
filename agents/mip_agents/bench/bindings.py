# SPDX-License-Identifier: GPL-2.0-only
"""How many bindings a second a data plane takes, and what each costs in memory.

Rivals are `ip -batch`, which hands one route per binding to the kernel, and the same
by plain calls of pyroute2. The home network is a virtual one, without a link whose
neighbours would have to be answered: a binding needs no more than its route.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from mip_agents.bench.testbed import CARE_OF, HOME_AGENT, CrashError, Testbed, make
from mip_agents.lab.links import Port
from mip_agents.protocol.tunnel import Role, Tunnel
from scapy_mip.const import Encapsulation

COUNTS: Final = (10_000, 100_000)
PYROUTE2_CALLS: Final = 1000
LIMIT_S: Final = 8.0
"""Seconds for one column of one line; where it is over, what was reached counts."""

_FIRST_HOME = int(IPv4Address("10.64.0.0"))
_FIRST_CARE_OF = int(IPv4Address("10.1.2.10"))
_CARE_OFS = 200
_CHUNK = 500
"""Calls that are timed together; what they are given is made before, untimed."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """One line: rates per second."""

    what: str
    count: int = 0
    """How many there were at last."""
    install: float = 0.0
    replace: float = 0.0
    remove: float = 0.0
    octets: float | None = None
    """Memory of the process, per binding."""
    map_octets: float | None = None
    """Memory of BPF maps in the kernel, all in all."""
    problem: str | None = None
    """Why there are no figures."""


def home(number: int) -> str:
    """Return the home address of a binding."""
    return str(IPv4Address(_FIRST_HOME + number))


def by_driver(bed: Testbed, driver: str, count: int, limit_s: float) -> Bindings:
    """Measure a driver, in a process of its own."""

    async def work() -> dict[str, Any]:
        dataplane = make(driver, Role.HOME_AGENT, home_interface="lo")
        await dataplane.open()
        gc.collect()
        memory = _resident()
        install, reached = await _rate(dataplane.install, _tunnels(0), count, limit_s)
        gc.collect()
        memory = _resident() - memory
        maps = _map_octets()
        replace, _ = await _rate(dataplane.install, _tunnels(1), reached, limit_s)
        names = (home(number) for number in range(reached))
        remove, removed = await _rate(dataplane.remove, names, reached, limit_s)
        if removed == reached:  # the next to open finds what is left, and clears it
            await dataplane.close()
        return {
            "count": reached,
            "install": install,
            "replace": replace,
            "remove": remove,
            "octets": memory / reached,
            "map_octets": maps,
        }

    try:
        return Bindings(driver, **bed.in_child(f"{driver} bindings", work))
    except CrashError as error:
        return Bindings(driver, problem=str(error))


async def _rate(
    call: Callable[[Any], Awaitable[object]],
    arguments: Iterator[Any],
    count: int,
    limit_s: float,
) -> tuple[float, int]:
    """Call once per argument; return calls a second, and how many there were."""
    spent, done = 0.0, 0
    while done < count and spent < limit_s:
        chunk = [next(arguments) for _ in range(min(_CHUNK, count - done))]
        start = time.perf_counter()
        for argument in chunk:
            await call(argument)
        spent += time.perf_counter() - start
        done += len(chunk)
    return done / spent, done


def _tunnels(move: int) -> Iterator[Tunnel]:
    """Yield the tunnels of all bindings; those of another `move` lead elsewhere."""
    number = 0
    while True:
        care_of = IPv4Address(_FIRST_CARE_OF + (number + move) % _CARE_OFS)
        yield Tunnel(
            home_address=home(number),
            local=HOME_AGENT,
            peers=(str(care_of),),
            encapsulation=Encapsulation.IPIP,
            reverse=True,
        )
        number += 1


def _resident() -> int:
    """Return the octets of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _map_octets() -> int | None:
    """Return the kernel memory of the BPF maps that this process holds."""
    found = []
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            text = path.read_text()
        except OSError:  # the one that the listing itself had open
            continue
        if "map_type:" in text:
            found += re.findall(r"^memlock:\s*(\d+)", text, re.MULTILINE)
    return sum(map(int, found)) if found else None


def by_pyroute2(bed: Testbed, calls: int = PYROUTE2_CALLS) -> Bindings:
    """Measure plain calls, one route each."""
    netlink = bed.links.of("ha")
    index = bed.links.index(Port("ha", "out0"))

    def rate(verb: str, **arguments: Any) -> float:
        start = time.perf_counter()
        for number in range(calls):
            netlink.route(verb, dst=f"{home(number)}/32", oif=index, **arguments)
        return calls / (time.perf_counter() - start)

    route = {"gateway": CARE_OF, "metrics": {"mtu": 1480}}
    return Bindings(
        "pyroute2",
        calls,
        rate("add", **route),
        rate("replace", **(route | {"metrics": {"mtu": 1476}})),
        rate("del"),
    )


def by_ip_batch(bed: Testbed, count: int) -> Bindings | None:
    """Measure `ip -batch`, if it is there."""
    program = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return None

    def rate(verb: str, rest: str) -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".batch") as file:
            file.writelines(
                f"route {verb} {home(number)}/32 {rest}\n" for number in range(count)
            )
            file.flush()
            start = time.perf_counter()
            command = [program, "-batch", file.name]
            child = bed.children.execute("ip", command, namespace="ha")
            code = child.wait(60)
            spent = time.perf_counter() - start
        if code != 0:
            raise RuntimeError(f"ip -batch: exit code {code}")
        return count / spent

    route = f"via {CARE_OF} dev out0"
    return Bindings(
        "ip -batch",
        count,
        rate("add", f"{route} mtu 1480"),
        rate("replace", f"{route} mtu 1476"),
        rate("del", route),
    )
