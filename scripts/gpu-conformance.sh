#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the conformance suite of devices with the CUDA device and runs it on this machine's GPU.
#   scripts/gpu-conformance.sh [BUILD_FOLDER]
# Uses CMake where CMake, Ninja or make, and the test libraries are installed; else plain gcc, which
# needs nothing but the CUDA toolkit (CUDA_HOME, default /usr/local/cuda) and libc. CONFORMANCE=gcc
# or =cmake decides. Exit code: that of the suite; 77 when there is no GPU.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-"${TMPDIR:-/tmp}/aegisrt-gpu-conformance"}
cuda=${CUDA_HOME:-/usr/local/cuda}
mkdir -p "$build"

build_with_cmake() {
    cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DAEGISRT_BUILD_CUDA=ON \
        -DAEGISRT_BUILD_ONNXRUNTIME=OFF -DCUDAToolkit_ROOT="$cuda" >"$build/configure.log" 2>&1 &&
        cmake --build "$build" --target test_unit_device_conformance -j "$(nproc)" \
            >"$build/build.log" 2>&1 &&
        program=$build/test/test_unit_device_conformance
}

# The base files that the device layer needs use nothing beyond libc.
build_with_gcc() {
    library=$cuda/lib64
    [ -e "$library/libcudart_static.a" ] || library=$cuda/targets/$(uname -m)-linux/lib
    program=$build/device-conformance
    base=$root/src/base
    # shellcheck disable=SC2086 # CFLAGS may hold several words
    ${CC:-gcc} -std=gnu17 -O3 -g -Wall -Wextra -D_GNU_SOURCE -DAEGISRT_HAVE_CUDA=1 ${CFLAGS:-} \
        -I "$root/include" -I "$root/src" -I "$root/test" -isystem "$cuda/include" \
        "$base/status.c" "$base/rationale.c" "$base/error.c" "$base/allocator.c" "$base/clock.c" \
        "$root"/src/device/*.c "$root"/src/device/host/*.c "$root"/src/device/cuda/*.c \
        "$root"/src/device/telemetry/*.c "$root"/test/support/device/*.c \
        "$root/test/unit/device/test_conformance.c" \
        -o "$program" -L "$library" -lcudart_static -lpthread -ldl -lrt -lm
}

case ${CONFORMANCE:-auto} in
cmake) build_with_cmake ;;
gcc) build_with_gcc ;;
*)
    if command -v cmake >/dev/null 2>&1 && build_with_cmake; then
        echo "built with cmake"
    else
        build_with_gcc
        echo "built with ${CC:-gcc} alone"
    fi
    ;;
esac

nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,clocks.max.mem --format=csv 2>/dev/null ||
    echo "nvidia-smi: not here"
AEGISRT_TEST_DEVICE=cuda AEGISRT_TEST_TIMES=1 exec "$program"
