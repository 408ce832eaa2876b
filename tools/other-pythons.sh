#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Run the wire and engine tests and the fuzz corpus on every other CPython from 3.11 on
# that this machine has, and with the oldest Scapy that the project supports.
set -eu

tests="tests/wire tests/protocol tests/fuzz"
tested=$(.venv/bin/python -c 'import sys; print(*sys.version_info[:2], sep=".")')

find_python() {  # the first that works: from PATH, or one that pyenv keeps
    for candidate in "python$1" "$HOME"/.pyenv/versions/"$1".*/bin/python; do
        if "$candidate" -c '
import sys
sys.exit(sys.implementation.name != "cpython")' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

for minor in 11 12 13 14 15 16; do
    version=3.$minor
    [ "$version" = "$tested" ] && continue
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "== CPython $version: not on this machine"
        continue
    fi
    echo "== CPython $version"
    tools/environment.sh ".venv-$version" dev "$python"
    ".venv-$version/bin/python" -m pytest -q --numprocesses auto $tests
done

oldest=$(sed -n 's/^ *"scapy>=\([0-9.]*\)".*/\1/p' pyproject.toml)
echo "== CPython $tested with Scapy $oldest"
if [ ! -x .venv-scapy/bin/python ]; then
    tools/environment.sh .venv-scapy dev
fi
.venv-scapy/bin/python -m pip --quiet install "scapy==$oldest.*"
.venv-scapy/bin/python -m pytest -q --numprocesses auto $tests
