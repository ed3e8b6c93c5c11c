#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the tests or the benchmarks that need a GPU, from a checkout or from an unpacked bundle, without network.
set -eu

usage() {
    cat <<'TEXT'
Usage: gpu-run.sh test|bench [OPTION...] [NAME...]

Runs all programs of that kind, or those whose names begin with a NAME, and writes logs and JSON into
the folder of results. Exit codes: 0 all passed, 1 one failed, 77 there is no GPU (the reason is said).

  --sanitize TOOL[,TOOL]  test: again under compute-sanitizer (memcheck, racecheck, initcheck, synccheck), each case
                          in a process of its own; results in sanitize-gpu.json, settings in gpu-sanitize.txt
  --sanitize-only         with --sanitize: without the plain run before
  --sanitizer PROGRAM     another compute-sanitizer than the toolkit's
  --cases PATTERN         with --sanitize: of programs with cases those of that name
  --jobs N                with --sanitize: so many cases at once (half the cores, 8 at most), on all GPUs in turn
  --within SECONDS        with --sanitize: what has not ended by then has failed
  --results FOLDER        default: results/gpu below the root of the bundle, build/gpu-results of a checkout
  --list                  name the programs and run nothing

Variables: AEGISRT_CUDA_LIBRARIES (folders of cuBLAS and cuDNN, else they are looked for), CUDA_HOME,
CUDA_VISIBLE_DEVICES.
TEXT
}

root=$(cd "$(dirname "$0")/.." && pwd)
kind=${1:-}
case $kind in
    test | bench) shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac
sanitize='' plain=yes list=no results='' names='' sanitizer='' settings=''
while [ $# -gt 0 ]; do
    case $1 in
        --sanitize) sanitize=${2:?--sanitize needs a tool}; shift ;;
        --sanitize-only) plain=no ;;
        --sanitizer) sanitizer=${2:?--sanitizer needs a program}; shift ;;
        --cases | --jobs | --within) settings="$settings $1=${2:?$1 needs a value}"; shift ;;
        --results) results=${2:?--results needs a folder}; shift ;;
        --list) list=yes ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *) names="$names $1" ;;
    esac
    shift
done

# A bundle brings its table; a checkout builds what is missing and asks CTest.
table=$(mktemp)
log=$(mktemp)
trap 'rm -f "$table" "$log"' EXIT
trap 'exit 130' INT TERM
skip() { echo "skipped: $1"; exit 77; }
if [ -f "$root/programs.txt" ]; then
    sed "s|@ROOT@|$root|g" "$root/programs.txt" > "$table"
    results=${results:-$root/results/gpu}
    program=$root/bin/aegisrt
    export LD_LIBRARY_PATH="$root/lib:$("$root/scripts/cuda-libraries.sh")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export AEGISRT_ONNXRUNTIME_FOLDER="$root/lib"
    if [ -e "$root/lib/libonnxruntime.so.1" ]; then export AEGISRT_ONNXRUNTIME="$root/lib/libonnxruntime.so.1"; fi
else
    if [ "$list" = no ] && ! ls /dev/nvidiactl /dev/nvhost-gpu > /dev/null 2>&1; then
        skip "this machine has no NVIDIA GPU (no /dev/nvidiactl); carry the parts of 'make gpu-bundle' to one that has"
    fi
    command -v nvcc > /dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ] || skip "no nvcc on this machine: build the bundle elsewhere ('make gpu-bundle') and run it here"
    "$root/scripts/gpu-bundle.sh" --build-only
    python3 "$root/scripts/gpu_bundle.py" programs "$root/build/cuda" > "$table"
    results=${results:-$root/build/gpu-results}
    program=$root/build/cuda/cli/aegisrt
    gpu_library=${AEGISRT_DEPS_DIR:-$root/.deps}/onnxruntime-gpu/lib/libonnxruntime.so.1
    if [ -e "$gpu_library" ]; then export AEGISRT_ONNXRUNTIME="$gpu_library"; fi
    export LD_LIBRARY_PATH="$("$root/scripts/cuda-libraries.sh")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
if [ "$list" = yes ]; then
    awk -F '\t' -v kind="$kind" '$1 == kind { print $2 }' "$table"
    exit 0
fi

mkdir -p "$results"
results=$(cd "$results" && pwd)
sed "s|@RESULTS@|$results|g" "$table" > "$log" && cat "$log" > "$table"
devices=$results/devices.json
"$program" devices --measure --json > "$devices" 2> "$log" || { cat "$log" >&2; exit 1; }
if ! grep -q '"kind": *"cuda"' "$devices"; then
    # The program that cannot have one says why.
    "$(awk -F '\t' '$6 ~ /test_gpu_streams$/ { print $6; exit }' "$table")" > "$log" 2>&1 || true
    skip "no usable CUDA device on this machine: $(head -n 1 "$log" | sed 's/^skipped: //')"
