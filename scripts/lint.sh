#!/usr/bin/env bash
# clang-tidy over the library and the programs, with the settings of .clang-tidy; fails on any finding.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
command -v clang-tidy > /dev/null || die "clang-tidy is missing" "make setup-dev"
scripts/build.sh dev
found=$(mktemp)
trap 'rm -f "$found"' EXIT
# One file a process: the analyzer of version 14 carries state from one file to the next.
# Only what the preset compiles has a command line; CUDA sources do in the preset 'cuda'.
find src sim cli -name '*.c' -not -path '*/cuda/*' -print0 \
    | xargs -0 -P "${JOBS:-$(nproc)}" -n 1 clang-tidy --quiet -p build/dev 2> /dev/null > "$found" || true
cat "$found"
count=$(grep -cE ': (warning|error): ' "$found" || true)
say "$count findings"
[ "$count" = 0 ]
