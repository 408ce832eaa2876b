# SPDX-License-Identifier: GPL-2.0-only
"""Every rule that concerns home agents, foreign agents or mobile nodes has a test."""

from support import rules


def test_every_rule_of_the_agents_is_named_by_a_test():
    assert rules.problems() == []
    assert len(rules.defined()) > 100


def test_a_rule_without_a_test_is_a_problem(monkeypatch):
    held = {rule: files for rule, files in rules.held().items() if rule != "HA-09"}
    monkeypatch.setattr(rules, "held", lambda: held)
    (problem,) = rules.problems()
    assert problem.startswith("HA-09: no test names it")


def test_an_excuse_that_is_not_needed_any_more_is_a_problem(monkeypatch):
    monkeypatch.setitem(rules.OTHERS, "HA-09", "nobody")
    unknown = "HA-" + "99"
    monkeypatch.setitem(rules.OTHERS, unknown, "nobody")
    shown = rules.problems()
    assert [line.partition(":")[0] for line in shown] == ["HA-09", unknown]
