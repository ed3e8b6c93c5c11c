#!/usr/bin/env bash
# Fetches ONNX Runtime with its CUDA provider for machines with a GPU; nothing else needs it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'EOF'
Usage: scripts/setup-onnxruntime-gpu.sh [--for CC[,CC...]] [--help]

Puts the libraries of the pinned wheel onnxruntime-gpu (scripts/deps.lock, 256 MB) into
.deps/onnxruntime-gpu/lib: libonnxruntime.so.1 and, beside it, its CUDA provider. Set
AEGISRT_ONNXRUNTIME to that libonnxruntime.so.1. On the machine with the GPU the provider needs CUDA
13's libraries (cuBLAS, cuRAND, cuFFT) and cuDNN 9; scripts/cuda-libraries.sh finds them.
Running it again does nothing, and needs no network.

  --for CC  keep the provider's machine code of these compute capabilities only (90: H100 and H200),
            the rest becomes zeros: the file packs into a third of the bytes and runs on those GPUs alone
EOF
}

architectures=all
while [ $# -gt 0 ]; do
    case $1 in
        --for) architectures=${2:?--for needs compute capabilities such as 90}; shift ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; die "unknown option $1" "see the text above" ;;
    esac
    shift
done

folder=$DEPS/onnxruntime-gpu/lib
wheel=$(fetch_wheel onnxruntime-gpu)
read -r version file sha <<< "$(lock_row onnxruntime-gpu)"
mark="$sha $architectures"
[ "$(cat "$folder/.mark" 2> /dev/null)" != "$mark" ] || exit 0
new=$folder.new
rm -rf "$new" && mkdir -p "$new"
"$(find_python)" - "$wheel" "$new" <<'EOF'
import os, shutil, sys, zipfile
wheel, folder = sys.argv[1:]
wanted = ("libonnxruntime.so.", "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so", "LICENSE",
          "ThirdPartyNotices.txt")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        base = os.path.basename(name)
        if base.startswith(wanted):
            with archive.open(name) as source, open(os.path.join(folder, base), "wb") as out:
                shutil.copyfileobj(source, out)
EOF
[ -f "$new/libonnxruntime.so.$version" ] && [ -f "$new/libonnxruntime_providers_cuda.so" ] ||
    die "$file holds no libonnxruntime.so.$version with a CUDA provider" "the wheel's layout changed; correct this script"
if [ "$architectures" != all ]; then
    "$(find_python)" "$ROOT/scripts/slim_fatbin.py" --for "$architectures" "$new/libonnxruntime_providers_cuda.so"
fi
ln -s "libonnxruntime.so.$version" "$new/libonnxruntime.so.1"
echo "$mark" > "$new/.mark"
rm -rf "$folder"
mv "$new" "$folder"
say "ONNX Runtime $version with the CUDA provider is in $folder"
