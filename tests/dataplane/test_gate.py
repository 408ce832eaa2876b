# SPDX-License-Identifier: GPL-2.0-only
"""The gate's programs and tables, in the running kernel; no device is needed."""

import pytest

from mip_agents.dataplane import bpf, gate
from mip_agents.dataplane.api import Counters, DataplaneError
from mip_agents.dataplane.bpf import VerifierError, load_program
from mip_agents.dataplane.bpf_assembler import LICENSE, Assembler
from mip_agents.dataplane.gate import Gate, Passage

HOME, CARE_OF = "10.1.1.10", "10.1.2.5"
needs_bpf = pytest.mark.skipif(bpf.problem() is not None, reason=str(bpf.problem()))


@pytest.fixture
def door():
    door = Gate()
    yield door
    door.close()


@needs_bpf
def test_programs_pass_the_verifier_and_tables_hold_bindings(door):
    assert door.counters(HOME) == Counters()
    door.admit(HOME, Passage(CARE_OF, 7, 0, reverse=True))
    door.admit(HOME, Passage(CARE_OF, 8, 0xFFFFFFFF, reverse=False))
    door.refuse(HOME, CARE_OF)
    door.refuse(HOME, CARE_OF)
    door.forget(HOME)
    door.forget(HOME)
    assert door.drops().reasons == {}


@needs_bpf
def test_a_full_table_is_one_line(monkeypatch):
    monkeypatch.setattr(gate, "MOST_BINDINGS", 1)
    door = Gate()
    door.admit(HOME, Passage(CARE_OF, 7, 0, reverse=True))
    with pytest.raises(DataplaneError, match=r"10\.1\.1\.11: no room among 1 bindings"):
        door.admit("10.1.1.11", Passage(CARE_OF, 7, 0, reverse=True))
    door.close()
    door.close()


@needs_bpf
def test_a_program_that_the_kernel_refuses_is_quoted():
    program = Assembler()
    program.load(0, 5, 0)  # register 5 holds nothing
    program.leave()
    with pytest.raises(VerifierError, match=r"program mine: .*R5"):
        load_program("mine", program.assembled(), {}, LICENSE)


def test_labels_that_are_nowhere_are_known():
    program = Assembler()
    program.jump_if_equal(1, 0, "there")
    program.jump("elsewhere")
    program.label("there")
    program.leave()
    assert program.missing() == ["elsewhere"]
