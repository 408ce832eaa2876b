# SPDX-License-Identifier: GPL-2.0-only
"""Fuzz targets guided by coverage, replay what was found, keep what was learnt.

    make fuzz                                      every target, ten minutes each
    make fuzz FUZZ_SECONDS=60 FUZZ_OPTIONS=control one target, one minute
    make fuzz FUZZ_OPTIONS="--replay FILE control" one input, with its traceback
    make fuzz FUZZ_OPTIONS=--keep                  new coverage into tests/fuzz/corpus

What a run learns stays in build/fuzz and is where the next one begins.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.targets import CORPUS, MAX_BYTES, TARGETS, load

_WORK = Path("build/fuzz")
_INPUT_SECONDS = 10
"""Longest time for one input; a longer one is a finding."""
_MEMORY_MB = 1024
_PROGRESS_S = 60.0
_SETTINGS = (
    f"-max_len={MAX_BYTES}",
    f"-timeout={_INPUT_SECONDS}",
    f"-rss_limit_mb={_MEMORY_MB}",
)
_CHATTER = ("INFO: ", "WARNING: ")
_PULSE = re.compile(r"#(\d+)\s.*\bcov: (\d+) .*\bcorp: (\d+)/")


@dataclass
class Run:
    """What is known of a run so far."""

    name: str
    began: float = field(default_factory=time.monotonic)
    executions: int = 0
    coverage: int = 0
    corpus: int = 0
    output: list[str] = field(default_factory=list)
    """Lines that are no news of progress: of a finding, all that matters."""

    def take_in(self, line: str) -> bool:
        """Take in a line of libFuzzer; return whether it is one of progress."""
        found = _PULSE.match(line)
        if found is None:
            if not line.startswith(_CHATTER):
                self.output = [*self.output[-60:], line]
            return False
        self.executions, self.coverage, self.corpus = map(int, found.groups())
        return True

    def __str__(self) -> str:
        seconds = time.monotonic() - self.began
        return (
            f"{self.name:22} {self.executions:>9} executions"
            f" {self.executions / seconds:>7.0f}/s  coverage {self.coverage:>5}"
            f"  corpus {self.corpus:>4}"
        )


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target for some time; return whether nothing was found."""
    learnt, findings = _WORK / name / "corpus", _WORK / name / "findings"
    for folder in (learnt, findings):
        folder.mkdir(parents=True, exist_ok=True)
    known = {*learnt.iterdir()}, {*findings.iterdir()}
    run = Run(name)
    process = _start(
        name,
        *_SETTINGS,
        f"-max_total_time={seconds}",
        f"-artifact_prefix={findings}/",
        str(learnt),
        str(CORPUS / name),
    )
    assert process.stdout is not None
    told = time.monotonic()
    for line in process.stdout:
        if run.take_in(line) and time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            print(f"  {run}", flush=True)
    status = process.wait()
    new = len({*learnt.iterdir()} - known[0])
    print(f"{run}  {new} new", flush=True)
    if status == 0:
        return True
    found = sorted(map(str, {*findings.iterdir()} - known[1]))
    print("".join(run.output))
    for path in found:
        print(f'replay: make fuzz FUZZ_OPTIONS="--replay {path} {name}"')
    return False


def keep(name: str) -> None:
    """Add to the corpus the fewest inputs that bring its coverage to what is known."""
    learnt = _WORK / name / "corpus"
    if not learnt.is_dir():
        return
    before = len(list((CORPUS / name).iterdir()))
    process = _start(
        name,
        *_SETTINGS,
        "-use_counters=0",
        "-set_cover_merge=1",
        str(CORPUS / name),
        str(learnt),
    )
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(said)
    after = len(list((CORPUS / name).iterdir()))
    print(f"{name:22} {after - before} more inputs, {after} in all")


def _start(name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fuzz.guided", name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def main() -> int:
    """Do what is asked; the exit code is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="one input")
    parser.add_argument("--keep", action="store_true", help="add to the corpus")
    options = parser.parse_args()
    names: list[str] = options.targets or list(TARGETS)
    for name in names:
        if name not in TARGETS:
            parser.error(f"no target {name}; there are {', '.join(TARGETS)}")
    if options.replay:
        for name in names:
            load(name)(options.replay.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("atheris has no build for this Python or machine: nothing is fuzzed")
        return 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if options.keep:
            list(pool.map(keep, names))
            return 0
        good = list(pool.map(lambda name: fuzz(name, options.seconds), names))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
