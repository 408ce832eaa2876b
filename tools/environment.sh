#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Make a virtual environment with this project in it, or say in one line what is
# missing and how to get it.
#
# usage: tools/environment.sh FOLDER WHAT [PYTHON [PIP-ARGUMENT...]]
#   WHAT is `run` (the agents), `dev` (and all that the tests and linters need) or
#   `notebooks` (and all that the lab sheets need)
set -eu

folder=$1
what=$2
python=${3:-}
[ $# -ge 3 ] && shift 3 || shift $#

if [ -z "$python" ]; then
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "Python 3.11 or newer is missing: sudo apt install python3 python3-venv" >&2
    exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python has no venv module: sudo apt install python3-venv" >&2
    exit 2
fi

if [ ! -x "$folder/bin/python" ]; then
    echo "making $folder with $("$python" --version)"
    "$python" -m venv "$folder"
fi
pip="$folder/bin/python -m pip --disable-pip-version-check --quiet"
case $what in
run) set -- --editable '.[agents]' "$@" ;;
dev) set -- --editable '.[agents,plot]' --group dev "$@" ;;
notebooks) set -- --editable '.[agents,plot]' --group notebooks "$@" ;;
*) echo "unknown environment: $what" >&2 && exit 2 ;;
esac
echo "installing into $folder"
$pip install --upgrade 'pip>=25.1'
$pip install --constraint constraints.txt "$@"
