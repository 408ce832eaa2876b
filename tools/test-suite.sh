#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Run the test suite in two parts: what shares nothing with others and keeps a processor
# busy; then what measures, or has to keep up with a clock, and mostly waits: a file of
# those at a time per processor.
#
# usage: tools/test-suite.sh PYTHON [PYTEST-ARGUMENT...]
#   With arguments there is one part, which they choose.
set -eu

python=$1
shift
[ $# -gt 0 ] && exec "$python" -m pytest "$@"

patient="captures dataplane fuzz packaging protocol simulation wire"
clocked="tests/dataplane/test_handover.py"

first="" second="$clocked"
for folder in tests/*/; do
    name=$(basename "$folder")
    case " $patient " in
    *" $name "*) first="$first tests/$name" ;;
    *) second="$second tests/$name" ;;
    esac
done
"$python" -m pytest --numprocesses auto --ignore "$clocked" $first
"$python" -m pytest --numprocesses auto --dist loadfile --durations 10 $second
