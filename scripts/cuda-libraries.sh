#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the folders of CUDA's libraries on this machine (cuBLAS, cuDNN, cuFFT, cuRAND), colon-separated, for
# LD_LIBRARY_PATH: AEGISRT_CUDA_LIBRARIES when it is set; else those of Python's packages nvidia-*, then a toolkit's.
set -eu
if [ -n "${AEGISRT_CUDA_LIBRARIES:-}" ]; then
    printf '%s\n' "$AEGISRT_CUDA_LIBRARIES"
    exit 0
fi
found=
add() { if [ -d "$1" ]; then found=${found:+$found:}$1; fi; }
for packages in $(python3 -c 'import site, sys
print("\n".join(dict.fromkeys(site.getsitepackages() + [p for p in sys.path if p.endswith("-packages")])))' 2> /dev/null || true); do
    # Of several versions of CUDA the newest comes first.
    for folder in $(ls -d "$packages"/nvidia/cu[0-9]*/lib "$packages"/nvidia/*/lib 2> /dev/null | sort -r -u); do
        add "$folder"
    done
done
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" "/usr/local/cuda/targets/$(uname -m)-linux/lib" /usr/local/nvidia/lib64; do
    add "$folder"
done
printf '%s\n' "$found"
