# SPDX-License-Identifier: GPL-2.0-only
"""How many bindings a second a data plane takes, and what each costs in memory.

Rivals are `ip -batch`, which hands one route per binding to the kernel, and the same
by plain calls of pyroute2. The home network is a virtual one, without a link whose
neighbours would have to be answered: a binding needs no more than its route.

Time is that of the processor, in the process and in the kernel on its behalf: nothing
here waits, and what a neighbour takes away disturbs no line.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from mip_agents.bench.testbed import CARE_OF, HOME_AGENT, CrashError, Testbed, make
from mip_agents.lab.links import Port
from mip_agents.protocol.tunnel import Role, Tunnel
from mip_agents.runtime.udp import DRAIN
from scapy_mip.const import Encapsulation

COUNTS: Final = (10_000, 100_000)
CARE_OFS: Final = 200
"""Care-of addresses that the bindings share, as with foreign agents."""
PYROUTE2_CALLS: Final = 500
LIMIT_S: Final = 8.0
"""Seconds for one column of one line; where they are over, what was reached counts."""

_FIRST_HOME = int(IPv4Address("10.64.0.0"))
_FIRST_CARE_OF = int(IPv4Address("10.1.2.10"))


@dataclass(frozen=True, slots=True)
class Bindings:
    """One line: rates per second of processor time."""

    what: str
    together: int = 1
    """How many are handed over in one call."""
    count: int = 0
    """How many there were at last."""
    install: float = 0.0
    replace: float = 0.0
    remove: float = 0.0
    install_ratio: float | None = None
    """To plain calls of pyroute2, just before."""
    replace_ratio: float | None = None
    remove_ratio: float | None = None
    octets: float | None = None
    """Memory of the process, per binding."""
    map_octets: float | None = None
    """Memory of BPF maps in the kernel, all in all."""
    problem: str | None = None
    """Why there are no figures."""


def over(line: Bindings, plain: Bindings | None) -> Bindings:
    """Return a line with its ratios to those of pyroute2."""
    if plain is None or line.problem is not None:
        return line
    return replace(
        line,
        install_ratio=line.install / plain.install,
        replace_ratio=line.replace / plain.replace,
        remove_ratio=line.remove / plain.remove,
    )


def home(number: int) -> str:
    """Return the home address of a binding."""
    return str(IPv4Address(_FIRST_HOME + number))


def care_of(number: int) -> str:
    """Return the care-of address of a binding."""
    return str(IPv4Address(_FIRST_CARE_OF + number % CARE_OFS))


def by_driver(
    bed: Testbed, driver: str, count: int, limit_s: float, together: int = DRAIN
) -> Bindings:
    """Measure a driver, in a process of its own.

    It is called as by an agent that finds requests for `together` bindings whenever it
    wakes up, and does what it has put off, such as asking for path MTUs, in between.
    """

    async def work() -> dict[str, Any]:
        dataplane = make(driver, Role.HOME_AGENT, home_interface="lo")
        await dataplane.open()
        gc.collect()
        gc.freeze()  # as an agent does
        memory = _resident()

        async def install(tunnels: list[Tunnel]) -> None:
            if together == 1:
                await dataplane.install(tunnels[0])
                return
            for refusal in await dataplane.install_many(tunnels):
                if refusal is not None:
                    raise refusal

        async def remove(homes: list[str]) -> None:
            if together == 1:
                await dataplane.remove(homes[0])
            else:
                await dataplane.remove_many(homes)

        async def rate(
            call: Callable[[list[Any]], Awaitable[None]],
            arguments: Iterator[Any],
            count: int,
        ) -> tuple[float, int]:
            return await _rate(call, arguments, count, together, limit_s)

        install_rate, reached = await rate(install, _tunnels(0), count)
        gc.collect()
        memory = _resident() - memory
        maps = _map_octets()
        move_rate, _ = await rate(install, _tunnels(1), reached)
        names = (home(number) for number in range(reached))
        remove_rate, removed = await rate(remove, names, reached)
        if removed == reached:  # the next to open finds what is left, and clears it
            await dataplane.close()
        return {
            "count": reached,
            "install": install_rate,
            "replace": move_rate,
            "remove": remove_rate,
            "octets": memory / reached,
            "map_octets": maps,
        }

    try:
        return Bindings(driver, together, **bed.in_child(f"{driver} bindings", work))
    except CrashError as error:
        return Bindings(driver, together, problem=str(error))


async def _rate(
    call: Callable[[list[Any]], Awaitable[None]],
    arguments: Iterator[Any],
    count: int,
    together: int,
    limit_s: float,
) -> tuple[float, int]:
    """Call with `together` arguments a time; return arguments a second, and all."""
    spent, done = 0.0, 0
    while done < count and spent < limit_s:
        chunk = list(itertools.islice(arguments, min(DRAIN, count - done)))
        parts = [
            chunk[start : start + together] for start in range(0, len(chunk), together)
        ]
        start = time.process_time()
        for part in parts:
            await call(part)
        await asyncio.sleep(0)  # what was put off is done now
        spent += time.process_time() - start
        done += len(chunk)
    return done / spent, done


def _tunnels(move: int) -> Iterator[Tunnel]:
    """Yield the tunnels of all bindings; those of another `move` lead elsewhere."""
    number = 0
    while True:
        yield Tunnel(
            home_address=home(number),
            local=HOME_AGENT,
            peers=(care_of(number + move),),
            encapsulation=Encapsulation.IPIP,
            reverse=True,
        )
        number += 1


def _time_of_children() -> float:
    """Return the processor's time for those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
        start = time.process_time()
        for number in range(calls):
            netlink.route(verb, dst=f"{home(number)}/32", oif=index, **arguments)
        return calls / (time.process_time() - start)

    route = {"gateway": CARE_OF, "metrics": {"mtu": 1480}}
    return Bindings(
        "pyroute2",
        1,
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
            start = _time_of_children()
            command = [program, "-batch", file.name]
            child = bed.children.execute("ip", command, namespace="ha")
            code = child.wait(60)
            spent = _time_of_children() - start
        if code != 0:
            raise RuntimeError(f"ip -batch: exit code {code}")
        return count / spent

    route = f"via {CARE_OF} dev out0"
    return Bindings(
        "ip -batch",
        count,
        count,
        rate("add", f"{route} mtu 1480"),
        rate("replace", f"{route} mtu 1476"),
        rate("del", route),
    )
