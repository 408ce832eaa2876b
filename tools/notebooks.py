#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run the notebooks from top to bottom, several at a time.

usage: tools/notebooks.py [--write] [NAME...]

Each is a text in notebooks/, in jupytext's percent format. With --write its outputs
are kept in the .ipynb beside it, which is what code hosts show; without, nothing is
written. A notebook that ends with sys.exit() has said what it lacks here.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

FOLDER = Path(__file__).parents[1] / "notebooks"
CELL_TIMEOUT_S = 120


def run(source: Path, write: bool) -> tuple[str, str]:
    """Execute one notebook; return what came of it in words, and what failed."""
    begun = time.monotonic()
    notebook = jupytext.read(source, fmt="py:percent")
    if notebook.cells[0].source.startswith("# SPDX"):
        del notebook.cells[0]  # the licence of the text is among the metadata, too
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    sockets = f"{os.environ['JUPYTER_RUNTIME_DIR']}/{source.stem}"
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        config=Config(KernelManager={"transport": "ipc", "ip": sockets}),
        resources={"metadata": {"path": str(FOLDER)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        if error.ename == "SystemExit":
            return f"skipped: {error.evalue}", ""
        return "failed", str(error)
    except TimeoutError as error:
        return "failed", str(error)
    if write:
        notebook.metadata.pop("jupytext", None)
        notebook.metadata["license"] = "GPL-2.0-only"
        nbformat.write(notebook, source.with_suffix(".ipynb"))
    return f"{time.monotonic() - begun:.0f} s", ""


def main() -> int:
    """Run what is asked for; return 1 if a notebook failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help="keep the outputs")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    wanted = [FOLDER / f"{Path(name).stem}.py" for name in options.names]
    for path in wanted:
        if not path.exists():
            parser.error(f"no notebook {path.stem}")
    sources = wanted or sorted(FOLDER.glob("*.py"))
    failed = False
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor() as pool:
        os.environ["JUPYTER_RUNTIME_DIR"] = place  # sockets of the kernels
        os.environ["TMPDIR"] = place  # what the notebooks leave behind
        results = pool.map(run, sources, [options.write] * len(sources))
        for source, (outcome, failure) in zip(sources, results, strict=True):
            print(f"{source.stem:28} {outcome}", flush=True)
            if failure:
                print(failure, file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
