#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists what runs on a GPU machine, and packs it into parts that can be carried there one by one.

    gpu_bundle.py targets BUILD              names of the targets to build
    gpu_bundle.py programs BUILD             the table that gpu-run.sh reads, with the paths of this checkout
    gpu_bundle.py pack BUILD OUT [--limit B] part-NN.tar, SHA256SUMS and unpack.sh in OUT

Tests are what CTest lists in BUILD with the label "gpu" (environment, arguments and time limit included); the rest
stands in scripts/gpu-bundle.txt. A line of the table has fields apart by tabs:

    test  NAME  SECONDS  whole|cases|-  VAR=VALUE...  PROGRAM  ARGUMENT...
    bench NAME  SECONDS  -              -             PROGRAM  ARGUMENT...
"""

import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIST = os.path.join(ROOT, "scripts", "gpu-bundle.txt")
SCRIPTS = ["scripts/gpu-run.sh", "scripts/gpu_sanitize.py", "scripts/gpu-sanitize.txt",
           "scripts/cuda-libraries.sh"]
BENCH_SECONDS = 300
# A program of a fault ends its context on purpose: a sanitizer would report just that.
FAULT_LABEL = "gpu-fault"
# A program of cases names them and runs one alone: each in a process of its own under a sanitizer.
CASES_LABEL = "gpu-cases"
# Of every system that has a driver; a program that brought its own would stumble on the system's.
OF_THE_SYSTEM = ("linux-vdso", "ld-linux", "libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so",
                 "libgcc_s.so", "libstdc++.so", "libresolv.so")


def die(message, cure):
    sys.exit(f"gpu_bundle.py: error: {message}\ngpu_bundle.py: cure: {cure}")


def read_list():
    """Lines of the list as (word, may be missing, rest)."""
    entries = []
    with open(LIST, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#", 1)[0].split()
            if not words:
                continue
            optional = words[0].startswith("-")
            word = words[0].lstrip("-")
            least = {"bench": 3, "program": 2, "file": 2, "library": 2}.get(word)
            if least is None or len(words) < least:
                die(f"{LIST}:{number}: '{line.strip()}' is no entry", "see the comment at its head")
            entries.append((word, optional, words[1:]))
    return entries


def ctest_tests(build):
    """Tests with the label gpu: what is asked of CTest includes programs that are not built yet."""
    answer = subprocess.run(["ctest", "--test-dir", build, "-L", "^gpu$", "--show-only=json-v1"],
                            capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        die(f"ctest cannot list the tests of {build}: {answer.stderr.strip()}", "scripts/build.sh cuda")
    return json.loads(answer.stdout)["tests"]


def commands_not_built(build):
    """Commands of tests whose program is not there yet: CTest lists those without one."""
    commands = {}
    for folder, _, names in os.walk(build):
        if "CTestTestfile.cmake" in names:
            with open(os.path.join(folder, "CTestTestfile.cmake"), encoding="utf-8") as file:
                for name, rest in re.findall(r"add_test\(\[=\[(.*?)\]=\] (.*)\)", file.read()):
                    commands[name] = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
    return commands


def property_of(test, name, default):
    for one in test.get("properties", []):
        if one["name"] == name:
            return one["value"]
    return default


def table(build):
    """Rows of the table, with absolute paths."""
    rows = []
    tests = ctest_tests(build)
    others = commands_not_built(build) if any("command" not in test for test in tests) else {}
    for test in tests:
        command = test.get("command") or others.get(test["name"])
        if not command:
            die(f"CTest knows no program of '{test['name']}'", "see test/extra.cmake")
        labels = property_of(test, "LABELS", [])
        sanitize = "-" if FAULT_LABEL in labels else "cases" if CASES_LABEL in labels else "whole"
        seconds = int(property_of(test, "TIMEOUT", 300))
        environment = property_of(test, "ENVIRONMENT", [])
        rows.append(["test", test["name"], str(seconds), sanitize, " ".join(environment) or "-", *command])
    for word, _, rest in read_list():
        if word == "bench":
            program = find_program(build, rest[1])
            rows.append(["bench", rest[0], str(BENCH_SECONDS), "-", "-", program, *rest[2:]])
    for row in rows:
        if any(" " in field or "\t" in field for field in row[5:]) or "\t" in row[4]:
            die(f"'{row[1]}' has a blank in a path or argument", "build below a path without blanks")
    return rows


def find_program(build, target):
    for folder in ("test", "bench", "cli", "bin", "."):
        path = os.path.join(build, folder, target)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return os.path.join(build, "bench", target)


def targets(build):
    names = {os.path.basename(row[5]) for row in table(build)}
    names |= {rest[0] for word, _, rest in read_list() if word == "program"}
    return sorted(names)


def program_files(build):
    """What the list's programs are called once they are built."""
    return {find_program(build, rest[-1]) for word, _, rest in read_list() if word == "program"}


