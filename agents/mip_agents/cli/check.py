# SPDX-License-Identifier: GPL-2.0-only
"""`mip check`: what is wrong with a capture."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from mip_agents.captures.check import judge_files
from mip_agents.captures.findings import Finding
from mip_agents.captures.keys import load_keys
from mip_agents.captures.observation import Observation
from mip_agents.captures.printable import printable
from mip_agents.protocol.errors import InputError


def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="pcap or pcapng; - is standard input."),
    ],
    keys: Annotated[
        Path | None,
        typer.Option(metavar="KEYS.toml", help="Keys to judge authenticators with."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines, one object per finding.")
    ] = False,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE.xml", help="Write a JUnit report, too."),
    ] = None,
    diagram: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Draw who told whom what, too."),
    ] = None,
) -> None:
    """Judge captures against the rules of Mobile IP: one line for each deviation.

    Each names its rule, the RFC's section and the frame. Captures of several links of
    one network are judged together where foreign agents relay. Without keys,
    authenticators are taken on trust. Exit 0 without findings, 1 with, 2 for input
    that cannot be used.

    Example: mip check --keys keys.toml visited.pcap internet.pcap
    """
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    if diagram is not None and diagram.suffix.lower() != ".svg":
        raise InputError(f"--diagram {diagram}: give a name that ends in .svg")
    ring = load_keys(keys) if keys else None
    findings: list[Finding] = []

    def judged() -> Iterator[tuple[Observation, list[Finding]]]:
        for seen, found in judge_files(files, ring):
            for finding in found:
                as_text = _judged(finding, len(files))
                print(json.dumps(finding.as_json()) if as_json else as_text)
            findings.extend(found)
            yield seen, found

    if diagram is not None:
        _draw(diagram, judged())
    else:
        for _ in judged():
            pass
    if junit is not None:
        _report(junit, files, findings)
    if not as_json:
        counts = Counter(str(finding.rule.severity) for finding in findings)
        said = [f"{n} {name}{'s' * (n > 1)}" for name, n in counts.items()]
        print(", ".join(said) or "no findings", file=sys.stderr)
    raise typer.Exit(bool(findings))


def _judged(finding: Finding, files: int) -> str:
    where = f"{printable(Path(finding.file).name)}:" if files > 1 else ""
    rule = finding.rule
    return (
        f"{where}{finding.frame:>5} {rule.severity:7} {rule.id:6} {finding.text} "
        f"({rule.source})"
    )


def _report(target: Path, files: list[Path], findings: list[Finding]) -> None:
    from mip_agents.captures.junit import write_report

    try:
        write_report(target, [str(path) for path in files], findings)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None


def _draw(target: Path, judged: Iterable[tuple[Observation, list[Finding]]]) -> None:
    from mip_agents.captures.diagram import draw
    from mip_agents.captures.sequence import follow

    try:
        target.write_text(draw(follow(judged)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None
