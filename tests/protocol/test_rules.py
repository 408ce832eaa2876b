# SPDX-License-Identifier: GPL-2.0-only
"""The rule ids that code, logs and findings cite are those of the checklist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKLIST = (ROOT / "tests/data/behaviour.md").read_text(encoding="utf-8")
DEFINED = set(re.findall(r"^- ([A-Z]+-\d+) ", CHECKLIST, re.MULTILINE))
RULE = re.compile(
    r"\b(?:" + "|".join(sorted({rule.partition("-")[0] for rule in DEFINED})) + r")-\d+"
)


def test_every_cited_rule_is_in_the_checklist():
    cited = {
        (rule, str(path.relative_to(ROOT)))
        for folder in ("scapy_mip", "agents", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for rule in RULE.findall(path.read_text(encoding="utf-8"))
    }
    assert {(rule, path) for rule, path in cited if rule not in DEFINED} == set()
    assert len({rule for rule, _ in cited}) > 50