# ---- packing ----


def libraries_of(program):
    """Shared libraries that the loader finds for a program, without the system's."""
    answer = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    found = []
    for line in answer.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] == "=>" and words[2].startswith("/"):
            if not words[0].startswith(OF_THE_SYSTEM):
                found.append((words[0], words[2]))
        elif "not found" in line and not words[0].startswith("libcud"):
            die(f"{program} needs {words[0]}, which is not on this machine", "make setup")
    return found


def matches(pattern, optional):
    found = []
    for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
        if os.path.isdir(path):
            for folder, _, names in sorted(os.walk(path)):
                found += [os.path.join(folder, name) for name in sorted(names)]
        else:
            found.append(path)
    if not found and not optional:
        die(f"nothing is at '{pattern}' ({LIST})", "make models, make setup")
    if not found:
        print(f"left out: nothing is at '{pattern}'", file=sys.stderr)
    return [path for path in found if os.path.isfile(path)]


def contents(build):
    """What goes where: {path in the bundle: path here}, programs and scripts first."""
    small, large = {}, {}
    programs = {row[5] for row in table(build)}
    programs |= program_files(build)
    for program in sorted(programs):
        if not os.access(program, os.X_OK):
            die(f"{program} was not built", "scripts/gpu-bundle.sh builds it")
        small[f"bin/{os.path.basename(program)}"] = program
        for name, path in libraries_of(program):
            small[f"lib/{name}"] = path
    for script in SCRIPTS:
        small[script] = os.path.join(ROOT, script)
    for word, optional, rest in read_list():
        if word in ("file", "library"):
            for path in matches(rest[0], optional):
                name = os.path.relpath(path, ROOT) if word == "file" else f"lib/{os.path.basename(path)}"
                large[name] = path
    return small, large


def rewritten(rows, build):
    """Paths of this checkout become paths below the bundle's root."""
    lines = []
    for row in rows:
        program = f"@ROOT@/bin/{os.path.basename(row[5])}"
        fields = [field.replace(build, "@ROOT@/build").replace(ROOT, "@ROOT@") for field in row]
        lines.append("\t".join([*fields[:5], program, *fields[6:]]) + "\n")
    return "".join(lines)


UNPACK = """#!/bin/sh
# Unpacks the parts beside this script, or those that have come so far: unpack.sh FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:?usage: unpack.sh FOLDER}
mkdir -p "$to"
(cd "$here" && for part in part-*.tar; do grep " $part\\$" SHA256SUMS | sha256sum -c - > /dev/null || {
    echo "unpack.sh: error: $part is not what was packed" >&2; echo "unpack.sh: cure: carry it again" >&2; exit 1; }; done)
for part in "$here"/part-*.tar; do tar -xf "$part" -C "$to"; done
# Large files come compressed and in pieces; one whose pieces are not all there stays in pieces.
cd "$to"
mkdir -p build # what tests leave behind
while read -r name pieces; do
    count=$(ls "$name".gz.piece-* 2> /dev/null | wc -l)
    if [ "$count" -eq "$pieces" ]; then
        cat "$name".gz.piece-* | gzip -d > "$name.part" && mv "$name.part" "$name" && rm -f "$name".gz.piece-*
    elif [ ! -e "$name" ] || [ "$count" -gt 0 ]; then
        echo "unpack.sh: $name: $count of $pieces pieces are here"
    fi
done < pieces.txt
echo "unpacked to $to; run: $to/test-gpu, $to/bench-gpu (or make test-gpu, make bench-gpu there)"
"""

MAKEFILE = """# The two commands of this bundle; `./test-gpu --help` tells more.
.PHONY: test-gpu bench-gpu
test-gpu:
\t@./test-gpu $(ARGUMENTS); rc=$$?; [ $$rc -eq 77 ] || exit $$rc
bench-gpu:
\t@./bench-gpu $(ARGUMENTS); rc=$$?; [ $$rc -eq 77 ] || exit $$rc
"""


