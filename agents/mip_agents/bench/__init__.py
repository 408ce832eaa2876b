# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks: how many times faster than the usual way, measured side by side.

Times say little about another machine; the ratios are the finding. They are no
assertions: a run fails only if a case does.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json as json_format
import math
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mip_agents.bench.case import Case

__all__ = ["ROUNDS", "Result", "main", "run", "versions"]

ROUNDS = 31


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came out of one case; without figures if it was not run."""

    name: str
    what: str
    rival: str
    goal: float
    ours_us: float | None = None
    """CPU time of one call, microseconds; None for what has another unit."""
    rival_us: float | None = None
    ratio: float | None = None
    """How many times less than the rival's figure; None where that is a limit."""
    met: bool | None = None
    skipped: str | None = None
    """Why there are no figures: the rival is missing."""
    failed: str | None = None
    """Why there are no figures: the case crashed."""
    unit: str = "us"
    """Of the next two: us, ms, MiB or B (bytes). Less is better for all of them."""
    ours: float | None = None
    other: float | None = None
    """The figure of the rival, or the limit."""


def run(
    only: Sequence[str] = (),
    rounds: int = ROUNDS,
    *,
    slice_ns: int | None = None,
) -> Iterator[Result]:
    """Run the cases one after the other and yield their results as they come.

    :param only: names of cases; none for all.
    :param rounds: slices of each side per case.
    :param slice_ns: CPU time of a slice, for tests that want it short.
    :raises KeyError: a name that no case has.
    """
    from mip_agents.bench.cases import CASES

    by_name = {case.name: case for case in CASES}
    for case in [by_name[name] for name in only] if only else CASES:
        yield _run_case(case, rounds, slice_ns)


def _run_case(case: Case, rounds: int, slice_ns: int | None) -> Result:
    from mip_agents.bench import measure
    from mip_agents.bench.case import NotInstalledError

    result = Result(case.name, case.what, case.rival, case.goal, unit=case.unit)
    try:
        trial = case.prepare()
        if not trial.agree():
            return dataclasses.replace(result, failed="both sides do not agree")
        found = trial.measure(
            rounds, measure.SLICE_NS if slice_ns is None else slice_ns
        )
    except NotInstalledError as reason:
        return dataclasses.replace(result, skipped=str(reason))
    except Exception as error:  # noqa: BLE001  # the other cases still have their say
        return dataclasses.replace(result, failed=f"{type(error).__name__}: {error}")
    return dataclasses.replace(
        result,
        ours_us=found.ours if case.unit == "us" else None,
        rival_us=found.rival if case.unit == "us" else None,
        ours=found.ours,
        other=found.rival,
        ratio=found.ratio,
        met=(
            found.ours <= found.rival
            if found.ratio is None
            else found.ratio >= case.goal
        ),
    )


def versions() -> dict[str, str]:
    """Return what the figures depend on, by name."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("scapy", "dpkt"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    program = shutil.which("tshark")
    if program is not None:
        told = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False
        ).stdout.split()
        found["tshark"] = next((word for word in told if word[0].isdigit()), "unknown")
    return found


def main(json: bool = False, only: Sequence[str] = (), rounds: int = ROUNDS) -> int:
    """Run the benchmarks and write a table, or JSON, to standard output.

    Return 0 whatever the figures are, 1 if a case crashed, 2 for an unknown name.

    :param only: names of cases; none for all.
    :param rounds: slices of each side per case; more give steadier figures.
    """
    from mip_agents.bench.cases import CASES

    names = [case.name for case in CASES]
    unknown = [name for name in only if name not in names]
    if unknown:
        sys.stderr.write(
            f"mip bench: no case {unknown[0]!r}; there are: {', '.join(names)}\n"
        )
        return 2
    results: list[Result] = []
    if not json:
        _write(_heading(rounds))
    for result in run(only, rounds):
        results.append(result)
        if not json:
            _write(_line(result))
    if json:
        everything: dict[str, Any] = {
            "versions": versions(),
            "rounds": rounds,
            "cases": [dataclasses.asdict(result) for result in results],
        }
        _write(json_format.dumps(everything, indent=2))
    return 1 if any(result.failed for result in results) else 0


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


_ROW = "{:<23}  {:<16}  {:>8}  {:>8}  {:>5}  {:>5}  {:<3}"
_UNITS = {"us": "µs", "ms": "ms", "MiB": "MiB", "B": "B"}


def _heading(rounds: int) -> str:
    known = versions()
    named = f"Python {known['python']}, Scapy {known['scapy']}, {known['machine']}"
    head = _ROW.format("case", "rival", "ours", "rival", "ratio", "goal", "met")
    return f"{named}; CPU time, medians of {rounds} rounds\n\n{head}\n{'-' * len(head)}"


def _line(result: Result) -> str:
    if result.ours is None or result.other is None:
        reason = result.skipped or f"failed: {result.failed}"
        return f"{result.what:<23}  {result.rival:<16}  {reason}"
    return _ROW.format(
        result.what,
        result.rival,
        _figure(result.ours, result.unit),
        _figure(result.other, result.unit),
        "" if result.ratio is None else _times(result.ratio),
        "" if result.ratio is None else f"{result.goal:g}x",
        "yes" if result.met else "no",
    )


def _figure(value: float, unit: str) -> str:
    """Write a figure with three digits, or what stands in front of the point."""
    places = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:.{places}f} {_UNITS[unit]}"


def _times(ratio: float) -> str:
    """Write a ratio so that it cannot look as if it met a goal that it misses."""
    places = 0 if ratio >= 100 else 1 if ratio >= 2 else 2
    scale = 10**places
    return f"{math.floor(ratio * scale) / scale:.{places}f}x"
