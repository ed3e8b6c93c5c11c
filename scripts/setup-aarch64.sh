#!/usr/bin/env bash
# Prepares cross-building for aarch64: the target's libraries, unpacked into .deps/aarch64-sysroot.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'EOT'
Usage: scripts/setup-aarch64.sh [--check] [--help]

Installs the packages of group "cross" in scripts/packages.txt (compiler, emulator), and unpacks the
arm64 packages of the libraries that AegisRT links into .deps/aarch64-sysroot. Those are fetched by apt
from the archives that this machine already uses and trusts, in a configuration of its own; nothing of
arm64 is installed. Running it again does nothing.

  --check  say what is missing and change nothing; exit status 1 if anything is
EOT
}

check=no
case ${1:-} in
    "") ;;
    --check) check=yes ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; die "unknown option $1" "see the text above" ;;
esac

SYSROOT=$DEPS/aarch64-sysroot
WORK=$DEPS/aarch64.work
LIBRARIES="libjansson-dev libjansson4 libcmocka-dev libcmocka0 libssl-dev libssl3 libpcre2-dev libpcre2-8-0"

missing_tools() {
    awk '/^[^#]/ && NF && $2 == "cross" { print $1, $3 }' "$ROOT/scripts/packages.txt" | while read -r package proof; do
        proof_holds "$proof" || echo "$package"
    done | tr '\n' ' '
}

sysroot_present() { [ "$(cat "$SYSROOT/.packages" 2> /dev/null)" = "$LIBRARIES" ]; }

if [ "$check" = yes ]; then
    status=0
    tools=$(missing_tools)
    [ -z "$tools" ] || { say "missing packages: $tools"; status=1; }
    sysroot_present || { say "missing: the libraries of aarch64"; status=1; }
    if [ $status = 0 ]; then say "nothing is missing"; else say "cure: make setup-aarch64"; fi
    exit $status
fi

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

tools=$(missing_tools)
command -v apt-get > /dev/null || die "there is no apt here" \
    "install an aarch64 cross compiler and qemu-user, and set AEGISRT_AARCH64_SYSROOT"
if [ -n "$tools" ]; then
    say "installing: $tools"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q \
        || die "the package lists cannot be read" "check the network and /etc/apt/sources.list*"
    # shellcheck disable=SC2086  # a list of names
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $tools \
        || die "packages could not be installed" "see apt's message"
fi
sysroot_present && { say "ready"; exit 0; }

# Ubuntu keeps arm64 on another host than amd64, signed by the same keys.
ubuntu_sources() {
    local suite keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg
    suite=$(. /etc/os-release && echo "${UBUNTU_CODENAME:-$VERSION_CODENAME}")
    for suite in "$suite" "$suite-updates" "$suite-security"; do
        echo "deb [arch=arm64 signed-by=$keys] http://ports.ubuntu.com/ubuntu-ports $suite main universe"
    done
}

rm -rf "$WORK" && mkdir -p "$WORK"/{sources,lists/partial,cache/archives/partial,tree}
options=(-q -o "Dir::State::lists=$WORK/lists" -o "Dir::Cache=$WORK/cache" -o Acquire::Languages=none
    -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User="$(id -un)")
case $(. /etc/os-release && echo "$ID ${ID_LIKE:-}") in
    *ubuntu*)
        ubuntu_sources > "$WORK/sources/ports.list"
        options+=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$WORK/sources") ;;
esac
# A list that cannot be had is an error: without it the packages would seem not to exist.
apt-get "${options[@]}" -o APT::Update::Error-Mode=any update > "$WORK/log" 2>&1 \
    || die "the lists of arm64 cannot be read: $(grep -m 1 'Failed to fetch' "$WORK/log" || tail -n 1 "$WORK/log")" \
        "check the network and /etc/apt/sources.list*; make test AARCH64=no does without"
# Some packages were renamed when time_t grew: the new name where there is one.
wanted=()
for name in $LIBRARIES; do
    if apt-cache "${options[@]}" show "${name}t64" > /dev/null 2>&1; then name=${name}t64; fi
    wanted+=("$name")
done
(cd "$WORK" && apt-get "${options[@]}" download "${wanted[@]}" >> log 2>&1) \
    || die "the libraries of arm64 cannot be fetched: $(tail -n 1 "$WORK/log")" \
        "this machine's archive must serve arm64; make test AARCH64=no does without"
for package in "$WORK"/*.deb; do
    dpkg -x "$package" "$WORK/tree"
done
echo "$LIBRARIES" > "$WORK/tree/.packages"
rm -rf "$SYSROOT"
mv "$WORK/tree" "$SYSROOT"
rm -rf "$WORK"
say "the libraries of aarch64 are in $SYSROOT"
