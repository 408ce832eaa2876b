# SPDX-License-Identifier: GPL-2.0-only
"""`tools/lab run`: which kernel it takes, and what comes back."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from mip_agents.lab import machine, packages, vm
from mip_agents.lab.machine import Launch, Order, UnavailableError
from mip_agents.lab.modules import in_order
from mip_agents.lab.namespaces import LabError
from mip_agents.lab.vm import Way


def never(_: Order) -> int:
    raise AssertionError("not to be run")


@pytest.fixture
def native(monkeypatch):
    """Take the running kernel for one that has the devices."""
    here = vm.WAYS["native"]._replace(problem=lambda: None)
    monkeypatch.setitem(vm.WAYS, "native", here)


@pytest.fixture
def nowhere(monkeypatch):
    """Let no way work."""
    for name in vm.WAYS:
        monkeypatch.setitem(vm.WAYS, name, Way(lambda: "not today", never))


def test_the_running_kernel_is_preferred(native):
    assert vm.choose() is vm.WAYS["native"]


def test_a_machine_is_taken_where_the_kernel_lacks_the_devices(monkeypatch, nowhere):
    user_mode = Way(lambda: None, never)
    monkeypatch.setitem(vm.WAYS, "uml", user_mode)
    assert vm.choose() is user_mode
    with pytest.raises(UnavailableError, match="native: not today"):
        vm.choose("native")


def test_no_way_at_all_is_one_line_with_every_reason(nowhere, capfd):
    assert vm.main(["run", "--", "true"]) == vm.FAILED
    reasons = "; ".join(f"{name}: not today" for name in vm.WAYS)
    assert capfd.readouterr().err == f"lab: {reasons}\n"


def test_or_skip_names_what_was_skipped(nowhere, capfd):
    assert vm.main(["run", "--or-skip", "some tests", "--", "true"]) == 0
    assert capfd.readouterr().out.startswith("SKIPPED some tests: native: not today")


@pytest.mark.parametrize(
    ("error", "code"),
    [(UnavailableError("no package"), 0), (LabError("broke"), vm.FAILED)],
)
def test_only_what_cannot_be_had_is_skipped(monkeypatch, nowhere, error, code):
    def fail(_: Order) -> int:
        raise error

    monkeypatch.setitem(vm.WAYS, "uml", Way(lambda: None, fail))
    assert vm.main(["run", "--or-skip", "some tests", "--", "true"]) == code
    assert vm.main(["run", "--", "true"]) == vm.FAILED


def test_exit_status_and_output_of_a_command_here(native, capfd):
    assert vm.main(["run", "--", "sh", "-c", "echo hello; echo oh >&2; exit 7"]) == 7
    assert capfd.readouterr() == ("hello\n", "oh\n")
    assert vm.main(["run", "--", "sh", "-c", "kill -9 $$"]) == 137


def test_a_command_that_takes_too_long_is_stopped_with_its_children(native, tmp_path):
    file = tmp_path / "child"
    script = f"sleep 600 & echo $! > {shlex.quote(str(file))}; wait"
    assert vm.main(["run", "--timeout", "0.5", "--", "sh", "-c", script]) == vm.FAILED
    assert not alive(int(file.read_text()))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# A shell stands in for a machine: it gets the folder that both share.


def carry_out(
    script: str, timeout: float = 20, processors: frozenset[int] | None = None
) -> int:
    def launch(shared: Path) -> Launch:
        command = ["sh", "-c", script, "sh", str(shared)]
        return Launch(command, os.environ, processors)

    order = Order(["true"], Path.cwd(), os.environ, timeout)
    return machine.carry_out(order, Path("/nowhere"), launch)


def test_exit_status_and_output_of_a_machine(capfd):
    said = 'cd "$1"; echo hello >>stdout; echo oh >>stderr; echo {} >status'
    assert carry_out(said.format(7)) == 7
    assert capfd.readouterr() == ("hello\n", "oh\n")
    assert carry_out(said.format(-9)) == 137


def test_a_machine_runs_where_it_may(capfd):
    asked = (
        'grep Cpus_allowed_list /proc/self/status > "$1/stdout"; echo 0 > "$1/status"'
    )
    last = max(os.sched_getaffinity(0))
    assert carry_out(asked, processors=frozenset({last})) == 0
    assert capfd.readouterr().out.split() == ["Cpus_allowed_list:", str(last)]


def test_a_machine_that_fails_is_quoted():
    with pytest.raises(LabError, match=r"the machine failed: .*Kernel panic"):
        carry_out("echo 'Kernel panic'")
    with pytest.raises(LabError, match="the machine failed: no such file"):
        carry_out('echo "no such file" > "$1/status"')


def test_a_machine_that_takes_too_long_is_switched_off(tmp_path):
    file = tmp_path / "child"
    with pytest.raises(LabError, match=r"not finished after 0.5 s"):
        carry_out(f"sleep 600 & echo $! > {shlex.quote(str(file))}; wait", 0.5)
    assert not alive(int(file.read_text()))


def test_modules_come_behind_those_that_they_need(tmp_path):
    for name, needs in (("ip_gre", "gre,ip-tunnel"), ("ip-tunnel", ""), ("gre", "")):
        content = f"\x7fELF\0license=GPL\0depends={needs}\0name={name}\0"
        (tmp_path / f"{name}.ko").write_text(content)
    files = in_order(tmp_path, ("built_in", "ip_gre", "gre"))
    assert [path.stem for path in files] == ["gre", "ip-tunnel", "ip_gre"]


APT_GET = """
case "$2 $3" in
"download good") >good.deb ;;
download*) echo "E: no $3" >&2; exit 100 ;;
esac
"""


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Stand in for apt-get and dpkg, with one package to be had; note the calls."""
    tools, calls = tmp_path / "bin", tmp_path / "calls"
    tools.mkdir()
    for name, script in (
        ("apt-get", APT_GET),
        ("dpkg", 'mkdir -p "$3/usr"'),
    ):
        tool = tools / name
        tool.write_text(f"#!/bin/sh\necho {name} $* >>{calls}\n{script}\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return calls


def test_a_package_is_fetched_once(archives):
    folder = packages.unpacked("good")
    assert (folder / "usr").is_dir()
    assert packages.unpacked("good") == folder
    assert archives.read_text().count("apt-get") == 1
    assert [path.name for path in packages.cache().iterdir()] == ["good"]


def test_a_package_that_cannot_be_had_is_named_with_the_reason(archives):
    with pytest.raises(UnavailableError, match="E: no bad"):
        packages.unpacked("bad")
    assert not list(packages.cache().iterdir())


@pytest.mark.boot
@pytest.mark.parametrize("way", ["kvm", "uml", "tcg"])
def test_a_booted_kernel_has_the_devices_and_leaves_nothing(capfd, tmp_path, way):
    """Not part of the default run: `make test-kernel` boots the same machine."""
    script = (
        "uname -n; ip link add lab0 type gre local 10.0.0.1 remote 10.0.0.2 &&"
        f"touch {tmp_path}/file; exit 7"
    )
    problem = vm.WAYS[way].problem()
    if problem is not None:
        pytest.skip(problem)
    assert vm.main(["run", "--way", way, "--", "sh", "-c", script]) == 7
    assert capfd.readouterr() == ("(none)\n", "")
    assert not list(tmp_path.iterdir())
    done = subprocess.run(["pgrep", "-f", "(linux.uml|qemu).*mip-lab-"], check=False)
    assert done.returncode == 1
