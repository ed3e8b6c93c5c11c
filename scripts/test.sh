#!/usr/bin/env bash
# Builds and runs tests; its last line counts them over all runs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'EOF'
Usage: scripts/test.sh RUN...

A RUN is a preset with tests (dev, minimal, dev-asan, dev-tsan, dev-clang, coverage), or
  fast        preset dev, unit and property tests only
  asan-slice  preset dev-asan, unit and property tests, and integration tests with the label sanitized
  tsan-slice  preset dev-tsan, unit tests of the layers that have threads, and integration.scheduler
  aarch64     unit tests cross-built for aarch64 under qemu-user (scripts/test-aarch64.sh), after
              scripts/setup-aarch64.sh
Variables: JOBS, CTEST_FLAGS (more flags for ctest).
EOF
}
case ${1:-} in
    "") usage >&2; exit 2 ;;
    -*) usage; exit 0 ;;
esac

cd "$ROOT"
jobs=${JOBS:-$(nproc)}
results=()
status=0

# The thread sanitizer of GCC 12 and older cannot live with the address randomisation of newer kernels.
prefix_of() {
    case $1 in
        dev-tsan) if setarch -R true 2> /dev/null; then echo "setarch -R"; fi ;;
    esac
}

for run in "$@"; do
    select=() preset=$run
    case $run in
        fast) preset=dev select=(-L '^(unit|property)$') ;;
        asan-slice) preset=dev-asan select=(-L '^(unit|property|sanitized)$') ;;
        tsan-slice) preset=dev-tsan select=(-L '^(unit|sanitized)$' -R 'unit\.(base|device|trace|resource|backend|schedule|system)\.|integration\.scheduler$') ;;
    esac
    say "== $run"
    if [ "$run" = aarch64 ]; then
        rm -f build/aarch64/aarch64.xml
        scripts/test-aarch64.sh && result=0 || result=$?
        [ "$result" = 0 ] || status=$result
        [ ! -f build/aarch64/aarch64.xml ] || results+=("$ROOT/build/aarch64/aarch64.xml")
        continue
    fi
    scripts/build.sh "$preset"
    result=$ROOT/build/$preset/$run.xml
    rm -f "$result"
    # shellcheck disable=SC2046,SC2086  # a command and flags
    $(prefix_of "$preset") ctest --preset "$preset" -j "$jobs" "${select[@]}" --output-junit "$result" ${CTEST_FLAGS:-} || status=$?
    [ -f "$result" ] || die "ctest wrote no result for '$run'" "see above"
    results+=("$result")
done

read -r passed failed skipped <<< "$(awk '
    /<testcase / {
        if (/status="run"/) passed++
        else if (/status="notrun"/ || /status="disabled"/) skipped++
        else failed++
    }
    END { print passed + 0, failed + 0, skipped + 0 }' /dev/null "${results[@]}")"
echo "$passed passed, $failed failed, $skipped skipped"
[ $((passed)) -gt 0 ] || die "no test ran" "see above"
exit $status
