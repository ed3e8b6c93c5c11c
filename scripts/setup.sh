#!/usr/bin/env bash
# Prepares a bare Debian 12+ or Ubuntu 22.04+ machine for building and testing AegisRT.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

usage() {
    cat <<'EOF'
Usage: scripts/setup.sh [--check] [--dev] [--no-system] [--help]

Installs the packages named in scripts/packages.txt and puts four things into .deps/ (or
AEGISRT_DEPS_DIR), each pinned and checked by SHA-256 and none installed system-wide:
  onnxruntime/  the ONNX Runtime library from its Python wheel, and its C header from the
                distribution's archive
  onnx/         the description of the ONNX graph format
  tomlplusplus/ the headers of toml++, from the source archive of the Python package around it
  venv/         a Python environment with the reference implementations that tests compare with
Running it again does nothing, and needs no network.

  --check      report what is missing and change nothing; exit status 1 if anything is
  --dev        also the tools for changing the code: clang, formatters, valgrind
  --no-system  leave system packages alone, fill .deps/ only
  --help       this text

Environment: AEGISRT_DEPS_DIR, AEGISRT_PYTHON, ONNXRUNTIME_ROOT (an installed ONNX Runtime to use
instead; include/ and lib/ below it).
EOF
}

check=no dev=no system=yes changed=no
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=yes ;;
        --dev) dev=yes ;;
        --no-system) system=no ;;
        --help | -h) usage; exit 0 ;;
        *) usage >&2; die "unknown option $1" "see the text above" ;;
    esac
    shift
done

# --- system packages ---------------------------------------------------------------------------

# Lines "NAME PROOF".
wanted_packages() {
    awk -v dev="$dev" '/^[^#]/ && NF && ($2 == "build" || dev == "yes") { print $1, $3 }' \
        "$ROOT/scripts/packages.txt"
}

# Without dpkg, what a package is wanted for is looked for instead.
missing_packages() {
    local package proof
    wanted_packages | while read -r package proof; do
        if command -v dpkg-query > /dev/null; then
            dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2> /dev/null | grep -q '^.i' || echo "$package"
        else
            proof_holds "$proof" || echo "$package"
        fi
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        die "installing packages needs root, and there is no sudo" \
            "as root: apt-get update && apt-get install -y --no-install-recommends $missing"
    fi
}

# Those of $missing that apt can install, and those that building needs in any case; what only people who
# change the code want is left out with a word where this release lacks it.
offered_packages() {
    local package purpose
    for package in $missing; do
        purpose=$(awk -v name="$package" '$1 == name && $2 == "dev" { $1 = $2 = $3 = ""; print }' \
            "$ROOT/scripts/packages.txt")
        if [ -z "$purpose" ] || grep -qE 'Candidate: [^(]' <<< "$(apt-cache policy "$package")"; then
            printf '%s ' "$package"
        else
            warn "this release has no package $package, which is for:$(tr -s ' ' <<< "$purpose")"
        fi
    done
}

install_packages() {
    missing=$(missing_packages | tr '\n' ' ')
    if [ -z "${missing// /}" ]; then
        say "system packages: all present"
        return
    fi
    command -v apt-get > /dev/null || die "there is no apt here, and these are missing (Debian's names): $missing" \
        "install what corresponds to them, then run this again"
    changed=yes
    say "installing: $missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q \
        || die "the package lists cannot be read" "check the network and /etc/apt/sources.list*"
    missing=$(offered_packages)
    [ -n "${missing// /}" ] || return 0
    # shellcheck disable=SC2086  # a list of names
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing \
        || die "packages could not be installed" \
            "see apt's message; on Ubuntu the component 'universe' must be enabled (add-apt-repository universe)"
}

# --- ONNX Runtime ------------------------------------------------------------------------------

system_onnxruntime() {
    if [ -n "${ONNXRUNTIME_ROOT:-}" ]; then
        [ -d "$ONNXRUNTIME_ROOT/include" ] || die "ONNXRUNTIME_ROOT=$ONNXRUNTIME_ROOT has no include/" \
            "point it at a folder that holds include/ and lib/, or unset it"
        return 0
    fi
    command -v pkg-config > /dev/null && pkg-config --exists 'libonnxruntime >= 1.21'
}

# What was unpacked into FOLDER below .deps/ is the pinned file of NAME: unpacked_is FOLDER NAME
unpacked_is() {
    [ "$(cat "$DEPS/$1/.sha256" 2> /dev/null)" = "$(lock_row "$2" | cut -d' ' -f3)" ]
}

# put_in_place NEW FOLDER SHA256: NEW becomes FOLDER below .deps/, marked, in one step.
put_in_place() {
    echo "$3" > "$1/.sha256"
    rm -rf "${DEPS:?}/$2"
    mv "$1" "$DEPS/$2"
}

library_present() { unpacked_is onnxruntime/lib onnxruntime; }

