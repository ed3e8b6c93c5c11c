#!/usr/bin/env bash
# Coverage of the admission analysis and of the checker of certificates by their unit and property tests: lines,
# branches and MC/DC, with clang 19.
# Fails below 100 %, less what the sources exclude with a reason (scripts/coverage.py).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

for tool in clang-19 clang++-19 llvm-profdata-19 llvm-cov-19; do
    command -v "$tool" > /dev/null || die "there is no $tool" "install the packages clang-19 and llvm-19 (make setup-dev)"
done

tests=()
for source in test/{unit,property}/schedule/test_{admission*,certificate}.c; do
    kind=${source#test/}
    name=$(basename "$source" .c)
    tests+=("test_${kind%%/*}_schedule_${name#test_}")
done
scripts/build.sh mcdc "${tests[@]}"

profiles=build/mcdc/profiles
rm -rf "$profiles"
mkdir -p "$profiles"
objects=()
for test in "${tests[@]}"; do
    say "$test"
    # A tenth of the random sets reaches what all of them reach.
    AEGISRT_PROPERTY_SCALE=${AEGISRT_PROPERTY_SCALE:-0.1} AEGISRT_SOURCE_DIR=$ROOT \
        LLVM_PROFILE_FILE="$profiles/$test.profraw" "build/mcdc/test/$test" > "$profiles/$test.log" 2>&1 ||
        { tail -n 20 "$profiles/$test.log" >&2; die "$test failed" "see build/mcdc/profiles/$test.log"; }
    objects+=(--object "build/mcdc/test/$test")
done
llvm-profdata-19 merge -sparse "$profiles"/*.profraw -o "$profiles/all.profdata"
# The first object is an operand; the sources follow --sources.
of_analysis=("${objects[@]:1}" --instr-profile "$profiles/all.profdata" --sources src/schedule/admission src/schedule/certificate/verify.c
             src/schedule/certificate/verify_form.c src/schedule/certificate/verify_beside.c
             src/schedule/certificate/checker.h)
llvm-cov-19 export --format=text "${of_analysis[@]}" > build/mcdc/coverage.json
llvm-cov-19 show --format=html --show-branches=count --show-mcdc --output-dir build/mcdc/html "${of_analysis[@]}"
python3 scripts/coverage.py build/mcdc/coverage.json
