#!/usr/bin/env bash
# Holds scripts/packages.txt against this machine and against what the CMake files look for:
# every package must give what it is listed for, and every module sought must belong to a listed package.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

group=${1:-build}
status=0
while read -r package proof; do
    if ! proof_holds "$proof"; then
        say "$package: $proof is not there"
        status=1
    fi
done < <(awk -v group="$group" '/^[^#]/ && NF && $2 == group { print $1, $3 }' "$ROOT/scripts/packages.txt")

# ONNX Runtime comes from setup when the system has none.
sought=$(find "$ROOT/cmake" "$ROOT/src" "$ROOT/cli" "$ROOT/sim" "$ROOT/test" "$ROOT/CMakeLists.txt" \
    \( -name CMakeLists.txt -o -name '*.cmake' \) -exec sed -nE \
    's/^[[:space:]]*pkg_check_modules\([A-Za-z0-9_]+[[:space:]]+([A-Z_]+[[:space:]]+)*([^)]*)\).*/\2/p' {} + \
    | tr ' ' '\n' | sed -E 's/[<>=].*//' | sort -u | grep -vxE '|libonnxruntime')
for module in $sought; do
    if ! grep -qE "[[:space:]]module:$module([[:space:]]|\$)" "$ROOT/scripts/packages.txt"; then
        say "CMake looks for the pkg-config module $module, which no package of scripts/packages.txt is listed for"
        status=1
    fi
done
[ $status = 0 ] && say "packages and CMake files agree"
exit $status