class Packer:
    """Puts each file into the first part that has room, so that what comes first lies in the first parts."""

    def __init__(self, out, limit):
        self.out, self.limit, self.parts = out, limit, []

    def part_for(self, size):
        # The ends of a tar file take 10 KiB at most.
        needed = 512 + (size + 511) // 512 * 512
        for part in self.parts:
            if part["used"] + needed + 10240 <= self.limit:
                part["used"] += needed
                return part["tar"]
        path = os.path.join(self.out, f"part-{len(self.parts):02d}.tar")
        self.parts.append({"tar": tarfile.open(path, "w", format=tarfile.GNU_FORMAT), "used": needed})
        return self.parts[-1]["tar"]

    def add(self, name, path):
        tar = self.part_for(os.path.getsize(path))
        info = tar.gettarinfo(os.path.realpath(path), name)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        with open(path, "rb") as file:
            tar.addfile(info, file)

    def add_link(self, name, target):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.part_for(0).addfile(info)

    def close(self):
        for part in self.parts:
            part["tar"].close()


def write(path, text, executable=False):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    if executable:
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def pieces_of(path, work, limit):
    """The file compressed, in pieces of at most `limit` bytes. Kept for the next time, by size and time."""
    is_ = os.stat(path)
    key = hashlib.sha256(f"{os.path.realpath(path)} {is_.st_size} {is_.st_mtime_ns} {limit}".encode()).hexdigest()[:24]
    folder = os.path.join(work, key)
    if not os.path.isdir(folder):
        making = folder + ".making"
        shutil.rmtree(making, ignore_errors=True)
        os.makedirs(making)
        with open(path, "rb") as file, subprocess.Popen(["gzip", "-6", "-n"], stdin=file,
                                                        stdout=subprocess.PIPE) as gzip:
            number = 0
            while data := gzip.stdout.read(limit):
                write_bytes(os.path.join(making, f"piece-{number:03d}"), data)
                number += 1
        if gzip.returncode != 0:
            die(f"gzip failed on {path}", "see its message")
        os.rename(making, folder)
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]


def write_bytes(path, data):
    with open(path, "wb") as file:
        file.write(data)


def pack(build, out, limit):
    stage, work = os.path.join(out, "stage"), os.path.join(out, "pieces")
    os.makedirs(stage, exist_ok=True)
    os.makedirs(work, exist_ok=True)
    for old in glob.glob(os.path.join(out, "part-*.tar")):
        os.remove(old)
    small, large = contents(build)
    write(os.path.join(stage, "programs.txt"), rewritten(table(build), build))
    for command in ("test", "bench"):
        write(os.path.join(stage, f"{command}-gpu"),
              f'#!/bin/sh\nexec "$(dirname "$0")/scripts/gpu-run.sh" {command} "$@"\n', True)
    write(os.path.join(stage, "Makefile"), MAKEFILE)
    whole, cut, links = {}, {}, {}
    everything = {**small, **large}
    for name, path in everything.items():
        target = os.readlink(path) if os.path.islink(path) else None
        if target and os.path.normpath(os.path.join(os.path.dirname(name), target)) in everything:
            links[name] = target
        elif name in small and os.path.getsize(path) < limit // 4:
            whole[name] = path
        else:
            cut[name] = pieces_of(path, work, limit - 65536)
    write(os.path.join(stage, "pieces.txt"),
          "".join(f"{name} {len(pieces)}\n" for name, pieces in sorted(cut.items())))
    packer = Packer(out, limit)
    for name in ("programs.txt", "pieces.txt", "test-gpu", "bench-gpu", "Makefile"):
        packer.add(name, os.path.join(stage, name))
    for name, path in whole.items():
        packer.add(name, path)
    for name, target in links.items():
        packer.add_link(name, target)
    for name, pieces in cut.items():
        for number, piece in enumerate(pieces):
            packer.add(f"{name}.gz.piece-{number:03d}", piece)
    packer.close()
    sums = ""
    for part in sorted(glob.glob(os.path.join(out, "part-*.tar"))):
        with open(part, "rb") as file:  # at most as large as the limit
            sums += f"{hashlib.sha256(file.read()).hexdigest()}  {os.path.basename(part)}\n"
        print(f"{part}  {os.path.getsize(part) / 1048576:.1f} MiB")
    write(os.path.join(out, "SHA256SUMS"), sums)
    write(os.path.join(out, "unpack.sh"), UNPACK, True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("targets", "programs", "pack"))
    parser.add_argument("build")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--limit", type=int, default=60 << 20, help="most bytes of a part (60 MiB)")
    given = parser.parse_args()
    build = os.path.abspath(given.build)
    if given.command == "targets":
        print("\n".join(targets(build)))
    elif given.command == "programs":
        print("\n".join("\t".join(row) for row in table(build)))
    else:
        pack(build, os.path.abspath(given.out or os.path.join(ROOT, "build", "gpu-bundle")), given.limit)


if __name__ == "__main__":
    main()
