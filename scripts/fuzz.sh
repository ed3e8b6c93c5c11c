#!/usr/bin/env bash
# Runs every fuzz target of the preset fuzz: scripts/fuzz.sh SECONDS
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
seconds=${1:-60}
found=0
for source in fuzz/*/fuzz_*.c; do
    name=$(basename "$source" .c)
    target=$(find build/fuzz -name "$name" -type f -perm -u+x | head -n 1)
    [ -n "$target" ] || continue
    found=$((found + 1))
    work=build/fuzz/corpus/$name
    mkdir -p "$work" "build/fuzz/crashes"
    seeds=()
    # Seeds are read; what is found goes into the build folder until someone commits it.
    if [ -d "fuzz/corpus/${name#fuzz_}" ]; then seeds=("fuzz/corpus/${name#fuzz_}"); fi
    say "$name for $seconds s"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crashes/$name-" "$work" "${seeds[@]}"
done
[ "$found" -gt 0 ] || die "no fuzz target was built" "see fuzz/ and the preset 'fuzz'"
