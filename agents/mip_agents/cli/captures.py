# SPDX-License-Identifier: GPL-2.0-only
"""`mip decode` and `mip check`: what a capture says, and what is wrong with it."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from mip_agents.captures.check import judge_files
from mip_agents.captures.decode import decode_file, summary
from mip_agents.captures.findings import Finding
from mip_agents.captures.keys import load_keys
from mip_agents.captures.observation import Observation
from mip_agents.protocol.errors import InputError
from scapy_mip.keyring import KeyRing


def decode(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Captures: pcap or pcapng.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON Lines, one object per packet.")
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="KEYS.toml", help="Keys to judge authenticators with."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Every field of every message.")
    ] = False,
) -> None:
    """Decode captures: one line for each Mobile IP packet.

    Example: mip decode --keys keys.toml registration.pcap
    """
    # What is wrong with a file is said once, by us.
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    ring = load_keys(keys) if keys else None
    totals: Counter[str] = Counter()
    for path in files:
        for record, packet in decode_file(path, ring):
            if as_json:
                print(json.dumps(record))
                continue
            _count(totals, record)
            print(_line(record, several=len(files) > 1))
            for problem in record["problems"]:
                print(f"       ! {problem['rule']} {problem['text']}")
            if verbose and packet is not None:
                print(packet.show(dump=True))
    if not as_json:
        print(_totals(totals, ring), file=sys.stderr)


def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Captures: pcap or pcapng.")
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
    story: list[tuple[Observation, list[Finding]]] = []
    for seen, found in judge_files(files, ring):
        findings += found
        for finding in found:
            print(
                json.dumps(finding.as_json())
                if as_json
                else _judged(finding, len(files))
            )
        if diagram is not None:
            story.append((seen, found))
    if junit is not None:
        _report(junit, files, findings)
    if diagram is not None:
        _draw(diagram, story)
    if not as_json:
        counts = Counter(str(finding.rule.severity) for finding in findings)
        said = [f"{n} {name}{'s' * (n > 1)}" for name, n in counts.items()]
        print(", ".join(said) or "no findings", file=sys.stderr)
    raise typer.Exit(bool(findings))


def _judged(finding: Finding, files: int) -> str:
    where = f"{Path(finding.file).name}:" if files > 1 else ""
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


def _draw(target: Path, story: list[tuple[Observation, list[Finding]]]) -> None:
    from mip_agents.captures.diagram import draw
    from mip_agents.captures.sequence import follow

    try:
        target.write_text(draw(follow(story)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None


def _line(record: dict[str, Any], several: bool) -> str:
    where = f"{Path(record['file']).name}:" if several else ""
    return (
        f"{where}{record['frame']:>5} {record['src']} > {record['dst']}"
        f"  {summary(record)}"
    )


def _count(totals: Counter[str], record: dict[str, Any]) -> None:
    totals[record["message"]] += 1
    if record["message"] == "registration_reply" and "code" in record["fields"]:
        totals[f"code {record['fields']['code']}"] += 1
    totals["problems"] += len(record["problems"])
    for extension in record["extensions"]:
        if "verdict" in extension:
            totals[extension["verdict"]] += 1


def _totals(totals: Counter[str], ring: KeyRing | None) -> str:
    verdicts = ("valid", "invalid", "no-key")
    special = {"problems", *verdicts}
    kinds = [
        f"{count} {name}"
        for name, count in totals.items()
        if name not in special and not name.startswith("code ")
    ]
    codes = [
        f"{count}x {name}" for name, count in totals.items() if name.startswith("code ")
    ]
    parts = [", ".join(kinds) or "no Mobile IP packet"]
    if codes:
        parts.append("replies: " + ", ".join(codes))
    if ring is not None:
        judged = ", ".join(f"{totals[verdict]} {verdict}" for verdict in verdicts)
        parts.append(f"authenticators: {judged}")
    if totals["problems"]:
        parts.append(f"{totals['problems']} problems")
    return "; ".join(parts)