install_library() {
    library_present && return
    changed=yes
    local wheel version file sha new=$DEPS/onnxruntime/lib.new
    wheel=$(fetch_wheel onnxruntime)
    read -r version file sha <<< "$(lock_row onnxruntime)"
    rm -rf "$new" && mkdir -p "$new"
    "$(find_python)" - "$wheel" "$new" <<'EOF'
import os, sys, zipfile
wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        base = os.path.basename(name)
        if base.startswith("libonnxruntime") or base in ("LICENSE", "ThirdPartyNotices.txt"):
            with open(os.path.join(folder, base), "wb") as out:
                out.write(archive.read(name))
EOF
    [ -f "$new/libonnxruntime.so.$version" ] || die "$file holds no libonnxruntime.so.$version" \
        "the wheel's layout changed; correct scripts/setup.sh"
    chmod 755 "$new/libonnxruntime.so.$version"
    ln -s "libonnxruntime.so.$version" "$new/libonnxruntime.so.1"
    ln -s libonnxruntime.so.1 "$new/libonnxruntime.so"
    put_in_place "$new" onnxruntime/lib "$sha"
    say "ONNX Runtime $version is in $DEPS/onnxruntime/lib"
}

headers_present() { [ -f "$DEPS/onnxruntime/include/onnxruntime_c_api.h" ]; }

