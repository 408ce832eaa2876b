# SPDX-License-Identifier: GPL-2.0-only
"""One target under atheris, until told to stop: `python -m fuzz` starts this.

usage: python -m fuzz.guided TARGET [LIBFUZZER-ARGUMENT...]
"""

from __future__ import annotations

import shlex
import sys

import atheris

from fuzz.targets import load


def main(name: str, arguments: list[str]) -> None:
    """Fuzz a target. Only code of this project counts as covered."""
    with atheris.instrument_imports(include=["scapy_mip", "mip_agents"]):
        target = load(name)
    # libFuzzer starts itself anew to merge, through a shell.
    command = shlex.join([sys.executable, "-m", "fuzz.guided", name])
    atheris.Setup([command, *arguments], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
