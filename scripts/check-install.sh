#!/usr/bin/env bash
# Installs the release build into a scratch folder, moves it, and builds programs against it twice:
# through CMake's package and through pkg-config. One of them is examples/embed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/build.sh release > /dev/null
cmake --install build/release --prefix "$work/installed" > /dev/null
mv "$work/installed" "$work/moved"
for program in aegisrt edge-rt; do
    "$work/moved/bin/$program" --version > /dev/null || die "the installed $program does not start" "see cmake/AegisInstall.cmake"
    [ -f "$work/moved/share/man/man1/$program.1" ] || die "the manual of $program is not installed" "see cmake/AegisInstall.cmake"
done

mkdir "$work/consumer"
cat > "$work/consumer/main.c" <<'EOF'
#include <aegisrt/aegis.h>
#include <stdio.h>
int main(void)
{
    puts(aegis_version());
    return 0;
}
EOF
cat > "$work/consumer/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.22)
project(consumer C)
find_package(aegisrt REQUIRED)
add_executable(consumer main.c)
target_link_libraries(consumer PRIVATE aegisrt::aegisrt)
EOF
cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_PREFIX_PATH="$work/moved" > /dev/null
cmake --build "$work/consumer/build" > /dev/null
by_cmake=$("$work/consumer/build/consumer")

pc=$(dirname "$(find "$work/moved" -name aegisrt.pc)")
read -ra flags <<< "$(PKG_CONFIG_PATH=$pc pkg-config --cflags --libs aegisrt)"
gcc -std=c11 -o "$work/consumer/plain" "$work/consumer/main.c" "${flags[@]}" \
    "-Wl,-rpath,$(PKG_CONFIG_PATH=$pc pkg-config --variable=libdir aegisrt)"
by_pkgconfig=$("$work/consumer/plain")

[ "$by_cmake" = "$by_pkgconfig" ] || die "the two programs print '$by_cmake' and '$by_pkgconfig'" "see cmake/AegisInstall.cmake"

# The example, built both ways; it runs where its model is.
cmake -S examples/embed -B "$work/embed-cmake" -DCMAKE_PREFIX_PATH="$work/moved" > /dev/null
cmake --build "$work/embed-cmake" > /dev/null
mkdir "$work/embed-make"
PKG_CONFIG_PATH=$pc make -s -C examples/embed OUT="$work/embed-make"
if [ -f models/ch_ppocr_mobile_v2.0_cls_infer.onnx ]; then
    for program in "$work/embed-cmake/embed" "$work/embed-make/embed"; do
        status=0
        AEGISRT_CACHE_DIR="$work/cache" "$program" examples/embed/embed.toml > "$work/embed.log" 2>&1 || status=$?
        # 1 (a job ended late) and 3 (its profile was too long to admit it) are the machine's affair.
        jobs=$(grep -c '^job ' "$work/embed.log" || true)
        case $status:$jobs in
            0:10 | 1:10) say "the example ran its ten jobs" ;;
            3:0) warn "$(cat "$work/embed.log")" ;;
            *) cat "$work/embed.log" >&2; die "the example ended with status $status after $jobs jobs" "see above" ;;
        esac
    done
else
    say "examples/embed was built both ways and not run: 'make models' fetches its model"
fi
# A policy of one's own, likewise; its models need no file from elsewhere.
cmake -S examples/policy -B "$work/policy-cmake" -DCMAKE_PREFIX_PATH="$work/moved" > /dev/null
cmake --build "$work/policy-cmake" > /dev/null
mkdir "$work/policy-make"
PKG_CONFIG_PATH=$pc make -s -C examples/policy OUT="$work/policy-make"
for program in "$work/policy-cmake/policy" "$work/policy-make/policy"; do
    status=0
    AEGISRT_CACHE_DIR="$work/cache" "$program" examples/policy/policy.toml "$work/policy.trace" > "$work/policy.log" 2>&1 || status=$?
    case $status in
        0) say "the policy of the example admitted and ran its models" ;;
        3) warn "$(cat "$work/policy.log")" ;; # the machine is too busy for them
        *) cat "$work/policy.log" >&2; die "the policy example ended with status $status" "see above" ;;
    esac
done
say "installed library $by_cmake works through CMake and pkg-config"
