# SPDX-License-Identifier: GPL-2.0-only
"""Findings as a JUnit report, which CI systems show: a suite per capture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from mip_agents.captures.check import RULES
from mip_agents.captures.findings import Finding
from mip_agents.captures.printable import printable


def write_report(
    target: Path, captures: Sequence[str], findings: Iterable[Finding]
) -> None:
    """Write a test case per capture and rule; a finding is a failure.

    :raises OSError: the file cannot be written.
    """
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.file, finding.rule.id), []).append(finding)
    root = ElementTree.Element("testsuites", name="mip check")
    for capture in dict.fromkeys(captures):
        shown = printable(capture)
        failed = sum(file == capture for file, _ in found)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=shown,
            tests=str(len(RULES)),
            failures=str(failed),
        )
        for rule in RULES.values():
            name = f"{rule.id} ({rule.source})"
            case = ElementTree.SubElement(suite, "testcase", classname=shown, name=name)
            of_rule = found.get((capture, rule.id), [])
            if of_rule:
                failure = ElementTree.SubElement(
                    case,
                    "failure",
                    type=rule.severity,
                    message=printable(of_rule[0].text),
                )
                failure.text = "\n".join(
                    f"frame {finding.frame}: {printable(finding.text)}"
                    for finding in of_rule
                )
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
    target.write_text(text + "\n", encoding="utf-8")
