#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Compile tc programs; the same compiler gives the same octets everywhere.
#
# usage: tools/bpf.sh SOURCE OBJECT
set -eu

clang=${CLANG:-clang}
if ! command -v "$clang" >/dev/null; then
    echo "clang is missing: sudo apt install clang linux-libc-dev" >&2
    exit 2
fi
source=$1
object=$(realpath "$2")
headers=/usr/include/$("$clang" -print-target-triple | sed 's/-pc-/-/;s/-unknown-/-/')

# The name of the source is in the object, its folder is not.
cd "$(dirname "$source")"
"$clang" -O2 -g0 -Wall -Wextra -Werror -target bpf -mcpu=v2 -I"$headers" \
    -c "$(basename "$source")" -o "$object"
