#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Run the test suite in two parts: what only computes, on all processors; then what
# needs the machine to itself, as it forwards packets, runs daemons or measures.
#
# usage: tools/test-suite.sh PYTHON [PYTEST-ARGUMENT...]
#   With arguments there is one part, which they choose.
set -eu

python=$1
shift
[ $# -gt 0 ] && exec "$python" -m pytest "$@"

computing="tests/wire tests/protocol tests/simulation tests/captures tests/packaging"
"$python" -m pytest --numprocesses auto $computing
"$python" -m pytest $(printf ' --ignore %s' $computing)
