#!/usr/bin/env bash
# Installs the release build into a scratch folder, moves it, and builds a program against it twice:
# through CMake's package and through pkg-config.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/build.sh release > /dev/null
cmake --install build/release --prefix "$work/installed" > /dev/null
mv "$work/installed" "$work/moved"

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
say "installed library $by_cmake works through CMake and pkg-config"
