# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks run and say what they measured. Figures are no assertions."""

import json
import os
import re

import pytest

from mip_agents import bench
from mip_agents.bench import cases, measure, memory, rivals, samples
from mip_agents.bench.case import Case, Contest, Limited, NotInstalledError
from mip_agents.bench.cases import CASES


@pytest.fixture(autouse=True, scope="module")
def short():
    """Measure next to nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SLICE_NS", 0)
        patch.setattr(samples, "MESSAGES", 70)
        patch.setattr(memory, "BINDINGS", 100)
        yield


@pytest.fixture(scope="module")
def results(short):
    """Run every case once."""
    return list(bench.run(rounds=1))


@pytest.fixture
def known(results, monkeypatch):
    """Let `main` tell what has been measured already."""
    monkeypatch.setattr(bench, "run", lambda only=(), rounds=1: iter(results))


def spin(turns):
    return lambda: sum(range(turns))


def replace_cases(monkeypatch, *contests):
    """Let `CASES` consist of these preparations."""
    made = [
        Case(name=f"case{n}", what="what", rival="rival", goal=2, prepare=prepare)
        for n, prepare in enumerate(contests)
    ]
    monkeypatch.setattr(cases, "CASES", tuple(made))


def test_every_case_runs_and_both_sides_agree(results):
    assert [one.name for one in results] == [case.name for case in CASES]
    for one in results:
        assert one.failed is None
        if one.skipped is None:
            if one.rival == "at most":
                assert one.ratio is None
                assert one.met == (one.ours <= one.other)
                continue
            assert one.ours > 0
            assert one.other > 0
            assert one.ratio > 0
            assert one.met == (one.ratio >= one.goal)
            in_us = one.ours, one.other
            assert (one.ours_us, one.rival_us) == (
                in_us if one.unit == "us" else (None, None)
            )


def test_dissected_messages_leave_no_byte_behind():
    trial = memory.growth()
    assert trial.agree()
    assert trial.measure(rounds=1, slice_ns=0).ours == 0


def test_messages_differ_from_each_other():
    for kind in (samples.one_extension, samples.five_extensions):
        made = samples.requests(kind)
        assert len(set(made)) == len(made) >= 64
    assert {len(data) for data in samples.requests(samples.one_extension)} == {46}


def test_table_fits_80_columns_and_names_the_versions(known, capsys):
    assert bench.main(rounds=1) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert re.match(r"Python 3\.\d+\.\d+, Scapy 2\.\d+", lines[0])
    for case in CASES:
        assert any(case.what in line and case.rival in line for line in lines)
    for word in ("case", "rival", "ours", "ratio", "goal", "met"):
        assert word in lines[2]


def test_json_holds_versions_and_all_cases(known, capsys):
    assert bench.main(json=True, rounds=1) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"python", "scapy", "machine"} <= told["versions"].keys()
    assert told["rounds"] == 1
    assert [one["name"] for one in told["cases"]] == [case.name for case in CASES]
    wanted = {"name", "what", "rival", "goal", "ours_us", "rival_us", "ratio", "met"}
    wanted |= {"unit", "ours", "other", "skipped", "failed"}
    for one in told["cases"]:
        assert wanted <= one.keys()


def test_cases_are_chosen_by_name(capsys):
    assert bench.main(json=True, only=["hmac", "tunnel"], rounds=1) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in told["cases"]] == ["hmac", "tunnel"]


def test_unknown_case_is_refused_with_the_known_ones(capsys):
    assert bench.main(only=["nonsense"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nonsense" in captured.err
    assert "dissect-five" in captured.err
    assert captured.err.count("\n") == 1


def test_missing_rival_is_named_and_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(rivals, "dpkt", None)
    assert bench.main(only=["dissect-dpkt"], rounds=1) == 0
    assert "dpkt is not installed" in capsys.readouterr().out


def test_crash_of_one_case_is_told_and_the_others_run(monkeypatch, capsys):
    def crash():
        raise RuntimeError("broken")

    def missing():
        raise NotInstalledError("not here")

    def disagree():
        return Contest(spin(1), spin(1), lambda: False)

    def good():
        return Contest(spin(1), spin(1), lambda: True)

    replace_cases(monkeypatch, crash, missing, disagree, good)
    results = list(bench.run(rounds=1))
    assert [one.failed for one in results] == [
        "RuntimeError: broken",
        None,
        "both sides do not agree",
        None,
    ]
    assert bench.main(rounds=1) == 1
    assert "broken" in capsys.readouterr().out


def test_figures_that_miss_the_goal_are_no_failure(monkeypatch):
    replace_cases(monkeypatch, lambda: Contest(spin(900), spin(1), lambda: True))
    assert bench.main(rounds=3) == 0
    (result,) = bench.run(rounds=3)
    assert result.met is False


def test_figure_above_its_limit_misses_the_goal(monkeypatch, capsys):
    for figure, met in ((2.0, True), (2.1, False)):
        trial = Limited(lambda figure=figure: figure, 2.0, lambda: True)
        replace_cases(monkeypatch, lambda trial=trial: trial)
        (result,) = bench.run(rounds=1)
        assert (result.ours, result.other, result.ratio) == (figure, 2.0, None)
        assert result.met is met
    assert bench.main(rounds=1) == 0
    assert capsys.readouterr().out.rstrip().endswith("no")


def test_ratio_just_below_a_goal_is_not_rounded_up_to_it():
    assert [bench._times(one) for one in (0.999, 1.0, 9.99, 14.96, 100.4)] == [
        "0.99x",
        "1.00x",
        "9.9x",
        "14.9x",
        "100x",
    ]


def test_missing_program_is_named_and_no_failure(monkeypatch):
    monkeypatch.setenv("PATH", "")
    (result,) = bench.run(["capture-tshark"], rounds=1)
    assert result.skipped == "tshark is not installed"
    assert "tshark" not in bench.versions()


def test_ratio_says_how_many_times_faster_ours_is():
    found = measure.compare(spin(10), spin(2000), rounds=5, slice_ns=200_000)
    assert found.ratio > 2
    assert found.rival > found.ours > 0


def test_every_round_runs_both_sides_in_changing_order():
    order = []
    measure.compare(
        lambda: order.append("o"), lambda: order.append("r"), rounds=30, slice_ns=0
    )
    measured = "".join(order[-60:])
    assert measured.count("o") == measured.count("r") == 30
    assert {"or", "ro"} == {measured[n : n + 2] for n in range(0, 60, 2)}


def test_core_is_given_back():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system knows no core affinity")
    before = os.sched_getaffinity(0)
    with measure.one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
