# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder; sourced, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DEPS=${AEGISRT_DEPS_DIR:-$ROOT/.deps}
LOCK=$ROOT/scripts/deps.lock
MACHINE=$(uname -m)
PROGRAM=$(basename "$0")

say() { printf '%s: %s\n' "$PROGRAM" "$*"; }
warn() { printf '%s: warning: %s\n' "$PROGRAM" "$*" >&2; }
# die MESSAGE CURE: every failure names what to do about it.
die() {
    printf '%s: error: %s\n' "$PROGRAM" "$1" >&2
    if [ $# -gt 1 ]; then printf '%s: cure: %s\n' "$PROGRAM" "$2" >&2; fi
    exit 1
}

sha256_of() { sha256sum "$1" | cut -d' ' -f1; }

# Only one process at a time changes the dependency folder or the models.
lock_deps() {
    mkdir -p "$DEPS" || die "cannot create $DEPS" "choose another folder with AEGISRT_DEPS_DIR"
    exec 9> "$DEPS/.lock"
    flock 9
}

# lock_row NAME: prints "version file sha256" of the row for this machine.
lock_row() {
    awk -v name="$1" -v machine="$MACHINE" \
        '$1 == name && ($3 == machine || $3 == "any") { print $2, $4, $5; exit }' "$LOCK"
}

# The interpreter for everything here; the system's own one first, since setup installs its venv module.
find_python() {
    local candidate
    for candidate in "${AEGISRT_PYTHON:-}" /usr/bin/python3 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import ensurepip, venv' > /dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# make_venv FOLDER: an empty virtual environment.
make_venv() {
    local python
    python=$(find_python) || die "no Python 3 with the modules venv and ensurepip" \
        "run 'make setup', or point AEGISRT_PYTHON at an interpreter that has them"
    rm -rf "$1"
    "$python" -m venv "$1" || die "cannot create a virtual environment in $1" "see the message above"
}

# fetch_wheel NAME: leaves the pinned file in $DEPS/downloads and prints its path.
# pip checks the hash while downloading; it is checked again here, on the file that is then unpacked.
fetch_wheel() {
    local name=$1 version file sha path tags platforms python_tag abi_tag
    read -r version file sha <<< "$(lock_row "$name")"
    [ -n "${sha:-}" ] || die "$name has no pinned file for $MACHINE in scripts/deps.lock" \
        "add a row for this machine, or build without it (-DAEGISRT_BUILD_ONNXRUNTIME=OFF)"
    path=$DEPS/downloads/$file
    if [ ! -f "$path" ] || [ "$(sha256_of "$path")" != "$sha" ]; then
        local pip=$DEPS/pip/bin/python options=(--no-deps --only-binary :all: --require-hashes)
        [ -x "$pip" ] || make_venv "$DEPS/pip" >&2
        # The tags of the pinned file, not those of this interpreter: the file is unpacked, not imported.
        tags=${file%.whl}
        platforms=${tags##*-} tags=${tags%-*}
        abi_tag=${tags##*-} tags=${tags%-*}
        python_tag=${tags##*-}
        options+=(--python-version "$([ "$python_tag" = py3 ] && echo 3.11 || echo "3.${python_tag#cp3}")")
        options+=(--abi "$abi_tag" --implementation "$([ "$python_tag" = py3 ] && echo py || echo cp)")
        for platform in ${platforms//./ }; do options+=(--platform "$platform"); done
        mkdir -p "$DEPS/downloads"
        printf '%s==%s --hash=sha256:%s\n' "$name" "$version" "$sha" > "$DEPS/downloads/$name.txt"
        say "downloading $file" >&2
        "$pip" -m pip download --quiet --disable-pip-version-check "${options[@]}" \
            --dest "$DEPS/downloads" -r "$DEPS/downloads/$name.txt" >&2 \
            || die "cannot download $name $version" \
                "check the network and pip's index settings, or put $file into $DEPS/downloads yourself"
        rm -f "$DEPS/downloads/$name.txt"
    fi
    [ "$(sha256_of "$path")" = "$sha" ] || die "$path is not the pinned file (SHA-256 $sha)" \
        "remove it and run this again; if it persists, do not trust the download"
    printf '%s\n' "$path"
}

# fetch_archive NAME: the same for a source archive. pip would run the archive's build script only to learn its
# version, so the file is taken from the index that pip is set to, with pip's certificates.
fetch_archive() {
    local name=$1 version file sha path
    read -r version file sha <<< "$(lock_row "$name")"
    path=$DEPS/downloads/$file
    if [ ! -f "$path" ] || [ "$(sha256_of "$path")" != "$sha" ]; then
        local pip=$DEPS/pip/bin/python index cert
        [ -x "$pip" ] || make_venv "$DEPS/pip" >&2
        index=${PIP_INDEX_URL:-$("$pip" -m pip config get global.index-url 2> /dev/null || echo https://pypi.org/simple)}
        cert=${PIP_CERT:-$("$pip" -m pip config get global.cert 2> /dev/null || true)}
        mkdir -p "$DEPS/downloads"
        say "downloading $file" >&2
        "$pip" - "${index%/}/$name/" "$file" "$path.part" "$cert" << 'EOF' \
            || die "cannot download $name $version from $index" \
                "check the network and pip's index settings, or put $file into $DEPS/downloads yourself"
import html, re, ssl, sys, urllib.parse, urllib.request
page, name, target, cert = sys.argv[1:]
try:
    trust = ssl.create_default_context(cafile=cert or None)
    with urllib.request.urlopen(page, timeout=60, context=trust) as answer:
        links = re.findall(r'href="([^"]+)"', answer.read(16 << 20).decode())
    links = [urllib.parse.urljoin(page, html.unescape(link)).split("#")[0] for link in links]
    link = next((link for link in links if link.endswith("/" + name)), None)
    if link is None:
        sys.exit("%s does not list %s" % (page, name))
    with urllib.request.urlopen(link, timeout=180, context=trust) as answer, open(target, "wb") as out:
        out.write(answer.read(64 << 20))
except OSError as problem:
    sys.exit("%s: %s" % (page, problem))
EOF
        mv "$path.part" "$path"
    fi
    [ "$(sha256_of "$path")" = "$sha" ] || die "$path is not the pinned file (SHA-256 $sha)" \
        "remove it and run this again; if it persists, do not trust the download"
    printf '%s\n' "$path"
}

# proof_holds KIND:NAME: whether this machine has what a package of packages.txt is listed for.
proof_holds() {
    local name=${1#*:}
    case $1 in
        command:*) command -v "$name" > /dev/null ;;
        module:*) pkg-config --exists "$name" 2> /dev/null ;;
        python:*) find_python > /dev/null ;;
        file:*) [ -e "$name" ] ;;
        library:*) grep -qwF "$name" <<< "$(PATH=$PATH:/sbin ldconfig -p)" ;;
        *) die "packages.txt: unknown proof $1" "see the comment at its head" ;;
    esac
}
