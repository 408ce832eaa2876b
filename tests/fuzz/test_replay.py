# SPDX-License-Identifier: GPL-2.0-only
"""Every fuzz target bears its corpus, and what becomes of it; also without a fuzzer."""

import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import CORPUS, MAX_BYTES, TARGETS, inputs, load
from mip_agents.protocol.replay import Freshness

pytestmark = pytest.mark.usefixtures("without_scapys_igmp")
FAULTY = """
def messages(data):
    if data[:1] > b"a":
        raise KeyError("found")
"""
each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_whole_corpus_is_borne(name):
    target = load(name)
    for file, data in inputs(name).items():
        try:
            target(data)
        except Exception:
            print(f'make fuzz FUZZ_OPTIONS="--replay {CORPUS / name / file} {name}"')
            raise


@st.composite
def changed(draw, corpus):
    """Draw one input with a piece of another in it, and some bytes of neither."""
    data, other = draw(st.sampled_from(corpus)), draw(st.sampled_from(corpus))
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, len(data)))
    middle = draw(st.binary(max_size=16)) + other[draw(st.integers(0, len(other))) :]
    return (data[:start] + middle + data[stop:])[:MAX_BYTES]


@each_target
def test_changed_inputs_are_borne(name):
    target = load(name)

    # The fixture stays as it is for all of them.
    @settings(max_examples=60, deadline=None)
    @given(changed(list(inputs(name).values())) | st.binary(max_size=200))
    def bears(data):
        target(data)

    bears()


@pytest.mark.parametrize(
    ("name", "place", "answer"),
    [
        ("home_agent_engine", "request_checks.verify", True),
        ("foreign_agent_engine", "visitor_checks.verify", True),
        ("mobile_node_engine", "reply_checks.verify", True),
        ("home_agent_engine", "freshness.judge", Freshness.FRESH),
    ],
)
def test_corpus_finds_an_engine_that_believes_everything(
    monkeypatch, name, place, answer
):
    target = load(name)
    monkeypatch.setattr(f"mip_agents.protocol.{place}", lambda *_: answer)
    with pytest.raises(AssertionError):
        for data in inputs(name).values():
            target(data)


def test_corpus_has_an_input_for_each_target_and_is_small():
    folders = {folder.name for folder in CORPUS.iterdir()}
    assert folders == TARGETS.keys()
    sizes = [len(data) for name in TARGETS for data in inputs(name).values()]
    assert max(sizes) <= MAX_BYTES
    assert sum(sizes) < 500_000


def fuzzer(folder, *arguments):
    """Run a fuzzer whose code is in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "fuzz", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )


def test_a_finding_is_kept_with_the_command_that_replays_it(tmp_path):
    pytest.importorskip("atheris")
    skipped = shutil.ignore_patterns("corpus", "__pycache__")
    shutil.copytree(CORPUS.parent, tmp_path / "fuzz", ignore=skipped)
    (tmp_path / "fuzz/corpus/messages").mkdir(parents=True)
    (tmp_path / "fuzz/layers.py").write_text(FAULTY)
    run = fuzzer(tmp_path, "--seconds", "60", "messages")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "KeyError: 'found'" in run.stdout
    (command,) = [line for line in run.stdout.splitlines() if "--replay" in line]
    (found,) = (tmp_path / "build/fuzz/messages/findings").iterdir()
    assert str(found.relative_to(tmp_path)) in command
    again = fuzzer(tmp_path, "--replay", str(found), "messages")
    assert again.returncode == 1
    assert "KeyError: 'found'" in again.stderr


def test_unknown_target_is_one_line():
    run = fuzzer(CORPUS.parents[1], "none")
    assert run.returncode == 2
    assert "no target none; there are messages" in run.stderr
