#!/usr/bin/env bash
# Cross-builds for aarch64, runs the unit tests of the lower layers under qemu-user, and compares what the
# transformer runner computes there with this machine, bit by bit.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Left out: host_device asks mincore, which the emulator does not answer; untouched wants mappings split by madvise,
# which it does not pass on; profile_oracle is a Python program that starts the test program itself; extreme repeats
# statistics for two minutes there.
layers='^unit\.(base|device|trace|resource|schedule|backend)\.'
not_here='^unit\.(device\.host_device|backend\.untouched|schedule\.(profile_oracle|extreme))$'

cd "$ROOT"
[ "$MACHINE" = x86_64 ] || die "this compares x86-64 with aarch64, and this machine is $MACHINE" "run make test here"
scripts/setup-aarch64.sh --check > /dev/null || die "compiler, emulator or libraries of aarch64 are missing" \
    "make setup-aarch64, or leave these tests out: make test AARCH64=no"

scripts/build.sh aarch64
# shellcheck disable=SC2086  # flags
nice ctest --preset aarch64 -j "${JOBS:-$(nproc)}" -L '^unit$' -R "$layers" -E "$not_here" --timeout 300 \
    --output-junit "$ROOT/build/aarch64/aarch64.xml" ${CTEST_FLAGS:-}

scripts/build.sh "${AEGISRT_HERE_PRESET:-dev}" print_logits
# Both on the same weights: the made ones pass through each machine's own cos and log.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
LC_ALL=C
export LC_ALL
"$ROOT/build/${AEGISRT_HERE_PRESET:-dev}/test/print_logits" "$work/models" | sort -u > "$work/here.txt"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$ROOT/build/aarch64/test/print_logits" "$work/models" | sort -u > "$work/there.txt"
# One line a token and logit: a second value for one of them, from any set of instructions, is a line more.
if ! diff "$work/here.txt" "$work/there.txt" > "$work/difference"; then
    head -n 20 "$work/difference" >&2
    die "x86-64 and aarch64 compute different bits in $(grep -c '^<' "$work/difference") values" "see above"
fi
say "$(grep -c ' token ' "$work/here.txt") tokens and $(grep -c ' logit ' "$work/here.txt") logits of $(find "$work/models" -mindepth 1 -maxdepth 1 | wc -l) models: equal bits on x86-64 and aarch64"
