#!/usr/bin/env bash
# Runs every benchmark of the preset bench; each prints JSON, kept in build/bench/results/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
mkdir -p build/bench/results
found=0
for program in $(find build/bench/bench -maxdepth 1 -name 'bench_*' -type f -perm -u+x 2> /dev/null | sort); do
    found=$((found + 1))
    name=$(basename "$program")
    say "$name"
    "$program" | tee "build/bench/results/$name.json"
done
[ "$found" -gt 0 ] || die "no benchmark was built" "see bench/ and the preset 'bench'"
