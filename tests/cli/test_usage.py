# SPDX-License-Identifier: GPL-2.0-only
"""The command as typed: help, usage errors, exit codes, and that it starts quickly."""

import json
import re
import socket
import subprocess
import sys
from importlib import resources

import pytest

from mip_agents.cli import COMMANDS
from mip_agents.protocol.quirks import NodeQuirk
from support.daemons import COMMAND, KEY_HEX, environment, mip


def one_line(done, code):
    """Judge an error: its exit code, one line, nothing else."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("mip: ")
    return line


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_has_an_example_and_fits_80_columns(command):
    done = mip(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout
    assert f"mip {command}".strip() in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_names_every_quirk():
    shown = mip("ha", "--help").stdout
    assert [quirk for quirk in NodeQuirk if quirk.value not in shown] == []


def test_help_names_every_command():
    done = mip("--help")
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


def test_nothing_at_all_shows_the_help():
    done = mip()
    assert done.returncode == 2
    assert "Commands" in done.stdout + done.stderr


def test_version():
    done = mip("--version")
    assert re.fullmatch(r"mip \d+\.\d+\.\d+\n", done.stdout)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "No such command 'nothing' (try: mip --help)"),
        (["status", "--nothing"], "(try: mip status --help)"),
        (["register"], "Missing argument 'IFACE' (try: mip register --help)"),
        (["register", "eth0", "--lifetime", "x"], "Invalid value for '--lifetime'"),
        (["register", "eth0", "--lifetime", "0"], "Invalid value for '--lifetime'"),
        (["ha"], "Missing option '--config'"),
        (["ha", "--config", "x", "--log-level", "loud"], "'loud' is not one of"),
        (["clear"], "HOME_ADDRESS"),
        (["demo", "--encapsulation", "minimal"], "'minimal' is not one of"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments, words):
    assert words in one_line(mip(*arguments), 2)


@pytest.mark.parametrize(
    "command", ["status", "bindings", "visitors", "watch", "deregister"]
)
def test_no_agent_is_one_line_and_exit_1(command, tmp_path):
    path = tmp_path / "none.sock"
    line = one_line(mip(command, "--socket", path), 1)
    assert f"no agent answers on {path}" in line
    assert one_line(mip(command, MIP_SOCKET=str(path)), 1) == line


def test_a_stale_socket_is_one_line(tmp_path):
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert "nobody listens" in one_line(mip("status", "--socket", path), 1)


@pytest.mark.parametrize("command", [("ha", "--config"), ("check-config",)])
def test_a_bad_configuration_is_a_line_and_exit_2(tmp_path, command):
    path = tmp_path / "ha.toml"
    path.write_text(
        '[home_agent]\naddress = "10.1.1.20"\nhome_network = "10.1.1.0/24"\n'
        'max_lifetime = 70000\n[[mobile_node]]\nhome_address = "10.1.1.10"\n'
        f'spi = 256\nkey_hex = "{KEY_HEX}"\n'
    )
    line = one_line(mip(*command, path), 2)
    assert line == (
        f"mip: {path}: home_agent.max_lifetime: out of range; allowed: 1 to 65535"
    )


def test_check_config_says_what_it_found(tmp_path):
    path = tmp_path / "mn.toml"
    path.write_text(
        '[mobile_node]\nhome_address = "10.1.1.10"\nhome_agent = "10.1.1.20"\n'
        f'spi = 256\nkey_hex = "{KEY_HEX}"\ninterfaces = ["eth0"]\n'
    )
    path.chmod(0o644)
    done = mip("check-config", path)
    assert done.returncode == 0
    assert done.stdout == f"{path}: good configuration of a mobile node\n"
    assert "every user may read it" in done.stderr
    path.chmod(0o600)
    assert mip("check-config", path).stderr == ""


def test_check_config_knows_a_foreign_agent(tmp_path):
    path = tmp_path / "fa.toml"
    path.write_text(
        '[foreign_agent]\ninterfaces = ["eth1"]\ncare_of_addresses = ["10.1.2.1"]\n'
    )
    done = mip("check-config", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: good configuration of a foreign agent\n"
    assert "is for `mip fa`" in one_line(mip("ha", "--config", path), 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["status"],
        ["visitors"],
        ["watch"],
        ["status", "--help"],
        ["--version"],
    ],
)
def test_what_only_talks_loads_neither_scapy_nor_pyroute2(arguments, tmp_path):
    code = (
        "import json, sys\n"
        "from mip_agents.cli import main\n"
        "main(sys.argv[1:])\n"
        "heavy = {'scapy', 'pyroute2', 'uvicorn', 'structlog', 'sqlite3'}\n"
        "print('LOADED', json.dumps(sorted(heavy & set(sys.modules))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(MIP_SOCKET=str(tmp_path / "none.sock")),
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = re.search(r"^LOADED (.*)$", done.stdout, re.MULTILINE)
    assert loaded, done.stderr
    assert json.loads(loaded[1]) == []


def test_a_reader_that_goes_away_is_no_traceback():
    done = subprocess.run(
        ["/bin/sh", "-c", '"$@" --help | true', "sh", *COMMAND],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("decode - <&-", 2, "mip: standard input: no data"),
        ("check - <&- >&-", 2, "mip: standard input: no data"),
        ("decode - <&- 2>&-", 2, ""),
        (
            "--version >/dev/full",
            2,
            "mip: cannot write output: No space left on device",
        ),
    ],
)
def test_streams_that_are_closed_or_full_are_no_traceback(arguments, code, said):
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {arguments}', "sh", *COMMAND],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr.strip(), done.returncode) == (said, code)


def test_the_shell_has_every_layer(tmp_path):
    done = subprocess.run(
        [*COMMAND, "shell"],
        input="print('IS', MIPRRQ().lifetime, IP, MIPRRP)\nexit()\n",
        env=environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(r"IS \d+ .*IP.*RegistrationReply", done.stdout), done.stderr


@pytest.mark.parametrize("role", ["ha", "fa", "mn"])
def test_the_systemd_units_run_what_exists(role):
    unit = resources.files("mip_agents") / "data" / f"mip-{role}.service"
    text = unit.read_text()
    commands = re.findall(r"^Exec\w+=/usr/bin/mip (\S+) ", text, re.MULTILINE)
    assert commands == ["check-config", role]
    assert set(commands) <= set(COMMANDS)
    for line in ("Type=notify", "WatchdogSec=30", "NoNewPrivileges=yes"):
        assert line in text.splitlines()
