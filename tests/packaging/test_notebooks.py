# SPDX-License-Identifier: GPL-2.0-only
"""The lab sheets: texts that make sense, and the notebooks that were made of them.

That they run is for `make notebooks`; those that need nothing but Scapy run here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
SHEETS = sorted(FOLDER.glob("*.py"))
MOST_BYTES = 300_000

every_sheet = pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.stem)


def cells(sheet):
    """Give kind and text of each cell of a text in the percent format."""
    _, *parts = re.split(r"^# %%(.*)\n", sheet.read_text(), flags=re.MULTILINE)
    for marker, text in zip(parts[::2], parts[1::2], strict=True):
        text = text.strip("\n")
        if "[markdown]" in marker:
            text = "\n".join(re.sub(r"^# ?", "", line) for line in text.splitlines())
        yield "markdown" if "[markdown]" in marker else "code", text


def notebook(sheet):
    return json.loads(sheet.with_suffix(".ipynb").read_text())


def test_every_notebook_has_its_text_and_the_reverse():
    assert [
        path.with_suffix(".py") for path in sorted(FOLDER.glob("*.ipynb"))
    ] == SHEETS
    assert len(SHEETS) >= 8


@every_sheet
def test_a_notebook_has_the_cells_of_its_text(sheet):
    made = [(c["cell_type"], "".join(c["source"])) for c in notebook(sheet)["cells"]]
    assert made == list(cells(sheet)), (
        f"make notebooks NOTEBOOK_OPTIONS='--write {sheet.stem}'"
    )


@every_sheet
def test_a_notebook_was_run_from_top_to_bottom_without_an_error(sheet):
    code = [c for c in notebook(sheet)["cells"] if c["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert outputs
    assert not any(output["output_type"] == "error" for output in outputs)
    assert [o["text"] for o in outputs if o.get("name") == "stderr"] == []


@every_sheet
def test_a_notebook_is_small_and_names_no_place_of_its_making(sheet):
    path = sheet.with_suffix(".ipynb")
    assert path.stat().st_size < MOST_BYTES
    assert "/home/" not in path.read_text()
    assert "/tmp/" not in path.read_text()


@every_sheet
def test_a_lab_sheet_teaches(sheet):
    (first_kind, first), *others = cells(sheet)
    texts = [text for kind, text in others if kind == "markdown"]
    whole = " ".join(" ".join([first, *texts]).split())
    assert first_kind == "markdown"
    assert first.startswith("# ")
    for part in ("**You should know**", "**You will see**", "**Question.**"):
        assert part in whole
    assert whole.count("**Question.**") <= whole.count("**Answer.**")
    assert "**Exercise.**" in whole
    assert re.search(r"RFC \d+ section", whole)


@pytest.mark.parametrize("name", ["craft_and_dissect"])
def test_the_first_lab_sheet_runs_as_a_plain_program(name):
    run = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py")],
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
