#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the symbols of the layer libraries and fails on state that belongs to no object.

Everything hangs off an object that someone created, so no object file may hold writable data:
nothing in .data, .bss or a thread-local section, no common symbol and no constructor. Constants
that need relocation (.data.rel.ro) are constants. The exceptions are in ALLOWED.
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import tempfile

# Pattern of "archive:member:symbol" -> why it may be.
ALLOWED = {
    "*:*.cu.o:.init_array": "nvcc registers kernels with the CUDA runtime before main",
    "*:*.cu.o:*__cudaFatCubinHandle": "the same: what it registered",
    "*:*.cu.o:*__device_stub__*": "the same: the host's side of a kernel",
    "*:*:DW.ref.*": "pointers that the C++ compiler makes for exception tables; never written",
    "libaegis_backend.a:router.c.o:aegis_ort_the_router": "ONNX Runtime keeps one environment and one allocator "
                                            "registry a process; reference-counted",
    "libaegis_backend.a:router.c.o:current": "whose run this thread executes: ONNX Runtime's "
                                             "allocator is called without any context",
    "libaegis_backend.a:router.c.o:log_taker": "who reads ONNX Runtime's log of this thread: its "
    "logger belongs to the one environment",
    "libaegis_backend.a:router.c.o:pool_owner": "the same for threads of its pool",
}

# One line of `objdump -t`: value, seven flag characters, section, size, name.
SYMBOL = re.compile(r"^[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+)\s+(?:\.hidden )?(\S+)$")
# One line of `objdump -h`: index, name, size and more.
SECTION = re.compile(r"^\s*[0-9]+ (\S+)\s+([0-9a-f]+) ")
MEMBER = re.compile(r"^(\S+):\s+file format ")
WRITABLE = re.compile(r"\.(data|bss|tdata|tbss|sdata|sbss)(\..*)?|\*COM\*")
CONSTANT = re.compile(r"\.data\.rel\.ro(\..*)?")
CONSTRUCTOR = re.compile(r"\.(init_array|fini_array|ctors|dtors|preinit_array)(\..*)?")


def symbols(objdump, archive):
    """(member, section, size, name) of every symbol and, named after itself, every section."""
    text = subprocess.run([objdump, "-h", "-t", archive], capture_output=True, text=True, check=True).stdout
    member = "?"
    for line in text.split("\n"):
        start = MEMBER.match(line)
        if start:
            member = start.group(1)
            continue
        section = SECTION.match(line)
        if section:
            yield member, section.group(1), int(section.group(2), 16), section.group(1)
        symbol = SYMBOL.match(line)
        if symbol:
            yield member, symbol.group(2), int(symbol.group(3), 16), symbol.group(4)


def is_state(section, size, name):
    if size > 0 and CONSTRUCTOR.fullmatch(section):
        return True
    named = size > 0 and name != section
    return named and bool(WRITABLE.fullmatch(section)) and not CONSTANT.fullmatch(section)


def check(objdump, archives):
    """Prints every complaint; returns (symbols read, number of complaints)."""
    read = complaints = 0
    for archive in archives:
        for member, section, size, name in symbols(objdump, archive):
            read += 1
            place = f"{os.path.basename(archive)}:{member}:{name}"
            allowed = any(fnmatch.fnmatchcase(place, pattern) for pattern in ALLOWED)
            if is_state(section, size, name) and not allowed:
                complaints += 1
                print(f"{place}: {size} writable bytes in {section}; put them into an object that "
                      "someone creates")
    return read, complaints


PLANTED = {
    "a counter": ("static int counter; int *planted(void); int *planted(void) { return &counter; }", 1),
    "an initialised table": ("int planted[4] = {1, 2, 3, 4};", 1),
    "a static of a function": ("int planted(void); int planted(void) { static int n; return n++; }", 1),
    "a thread-local": ("_Thread_local int planted;", 1),
    "a common symbol": ("__attribute__((common)) int planted;", 1),
    "a table of mutable pointers": ('const char *planted[] = {"a", "b"};', 1),
    "a constructor": ("static __attribute__((constructor)) void planted(void) { __asm__(\"\"); }", 1),
    "constants": ('static const char *const names[] = {"a", "b"}; const int planted = 3;'
                  "const char *const *f(void); const char *const *f(void) { return names; }", 0),
}


def self_test(objdump, compiler, archiver):
    failures = 0
    for title, (text, expected) in PLANTED.items():
        with tempfile.TemporaryDirectory() as folder:
            source, binary = os.path.join(folder, "planted.c"), os.path.join(folder, "planted.c.o")
            archive = os.path.join(folder, "libaegis_planted.a")
            with open(source, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            subprocess.run([compiler, "-std=gnu17", "-fPIC", "-w", "-c", source, "-o", binary], check=True)
            subprocess.run([archiver, "rc", archive, binary], check=True)
            _, complaints = check(objdump, [archive])
            if (complaints > 0) != (expected > 0):
                failures += 1
                print(f"self-test: {title}: {complaints} complaints, expected {expected}")
    print(f"self-test: {failures} failures")
    return failures == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("--ar", default="ar")
    parser.add_argument("--self-test", metavar="CC", help="check the check with this C compiler")
    parser.add_argument("archives", nargs="*", help="static libraries of the layers")
    arguments = parser.parse_args()
    if arguments.self_test:
        return 0 if self_test(arguments.objdump, arguments.self_test, arguments.ar) else 1
    read, complaints = check(arguments.objdump, arguments.archives)
    print(f"{len(arguments.archives)} libraries, {read} symbols read, {complaints} complaints")
    return 0 if read > 0 and complaints == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
