#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the statuses that public headers document against those that unit tests provoked.

Tests leave what public functions returned in statuses/*.txt of the build folder (test/support/
status_notes.h); the unit tests run before this one. Every function that returns a status has to be called,
says in its comment which ones (public_statuses.py tells how), returns each of them in some unit test and
none that it does not document.
"""

import argparse
import collections
import glob
import os
import sys
import tempfile

import public_statuses

# Why no unit test of a build provokes a documented status. `when`: in which builds: "always"; "cuda" or
# "not cuda", and so on by names of runtimes and devices; "gpu": without a GPU, so that it may be seen.
# `shown`: the test that shows it there, which has to name function and status.
Excuse = collections.namedtuple("Excuse", "reason when shown", defaults=("always", None))
WITHOUT_CUDA = Excuse("a build with CUDA knows the device", "cuda")
OTHER_DEVICE = Excuse("a build without CUDA does not look at the device", "not cuda")
ON_DEVICE = Excuse("it takes a CUDA device", "gpu", "test/gpu/test_captures.c")
HASH = Excuse("it takes OpenSSL to fail at SHA-256")
EXCUSED = {
    ("aegis_pool_create", "UNSUPPORTED"): Excuse("the C libraries that are tested with have such mutexes"),
    ("aegis_profile_copies_key", "INTERNAL"): HASH,
    ("aegis_profile_cut_key", "INTERNAL"): HASH,
    ("aegis_profile_make_key", "INTERNAL"): HASH,
    ("aegis_cuda_capture_begin", "DEVICE_NOT_AVAILABLE"): WITHOUT_CUDA,
    ("aegis_cuda_capture_begin", "UNSUPPORTED"): OTHER_DEVICE,
    ("aegis_cuda_capture_begin", "STATE"): ON_DEVICE,
    ("aegis_cuda_capture_end", "DEVICE_NOT_AVAILABLE"): WITHOUT_CUDA,
    ("aegis_cuda_capture_end", "UNSUPPORTED"): OTHER_DEVICE,
    ("aegis_cuda_capture_end", "STATE"): ON_DEVICE,
    ("aegis_cuda_capture_end", "NO_MEMORY"): ON_DEVICE,
    ("aegis_cuda_graph_launch", "DEVICE_NOT_AVAILABLE"): WITHOUT_CUDA,
    ("aegis_cuda_graph_launch", "STATE"): ON_DEVICE,
    ("aegis_cuda_memory_alloc", "DEVICE_NOT_AVAILABLE"): WITHOUT_CUDA,
    ("aegis_cuda_memory_alloc", "UNSUPPORTED"): OTHER_DEVICE,
    ("aegis_cuda_memory_alloc", "NO_MEMORY"): ON_DEVICE,
    ("aegis_cuda_memory_in_use", "DEVICE_NOT_AVAILABLE"): WITHOUT_CUDA,
    ("aegis_cuda_memory_in_use", "UNSUPPORTED"): OTHER_DEVICE,
}


def read_notes(folder, tests):
    """Pairs (function, STATUS) of the programs in `tests`, and the programs."""
    seen, programs = set(), set()
    for path in sorted(glob.glob(os.path.join(folder, "*.txt"))):
        program = os.path.splitext(os.path.basename(path))[0]
        if program not in tests:
            continue  # of a test that is gone
        programs.add(program)
        with open(path, encoding="utf-8") as file:
            seen |= {(name, status.upper()) for name, status in map(str.split, file)}
    return seen, programs


def unit_tests(source):
    """Names of the programs that test/CMakeLists.txt makes of unit tests."""
    names = set()
    for path in glob.glob(os.path.join(source, "test", "unit", "**", "test_*.c"), recursive=True):
        parts = os.path.relpath(path, os.path.join(source, "test")).split(os.sep)
        names.add("_".join(["test", *parts[:-1], parts[-1][len("test_"):-2]]))
    return names


def holds(excuse, built):
    """Whether it excuses in a build with these runtimes and devices."""
    if excuse.when in ("always", "gpu"):
        return True
    return excuse.when[len("not "):] not in built if excuse.when.startswith("not ") else excuse.when in built


def judge(function, seen, excused):
    """What is wrong, by kind: names of statuses, or of other things."""
    returned = {status for name, status in seen if name == function.name}
    mine = {status: excuse for (name, status), excuse in excused.items() if name == function.name}
    never = {status for status, excuse in mine.items() if excuse.when != "gpu"}
    found = {
        "documented, provoked by no unit test": function.statuses - returned - set(mine),
        "returned, not documented": set() if function.open else returned - function.statuses - {"OK"},
        "excused in vain": (never & returned) | (set(mine) - function.statuses),
        "statuses not in capital letters": function.small,
        "refers to what no header has": function.nowhere,
    }
    if not returned and not (function.statuses and function.statuses <= set(mine)):
        found["called by no unit test"] = {"the function"}
    if not function.statuses and not function.open and not function.infallible:
        found["its comment names no status"] = {"the function"}
    return {text: sorted(names) for text, names in found.items() if names}


def check(functions, seen, excused):
    """Lines about what is wrong."""
    lines = []
    for function in functions:
        for text, names in judge(function, seen, excused).items():
            lines.append(f"{function.header[len('aegisrt/'):]}: {function.name}: {text}: {', '.join(names)}")
    known = {function.name for function in functions}
    lines += [f"{name}: excused in vain: no such function" for name, _ in sorted(excused) if name not in known]
    return lines


def check_shown(source, excused):
    """Lines about excuses that point to a test which does not show it."""
    lines = []
    for (name, status), excuse in sorted(excused.items()):
        path = os.path.join(source, excuse.shown or "")
        text = ""
        if excuse.shown and os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                text = file.read()
        if excuse.shown and (name not in text or f"AEGIS_ERROR_{status}" not in text):
            lines.append(f"{name}: {status} is not shown by {excuse.shown}")
    return lines


def report(source, functions, seen, programs, built):
    excused = {pair: excuse for pair, excuse in EXCUSED.items() if holds(excuse, built)}
    failures = check(functions, seen, excused) + check_shown(source, EXCUSED)
    for (name, status), excuse in sorted(excused.items()):
        print(f"excused: {name} {status}: {excuse.reason}{'; ' + excuse.shown if excuse.shown else ''}")
    for function in functions:
        passed_on = {status for name, status in seen if name == function.name} - function.statuses - {"OK"}
        if function.open and passed_on:
            print(f"passed on: {function.name}: {', '.join(sorted(passed_on))}")
    if failures:
        print("FAILED:")
        print("\n".join(f"  {line}" for line in failures))
    print(f"{len(programs)} programs left notes; {len(functions)} functions with "
          f"{sum(len(function.statuses) for function in functions)} documented statuses, of which "
          f"{len(excused)} are excused; {sum(function.open for function in functions)} functions pass on what "
          f"others return as well; {len(failures)} failures")
    return len(programs) > 0 and not failures


STATUS_H = """typedef enum aegis_status {
    AEGIS_OK = 0,
    AEGIS_ERROR_IO, /**< one */
    AEGIS_ERROR_CONFIG, /**< and another */
    AEGIS_ERROR_NOT_FOUND, /**< and one of two words */
    AEGIS_ERROR_STATE /**< two */
} aegis_status;
"""
PLANTED_H = """#ifndef A
#ifdef __cplusplus
extern "C" {
#endif
typedef struct a { int b; /**< STATE */ } a;
/** Does. IO (why), STATE. */
aegis_status aegis_one(int a);
/** STATE of nothing that fails. */
void aegis_none(int a);
/** As aegis_one, with AEGIS_ERROR_CONFIG as a long name. */
aegis_status
aegis_two(int a);
aegis_status aegis_three(int a);

aegis_status aegis_bare(void);
/** What its callback returns, and IO. */
aegis_status aegis_open(void);
/** Fails with not_found, and as aegis_gone does. STATE. */
aegis_status aegis_wrong(void);
/** Always OK. */
aegis_status aegis_sure(void);
#endif
"""
FOUND = {"aegis_one": {"IO", "STATE"}, "aegis_two": {"IO", "STATE", "CONFIG"},
         "aegis_three": {"IO", "STATE", "CONFIG"}, "aegis_bare": set(), "aegis_open": {"IO"},
         "aegis_wrong": {"STATE"}, "aegis_sure": set()}
ALL = {("aegis_one", "IO"), ("aegis_one", "STATE"), ("aegis_two", "IO"), ("aegis_two", "STATE"),
       ("aegis_two", "CONFIG"), ("aegis_three", "IO"), ("aegis_three", "STATE"), ("aegis_three", "CONFIG"),
       ("aegis_open", "IO"), ("aegis_open", "STATE"), ("aegis_bare", "OK"), ("aegis_wrong", "STATE"),
       ("aegis_sure", "OK")}
# What is always wrong there: a comment that is missing, a status in small letters, a dangling reference.
ALWAYS = ["aegis_bare: its comment names no status", "aegis_wrong: statuses not in capital letters: not_found",
          "aegis_wrong: refers to what no header has: aegis_gone"]
NEVER = {("aegis_one", "STATE"): Excuse("it cannot")}
ON_GPU = {("aegis_one", "STATE"): Excuse("it takes a GPU", "gpu")}
# What was seen, what is excused, and what the check has to say beside that.
CASES = [
    (ALL, {}, []),
    (ALL - {("aegis_one", "STATE")}, {}, ["aegis_one: documented, provoked by no unit test: STATE"]),
    (ALL - {("aegis_three", "CONFIG")}, {}, ["aegis_three: documented, provoked by no unit test: CONFIG"]),
    (ALL | {("aegis_bare", "IO")}, {}, ["aegis_bare: returned, not documented: IO"]),
    (ALL | {("aegis_sure", "IO")}, {}, ["aegis_sure: returned, not documented: IO"]),
    (ALL - {("aegis_bare", "OK")}, {}, ["aegis_bare: called by no unit test"]),
    (ALL - {("aegis_one", "STATE")}, NEVER, []),
    (ALL, NEVER, ["aegis_one: excused in vain: STATE"]),
    (ALL, ON_GPU, []),
    (ALL, {("aegis_one", "CONFIG"): Excuse("it cannot")}, ["aegis_one: excused in vain: CONFIG"]),
    (ALL, {("aegis_gone", "IO"): Excuse("it cannot")}, ["aegis_gone: excused in vain: no such function"]),
]
BUILDS = [("always", True, True), ("gpu", True, True), ("cuda", True, False), ("not cuda", False, True)]


def is_what_was_expected(found, expected):
    return len(found) == len(expected) and all(any(part in line for line in found) for part in expected)


def test_headers(include):
    """Failures of reading the planted header, and its functions."""
    os.makedirs(os.path.join(include, "aegisrt"))
    planted = os.path.join(include, "aegisrt", "planted.h")
    for name, text in (("status.h", STATUS_H), ("planted.h", PLANTED_H)):
        with open(os.path.join(include, "aegisrt", name), "w", encoding="utf-8") as file:
            file.write(text)
    functions = public_statuses.read(include)
    failures = []
    if {function.name: function.statuses for function in functions} != FOUND:
        failures.append(f"read {[(f.name, f.statuses) for f in functions]}")
    with open(planted, "a", encoding="utf-8") as file:
        file.write("static inline aegis_status aegis_hidden(void);\n")
    try:
        public_statuses.read(include)
        failures.append("a function that is declared otherwise was overlooked")
    except ValueError:
        pass
    return failures, functions


def test_excuses(folder):
    """Failures about builds, and about tests that shall show what is excused."""
    failures = []
    for when, with_cuda, without in BUILDS:
        excuse = Excuse("it cannot", when)
        if (holds(excuse, {"cuda"}), holds(excuse, set())) != (with_cuda, without):
            failures.append(f"an excuse \"{when}\" holds in other builds")
    with open(os.path.join(folder, "test_it.c"), "w", encoding="utf-8") as file:
        file.write("aegis_one() == AEGIS_ERROR_IO\n")
    for status, shown, expected in (("IO", "test_it.c", 0), ("STATE", "test_it.c", 1), ("IO", "test_no.c", 1)):
        excused = {("aegis_one", status): Excuse("it cannot", "always", shown)}
        if len(check_shown(folder, excused)) != expected:
            failures.append(f"{status} by {shown}: {check_shown(folder, excused)}")
    return failures


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        failures, functions = test_headers(folder)
        failures += test_excuses(folder)
        with open(os.path.join(folder, "test_gone.txt"), "w", encoding="utf-8") as file:
            file.write("aegis_one io\n")
        if read_notes(folder, {"test_here"}) != (set(), set()):
            failures.append("notes of a test that is gone were read")
    for seen, excused, expected in CASES:
        found = check(functions, seen, excused)
        if not is_what_was_expected(found, ALWAYS + expected):
            failures.append(f"expected {ALWAYS + expected}, found {found}")
    print("\n".join(f"self-test: {failure}" for failure in failures))
    print(f"self-test: {len(failures)} failures")
    return not failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="check the check alone")
    parser.add_argument("--built", default="", help="runtimes and devices of the build: cuda,onnxruntime")
    parser.add_argument("source", nargs="?", help="root of the sources")
    parser.add_argument("notes", nargs="?", help="folder with the notes of the tests")
    arguments = parser.parse_args()
    if arguments.self_test:
        return 0 if self_test() else 1
    functions = public_statuses.read(os.path.join(arguments.source, "include"))
    seen, programs = read_notes(arguments.notes, unit_tests(arguments.source))
    return 0 if report(arguments.source, functions, seen, programs, set(arguments.built.split(","))) else 1


if __name__ == "__main__":
    sys.exit(main())