fi
if [ -n "$sanitize" ]; then
    for candidate in "$(command -v compute-sanitizer || true)" "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" \
        "${CUDA_HOME:-/usr/local/cuda}/compute-sanitizer/compute-sanitizer"; do
        if [ -z "$sanitizer" ] && [ -x "$candidate" ]; then sanitizer=$candidate; fi
    done
    [ -x "$sanitizer" ] || { echo "gpu-run.sh: error: compute-sanitizer is not on this machine" >&2
        echo "gpu-run.sh: cure: install the CUDA toolkit's sanitizer, set CUDA_HOME, or run without --sanitize" >&2; exit 1; }
    command -v python3 > /dev/null || { echo "gpu-run.sh: error: --sanitize needs python3" >&2
        echo "gpu-run.sh: cure: install it, or run without --sanitize" >&2; exit 1; }
fi

wanted() {
    [ -n "$names" ] || return 0
    for begins in $names; do
        case $1 in "$begins"*) return 0 ;; esac
    done
    return 1
}

passed=0 failed=0 skipped=0 rows=''
note() { # NAME TOOL RC SECONDS
    case $3 in
        0) passed=$((passed + 1)) word=passed ;;
        77) skipped=$((skipped + 1)) word=skipped ;;
        *) failed=$((failed + 1)) word=failed ;;
    esac
    printf '%-8s %-14s %s (%s s)\n' "$word" "$2" "$1" "$4"
    rows="$rows${rows:+,
}    {\"name\": \"$1\", \"tool\": \"$2\", \"result\": \"$word\", \"exit\": $3, \"seconds\": $4}"
}

# run_one NAME SECONDS ENVIRONMENT OUTPUT LOG COMMAND...: sets rc and seconds.
run_one() {
    limit=$2 environment=$3 output=$4 errors=$5
    shift 5
    [ "$environment" != - ] || environment=
    begin=$(date +%s)
    # shellcheck disable=SC2086 # several variables
    if env -C "$root" $environment timeout -k 5 "$limit" "$@" > "$output" 2> "$errors" < /dev/null; then rc=0; else rc=$?; fi
    seconds=$(($(date +%s) - begin))
}

tab=$(printf '\t')
while IFS=$tab read -r what name limit _ environment command; do
    [ "$what" = "$kind" ] && wanted "$name" || continue
    # Fields of the command are apart by tabs and hold no blanks.
    command=$(printf '%s' "$command" | tr '\t' ' ')
    if [ "$kind" = bench ]; then
        # shellcheck disable=SC2086
        run_one "$name" "$limit" "$environment" "$results/$name.json" "$results/$name.log" $command
        [ "$rc" -eq 0 ] || { cat "$results/$name.log" >&2; rm -f "$results/$name.json"; }
        note "$name" bench "$rc" "$seconds"
        continue
    fi
    if [ "$plain" = yes ]; then
        # shellcheck disable=SC2086
        run_one "$name" "$limit" "$environment" "$results/$name.log" "$results/$name.err" $command
        cat "$results/$name.err" >> "$results/$name.log"; rm -f "$results/$name.err"
        case $rc in 0 | 77) ;; *) cat "$results/$name.log" ;; esac
        note "$name" plain "$rc" "$seconds"
    fi
done < "$table"

gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null | head -n 1)
{
    printf '{\n  "schema_version": 1,\n  "kind": "%s",\n  "date": "%s",\n' "$kind" "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    printf '  "gpu": "%s",\n' "$gpu"
    printf '  "passed": %s, "failed": %s, "skipped": %s,\n  "programs": [\n%s\n  ]\n}\n' "$passed" "$failed" "$skipped" "$rows"
} > "$results/$kind-gpu.json"
echo "$passed passed, $failed failed, $skipped skipped; results in $results"
sanitized=0
if [ -n "$sanitize" ]; then
    set -f # patterns are for the script
    # shellcheck disable=SC2086 # several settings, several names
    python3 "$root/scripts/gpu_sanitize.py" --table "$table" --tools "$sanitize" --sanitizer "$sanitizer" \
        --results "$results" --root "$root" --gpu "$gpu" $settings $names || sanitized=$?
fi
[ $((passed + failed + skipped)) -gt 0 ] || [ -n "$sanitize" ] || { echo "gpu-run.sh: error: nothing is called$names" >&2
    echo "gpu-run.sh: cure: --list names what there is" >&2; exit 2; }
[ "$failed" -eq 0 ] && [ "$sanitized" -eq 0 ]
