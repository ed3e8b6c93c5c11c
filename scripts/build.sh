#!/usr/bin/env bash
# Configures and builds one preset of CMakePresets.json: scripts/build.sh PRESET [TARGET...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
case ${1:---help} in
    -*) die "usage: scripts/build.sh PRESET [TARGET...]" "cmake --list-presets names the presets" ;;
esac

preset=$1
shift
cd "$ROOT"
generator=()
# A build folder keeps the generator that it was made with.
if [ ! -f "build/$preset/CMakeCache.txt" ] && command -v ninja > /dev/null; then generator=(-G Ninja); fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset "$preset" "${generator[@]}" > "$log" 2>&1 || { cat "$log" >&2; die "configuring '$preset' failed" "see above"; }
targets=()
for target in "$@"; do targets+=(--target "$target"); done
cmake --build "build/$preset" -j "${JOBS:-$(nproc)}" "${targets[@]}" || die "building '$preset' failed" "see above"
