# SPDX-License-Identifier: GPL-2.0-only
"""The tc programs: the object is what the source gives, and Python knows its values."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mip_agents.dataplane import bpf, gate, probe, select, tunnel_programs
from mip_agents.dataplane.api import DataplaneError
from mip_agents.dataplane.bpf_object import MapDefinition, Program, read_object
from mip_agents.dataplane.tunnel_maps import (
    DROPS,
    MARK_MASK,
    MAX_FORGOTTEN,
    TunnelMaps,
)
from mip_agents.dataplane.tunnel_programs import OBJECT
from mip_agents.dataplane.tunnel_structs import MAX_PEERS
from mip_agents.protocol.tunnel import Role
from support.netns import isolated

SOURCE = OBJECT.with_suffix(".c")
REPOSITORY = Path(__file__).parents[2]
COMPILER = "clang version 14."
"""That of the object in the repository; others give other instructions."""


def compiler() -> str:
    path = shutil.which("clang")
    if path is None:
        pytest.skip("no clang: sudo apt install clang linux-libc-dev")
    shown = subprocess.run([path, "--version"], capture_output=True, text=True)
    return shown.stdout.splitlines()[0]


def test_object_is_what_the_source_gives(tmp_path: Path) -> None:
    version = compiler()
    if COMPILER not in version:
        pytest.skip(f"the object is from {COMPILER}x, here is {version}")
    made = tmp_path / OBJECT.name
    tool = REPOSITORY / "tools" / "bpf.sh"
    subprocess.run([tool, SOURCE, made], check=True)
    assert made.read_bytes() == OBJECT.read_bytes(), "make bpf"


def test_object_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    if COMPILER not in compiler():
        pytest.skip(f"the object is not from {compiler()}")
    copy = tmp_path / "elsewhere" / SOURCE.name
    copy.parent.mkdir()
    shutil.copy(SOURCE, copy)
    tool = REPOSITORY / "tools" / "bpf.sh"
    subprocess.run([tool, copy, tmp_path / "made.o"], check=True)
    assert (tmp_path / "made.o").read_bytes() == OBJECT.read_bytes()


def number(name: str) -> int:
    found = re.search(rf"#define {name} (\w+)", SOURCE.read_text())
    assert found
    return int(found[1], 0)


def test_python_has_the_values_of_the_source() -> None:
    source = SOURCE.read_text()
    reasons = re.search(r"enum drop \{.*?\n(.*?)\n\tDROPS,", source, re.DOTALL)
    assert reasons
    names = re.findall(r"^\t([A-Z0-9_]+),", reasons[1], re.MULTILINE)
    assert [str(reason) for reason in DROPS] == [name.lower() for name in names]
    assert number("MAX_PEERS") == MAX_PEERS
    assert number("MARK_MASK") == MARK_MASK
    assert number("MAX_FORGOTTEN") == MAX_FORGOTTEN


def test_programs_are_small_enough_for_the_oldest_kernel() -> None:
    """No atomics with results and no BTF, which later instruction sets would bring."""
    content = read_object(OBJECT)
    assert content.license == b"GPL\0"
    assert content.programs.keys() == {
        "ha_link_in", "ha_link_out", "ha_port", "ha_forget", "mn_link_in", "mn_port"
    }  # fmt: skip
    assert b".BTF" not in OBJECT.read_bytes()
    for program in content.programs.values():
        assert len(program.instructions) // 8 < 4096


def broken() -> Iterator[bytes]:
    whole = OBJECT.read_bytes()
    yield b""
    yield b"\x7fELF"
    yield whole[:4] + b"\1" + whole[5:]  # 32 bits
    yield whole[:18] + b"\x3e\0" + whole[20:]  # x86
    yield whole[:-200]
    yield whole[: len(whole) // 2]


@pytest.mark.parametrize("data", list(broken()), ids=len)
def test_broken_objects_are_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "broken.o"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"broken\.o"):
        read_object(file)


def needs_bpf() -> None:
    problem = bpf.problem()
    if problem is not None:
        pytest.skip(problem)


def test_map_keeps_what_is_put_in() -> None:
    needs_bpf()
    table = bpf.Map("test", MapDefinition(1, 4, 8, 2, 1))
    table.key[:] = b"abcd"
    table.value[:] = b"12345678"
    assert not table.lookup()
    table.update()
    table.value[:] = bytes(8)
    assert table.lookup()
    assert bytes(table.value) == b"12345678"
    assert table.delete()
    assert not table.delete()
    for key in (b"1___", b"2___"):
        table.key[:] = key
        table.update()
    table.key[:] = b"3___"
    with pytest.raises(OSError, match="map test"):
        table.update()
    table.key[:] = b"1___"
    assert table.take()
    assert not table.take()
    table.close()
    table.close()


def test_map_takes_many_as_far_as_there_is_room() -> None:
    needs_bpf()
    table = bpf.Map("test", MapDefinition(1, 4, 8, 3, 1))
    keys, values = b"1___2___3___4___5___", bytes(range(40))
    assert table.update_many(keys, values) == 3
    assert table.update_many(keys[8:16], values[:16]) == 1
    table.key[:] = b"3___"
    assert table.lookup()
    assert bytes(table.value) == values[:8]
    assert table.update_many(b"", b"") == 0
    table.close()


def test_map_is_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_bpf()
    table = bpf.Map("test", MapDefinition(1, 4, 8, 10000, 1))
    assert table.read_all() == (b"", b"")
    numbers = range(9000)
    keys = b"".join(number.to_bytes(4, "big") for number in numbers)
    values = b"".join(number.to_bytes(8, "big") for number in numbers)
    assert table.update_many(keys, values) == 9000
    read = table.read_all()
    assert read is not None
    found = sorted(read[0][at : at + 4] for at in range(0, len(read[0]), 4))
    assert b"".join(found) == keys
    for at in range(9000):
        key = read[0][at * 4 : at * 4 + 4]
        assert read[1][at * 8 : at * 8 + 8] == bytes(4) + key
    monkeypatch.setattr(bpf, "_MAP_LOOKUP_MANY", 999)
    assert table.read_all() is None
    table.close()


def test_refused_program_says_what_the_verifier_said() -> None:
    needs_bpf()
    endless = Program(bytes.fromhex("0500ffff00000000 9500000000000000"), ())
    with pytest.raises(bpf.VerifierError, match="program endless: "):
        bpf.load_program("endless", endless, {}, b"GPL\0")


ROLES = (Role.HOME_AGENT, Role.MOBILE_NODE)
"""Those that have programs."""

UNKNOWN_HELPER = "85000000ffff0000 9500000000000000"
"""A call of number 65535, which stands for one that this kernel does not have yet."""


def hold_back_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have kernels asked anew, and forget what they say in this test."""
    for module in (tunnel_programs, gate):
        monkeypatch.setattr(module, "_try", module._try.__wrapped__)


