#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# What is to be run under a kernel with tunnel devices: `make test-kernel` does.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

# To try a file that is not there takes User Mode Linux as long as to start a program.
PATH=/usr/bin:/usr/sbin:/bin:/sbin

# Only these files and plugins: every process of a test is a fork of pytest, the smaller
# the quicker.
exec $python -m pytest -m kernel -rP -p no:cacheprovider \
    -p no:anyio -p no:randomly -p no:xdist \
    tests/dataplane/test_kernel_*.py tests/dataplane/test_foreign_node.py \
    tests/dataplane/test_handover.py tests/dataplane/test_icmp_relay.py \
    tests/dataplane/test_pairs.py tests/dataplane/test_sink.py \
    tests/dataplane/test_spoofing.py tests/cli/test_daemons.py tests/netns/test_demo.py
