# SPDX-License-Identifier: GPL-2.0-only
"""`mip bench dataplane` measures what there is. Figures are no assertions."""

import dataclasses
import json

import pytest

from mip_agents.bench import dataplane
from mip_agents.bench.bindings import Bindings
from mip_agents.bench.dataplane import Effort, Traffic, main
from mip_agents.bench.restores import Restore
from mip_agents.bench.testbed import FORMS
from mip_agents.cli import main as command
from mip_agents.dataplane.select import DRIVERS
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.processes import why_no_sandbox
from mip_agents.protocol.tunnel import Role

LITTLE = Effort(tcp_s=0.05, packets_s=0.05, counts=(20, 40), calls=10, limit_s=5)


@pytest.fixture
def sandbox():
    reason = why_no_sandbox()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.netns
def test_every_driver_and_form_has_figures_or_a_reason(sandbox, capfd):
    assert main(json=True, effort=LITTLE) == 0
    found = json.loads(capfd.readouterr().out)
    usable = [
        name
        for name, driver in DRIVERS.items()
        if not any(map(driver.problem, (Role.HOME_AGENT, Role.MOBILE_NODE)))
    ]
    assert found["passed_over"].keys() == DRIVERS.keys() - set(usable)
    lines = [(one["driver"], one["form"]) for one in found["traffic"]]
    assert lines == [("none", "routed"), *((d, f) for d in usable for f in FORMS)]
    for one in found["traffic"]:
        if one["problem"] is None:
            assert one["tcp_gbps"] > 0
            assert one["packets_per_s"] > 0
            if one["driver"] != "none":
                assert one["tcp_ratio"] > 0
                assert one["packets_ratio"] > 0
        else:
            assert one["driver"] != "tun"
    for one in found["bindings"]:
        assert min(one["install"], one["replace"], one["remove"]) > 0
        if one["what"] != "pyroute2":
            for what in ("install", "replace", "remove"):
                assert one[f"{what}_ratio"] > 0
    for one in found["restores"]:
        assert one["count"] == 40
        assert one["start_s"] > 0
    assert [one["driver"] for one in found["restores"]] == ["none", *usable]
    for driver in usable:
        lines = [one for one in found["bindings"] if one["what"] == driver]
        assert [(one["together"], one["count"]) for one in lines] == [
            (1, 20), (64, 20), (64, 40)
        ]  # fmt: skip
    counts = {one["count"] for one in found["bindings"] if one["what"] in usable}
    assert counts <= {20, 40}
    assert {one["what"] for one in found["bindings"]} >= {"pyroute2", *usable}


@pytest.mark.netns
def test_tables_fit_80_columns(sandbox, capfd):
    few = dataclasses.replace(LITTLE, forms=("minimal, UDP",), counts=(20,))
    assert main(effort=few) == 0
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Linux ")
    assert any(line.startswith("none      routed") for line in lines)


def test_the_widest_figures_fit_80_columns():
    fast = Bindings(
        "kernel", 64, 100_000, 1e6, 1e6, 1e6, 999.0, 999.0, 999.0, 12345.0, 9.99e8
    )
    assert len(dataplane._bindings_line(fast)) <= 80
    assert max(map(len, dataplane._bindings_heading().splitlines())) <= 80
    assert max(map(len, dataplane._restores_heading().splitlines())) <= 80


def test_a_long_reason_does_not_break_the_table():
    line = dataplane._traffic_line(Traffic("x", "y", problem="z" * 200))
    assert len(line) == 80
    line = dataplane._bindings_line(Bindings("x", problem="z" * 200))
    assert len(line) == 80
    line = dataplane._restores_line(Restore("x", 1, problem="z" * 200))
    assert len(line) == 80


def test_without_namespaces_one_line_says_why(monkeypatch, capsys):
    def refuse(*_args, **_options):
        raise LabError("namespaces are not allowed here: run as root")

    monkeypatch.setattr(dataplane, "run_in_sandbox", refuse)
    assert command(["bench", "dataplane"]) == 1
    shown = capsys.readouterr()
    assert shown.err == "mip bench: namespaces are not allowed here: run as root\n"
    assert not shown.out


def test_an_unknown_subject_is_refused(capsys):
    assert command(["bench", "weather"]) == 2
    assert "dataplane" in capsys.readouterr().err
