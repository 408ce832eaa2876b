# SPDX-License-Identifier: GPL-2.0-only
"""`mip simulate` as its users see it."""

import json
import subprocess
import sys

import pytest

SMALL = [
    "--nodes",
    "10",
    "--hours",
    "0.5",
    "--loss",
    "2%",
    "--handovers-per-hour",
    "20",
]


def simulate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", "simulate", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def results(*arguments):
    done = simulate(*SMALL, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for of_the_machine in ("seconds", "events_per_second"):
        del found[of_the_machine]
    return found


def test_same_seed_is_the_same_life():
    first = results("--seed", "5")
    assert first == results("--seed", "5")
    assert first != results("--seed", "6")
    assert first["registrations"] > 20
    assert first["codes"]["0"] == first["registrations"] + first["deregistrations"]
    assert 0 < first["outage_median"] <= first["outage_longest"]


def test_foreign_agents_take_part():
    found = results("--sites", "3", "--foreign-agents", "2")
    assert found["registrations"] > 10
    assert found["unfinished"] <= 1


def test_people_get_lines_of_eighty_columns(tmp_path):
    picture = tmp_path / "life.png"
    done = simulate(*SMALL, "--plot", str(picture))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.startswith("nodes            10, 0.5 hours, seed 1\n")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loss", "many"], "many: give a share such as 2% or 0.02"),
        (["--loss", "100%"], "give a share from 0% to less than 100%"),
        (["--nodes", "0"], "--nodes"),
        (["--hours", "inf"], "--hours"),
        (["--handovers-per-hour", "inf"], "--handovers-per-hour"),
        (["--plot", "life.xyz"], "life.xyz: give a name that ends in .png"),
        (["--plot", "/gone/life.png"], "--plot: no folder /gone"),
        (["--foreign-agents", "9"], "--foreign-agents 9: there are 8 sites"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, said):
    done = simulate(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