@pytest.mark.parametrize("role", ROLES)
def test_probe_tells_of_a_program_that_the_kernel_does_not_take(
    monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    needs_bpf()
    hold_back_the_verdicts(monkeypatch)
    assert tunnel_programs.problem(role) is None
    content = read_object(OBJECT)
    last = tunnel_programs.PROGRAMS[role][-1]
    content.programs[last] = Program(bytes.fromhex(UNKNOWN_HELPER), ())
    monkeypatch.setattr(tunnel_programs, "read_object", lambda _: content)
    problem = tunnel_programs.problem(role)
    assert problem == f"program {last}: invalid func unknown#65535"
    assert bpf.problem() is None
    monkeypatch.setattr(probe, "missing_capability", lambda *_: None)
    assert probe.ebpf_driver_problem(role) == problem
    with pytest.raises(DataplaneError, match=r"ebpf: program .*unknown#65535"):
        select.create("ebpf", role)


def test_probe_tells_of_a_gate_that_the_kernel_does_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs_bpf()
    hold_back_the_verdicts(monkeypatch)
    assert gate.problem() is None
    monkeypatch.setattr(gate, "_LOOK_UP", 65535)
    assert gate.problem() == "program mip_in: invalid func unknown#65535"


def test_probe_leaves_no_descriptor_and_asks_once_for_a_yes() -> None:
    needs_bpf()
    for module in (tunnel_programs, gate):
        module._try.cache_clear()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        assert [
            tunnel_programs.problem(role)
            for role in (Role.HOME_AGENT, Role.MOBILE_NODE)
        ] == [None, None]
        assert gate.problem() is None
    assert len(os.listdir("/proc/self/fd")) == before
    assert tunnel_programs._try.cache_info().misses == len(ROLES)
    assert gate._try.cache_info().misses == 1


def test_object_of_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs_bpf()
    monkeypatch.setitem(tunnel_programs.SIZES, "bindings", 4)
    with pytest.raises(DataplaneError, match="bindings has another size: `make bpf`"):
        TunnelMaps(Role.HOME_AGENT)


@isolated
def test_probe_leaves_no_trace() -> None:
    from support.netns import sh

    before = sh("tc qdisc show")
    problem = probe.ebpf_driver_problem(Role.HOME_AGENT)
    assert problem is None or problem
    assert sh("tc qdisc show") == before


def test_probe_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpf, "_number", -1)
    assert "bpf(2) is not known on" in (bpf.problem() or "")
    monkeypatch.setattr(probe, "missing_capability", lambda *_: "no CAP_NET_ADMIN")
    with pytest.raises(DataplaneError, match="ebpf: no CAP_NET_ADMIN"):
        select.create("ebpf", Role.HOME_AGENT)
