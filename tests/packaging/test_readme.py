# SPDX-License-Identifier: GPL-2.0-only
"""What the README shows is what happens."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support import readme_tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def blocks(language):
    return [text for named, text in FENCED if named == language]


def test_the_prompt_examples_give_what_they_show():
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    shown = blocks("pycon")
    for number, text in enumerate(shown):
        runner.run(parser.get_doctest(text, {}, f"README-{number}", None, 0))
    assert shown
    assert runner.summarize(verbose=False).failed == 0


def test_the_tour_can_be_pasted_into_the_shell():
    """Line by line, as at a prompt, where Scapy's own names are loaded too."""
    tour = next(text for text in blocks("pycon") if "MIPSession" in text)
    pasted = ""
    for example in doctest.DocTestParser().get_examples(tour):
        pasted += example.source
        if example.source.count("\n") > 1 and example.source.endswith(("  \n", ")\n")):
            pasted += "\n"  # ends a loop
    run = subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", "shell"],
        input=pasted + "print('the end:', seen[1].comments[0].decode())\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "Traceback" not in run.stdout + run.stderr, run.stdout + run.stderr
    assert "the end: MHAE 256 valid" in run.stdout


def test_the_decode_example_gives_what_it_shows(tmp_path):
    keys = next(text for text in blocks("toml") if "[[security_assoc" in text)
    (tmp_path / "keys.toml").write_text(keys)
    command, shown = next(
        text.removeprefix("$ ").split("\n", 1)
        for text in blocks("")
        if text.startswith("$ mip decode")
    )
    arguments = shlex.split(command)[1:]
    arguments[-1] = str(ROOT / arguments[-1])
    run = subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout + run.stderr == shown


@pytest.mark.parametrize("table", ["[home_agent]", "[mobile_node]\n"])
def test_the_configuration_examples_are_valid(table, tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text(
        next(text for text in blocks("toml") if f"\n{table}" in text.replace("[[", "_"))
    )
    path.chmod(0o600)
    run = subprocess.run(
        [sys.executable, "-m", "mip_agents.cli", "check-config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("path", re.findall(r"^\| `([^`]+/)`", README, re.MULTILINE))
def test_the_tree_holds_what_the_table_says(path):
    assert (ROOT / path).is_dir()


def test_the_makefile_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_table_of_dissectors_is_what_is_decoded():
    text = readme_tables.README.read_text(encoding="utf-8")
    assert readme_tables.with_tables(text) == text, "run: make tables"
