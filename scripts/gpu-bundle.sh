#!/usr/bin/env bash
# Builds what runs on a GPU machine and packs it into build/gpu-bundle: part-NN.tar of at most 60 MiB each, unpack.sh
# and SHA256SUMS. Needs the CUDA toolkit to build, and no GPU. Needs no network once 'make setup' and 'make models' ran.
#   scripts/gpu-bundle.sh [--build-only]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
command -v nvcc > /dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] ||
    die "there is no nvcc on this machine" "install the CUDA toolkit 12.6 or later, or set CUDA_HOME"
# CTest lists programs that are not built yet, once the build folder is configured.
scripts/build.sh cuda help > /dev/null
mapfile -t targets < <(python3 scripts/gpu_bundle.py targets build/cuda)
[ "${#targets[@]}" -gt 0 ] || die "CTest lists no test with the label gpu" "see test/extra.cmake"
scripts/build.sh cuda "${targets[@]}"
[ "${1:-}" != --build-only ] || exit 0
python3 scripts/gpu_bundle.py pack build/cuda build/gpu-bundle
say "carry build/gpu-bundle/ to the GPU machine, then: ./unpack.sh FOLDER && FOLDER/test-gpu && FOLDER/bench-gpu"
