# SPDX-License-Identifier: GPL-2.0-only
"""The README's table of the rules that the tests hold.

A test holds the rules of the checklist that its docstring names.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKLIST = ROOT / "tests/data/behaviour.md"

CHAPTERS = ("HA", "FA", "MN", "AG", "COM", "ARP", "RT", "TUN", "NAI", "C")
"""The chapters that concern home agents, foreign agents and mobile nodes."""

OTHERS = {
    "NAI-04": "mobile nodes",
    "C-7": "NAT traversal",
    "C-9": "mobile nodes",
    "C-11": "proxy Mobile IP",
    "C-13": "foreign agents",
    "C-15": "mobile networks",
}
"""Rules of these chapters that bind somebody else, and whom."""

NOT_HELD = {
    "HA-42": "optional, for mobile networks without RFC 5177",
    "MN-16": "optional, and transports do not tell of retransmissions",
}
"""Rules that the agents do not keep, and why."""

_RULE = re.compile(rf"\b(?:{'|'.join(CHAPTERS)})-\d+\b")


def defined() -> list[str]:
    """Return the rules of the chapters, in the checklist's order."""
    text = CHECKLIST.read_text(encoding="utf-8")
    found = re.findall(r"^- ([A-Z]+-\d+) ", text, re.MULTILINE)
    by_chapter = {chapter: list[str]() for chapter in CHAPTERS}
    for rule in found:
        by_chapter.get(rule.partition("-")[0], []).append(rule)
    return [rule for rules in by_chapter.values() for rule in rules]


def held() -> dict[str, list[str]]:
    """Return for each rule the files whose tests name it, relative to `tests/`."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT / "tests").as_posix()
        for rule in sorted(set(_named(path))):
            found.setdefault(rule, []).append(name)
    return found


def _named(path: Path) -> Iterator[str]:
    """Yield the rules that the docstrings of the tests in a file name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield from _RULE.findall(ast.get_docstring(node) or "")


def problems() -> list[str]:
    """Return one line for each rule that is accounted for badly."""
    rules, tests = defined(), held()
    excused = OTHERS.keys() | NOT_HELD.keys()
    return [
        *(
            f"{rule}: no test names it, and there is no reason for that here"
            for rule in rules
            if rule not in tests and rule not in excused
        ),
        *(
            f"{rule}: a test holds it now; remove its excuse here"
            for rule in sorted(excused & tests.keys())
        ),
        *(
            f"{rule}: excused here, and the checklist does not know it"
            for rule in sorted(excused - set(rules))
        ),
    ]


def table() -> str:
    """Return the table, rules with the same tests in one row."""
    tests = held()
    lines = ["| rule | held in `tests/` |", "|---|---|"]
    rules = [rule for rule in defined() if rule in tests]

    def place(rule: str) -> tuple[str, list[str]]:
        return rule.partition("-")[0], tests[rule]

    for (_, files), group in itertools.groupby(rules, place):
        lines.append(f"| {', '.join(group)} | {', '.join(files)} |")
    for title, reasons in (("for", OTHERS), ("not held:", NOT_HELD)):
        for reason in dict.fromkeys(reasons.values()):
            names = [rule for rule in defined() if reasons.get(rule) == reason]
            lines.append(f"| {', '.join(names)} | {title} {reason} |")
    return "\n".join(lines)