# Writes a sources file for another suite of the archive that this machine already uses and trusts.
other_suite() {
    "$(find_python)" - "$1" "$2" <<'EOF'
import glob, re, sys
codename, suite = sys.argv[1:]
found, updated = [], set()  # the distribution's own archive has updates, others (ROS, say) have not
for path in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*")):
    try:
        text = open(path, encoding="utf-8").read()
    except OSError:
        continue
    if path.endswith(".sources"):
        for stanza in re.split(r"\n\s*\n", text):
            field = {}
            for line in stanza.splitlines():
                if ":" in line and not line.startswith(("#", " ", "\t")):
                    key, value = line.split(":", 1)
                    field[key.strip().lower()] = value.strip()
            suites = field.get("suites", "").split()
            if codename + "-updates" in suites:
                updated.update(field.get("uris", "").split())
            if codename in suites and "deb" in field.get("types", "").split():
                signed = field.get("signed-by", "")
                option = "[signed-by=%s] " % signed if signed.startswith("/") else ""
                found += [(option, uri, field["components"]) for uri in field["uris"].split()]
    elif path.endswith(".list"):
        for line in text.splitlines():
            match = re.match(r"deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.strip())
            if match and match[3] == codename + "-updates":
                updated.add(match[2])
            if match and match[3] == codename:
                found.append((match[1] or "", match[2], match[4].split("#")[0]))
for option, uri, components in sorted(found, key=lambda one: one[1] not in updated):
    if set(components.split()) & {"main", "universe"}:
        wanted = "main universe" if "ubuntu" in uri else "main"
        print("deb %s%s %s %s" % (option, uri, suite, wanted))
        break
EOF
}

# apt goes on without the lists that it could not fetch, and then knows no package: the first says more.
apt_trouble() { grep -m 1 -E 'Failed to fetch|Could not' "$1" 2> /dev/null || tail -n 1 "$1" 2> /dev/null || true; }

# The Python wheel has no header. The distribution's package has it, from a suite that may be newer than
# this machine's: apt, told of that suite in a configuration of its own, verifies and downloads it, and
# it is unpacked here without being installed. The C API only grows, so an older header serves.
install_headers() {
    headers_present && return
    changed=yes
    command -v apt-get > /dev/null || die "the ONNX Runtime C header is missing and there is no apt" \
        "install ONNX Runtime's development files and set ONNXRUNTIME_ROOT"
    local codename suites suite work=$DEPS/onnxruntime/headers.work sha api
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    case $(. /etc/os-release && echo "$ID ${ID_LIKE:-}") in
        *ubuntu*) suites="resolute questing plucky devel"
            codename=$(. /etc/os-release && echo "${UBUNTU_CODENAME:-$codename}") ;;
        *) suites="trixie forky sid" ;;
    esac
    for suite in $suites; do
        rm -rf "$work" && mkdir -p "$work"/{sources,lists/partial,cache/archives/partial,tree}
        other_suite "$codename" "$suite" > "$work/sources/suite.list"
        [ -s "$work/sources/suite.list" ] || continue
        local options=(-q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources"
            -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache"
            -o Acquire::Languages=none -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User="$(id -un)")
        if apt-get "${options[@]}" update > "$work/log" 2>&1 \
            && (cd "$work" && apt-get "${options[@]}" download libonnxruntime-dev >> log 2>&1); then
            break
        fi
    done
    ls "$work"/*.deb > /dev/null 2>&1 || die "the ONNX Runtime C header is missing, and no suite of ($suites) gave libonnxruntime-dev: $(apt_trouble "$work/log")" \
        "check the network and /etc/apt/sources.list*; or install ONNX Runtime's development files and set ONNXRUNTIME_ROOT, or build with -DAEGISRT_BUILD_ONNXRUNTIME=OFF"
    dpkg -x "$work"/*.deb "$work/tree"
    local header
    header=$(find "$work/tree" -name onnxruntime_c_api.h | head -n 1)
    [ -n "$header" ] || die "libonnxruntime-dev of $suite holds no onnxruntime_c_api.h" "set ONNXRUNTIME_ROOT"
    sha=$(sha256_of "$header")
    api=$(awk '$2 == "ORT_API_VERSION" { print $3 }' "$header")
    # apt has checked the package against the archive's signature; the pin says which ones were tried.
    if ! grep -q "$sha" "$LOCK"; then
        warn "this header (API $api, SHA-256 $sha) is signed by the distribution but not among those tried"
    fi
    rm -rf "$DEPS/onnxruntime/include"
    mv "$(dirname "$header")" "$DEPS/onnxruntime/include"
    echo "$sha" > "$DEPS/onnxruntime/include/.sha256"
    rm -rf "$work"
    say "ONNX Runtime's header (API $api, from $suite) is in $DEPS/onnxruntime/include"
}

# --- ONNX graph format -------------------------------------------------------------------------

onnx_present() { unpacked_is onnx onnx; }

install_onnx() {
    onnx_present && return
    changed=yes
    local wheel version file sha new=$DEPS/onnx.new
    wheel=$(fetch_wheel onnx)
    read -r version file sha <<< "$(lock_row onnx)"
    rm -rf "$new" && mkdir -p "$new"
    "$(find_python)" - "$wheel" "$new" <<'EOF'
import os, sys, zipfile
wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name == "onnx/onnx-ml.proto" or name.endswith("/LICENSE"):
            with open(os.path.join(folder, os.path.basename(name)), "wb") as out:
                out.write(archive.read(name))
EOF
    [ -f "$new/onnx-ml.proto" ] || die "$file holds no onnx-ml.proto" "correct scripts/setup.sh"
    mv "$new/onnx-ml.proto" "$new/onnx.proto"
    put_in_place "$new" onnx "$sha"
    say "the ONNX graph format $version is in $DEPS/onnx"
}

# --- TOML --------------------------------------------------------------------------------------

tomlplusplus_present() { unpacked_is tomlplusplus pytomlpp; }

# Ubuntu 22.04 has no package of toml++, and what later releases have differs in ways that matter (see
# src/base/toml.cpp); so every machine gets the same one.
install_tomlplusplus() {
    tomlplusplus_present && return
    changed=yes
    local archive version file sha new=$DEPS/tomlplusplus.new
    archive=$(fetch_archive pytomlpp)
    read -r version file sha <<< "$(lock_row pytomlpp)"
    rm -rf "$new" && mkdir -p "$new"
    "$(find_python)" - "$archive" "$new" <<'EOF'
import os, sys, tarfile
archive, folder = sys.argv[1:]
with tarfile.open(archive) as files:
    for member in files:
        inside = member.name.partition("/third_party/tomlplusplus/")[2]
        wanted = inside == "LICENSE" or inside.startswith("include/toml++/")
        if wanted and member.isfile() and ".." not in inside.split("/"):
            path = os.path.join(folder, inside[len("include/"):] if inside != "LICENSE" else inside)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(files.extractfile(member).read())
EOF
    [ -f "$new/toml++/toml.hpp" ] || die "$file holds no toml++" "the archive's layout changed; correct scripts/setup.sh"
    put_in_place "$new" tomlplusplus "$sha"
    say "toml++ (in pytomlpp $version) is in $DEPS/tomlplusplus"
}

# --- Python environment ------------------------------------------------------------------------

venv_key() { sha256_of "$ROOT/scripts/requirements.txt"; }

venv_present() {
    [ "$(cat "$DEPS/venv/.sha256" 2> /dev/null)" = "$(venv_key)" ] && "$DEPS/venv/bin/python" -c '' 2> /dev/null
}

install_venv() {
    venv_present && return
    changed=yes
    say "filling the Python environment $DEPS/venv"
    make_venv "$DEPS/venv"
    "$DEPS/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: --require-hashes -r "$ROOT/scripts/requirements.txt" \
        || die "the Python packages could not be installed" "check the network and pip's index settings"
    venv_key > "$DEPS/venv/.sha256"
}

# --- what to do --------------------------------------------------------------------------------

report() {
    local status=0 missing=""
    if [ "$system" = yes ]; then
        missing=$(missing_packages | tr '\n' ' ')
        if [ -n "${missing// /}" ]; then say "missing packages: $missing"; status=1; fi
    fi
    if ! system_onnxruntime; then
        library_present || { say "missing: the ONNX Runtime library"; status=1; }
        headers_present || { say "missing: the ONNX Runtime header"; status=1; }
    fi
    onnx_present || { say "missing: the ONNX graph format"; status=1; }
    tomlplusplus_present || { say "missing: the headers of toml++"; status=1; }
    venv_present || { say "missing: the Python environment of the tests"; status=1; }
    if [ $status = 0 ]; then say "nothing is missing"; else say "cure: make setup"; fi
    return $status
}

if [ "$check" = yes ]; then
    report
    exit $?
fi

if [ "$system" = yes ]; then install_packages; fi
lock_deps
if system_onnxruntime; then
    say "using the ONNX Runtime of the system"
else
    install_library
    install_headers
fi
install_onnx
install_tomlplusplus
install_venv
if [ "$changed" = yes ]; then say "ready"; else say "ready: nothing was to do"; fi
