# SPDX-License-Identifier: GPL-2.0-only
"""Nothing that a test started outlives it."""

import time
from pathlib import Path

import pytest

from support.daemons import KEY_HEX, Daemon
from support.netns import Node, isolated, sh


@isolated
def start_and_leave(tmp_path):
    """Leave a daemon running, outside and within a node, as a failing test does."""
    node = Node("node")
    for run in (sh, node.sh):
        run("ip address add 192.0.2.1/24 dev lo")
    for inside in (None, node):
        config = tmp_path / f"{inside and inside.name}.toml"
        config.write_text(
            '[home_agent]\naddress = "192.0.2.1"\nhome_network = "192.0.2.0/24"\n'
            f'state_dir = "{config.stem}"\ncontrol_socket = "{config.stem}.sock"\n'
            'dataplane = "none"\nadvertise = false\n[[mobile_node]]\n'
            f'home_address = "192.0.2.9"\nspi = 256\nkey_hex = "{KEY_HEX}"\n'
        )
        config.chmod(0o600)
        daemon = Daemon("ha", config, tmp_path / f"{config.stem}.sock", inside)
        daemon.wait_ready()
        with (tmp_path / "pids").open("a") as pids:
            print(daemon.process.pid, file=pids)
    raise AssertionError("left running")


def test_daemons_end_with_their_test(tmp_path):
    with pytest.raises(pytest.fail.Exception, match="left running"):
        start_and_leave(tmp_path)
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    until = time.monotonic() + 10
    while any(Path("/proc", pid).exists() for pid in pids):
        assert time.monotonic() < until, "daemons are still there"
        time.sleep(0.01)
