# SPDX-License-Identifier: GPL-2.0-only
"""`mip demo`: checks what it was told, and plays the scenario in a sandbox."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mip_agents.lab.namespaces import LabError
from mip_agents.lab.plot import require_picture
from mip_agents.lab.processes import run_in_sandbox
from mip_agents.lab.report import Printer
from mip_agents.lab.scenario import Scenario, built_in, load_scenario
from mip_agents.lab.story import DemoOptions, Story
from mip_agents.runtime.options import DATAPLANES

__all__ = ["ENCAPSULATIONS", "DemoOptions", "run_demo"]

ENCAPSULATIONS = ("ipip", "gre")


def run_demo(options: DemoOptions) -> int:
    """Play the scenario and print what came of it.

    :return: 0 if the traffic survived, 1 if not, 2 for options that cannot be, and
        128 + the signal's number when it was interrupted.
    """
    printer = Printer(to_stderr=options.json)
    try:
        scenario = _choose(options)
        folder = _prepare(options)
    except (LabError, OSError) as error:
        return _refuse(error, 2)
    try:
        with _socket_folder(folder) as sockets:
            return run_in_sandbox(
                lambda how: Story(
                    scenario, options, folder, sockets, how, printer
                ).run(),
                keep=(folder, Path(sys.prefix)),
            )
    except LabError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if nothing was written
        return _refuse(error, 1)
    finally:
        _give_to_caller(folder)


def _give_to_caller(folder: Path) -> None:
    """Under sudo, give what was written to the user who called it."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if os.geteuid() != 0 or not user or not group:
        return
    with contextlib.suppress(OSError, ValueError):
        for path in (folder, *folder.iterdir()):
            os.chown(path, int(user), int(group), follow_symlinks=False)


def _refuse(error: Exception, code: int) -> int:
    sys.stderr.write(f"mip demo: {error}\n")
    return code


def _choose(options: DemoOptions) -> Scenario:
    """Return what is to be played."""
    if options.scenario is None:
        return built_in("foreign-agent" if options.foreign_agent else "roam")
    if options.foreign_agent:
        raise LabError("--foreign-agent is a scenario itself: leave one of both out")
    return load_scenario(options.scenario)


def _prepare(options: DemoOptions) -> Path:
    """Check the options, and make the folder."""
    if options.encapsulation not in ENCAPSULATIONS:
        raise LabError(
            f"no encapsulation {options.encapsulation}: use one of "
            + ", ".join(ENCAPSULATIONS)
        )
    if options.dataplane not in DATAPLANES or options.dataplane == "none":
        raise LabError(f"no data plane {options.dataplane} to carry packets")
    if options.plot is not None:
        require_picture(options.plot)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        return options.folder.absolute()
    name = time.strftime("mip-demo-%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        folder = Path(name + suffix).absolute()
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise LabError(f"{name}-99 exists, too: clear up, or name another --folder")


@contextlib.contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    """Give a folder for the control sockets: a socket's path has at most 107 bytes."""
    if len(os.fsencode(folder / "ha.sock")) <= 107:
        yield folder
        return
    other = Path(tempfile.mkdtemp(prefix="mip-demo-"))
    try:
        yield other
    finally:
        shutil.rmtree(other, ignore_errors=True)
