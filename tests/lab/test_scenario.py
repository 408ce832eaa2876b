# SPDX-License-Identifier: GPL-2.0-only
"""Scenario files: what they say, and what is said of them when they are wrong."""

import pytest

from mip_agents.lab.namespaces import LabError
from mip_agents.lab.scenario import (
    SCENARIOS,
    AgentStep,
    AwaitTraffic,
    Move,
    Plug,
    Reach,
    Site,
    Unplug,
    Uplink,
    Wait,
    built_in,
    load_scenario,
)

WHOLE = """\
title = "A lesson"
start = { eth0 = "home" }
steps = [
    { wait = 0.5 },
    { move = "home -> A" },
    { unplug = "eth0" },
    { plug = "wlan0", into = "visited-a" },
    { delay = "visited-a", ms = 20 },
    { loss = "visited-a", percent = 2.5 },
    { cut = "home" },
    { mend = "home" },
    { stop = "fa-visited-a" },
    { start = "fa-visited-a" },
    { kill = "ha" },
    { reach = "home" },
    { traffic = "again" },
]
[network.visited-a]
foreign_agent = true
[mobile_node]
interfaces = ["wlan0"]
[traffic]
probe_interval_ms = 1
longest_gap = 5
"""


def load(tmp_path, text):
    path = tmp_path / "lesson.toml"
    path.write_text(text)
    return load_scenario(path)


def test_whole_scenario_is_read(tmp_path):
    scenario = load(tmp_path, WHOLE)
    assert (scenario.name, scenario.title) == ("lesson", "A lesson")
    assert scenario.start == {"eth0": "home"}
    assert scenario.steps == (
        Wait(0.5),
        Move("home", "A"),
        Unplug("eth0"),
        Plug("wlan0", "visited-a"),
        Uplink("visited-a", delay_ms=20),
        Uplink("visited-a", loss_percent=2.5),
        Uplink("home", cut=True),
        Uplink("home", cut=False),
        AgentStep("stop", "fa-visited-a"),
        AgentStep("start", "fa-visited-a"),
        AgentStep("kill", "ha"),
        Reach("home"),
        AwaitTraffic(),
    )
    assert scenario.site("visited-a") == Site(foreign_agent=True)
    assert scenario.site("visited-b") == Site()
    assert scenario.agents() == ["ha", "fa-visited-a", "mn"]
    assert scenario.wired() == {"visited-a", "home"}
    assert scenario.settings["mobile_node"] == {"interfaces": ["wlan0"]}
    assert (scenario.probe_interval, scenario.longest_gap) == (0.001, 5)


@pytest.mark.parametrize(
    "path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem
)
def test_scenarios_of_the_demonstration_move_the_node_home_again(path):
    scenario = built_in(path.stem)
    moves = [step for step in scenario.steps if isinstance(step, Move)]
    assert moves[0].origin == moves[-1].target == "home"
    assert isinstance(scenario.steps[-1], Wait)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps = [", "Invalid value (at end of document)"),
        ("", "steps: wanted: a list of tables such as { wait = 3 }"),
        ("steps = []", "steps: wanted: a list of tables such as { wait = 3 }"),
        ("steps = [3]", "steps[0]: wanted: a table such as { wait = 3 }"),
        ("step = []", "step: no such key; did you mean steps?"),
        ("steps = [{ wait = -1 }]", "steps[0].wait: wanted: a number from 0 to"),
        ("steps = [{ wait = true }]", "steps[0].wait: wanted: a number from 0 to"),
        ("steps = [{ wait = inf }]", "steps[0].wait: wanted: a number from 0 to"),
        ("steps = [{ wait = nan }]", "steps[0].wait: wanted: a number from 0 to"),
        ("steps = [{ fly = 1 }]", "steps[0]: allowed: wait, move, plug, unplug"),
        (
            'steps = [{ plug = "eth0", in = "home" }]',
            "steps[0].in: no such key; did you mean into?",
        ),
        (
            'steps = [{ plug = "eth0" }]',
            "steps[0].into: allowed: home, visited-a, visited-b",
        ),
        ('steps = [{ plug = "eth7" }]', "steps[0].plug: allowed: eth0, wlan0"),
        ('steps = [{ move = "A" }]', "steps[0].move: allowed: two names"),
        (
            'steps = [{ loss = "home", percent = 200 }]',
            "steps[0].percent: allowed: 0 to 100",
        ),
        ('steps = [{ kill = "fa-visited-a" }]', "steps[0].kill: allowed: ha, mn"),
        ('steps = [{ reach = "mars" }]', "steps[0].reach: allowed: internet, home"),
        ('steps = [{ traffic = "soon" }]', "steps[0].traffic: allowed: again"),
        (
            "network.home.dhcp = false\nsteps = [{ wait = 1 }]",
            "network: allowed: visited-a, visited-b",
        ),
        (
            "network.visited-a.dhcp = 1\nsteps = [{ wait = 1 }]",
            "network.visited-a.dhcp: allowed: true, false",
        ),
        (
            'start = { eth0 = "mars" }\nsteps = [{ wait = 1 }]',
            "start.eth0: allowed: home, visited-a, visited-b",
        ),
        (
            "traffic.probe_interval_ms = 0.1\nsteps = [{ wait = 1 }]",
            "traffic.probe_interval_ms: allowed: 1 or more",
        ),
        (
            "home_agent.x = { y = 1 }\nsteps = [{ wait = 1 }]",
            "home_agent.x: allowed: a text, a number, a list of these",
        ),
    ],
)
def test_wrong_scenario_is_one_line_with_its_place(tmp_path, text, said):
    with pytest.raises(LabError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'lesson.toml'}: {said}")
    assert "\n" not in message


def test_missing_scenario_is_one_line(tmp_path):
    with pytest.raises(LabError, match=r"gone\.toml: No such file or directory$"):
        load_scenario(tmp_path / "gone.toml")


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    path = tmp_path / "lesson.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LabError, match="not UTF-8 text"):
        load_scenario(path)
