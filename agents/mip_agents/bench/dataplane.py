# SPDX-License-Identifier: GPL-2.0-only
"""`mip bench dataplane`: each driver and encapsulation against the plain routed path.

All of it is measured in one run on one machine, in network namespaces; the ratios are
the finding. The routed path is measured anew before each line, so that a neighbour who
comes and goes disturbs both. A driver that cannot work here has a line that says why.
"""

from __future__ import annotations

import dataclasses
import json as json_format
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mip_agents.bench import bindings, restores, throughput
from mip_agents.bench.bindings import Bindings
from mip_agents.bench.restores import Restore
from mip_agents.bench.testbed import CARE_OF, FORMS, HOME_ADDRESS, CrashError, Testbed
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.select import DRIVERS
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import run_in_sandbox
from mip_agents.protocol.tunnel import Role
from mip_agents.runtime.udp import DRAIN

TCP_S: Final = 1.0
PACKETS_S: Final = 0.6
PLAIN: Final = "none"
_ROLES: Final = Role.HOME_AGENT, Role.MOBILE_NODE
"""Whose tunnels are measured; there is no foreign agent in the testbed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """One line: what comes through."""

    driver: str
    form: str
    tcp_gbps: float | None = None
    packets_per_s: float | None = None
    tcp_ratio: float | None = None
    """To the routed path, as it was just before."""
    packets_ratio: float | None = None
    problem: str | None = None
    """Why there are no figures."""


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
    """How long and how much to measure."""

    forms: tuple[str, ...] = tuple(FORMS)
    tcp_s: float = TCP_S
    packets_s: float = PACKETS_S
    counts: tuple[int, ...] = bindings.COUNTS
    calls: int = bindings.PYROUTE2_CALLS
    limit_s: float = bindings.LIMIT_S


def main(json: bool = False, effort: Effort | None = None) -> int:
    """Run it in a sandbox and write tables, or JSON, to standard output.

    Return 0 whatever the figures are, 1 where there can be no sandbox or a driver that
    should work has crashed.
    """
    chosen = effort or Effort()
    try:
        return run_in_sandbox(
            lambda _how: _run(json, chosen), keep=(Path(sys.prefix), Path.cwd())
        )
    except LabError as error:
        sys.stderr.write(f"mip bench: {error}\n")
        return 1


def _run(json: bool, effort: Effort) -> int:
    bed = Testbed()
    everything: dict[str, object] = {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "passed_over": _problems(),
    }
    show = (lambda _text: None) if json else _write
    try:
        show(_heading(everything))
        traffic: list[Traffic] = []
        for line in measure_traffic(bed, effort):
            traffic.append(line)
            show(_traffic_line(line))
        show(_bindings_heading())
        taken: list[Bindings] = []
        for entry in measure_bindings(bed, effort):
            taken.append(entry)
            show(_bindings_line(entry))
        show(_restores_heading())
        starts: list[Restore] = []
        for start in measure_restores(bed, effort):
            starts.append(start)
            show(_restores_line(start))
        for driver, problem in _problems().items():
            show(f"\nnot measured: {driver}, {problem}")
    finally:
        bed.close()
    if json:
        everything["traffic"] = [dataclasses.asdict(one) for one in traffic]
        everything["bindings"] = [dataclasses.asdict(one) for one in taken]
        everything["restores"] = [dataclasses.asdict(one) for one in starts]
        _write(json_format.dumps(everything, indent=2))
    problems = [*(one.problem for one in taken), *(one.problem for one in starts)]
    return 1 if any(problems) else 0


def _problems() -> dict[str, str]:
    """Return the drivers that cannot work here at both ends, with the reasons."""
    return {
        name: problem
        for name, driver in DRIVERS.items()
        for role in _ROLES
        if (problem := driver.problem(role)) is not None
    }


def _usable() -> list[str]:
    return [name for name in DRIVERS if name not in _problems()]


def measure_traffic(bed: Testbed, effort: Effort) -> Iterator[Traffic]:
    """Yield a line for the routed path first, then for each driver and form."""
    yield _traffic(bed, PLAIN, "routed", CARE_OF, effort)
    for driver in _usable():
        for name in effort.forms:
            plain = _traffic(bed, PLAIN, "routed", CARE_OF, effort)
            try:
                agents = bed.tunnel(driver, FORMS[name])
            except (DataplaneError, CrashError) as error:
                yield Traffic(driver, name, problem=str(error))
                continue
            try:
                line = _traffic(bed, driver, name, HOME_ADDRESS, effort)
                yield dataclasses.replace(
                    line,
                    tcp_ratio=_over(line.tcp_gbps, plain.tcp_gbps),
                    packets_ratio=_over(line.packets_per_s, plain.packets_per_s),
                )
            finally:
                for agent in agents:
                    agent.stop()


def _traffic(
    bed: Testbed, driver: str, form: str, address: str, effort: Effort
) -> Traffic:
    try:
        return Traffic(
            driver,
            form,
            throughput.tcp_gbps(bed, address, effort.tcp_s),
            throughput.packets_per_second(bed, address, effort.packets_s),
        )
    except (OSError, CrashError) as error:  # the others still have their say
        return Traffic(driver, form, problem=f"failed: {error}")


def _over(value: float | None, plain: float | None) -> float | None:
    return value / plain if value is not None and plain else None


def measure_bindings(bed: Testbed, effort: Effort) -> Iterator[Bindings]:
    """Yield a line for pyroute2 first, then for `ip -batch` and each driver.

    pyroute2 is measured anew before each line, as the routed path is.
    """

    def plain() -> Bindings:
        return bindings.by_pyroute2(bed, effort.calls)

    yield bindings.over(plain(), None)
    for count in effort.counts:
        rival = plain()
        batch = bindings.by_ip_batch(bed, count)
        if batch is not None:
            yield bindings.over(batch, rival)
    for driver in _usable():
        lines = [(effort.counts[0], 1)]
        lines += [(count, DRAIN) for count in effort.counts]
        for count, together in lines:
            rival = plain()
            line = bindings.by_driver(bed, driver, count, effort.limit_s, together)
            yield bindings.over(line, rival)


def measure_restores(bed: Testbed, effort: Effort) -> Iterator[Restore]:
    """Yield a line for an agent without a data plane first, then for each driver."""
    restores.prepare(bed)
    for driver in (restores.NOWHERE, *_usable()):
        yield restores.restore(bed, driver, effort.counts[-1])


# Tables of 80 columns at most

_TRAFFIC_ROW = "{:<8}  {:<13}  {:>10}  {:>8}  {:>12}  {:>8}"
_RESTORES_ROW = "{:<9}  {:>6}  {:>9}  {:>9}"
_BINDINGS_ROW = "{:<9}  {:>6}  {:>9} {:>4}  {:>9} {:>4}  {:>9} {:>4}  {:>6}  {:>3}"


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _under(head: str) -> str:
    return f"{head}\n{'-' * len(head)}"


def _heading(everything: dict[str, object]) -> str:
    senders = " or ".join(map(str, throughput.SENDERS))
    head = _TRAFFIC_ROW.format(
        "driver", "form", "TCP Gb/s", "of plain", "packets/s", "of plain"
    )
    return (
        f"Linux {everything['kernel']}, Python {everything['python']}, "
        f"{everything['processors']} processors\n"
        f"TCP: one connection. Packets: {throughput.PACKET} octets of IP, as many as "
        f"arrive\nwhile {senders} processes send what they can, the better of both\n\n"
        f"{_under(head)}"
    )


def _traffic_line(line: Traffic) -> str:
    if line.tcp_gbps is None or line.packets_per_s is None:
        return f"{line.driver:<8}  {line.form:<13}  {line.problem}"[:80]
    return _TRAFFIC_ROW.format(
        line.driver,
        line.form,
        f"{line.tcp_gbps:.2f}",
        _percent(line.tcp_ratio),
        f"{line.packets_per_s:,.0f}",
        _percent(line.packets_ratio),
    ).rstrip()


def _bindings_heading() -> str:
    head = _BINDINGS_ROW.format(
        "bindings",
        "count",
        "install/s",
        "",
        "replace/s",
        "",
        "remove/s",
        "",
        "B each",
        "MB",
    )
    return (
        "\nBehind a driver: how many it gets in one call. An agent takes "
        f"{DRAIN} from its\nsocket at once. What was put off is done after {DRAIN}, "
        f"and counts: path MTUs\nare asked for, to {bindings.CARE_OFS} care-of "
        "addresses. Count: how many bindings there\n"
        "were when the time was over. Seconds are of the processor. x: times plain\n"
        "pyroute2 calls, just before. B each: memory of the process; MB: BPF maps\n\n"
        f"{_under(head)}"
    )


def _bindings_line(line: Bindings) -> str:
    what = f"{line.what} {line.together}" if line.what in DRIVERS else line.what
    if line.problem is not None:
        return f"{what:<9}  {line.problem}"[:80]
    maps = line.map_octets
    text = _BINDINGS_ROW.format(
        what,
        line.count,
        f"{line.install:,.0f}",
        _times(line.install_ratio),
        f"{line.replace:,.0f}",
        _times(line.replace_ratio),
        f"{line.remove:,.0f}",
        _times(line.remove_ratio),
        "" if line.octets is None else f"{line.octets:,.0f}",
        "" if maps is None else f"{maps / 1e6:.0f}",
    )
    return text.rstrip()


def _restores_heading() -> str:
    head = _RESTORES_ROW.format("restored", "count", "start s", "stop s")
    return (
        "\nSeconds of the processor until an agent serves with the bindings of a "
        "former\nprocess, and from its end until nothing of it is left. none: no data "
        "plane\n\n"
        f"{_under(head)}"
    )


def _restores_line(line: Restore) -> str:
    if line.problem is not None:
        return f"{line.driver:<9}  {line.problem}"[:80]
    return _RESTORES_ROW.format(
        line.driver, line.count, f"{line.start_s:.2f}", f"{line.stop_s:.2f}"
    )


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.0f}x"


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1%}"
