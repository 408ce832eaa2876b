# SPDX-License-Identifier: GPL-2.0-only
"""A history that fails becomes a short one, which a test or a capture shows again."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from scapy.layers.inet import IP
from scapy.utils import rdpcap

from mip_agents.protocol.bindings import BindingTable
from mip_agents.simulation import shrink as shrink_module
from mip_agents.simulation.replay import as_test, record
from mip_agents.simulation.script import Script, Wait, make_script
from mip_agents.simulation.shell import SimulationError
from mip_agents.simulation.shrink import failure, shrink
from mip_agents.simulation.soak import soak
from mip_agents.simulation.world import Plan
from support.histories import Histories

QUICK = settings(
    max_examples=10,
    stateful_step_count=15,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
SEARCH = settings(QUICK, max_examples=100, phases=(Phase.generate, Phase.shrink))
"""Without the phase that explains, which traces every line."""

TestHistories = Histories.TestCase
TestHistories.settings = QUICK


class Quiet(Histories):
    """Histories in one world, where little happens by itself."""

    @initialize(seed=st.integers(0, 3), plan=st.just(Plan(advertisement_interval=0.0)))
    def begin(self, seed, plan):
        """Begin that world."""
        self.enter(seed, plan)


@pytest.fixture
def forgotten_expiry(monkeypatch):
    """Bindings that nobody ends."""
    monkeypatch.setattr(BindingTable, "next_expiry", lambda self: None)
    monkeypatch.setattr(BindingTable, "overdue", lambda self, now: [])


def pasted(text):
    """Run a module that was printed, and return its test."""
    names = {}
    exec(compile(text, "pasted", "exec"), names)
    (test,) = [one for name, one in names.items() if name.startswith("test_")]
    return test


def test_hypothesis_shrinks_what_it_finds_to_a_short_script(forgotten_expiry):
    with pytest.raises(SimulationError) as caught:
        run_state_machine_as_test(Histories, settings=SEARCH)
    assert len(Quiet.failed.acts) <= 4
    assert caught.value.__notes__[0] == as_test(Quiet.failed)
    with pytest.raises(SimulationError) as again:
        pasted(as_test(Quiet.failed))()
    assert str(again.value) == str(caught.value)


def first_failing():
    return next(s for s in map(make_script, range(200)) if failure(s) is not None)


def test_script_shrinks_to_one_that_fails_alike(forgotten_expiry):
    script = first_failing()
    short = shrink(script)
    assert len(short.acts) <= 4 < len(script.acts)
    assert len(short.plan.sites) == short.plan.homes == 1
    assert "no timer that ends them" in failure(short) or "has bound" in failure(short)


def test_script_that_does_not_fail_stays_as_it_is():
    script = Script(1, Plan(), (Wait(1.0),))
    assert shrink(script) is script


def test_search_ends_in_time(forgotten_expiry, monkeypatch):
    monkeypatch.setattr(shrink_module, "MOST_PLAYS", 3)
    script = first_failing()
    assert failure(shrink(script)) is not None


@pytest.mark.parametrize("seed", [1, 5, 9])
def test_script_is_a_test_that_plays_it_again(seed):
    text = as_test(make_script(seed))
    assert max(map(len, text.splitlines())) <= 88
    names = {}
    exec(text, names)
    assert names["SCRIPT"] == make_script(seed)
    assert callable(names[f"test_history_of_seed_{seed}"])


def test_failing_history_is_a_capture(forgotten_expiry, tmp_path):
    short = shrink(first_failing())
    assert record(short, tmp_path / "history.pcapng") == failure(short)
    packets = rdpcap(str(tmp_path / "history.pcapng"))
    assert any(IP in packet and packet[IP].dst == "10.0.0.1" for packet in packets)


def test_soak_shrinks_the_history_that_fails(
    forgotten_expiry, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    script = first_failing()
    assert soak(script.seed) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"seed {script.seed}: at ")
    with pytest.raises(SimulationError):
        pasted(told[told.index("from ") :])()
    assert (tmp_path / f"history-{script.seed}.pcapng").stat().st_size > 100
