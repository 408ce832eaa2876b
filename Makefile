# SPDX-License-Identifier: GPL-2.0-only
# `make demo` and `make test` set up all that they need. `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
DEMO_OPTIONS ?=
PCAPS ?=
SOAK_SEED ?=
TEST_OPTIONS ?=
FUZZ_OPTIONS ?=
FUZZ_SECONDS ?= 600
NOTEBOOK_OPTIONS ?=

BPF := agents/mip_agents/dataplane/bpf

.PHONY: help demo test test-kernel test-pythons soak fuzz lint format tables pcaps \
    notebooks bench bpf clean

help:  ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	    awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: $(VENV)/run.stamp  ## roam a mobile node through a small Internet, with traffic
	@$(BIN)/mip demo $(DEMO_OPTIONS)

test: $(VENV)/dev.stamp  ## run the whole test suite
	@tools/test-suite.sh $(BIN)/python $(TEST_OPTIONS)

test-kernel: $(VENV)/dev.stamp  ## the kernel data plane, under a kernel that has tunnels
	@tools/lab run --timeout 1200 --or-skip "kernel data plane tests" -- tools/kernel-suite.sh

test-pythons: $(VENV)/dev.stamp  ## wire and engine tests on every other Python here
	@tools/other-pythons.sh

soak: $(VENV)/dev.stamp  ## play simulated histories with faults until told to stop
	@$(BIN)/python -m mip_agents.simulation.soak $(SOAK_SEED)

fuzz: $(VENV)/dev.stamp  ## fuzz layers, engines and input, FUZZ_SECONDS each
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_OPTIONS)

lint: $(VENV)/dev.stamp  ## formatting, style, types, direction of imports
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/dev.stamp  ## format the code
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

tables: $(VENV)/dev.stamp  ## write the generated tables of the README
	@PYTHONPATH=tests $(BIN)/python -m support.readme_tables

notebooks: $(VENV)/notebooks.stamp  ## run the lab sheets; NOTEBOOK_OPTIONS=--write keeps outputs
	@$(BIN)/python tools/notebooks.py $(NOTEBOOK_OPTIONS)

pcaps: $(VENV)/dev.stamp  ## record the captures of our own agents anew
	@PYTHONPATH=tests $(BIN)/python -m support.recordings $(PCAPS)

bench: $(VENV)/dev.stamp  ## measure against the rivals, side by side
	@$(BIN)/mip bench

bpf:  ## compile the tc programs anew (clang, and the kernel's headers)
	@tools/bpf.sh $(BPF)/mip_tunnel.c $(BPF)/mip_tunnel.o

clean:  ## remove the virtual environments and caches
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	    .import_linter_cache build *.egg-info

$(VENV)/run.stamp: pyproject.toml constraints.txt
	@tools/environment.sh $(VENV) run
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	@tools/environment.sh $(VENV) dev
	@touch $@ $(VENV)/run.stamp

$(VENV)/notebooks.stamp: pyproject.toml constraints.txt
	@tools/environment.sh $(VENV) notebooks
	@touch $@ $(VENV)/run.stamp
